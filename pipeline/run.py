"""A run of the whole graph on this machine: what it is called with, the Ray beside it, what it came to."""

from pathlib import Path
from typing import Any

from rich.console import Console

from infra.ray_head import RayHead
from inkloop import mnist
from inkloop.errors import UserError
from pipeline import graph, local, summary, verdict
from pipeline import profile as profiles
from pipeline.code_digest import code_digests


def run(
    profile: str,
    source: str,
    store: str,
    artifacts: Path,
    data: Path,
    console: Console,
    production: str = "",
    warm_start: str = "",
) -> tuple[local.Run, summary.Summary]:
    """Run the graph, write `latest/summary.json`. artifacts: where outputs, cache and log go; data: sets known by name.

    production and warm_start: see `graph.arguments_here`. Raises UserError for a mistake that the user can mend,
    `local.StepFailed` if a step died of another.
    """
    for folder, option in ((artifacts, "--artifacts"), (data, "--data")):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{option} {folder}: not a folder. Name one, or one that is to be made.")
    chosen = profiles.load(profile)
    arguments = graph.arguments_here(chosen, source, store, data, production, warm_start)
    code = code_digests(graph.CODE, graph.ROOMS)
    pipeline, name = graph.build(code), Path(profile).stem
    expected_s = {str(step): seconds for step, seconds in chosen.expected_s.items()}

    def stands(step: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> bool:
        # Who edits the code while a step runs must not find its result under the code of before.
        return code_digests(graph.CODE, graph.ROOMS)[step] == code[step] and verdict.stands(step, inputs, outputs)

    head, steps = RayHead(), list(graph.TITLES)
    up_to_ray = steps[: steps.index(graph.ON_RAY[-1]) + 1]

    def before(step: str, scratch: Path) -> None:
        if step in up_to_ray:
            head.start(scratch / "ray")
        if step in graph.ON_RAY:
            head.wait()

    timed_as = name if source == mnist.NAME else f"{name}, {arguments['source']}"
    finished = local.run(pipeline, arguments, artifacts, console, timed_as, expected_s, stands, before)
    came_to = summary.summarize(finished, name)
    summary.write(came_to, artifacts / "latest" / "summary.json")
    return finished, came_to
