"""What a person reads at the end of a run."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.summary import GateSummary, ModelSummary, Summary, show

GATE = GateSummary(promoted=False, reason="reads 40.00% of the test digits, 90.00% are needed")


INT8 = ModelSummary(
    validation_accuracy=0.9931, test_accuracy=0.9926, parameters=26_971, size_bytes=39_900, latency_p50_us=59.0
)


def shown(models: dict[str, ModelSummary], serve: str | None = None, width: int = 200, chosen: str = "int8") -> str:
    """What a run with these models says at its end. serve: the command that serves the champion."""
    hardware = "cpu (250 KB, 0.5 ms)"
    console = Console(file=io.StringIO(), width=width)
    summary = Summary(profile="smoke", wall_s=1, steps=[], models=models, chosen=chosen, hardware=hardware, gate=GATE)
    show(summary, Path("latest"), Path("digit.png"), serve, console)
    return console.file.getvalue()


@pytest.mark.parametrize(("serve", "asked"), [("make serve STORE=elsewhere", True), (None, False)])
def test_the_next_commands_speak_of_a_champion_only_where_there_is_one(serve: str | None, asked: bool):
    said = shown({}, serve)
    assert ("make serve STORE=elsewhere" in said and "curl" in said) == asked
    assert "tensorboard --logdir" in said


def test_the_accuracy_that_the_choice_was_made_by_stands_beside_that_of_the_test_digits():
    lines = shown({"int8": INT8}).splitlines()
    head, row = (next(line for line in lines if part in line) for part in ("parameters", "int8, chosen"))
    assert head.index("validation") < head.index(" test ")
    assert row.index("99.31%") < row.index("99.26%")


def test_the_name_of_the_chosen_model_can_be_read_in_eighty_columns():
    table = shown({"teacher_int8": INT8, "int8": INT8}, width=80, chosen="teacher_int8")
    assert "teacher_int8, chosen" in table
    assert all(part in table for part in ("validation ", "parameters ", "99.31%", "26,971", "39.9 KB", "59 µs"))
