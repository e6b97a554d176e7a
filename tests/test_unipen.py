"""UNIPEN files, as users bring them."""

import numpy as np
import pytest

from inkloop.errors import UserError
from inkloop.pen import trajectory, unipen

FOUR = [[(20, 0), (0, 60), (90, 60)], [(60, 0), (60, 100)]]
SEVEN = [[(0, 0), (80, 0), (30, 100)]]


def pen_down(stroke, more: str = "") -> str:
    return ".PEN_DOWN\n" + "".join(f"\t{x}\t{500 - y}{more}\n" for x, y in stroke) + ".PEN_UP\n"


STROKES = ".WRITER_ID Somebody\n" + "".join(map(pen_down, [*FOUR, *SEVEN]))
SEGMENTS = '.SEGMENT CHARACTER 0-1 ? "4"\n.SEGMENT CHARACTER 2 OK "7"\n.SEGMENT CHARACTER 2 ? "x"\n'


def features(*drawings) -> np.ndarray:
    return trajectory.features(np.stack([trajectory.path(each) for each in drawings]))


def check(digits: trajectory.PenDigits) -> None:
    assert digits.labels.tolist() == [4, 7]
    np.testing.assert_allclose(trajectory.features(digits.paths), features(FOUR, SEVEN), atol=1e-6)


def test_strokes_their_lifts_and_labels_are_read(tmp_path):
    (tmp_path / "digits.dat").write_text(f".VERSION 1.0\n.COMMENT by hand\n{SEGMENTS}{STROKES}")
    check(unipen.read(tmp_path / "digits.dat"))


def test_as_in_the_distribution_the_strokes_lie_in_the_include_folder(tmp_path):
    data, include = tmp_path / "data" / "1a" / "apb", tmp_path / "include" / "apb" / "data"
    data.mkdir(parents=True)
    include.mkdir(parents=True)
    (include / "app0237.dat").write_text("\n" + STROKES)
    (data / "app0237.dat").write_text(f".INCLUDE apb/app.doc\n.INCLUDE apb/data/app0237.dat\n{SEGMENTS}")
    check(unipen.read(data / "app0237.dat"))


def test_a_segment_stands_where_it_is_written_among_the_strokes(tmp_path):
    four, seven = "".join(map(pen_down, FOUR)), pen_down(SEVEN[0])
    mixed = f'.SEGMENT DIGIT 0-1 ? "4"\n.COMMENT 4 1 1\n{four}.DT 100\n.SEGMENT DIGIT 2 ? "7"\n{seven}'
    (tmp_path / "pendigits.tra").write_text(mixed)
    check(unipen.read(tmp_path / "pendigits.tra"))


def test_a_way_through_the_air_that_has_points_is_counted_and_is_not_ink(tmp_path):
    hovering = STROKES.replace(".PEN_UP\n", ".PEN_UP\n\t300\t17\n\t310\t12\n")
    segments = '.SEGMENT CHARACTER 0-2 ? "4"\n.SEGMENT CHARACTER 4 ? "7"\n'
    (tmp_path / "digits.dat").write_text(hovering + segments)
    check(unipen.read(tmp_path / "digits.dat"))


def test_keywords_within_a_text_are_text(tmp_path):
    (tmp_path / "digits.dat").write_text(f".COMMENT points lie between\n  .PEN_DOWN and .PEN_UP.\n{SEGMENTS}{STROKES}")
    check(unipen.read(tmp_path / "digits.dat"))


def test_other_columns_are_passed_over(tmp_path):
    timed = "".join(pen_down(stroke, " 17 0.5") for stroke in [*FOUR, *SEVEN])
    (tmp_path / "digits.dat").write_text(f".COORD X Y T P\n.X_DIM 1000\n{SEGMENTS}{timed}")
    check(unipen.read(tmp_path / "digits.dat"))


def test_a_segment_may_begin_and_end_within_a_stroke(tmp_path):
    line = FOUR[0] + SEVEN[0]
    (tmp_path / "digits.dat").write_text(f'.SEGMENT CHARACTER 0:3-0:5 ? "7"\n{pen_down(line)}')
    np.testing.assert_allclose(
        trajectory.features(unipen.read(tmp_path / "digits.dat").paths), features(SEVEN), atol=1e-6
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (STROKES, "no digit in it"),
        (f'{STROKES}.SEGMENT CHARACTER 2-3 ? "1"\n', "line 16: strokes 2-3 are not among the 3"),
        ('.SEGMENT CHARACTER 0 ? "1"\n.PEN_DOWN\n1 x\n.PEN_UP\n', "line 2: .*not the numbers X Y"),
        ('.SEGMENT CHARACTER 0 ? "1"\n.PEN_DOWN\n1\n.PEN_UP\n', "line 2: .*not the numbers X Y"),
        ('.SEGMENT CHARACTER 0 ? "1"\n.PEN_DOWN\n.PEN_UP\n', "line 1: of strokes 0: .*not one point"),
        ('.SEGMENT CHARACTER 0 ? "1"\n.PEN_DOWN\nnan 1\n.PEN_UP\n', "line 1: of strokes 0: .*finite"),
        (".COORD T P\n", "line 1: .*no X and Y"),
        ("\n.INCLUDE none.dat\n", "line 2: included none.dat is neither beside it"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(content, reason, tmp_path):
    (tmp_path / "digits.dat").write_text(content)
    with pytest.raises(UserError, match=rf"digits\.dat.*{reason}"):
        unipen.read(tmp_path / "digits.dat")


def test_files_that_include_each_other_are_refused(tmp_path):
    (tmp_path / "a.dat").write_text(".INCLUDE b.dat\n")
    (tmp_path / "b.dat").write_text(".INCLUDE a.dat\n")
    with pytest.raises(UserError, match="includes itself"):
        unipen.read(tmp_path / "a.dat")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.dat: not readable"):
        unipen.read(tmp_path / "none.dat")
