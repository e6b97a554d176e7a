"""The model card: what a model is, how well it does, what it is for and where it comes from (Mitchell 2019)."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from inkloop.artifacts import ModelInfo
from inkloop.evaluation import FIGURES, Report, figures_as_text
from inkloop.gate import Decision
from inkloop.settings import Settings, matching

WORST_SLICES = 5


class PackagingSettings(Settings):
    """What the package says of itself, and how a model that the gate lets pass becomes champion."""

    # shadow and canary: once a champion reigns, production tries the model first, and the watch promotes it.
    promotion: Literal["at once", "shadow", "canary"] = "at once"
    canary_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    bento_name: Annotated[str, matching(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", "a name such as digits-2")] = "inkloop"
    intended_use: str = (
        "Reading single handwritten digits, 0 to 9, from drawings, scans and photographs of one digit each. "
        "It always answers with one of the ten digits: look at the probabilities before acting on an answer."
    )
    limits: str = (
        "Trained on digits of MNIST's writers; other populations, pens and habits of writing are read less well until "
        "their digits are in the training data. Not for letters, several digits in one picture or printed type, and "
        "not for decisions about people without a person who checks."
    )


def model_card(info: ModelInfo, version: str, report: Report, decision: Decision, settings: PackagingSettings) -> str:
    """The card in Markdown. version: of the packaged model, the one that the report chose."""
    shape = info.architecture
    readings = ", ".join(f"{reading['kind']} of {reading['size']}" for reading in shape["readings"])
    figures = report.models[report.chosen]
    worst = sorted(figures.slices.items(), key=lambda item: item[1])[:WORST_SLICES]
    return f"""# Model card: {settings.bento_name} {version}

{network(shape)} that reads a picture of {shape["frame"]} x {shape["frame"]} pixels as sequences ({readings}), merged
by a learned gate; kind `{info.kind}`, {info.parameters:,} parameters, {info.size_bytes / 1000:,.1f} KB as ONNX.

## How well it does

On the test digits, which were never used to train or select. Latency is of one picture on one thread.

{_measured(report)}

Where it does worst:

{table(("slice of the test digits", "accuracy"), ((name, f"{accuracy:.2%}") for name, accuracy in worst))}

The gate: {"promoted" if decision.promoted else "not promoted"}; {decision.reason}.

## Intended use

{settings.intended_use}

## Limits

{settings.limits}

## Lineage

{table(("what", "version"), ((name, f"`{value}`") for name, value in info.lineage.items()))}

`digits` is the SHA-256 of the training table, `code` that of the step's code, the others those of parent models.
"""


def network(shape: dict[str, Any]) -> str:
    """The network in the field's words, such as `Attention Bi-LSTM`."""
    cell = ("Bi-" if shape["bidirectional"] else "") + shape["cell"].upper()
    name = f"Attention {cell}" if shape["attention_size"] else cell
    parts = [f"{1 + len(shape['upper_sizes'])} layers"] if shape["upper_sizes"] else []
    parts += [word for word in ("highway", "topology") if shape[word]]
    return f"{name} with {' and '.join(parts)}" if parts else name


def _measured(report: Report) -> str:
    return table(FIGURES, figures_as_text(report))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The rows as a table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows))
