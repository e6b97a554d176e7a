"""What a run came to: `summary.json` (its keys are stable) and the table a person reads."""

import json
import os
import shlex
from pathlib import Path

from PIL import Image
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from inkloop import digits
from inkloop.files import written_whole
from pipeline.local import Run
from pipeline.progress import clock


class StepSummary(BaseModel):
    """How one step went: the seconds it ran, 0 if it was taken from the cache."""

    name: str
    seconds: float
    cached: bool


class ModelSummary(BaseModel):
    """One model: accuracies in 0..1, bytes of its ONNX file, median time of one image on one thread."""

    validation_accuracy: float  # by which one of them was chosen
    test_accuracy: float
    parameters: int
    size_bytes: int
    latency_p50_us: float


class GateSummary(BaseModel):
    """Whether the chosen model became champion, and why."""

    promoted: bool
    reason: str


class Summary(BaseModel):
    """What `artifacts/latest/summary.json` holds. chosen: the model before the gate; wall_s: of the run."""

    profile: str
    wall_s: float
    steps: list[StepSummary]
    models: dict[str, ModelSummary]
    chosen: str
    hardware: str
    gate: GateSummary


def summarize(run: Run, profile: str) -> Summary:
    """The summary of a finished run of the graph, from the report of `evaluate` and the decision of `gate`."""
    report = json.loads(run.output("evaluate", "report").read_text())
    return Summary(
        profile=profile,
        wall_s=round(run.wall_s, 2),
        steps=[StepSummary(name=step.name, seconds=round(step.seconds, 2), cached=step.cached) for step in run.steps],
        models=report["models"],
        chosen=report["chosen"],
        hardware=report["hardware"],
        gate=json.loads(run.output("gate", "decision").read_text()),
    )


def write(summary: Summary, path: Path) -> None:
    """Write the summary as JSON, whole or not at all."""
    with written_whole(path) as unfinished:
        unfinished.write_text(summary.model_dump_json(indent=2) + "\n")


def show(summary: Summary, latest: Path, sample: Path, serve: str | None, console: Console) -> None:
    """Print the models side by side, the gate's verdict, and what to do next, ready to be pasted.

    sample: a digit's picture; serve: the command that serves the champion, None if there is none.
    """
    shown = Table(title="Accuracy on validation and test digits, size, median time of one image")
    shown.add_column("model", no_wrap=True)
    for heading in ("validation", "test", "parameters", "size", "p50"):
        shown.add_column(heading, justify="right")
    for name, model in summary.models.items():
        size, latency = f"{model.size_bytes / 1000:,.1f} KB", f"{model.latency_p50_us:,.0f} µs"
        name = f"{name}, chosen" if name == summary.chosen else name
        accuracies = f"{model.validation_accuracy:.2%}", f"{model.test_accuracy:.2%}"
        shown.add_row(name, *accuracies, f"{model.parameters:,}", size, latency)
    console.print(shown)
    cached = sum(step.cached for step in summary.steps)
    wall = clock(summary.wall_s) if summary.wall_s >= 1 else "less than a second"
    took = f"{len(summary.steps)} steps in {wall}, {cached} of them from the cache"
    verdict = "[green]promoted[/]" if summary.gate.promoted else "[yellow]not promoted[/]"
    here, picture = (shlex.quote(os.path.relpath(path)) for path in (latest, sample))
    ask = ""
    if serve is not None:
        ask = f"""  {serve:<36} # the champion answers on http://127.0.0.1:3000; then, to ask it:
  curl -F image=@{picture} http://127.0.0.1:3000/predict
"""
    lines = f"""Profile {summary.profile}: {took}.
Hardware {summary.hardware}: {summary.chosen} is the best that fits.
Gate: {verdict}; {summary.gate.reason}.

[bold]Next[/]
{ask}  .venv/bin/tensorboard --logdir {here}    # how training went
  {here}/evaluate-table.html               # the models side by side, for a browser
  cat {here}/summary.json {here}/run.log   # all figures, all that the steps said"""
    console.print(lines, highlight=False, soft_wrap=True)


def draw_sample(run: Run, path: Path) -> None:
    """Write one test digit as a picture, to try the served champion on."""
    test = digits.read(run.output("validate", "validated"), "test")
    with written_whole(path) as unfinished:
        Image.fromarray(test.images[0]).save(unfinished, format="PNG")
