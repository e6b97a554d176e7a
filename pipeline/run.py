"""A run of the whole graph on this machine: what it is called with, the Ray beside it, what it came to."""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from infra import runs
from infra.ray_head import RayHead
from infra.storage import open_store
from inkloop import mnist
from inkloop.artifacts import digest
from inkloop.errors import UserError
from inkloop.evaluation import Report
from inkloop.gate import Decision
from pipeline import graph, local, summary, verdict
from pipeline import profile as profiles
from pipeline.code_digest import code_digests
from pipeline.lineage import Lineage

PUBLISHED = (("evaluate", "challenger"), ("train", "teacher"))  # step and output of the models that go to the store


def run(
    profile: str,
    source: str,
    store: str,
    artifacts: Path,
    data: Path,
    console: Console,
    production: str = "",
    warm_start: str = "",
    cause: str = "asked for",
    hardware: str = "",
) -> tuple[local.Run, summary.Summary]:
    """Run the graph; write `latest/summary.json`, and a record of the run into the store, also if a step fails.

    artifacts: where outputs, cache and log go; data: sets known by name; cause: of the run, for its record;
    production and warm_start: see `graph.arguments_here`; hardware: see `profile.load`.
    Raises UserError for a mistake that the user can mend, `local.StepFailed` if a step died of another.
    """
    for folder, option in ((artifacts, "--artifacts"), (data, "--data")):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{option} {folder}: not a folder. Name one, or one that is to be made.")
    chosen = profiles.load(profile, hardware)
    arguments = graph.arguments_here(chosen, source, store, data, production, warm_start)
    code = code_digests(graph.CODE, graph.ROOMS)
    pipeline, name = graph.build(code), Path(profile).stem
    expected_s = {str(step): seconds for step, seconds in chosen.expected_s.items()}

    def stands(step: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> bool:
        # Who edits the code while a step runs must not find its result under the code of before.
        return code_digests(graph.CODE, graph.ROOMS)[step] == code[step] and verdict.stands(step, inputs, outputs)

    head, steps = RayHead(), list(graph.TITLES)
    up_to_ray = steps[: steps.index(graph.ON_RAY[-1]) + 1]

    entered: list[str] = []
    done: list[local.StepRun] = []
    started = datetime.now(UTC)
    begun = runs.begin(started, name, cause)
    record = Lineage(begun.id, arguments, code, started)

    def before(step: str, scratch: Path) -> None:
        record.begin()
        entered.append(step)
        if step in up_to_ray:
            head.start(scratch / "ray")
        if step in graph.ON_RAY:
            head.wait()

    def after(step: local.StepRun) -> None:
        done.append(step)
        record.step(step)

    timed_as = name if source == mnist.NAME else f"{name}, {arguments['source']}"
    try:
        finished = local.run(pipeline, arguments, artifacts, console, timed_as, expected_s, stands, before, after)
    except BaseException as error:
        if entered:
            failed = _failed(error, entered[-1], done, begun)
            with contextlib.suppress(UserError):  # the store may be what failed
                runs.keep(open_store(store), failed)
                record.failed(entered[-1], failed.verdict, was_stopped=not isinstance(error, Exception))
        raise
    came_to = summary.summarize(finished, name)
    summary.write(came_to, artifacts / "latest" / "summary.json")
    report = Report.model_validate_json(finished.output("evaluate", "report").read_text())
    decision = Decision.model_validate_json(finished.output("gate", "decision").read_text())
    runs.keep(open_store(store), runs.finished(begun, finished.wall_s, _steps(finished.steps), report, decision))
    record.end([digest(finished.output(*each)) for each in PUBLISHED])
    if record.complaint:
        console.print(record.complaint, style="yellow", highlight=False, soft_wrap=True)
    return finished, came_to


def _failed(error: BaseException, step: str, done: Sequence[local.StepRun], begun: runs.Begun) -> runs.Run:
    was_stopped = not isinstance(error, Exception)
    lines = str(error).splitlines()
    # What the user did wrong is told first, then each finding; a step's log ends with the error and where all of it is.
    ending = lines[0] if isinstance(error, UserError) else " ".join(lines[-2:])
    wall_s = (datetime.now(UTC) - begun.started).total_seconds()
    return runs.failed(begun, wall_s, _steps(done), graph.TITLES[step], "it was stopped" if was_stopped else ending)


def _steps(ran: Sequence[local.StepRun]) -> tuple[runs.Step, ...]:
    return tuple(
        runs.Step(name=step.name, title=graph.TITLES[step.name], seconds=round(step.seconds, 2), cached=step.cached)
        for step in ran
    )
