"""What a person reads at the end of a run."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.summary import GateSummary, Summary, show


@pytest.mark.parametrize(("serve", "asked"), [("make serve STORE=elsewhere", True), (None, False)])
def test_the_next_commands_speak_of_a_champion_only_where_there_is_one(serve: str | None, asked: bool):
    gate = GateSummary(promoted=False, reason="reads 40.00% of the test digits, 90.00% are needed")
    console = Console(file=io.StringIO(), width=200)
    show(
        Summary(
            profile="smoke", wall_s=1, steps=[], models={}, chosen="int8", hardware="cpu (250 KB, 0.5 ms)", gate=gate
        ),
        Path("latest"),
        Path("digit.png"),
        serve,
        console,
    )
    said = console.file.getvalue()
    assert ("make serve STORE=elsewhere" in said and "curl" in said) == asked
    assert "tensorboard --logdir" in said
