"""The robustness report: harder digits, what is read of them, and the worst cases with where the model looked."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import hard_digits, robustness
from inkloop.errors import UserError


def test_every_set_has_digits_with_their_labels_and_the_clean_one_comes_first(test_digits):
    few = test_digits.take(slice(0, 20))
    found = dict(hard_digits.sets(few, photographed=2))
    assert next(iter(found)) == "as they are"
    assert sum(name.startswith(hard_digits.CORRUPTED) for name in found) == 15
    for name, each in found.items():
        assert each.images.dtype == np.uint8 and each.images.shape == (len(each.labels), 28, 28), name
    assert np.array_equal(found["dark ink on white paper"].images, few.images), "the service turns it back"


def test_a_folder_of_ones_own_is_read_too_and_one_that_is_not_there_is_a_sentence(test_digits, tmp_path):
    for row in range(3):
        (tmp_path / "mine" / str(test_digits.labels[row])).mkdir(parents=True, exist_ok=True)
        Image.fromarray(test_digits.images[row]).save(tmp_path / "mine" / str(test_digits.labels[row]) / f"{row}.png")
    few = test_digits.take(slice(0, 3))
    assert len(dict(hard_digits.sets(few, 1, str(tmp_path / "mine")))["mine"]) == 3
    with pytest.raises(UserError, match="neither a data set known by name"):
        dict(hard_digits.sets(few, 1, str(tmp_path / "nowhere")))


def test_the_surest_wrong_answers_are_shown_with_where_the_model_looked(recognizer, test_digits):
    blank = hard_digits._with(test_digits, test_digits.images[:, ::-1, ::-1].copy())
    said = recognizer.probabilities(blank.images)
    misread = robustness.surest_wrong("upside down", blank, said, recognizer)
    assert len(misread) == robustness.COLUMNS
    assert misread[0].looked_at.max() > 0
    sheet = robustness.contact_sheet(misread)
    assert sheet.width == robustness.COLUMNS * (2 * 28 * robustness.ZOOM + 6)
    rows = [robustness.row_of("upside down", blank, said)]
    assert "upside down" in robustness.page(rows, misread, recognizer.version)
