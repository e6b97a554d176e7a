"""The record of runs: seen from everywhere, wherever they ran."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from infra import runs
from infra.runs import Model, Run, Step

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def run(started: datetime) -> Run:
    return Run(
        id=runs.new_id(started),
        started=started,
        wall_s=71.5,
        profile="retrain",
        cause="drift",
        steps=(
            Step(name="ingest", title="Ingest digits", seconds=6.76, cached=False),
            Step(name="gate", title="Judge challenger", seconds=0, cached=True),
        ),
        models={"int8": Model(test_accuracy=0.9899, parameters=79_069, size_bytes=97_239, latency_p50_us=109.8)},
        challenger="0d751dc55293" + "0" * 52,
        promoted=True,
        verdict="reads 98.99% of the test digits",
    )


def test_the_newest_runs_are_told_oldest_first_with_their_steps_in_order(store):
    kept = [run(NOON + timedelta(hours=hours)) for hours in (3, 1, 2)]
    for each in [*kept, kept[0]]:
        runs.keep(store, each)
    assert runs.history(store, 2) == [kept[2], kept[0]]
    assert [step.name for step in runs.history(store, 1)[0].steps] == ["ingest", "gate"]


@pytest.mark.parametrize("newest", [0, 5])
def test_a_store_where_nothing_ran_has_no_runs(store, newest):
    assert runs.history(store, newest) == []


def test_an_accuracy_that_is_none_is_not_kept():
    with pytest.raises(ValidationError, match="test_accuracy"):
        Model(test_accuracy=98.99, parameters=1, size_bytes=1, latency_p50_us=1)
