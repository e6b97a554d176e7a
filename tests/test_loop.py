"""The whole loop, short: real servers, real digits, a real retraining."""

import pytest
from rich.console import Console

from benchmarks import loop_demo


@pytest.mark.slow
def test_other_handwriting_is_noticed_labeled_learned_and_served_without_a_dropped_request(tmp_path, data_dir):
    figures = loop_demo.run(tmp_path / "demo", loop_demo.SHORT, Console(quiet=True))

    assert figures["dropped"] == 0
    assert figures["alarm_after_digits"] <= 300
    assert figures["promoted"], figures["retrainings"]
    before, after = figures["accuracy"]["before"], figures["accuracy"]["after"]
    assert after["another"] >= before["another"] + 0.05
    assert after["mnist"] >= before["mnist"] - 0.003
    learned = figures["retrainings"][0]
    assert (learned["cause"], learned["outcome"]) == ("regret", "promoted")
    assert learned["data_version"].endswith(".dir"), "DVC pins what was learned from"
    assert (tmp_path / "demo" / "loop.png").stat().st_size > 10_000
