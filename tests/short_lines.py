"""A small line model that really learned to read short lines, and real lines for it."""

from pathlib import Path

import pytest
import torch

from inkloop import checkpoint
from inkloop.line.composition import Lines, LineSettings, compose, lengths
from inkloop.line.model import LineModel, LineModelSettings
from inkloop.line.training import LineTrainingSettings, fit_lines

SMALL = LineModelSettings(hidden_size=48, upper_sizes=(32,))
EASY = LineSettings(most_digits=3, closest_px=2, widest_px=6, slant=0.1)
QUICK = LineTrainingSettings(
    lines=EASY, rounds=1, epochs=4, epoch_lines=3_072, pool_lines=512, batch_size=16, learning_rate=6e-3
)


@pytest.fixture(scope="session")
def easy_lines(test_digits) -> Lines:
    """100 lines of 1 to 3 real test digits."""
    return compose(test_digits, lengths(100, 3, seed=3), EASY, seed=3)


@pytest.fixture(scope="session")
def learnt_line_model(mnist, validation_digits) -> LineModel:
    """A small line model that really learned to read short lines."""
    torch.manual_seed(0)
    model = LineModel(SMALL)
    fit_lines(model, mnist["train"], compose(validation_digits, [1, 2, 3] * 20, EASY, seed=1), QUICK, seed=0)
    return model.eval()


@pytest.fixture(scope="session")
def line_directory(learnt_line_model, tmp_path_factory) -> Path:
    """Its directory; not to be written to."""
    folder = tmp_path_factory.mktemp("line") / "line"
    checkpoint.save_line(learnt_line_model, folder, {"validation_cer": 0.1}, {"seed": "0"})
    return folder
