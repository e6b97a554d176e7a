"""Runs of the graph: what started each, how its steps went and what came of it; one record each in the store."""

from datetime import UTC, datetime

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from infra.storage import Store
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


class Run(Settings):
    """One run that ended. Its id sorts by time; times are UTC."""

    id: str
    started: datetime
    wall_s: NonNegativeFloat
    profile: str
    cause: str  # such as "drift" or "asked for"
    steps: tuple[Step, ...]  # that were finished, in the graph's order
    failed: str = ""  # title of the step that ended it; what follows is then empty but for the verdict
    models: dict[str, Model] = Field(default_factory=dict)  # all that were measured
    chosen: str = "int8"  # the one before the gate
    challenger: str = ""  # digest of the model before the gate
    promoted: bool = False
    verdict: str  # the gate's reason, or what the step failed of


def new_id(started: datetime) -> str:
    """An id for a run that started then."""
    return f"{started.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}"


def keep(store: Store, run: Run) -> None:
    """Write the record; writing it twice is writing it once."""
    store.put(f"{PLACE}{run.id}.json", run.model_dump_json(indent=2).encode())


def history(store: Store, newest: int) -> list[Run]:
    """The newest runs, at most so many, oldest first."""
    keys = store.list(PLACE)
    return [Run.model_validate_json(store.get(key)) for key in keys[max(0, len(keys) - newest) :]]
