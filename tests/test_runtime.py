"""The runtime: the model directory answers real digits without torch."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from inkloop.errors import UserError
from inkloop.runtime import Recognizer


@pytest.fixture(scope="module")
def recognizer(model_directory) -> Recognizer:
    return Recognizer(model_directory)


def test_a_trained_model_reads_most_real_digits(recognizer, test_digits):
    answers = recognizer.probabilities(test_digits.images).argmax(1)
    assert (answers == test_digits.labels).mean() > 0.85
