"""Files of pen digits, as users bring them."""

import numpy as np
import pytest
from test_strokes import REAL

from inkloop.errors import UserError
from inkloop.pen import pendigits, trajectory

ROWS = [
    [*(number for x, y in stroke for number in (x, 100 - y)), digit]  # in the file, y grows upward
    for digit, several in REAL.items()
    for stroke in several
]
PLAIN = "\n".join(",".join(map(str, row)) for row in ROWS) + "\n"
PADDED = "\n".join(",".join(f"{number:3}" for number in row) for row in ROWS) + "\n"  # as .tra and .tes have it
HEADED = '"","c1","c2","class"\n' + "\n".join(
    f'"{number}",' + ",".join(map(str, row)) for number, row in enumerate(ROWS, 1)
)


@pytest.mark.parametrize("content", [PLAIN, PADDED, HEADED])
def test_every_kind_of_file_holds_the_same_digits(content, tmp_path):
    (tmp_path / "pen.tra").write_text(content)
    digits = pendigits.read(tmp_path / "pen.tra")
    assert digits.labels.tolist() == [row[-1] for row in ROWS]
    drawn = np.stack([trajectory.path([stroke]) for several in REAL.values() for stroke in several])
    np.testing.assert_allclose(trajectory.features(digits.paths), trajectory.features(drawn), atol=1e-6)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,2,3", "3 numbers, where a pen digit has 16 and its class"),
        (",".join(["1"] * 15 + ["x", "3"]), "not a pen digit"),
        (",".join(["1"] * 16 + ["12"]), "class 12 is not one of 0 to 9"),
        (",".join(["1"] * 15 + ["101", "3"]), "between 0 and 100"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(line, reason, tmp_path):
    (tmp_path / "pen.csv").write_text(f"{PLAIN.splitlines()[0]}\n\n{line}\n")
    with pytest.raises(UserError, match=f"pen.csv, line 3: .*{reason}"):
        pendigits.read(tmp_path / "pen.csv")


def test_a_file_that_is_none_or_empty_is_named(tmp_path):
    (tmp_path / "empty.csv").write_text("a,b\n")
    with pytest.raises(UserError, match=r"empty\.csv: no pen digits"):
        pendigits.read(tmp_path / "empty.csv")
    with pytest.raises(UserError, match=r"none\.csv: not readable"):
        pendigits.read(tmp_path / "none.csv")


def test_a_file_too_short_to_be_split_is_refused(tmp_path):
    (tmp_path / "pen.tra").write_text(PLAIN)
    with pytest.raises(UserError, match=r"pen\.tra: 16 digits"):
        pendigits.split(pendigits.read(tmp_path / "pen.tra"), tmp_path / "pen.tra")
