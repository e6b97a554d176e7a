"""What a person sees while the pipeline runs."""

import io
import time

import pytest
from rich.console import Console

from pipeline.progress import Progress, clock

TITLES = {"ingest": "Ingest digits", "train": "Train teacher", "gate": "Judge challenger"}


@pytest.fixture
def seen() -> io.StringIO:
    return io.StringIO()


def progress(seen: io.StringIO, terminal: bool, **expected_s: float) -> Progress:
    console = Console(file=seen, force_terminal=terminal, width=100, color_system=None)
    return Progress(TITLES, expected_s, console, lambda: "epoch 3 of 8: loss 0.1")


def test_without_a_terminal_each_start_and_end_is_a_line(seen: io.StringIO):
    with progress(seen, terminal=False, train=60, gate=5) as shown:
        shown.finished("ingest", 0.0, True, {})
        shown.started("train")
        shown.finished("train", 61.4, False, {})
    assert seen.getvalue().splitlines() == [
        "Ingest digits taken from cache",
        "Train teacher runs (1:05 to go)",
        "Train teacher done in 1:01",
    ]


def test_on_a_terminal_every_step_has_a_row_with_its_state(seen: io.StringIO):
    shown = progress(seen, terminal=True, train=60, gate=5)
    shown.finished("ingest", 0.0, True, {})
    shown.started("train")
    Console(file=seen, width=100).print(shown)
    rows = seen.getvalue().splitlines()
    assert "Ingest digits" in rows[0] and "cached" in rows[0]
    assert "Train teacher" in rows[1] and "0:00" in rows[1] and "epoch 3 of 8: loss 0.1" in rows[1]
    assert rows[2].split() == ["·", "Judge", "challenger"]
    assert "about 1:05 to go" in rows[3]


def test_the_estimate_shrinks_as_a_step_runs_and_never_below_nothing(seen: io.StringIO):
    shown = progress(seen, terminal=True, train=60)
    shown.started("train")
    shown.steps["train"].since = time.monotonic() - 20
    assert shown.rest_s() == pytest.approx(40, abs=0.5)
    shown.steps["train"].since = time.monotonic() - 100
    assert shown.rest_s() == 0


@pytest.mark.parametrize(("took_s", "rest_s"), [(120, 10), (30, 2.5)])
def test_the_estimate_keeps_the_pace_of_the_steps_that_ran(seen: io.StringIO, took_s: float, rest_s: float):
    shown = progress(seen, terminal=True, train=60, gate=5)
    shown.finished("train", took_s, False, {})
    assert shown.rest_s() == pytest.approx(rest_s)


def test_steps_of_seconds_or_from_the_cache_say_nothing_of_the_pace(seen: io.StringIO):
    shown = progress(seen, terminal=True, ingest=4, train=60, gate=5)
    shown.finished("ingest", 40.0, False, {})
    shown.finished("train", 1.0, True, {})
    assert shown.rest_s() == 5


def test_the_step_that_ran_is_the_one_that_failed(seen: io.StringIO):
    shown = progress(seen, terminal=False)
    with pytest.raises(ValueError), shown:
        shown.finished("ingest", 1.0, False, {})
        shown.started("train")
        raise ValueError
    failed = shown.failed_step()
    assert failed is not None
    assert failed.name == "train"
    assert "Train teacher failed after 0:00" in seen.getvalue()


def test_on_a_terminal_the_failed_step_is_drawn_as_failed(seen: io.StringIO):
    with pytest.raises(ValueError), progress(seen, terminal=True) as shown:
        shown.started("train")
        raise ValueError
    assert "✗  Train teacher" in seen.getvalue()


def test_a_run_that_was_stopped_did_not_fail(seen: io.StringIO):
    shown = progress(seen, terminal=False)
    with pytest.raises(KeyboardInterrupt), shown:
        shown.started("train")
        raise KeyboardInterrupt
    assert shown.failed_step() is None
    assert "failed" not in seen.getvalue()


@pytest.mark.parametrize(("seconds", "shown"), [(0.2, "0:00"), (59.7, "1:00"), (75, "1:15"), (3700, "61:40")])
def test_times_are_minutes_and_seconds(seconds: float, shown: str):
    assert clock(seconds) == shown
