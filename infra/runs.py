"""Runs of the graph: what started each, how its steps went and what came of it; one record each in the store."""

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from infra.storage import Store
from inkloop.evaluation import Report
from inkloop.gate import Decision
from inkloop.settings import Settings, Share

PLACE = "loop/runs/"


class Step(Settings):
    """How one step went: the seconds it ran, 0 if it was taken from the cache."""

    name: str
    title: str
    seconds: NonNegativeFloat
    cached: bool


class Model(Settings):
    """One model on the test set: accuracy in 0..1, bytes of its ONNX file, median time of one image on one thread."""

    test_accuracy: Share
    parameters: NonNegativeInt
    size_bytes: NonNegativeInt
    latency_p50_us: NonNegativeFloat


class Begun(Settings):
    """A run that was started. Its id sorts by time; times are UTC."""

    id: str
    started: datetime
    profile: str
    cause: str  # such as "drift" or "asked for"


class Run(Begun):
    """One run that ended."""

    wall_s: NonNegativeFloat
    steps: tuple[Step, ...]  # that were finished, in the graph's order
    failed: str = ""  # title of the step that ended it; what follows is then empty but for the verdict
    models: dict[str, Model] = Field(default_factory=dict)  # all that were measured
    chosen: str = "int8"  # the one before the gate
    challenger: str = ""  # digest of the model before the gate
    promoted: bool = False
    verdict: str  # the gate's reason, or what the step failed of


def new_id(started: datetime, unique: str = "") -> str:
    """An id for a run that started then. unique: tells it from another of the same moment, where clocks are coarse."""
    ending = f"-{unique[:8]}" if unique else ""
    return f"{started.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}{ending}"


def begin(started: datetime, profile: str, cause: str, unique: str = "") -> Begun:
    """A run that starts then; for the last see `new_id`."""
    return Begun(id=new_id(started, unique), started=started, profile=profile, cause=cause)


def finished(begun: Begun, wall_s: float, steps: Sequence[Step], report: Report, decision: Decision) -> Run:
    """The record of a run that came to its end."""
    figures = set(Model.model_fields)
    return Run(
        **begun.model_dump(),
        wall_s=round(wall_s, 2),
        steps=tuple(steps),
        models={name: Model(**model.model_dump(include=figures)) for name, model in report.models.items()},
        chosen=report.chosen,
        challenger=decision.challenger,
        promoted=decision.promoted,
        verdict=decision.reason,
    )


def failed(begun: Begun, wall_s: float, steps: Sequence[Step], title: str, verdict: str) -> Run:
    """The record of a run that a step ended. title: of that step; verdict: what it failed of."""
    return Run(**begun.model_dump(), wall_s=wall_s, steps=tuple(steps), failed=title, verdict=verdict)


def read(store: Store, run_id: str) -> Run:
    """The record of one run. Raises Missing."""
    return Run.model_validate_json(store.get(f"{PLACE}{run_id}.json"))


def keep(store: Store, run: Run) -> None:
    """Write the record; writing it twice is writing it once."""
    store.put(f"{PLACE}{run.id}.json", run.model_dump_json(indent=2).encode())


def history(store: Store, newest: int) -> list[Run]:
    """The newest runs, at most so many, oldest first."""
    keys = store.list(PLACE)
    return [Run.model_validate_json(store.get(key)) for key in keys[max(0, len(keys) - newest) :]]
