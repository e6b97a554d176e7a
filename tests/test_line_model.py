"""The line model: it learns to read real lines, padding changes nothing, and ONNX answers as torch does."""

import copy
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from short_lines import EASY, QUICK, SMALL

from inkloop import artifacts, checkpoint
from inkloop.errors import UserError
from inkloop.line import export as line_export
from inkloop.line import framing as line_framing
from inkloop.line.composition import Lines, LineSettings, compose, lengths
from inkloop.line.ctc import greedy
from inkloop.line.framing import LONGEST, frame_line
from inkloop.line.model import LineModel, LineModelSettings, ctc_loss
from inkloop.line.runtime import LineReader
from inkloop.line.training import character_error_rate, fit_lines, log_probabilities
from inkloop.model import count_parameters, normalize


@pytest.fixture(scope="module")
def test_lines(test_digits) -> Lines:
    """60 lines of 1 to 20 real test digits."""
    return compose(test_digits, lengths(60, 20, seed=3), LineSettings(), seed=3)


@pytest.fixture(scope="module")
def reader(line_directory) -> LineReader:
    return LineReader(line_directory)


def test_it_learns_to_read_lines_of_people_it_never_saw(learnt_line_model, easy_lines):
    answers = [greedy(said) for said in log_probabilities(learnt_line_model, easy_lines)]
    assert character_error_rate(answers, easy_lines.labels) < 0.25


def test_the_default_model_is_small():
    assert count_parameters(LineModel(LineModelSettings())) < 150_000


def test_the_best_epoch_is_kept_and_training_repeats_bit_for_bit(train_digits, validation_digits):
    brief = QUICK.model_copy(update={"rounds": 2, "epochs": 1, "epoch_lines": 64, "pool_lines": 32})
    validation, results, models = compose(validation_digits, [2] * 20, EASY, seed=1), [], []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(LineModel(SMALL))
        results.append(fit_lines(models[-1], train_digits, validation, brief, seed=0))
    assert [each.train_loss for each in results[0]] == [each.train_loss for each in results[1]]
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)
    answers = [greedy(said) for said in log_probabilities(models[0], validation)]
    best = min(each.validation_cer for each in results[0])
    assert character_error_rate(answers, validation.labels) == best


@torch.no_grad()
@settings(max_examples=20)
@given(rows=st.lists(st.integers(0, 59), min_size=2, max_size=5), cell=st.sampled_from(["lstm", "gru", "rnn"]))
def test_padding_never_changes_an_answer(test_lines, rows, cell):
    torch.manual_seed(0)
    model = LineModel(LineModelSettings(cell=cell, hidden_size=8, upper_sizes=(6,))).eval()
    images = [normalize(torch.from_numpy(test_lines.images[row])) for row in rows]
    together = model(images)
    for place, image in enumerate(images):
        alone = model(image[None]).log_p[0]
        assert together.lengths is not None
        assert together.lengths[place] == len(alone)
        torch.testing.assert_close(together.log_p[place, : len(alone)], alone, atol=1e-5, rtol=1e-5)


def test_the_loss_is_least_for_what_is_written():
    log_p = torch.full((1, 6, 11), -20.0)
    for step, label in enumerate([0, 4, 4, 0, 8, 8]):
        log_p[0, step, label] = 0.0
    right, wrong = (ctc_loss(log_p, [digits]).item() for digits in ((3, 7), (3, 8)))
    assert right < 0.01
    assert wrong > 5


@pytest.mark.parametrize(
    "shape", [LineModelSettings(), LineModelSettings(columns=3, cell="gru", upper_sizes=()), SMALL]
)
def test_onnx_answers_as_torch_does_whatever_the_width_and_the_batch(test_lines, shape):
    torch.manual_seed(0)
    model = LineModel(shape).eval()
    proto = line_export.build(model)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = log_probabilities(model, test_lines)
    for batch in (slice(0, 1), slice(0, 7), slice(7, 60)):
        images = test_lines.images[batch]
        widths = np.array([image.shape[1] for image in images])
        asked = {"images": line_framing.side_by_side(images), "widths": widths}
        found = session.run(["log_p"], asked)[0]
        assert found.shape[:2] == (len(images), -(-widths.max() // shape.columns))
        for said, torchs in zip(found, expected[batch], strict=True):
            np.testing.assert_allclose(said[: len(torchs)], torchs, atol=1e-4)


def test_the_runtime_reads_the_lines_as_torch_does(reader, learnt_line_model, easy_lines):
    expected = log_probabilities(learnt_line_model, easy_lines)
    found = reader.log_probabilities(easy_lines.images)
    for said, torchs in zip(found, expected, strict=True):
        np.testing.assert_allclose(said, torchs, atol=1e-4)
    assert [reader.read(image).digits for image in easy_lines.images[:5]] == [
        reader.read(image, beam_width=50).digits for image in easy_lines.images[:5]
    ]


@pytest.mark.parametrize("width", [5, 6, 7, 27, 40, 41])
def test_digits_are_placed_within_the_ink_whatever_the_width(reader, width):
    image = np.random.default_rng(width).integers(0, 256, (28, width), np.uint8)
    for each in reader.read(image).alignment:
        assert 0 <= each.start <= each.stop <= 1


def test_a_sure_answer_is_right_more_often(reader, easy_lines):
    answers = [reader.read(image) for image in easy_lines.images]
    right = np.array([answer.digits == truth for answer, truth in zip(answers, easy_lines.labels, strict=True)])
    confidence = np.array([answer.confidence for answer in answers])
    assert (confidence > 0).all()
    assert (confidence <= 1).all()
    sure = confidence >= np.median(confidence)
    assert right[sure].mean() > right[~sure].mean()


def photograph(line: np.ndarray, zoom: int) -> np.ndarray:
    """The line as a dark pen's on a sheet of paper with grain, lit from one side."""
    height, width = line.shape
    pen = np.asarray(Image.fromarray(line).resize((width * zoom, height * zoom), Image.Resampling.BICUBIC), np.float64)
    pen = np.pad(pen, zoom * 14) / 255
    light = np.linspace(230, 150, pen.shape[1])[None]
    grain = np.random.default_rng(0).normal(0, 3, pen.shape)
    return (light * (1 - 0.7 * pen) + grain).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("zoom", [2, 5])
def test_a_photographed_line_is_framed_as_the_line_itself(test_lines, zoom):
    for image in test_lines.images[:8]:
        framed = frame_line(photograph(image, zoom))
        assert framed.shape[0] == 28
        assert abs(framed.shape[1] - image.shape[1]) <= 0.05 * image.shape[1] + 2
        height, width = 28, min(framed.shape[1], image.shape[1])
        same = np.asarray(Image.fromarray(framed).resize((width, height))).astype(float)
        original = np.asarray(Image.fromarray(image).resize((width, height))).astype(float)
        assert np.corrcoef(same.ravel(), original.ravel())[0, 1] > 0.6


def test_a_photograph_of_bare_paper_is_refused():
    with pytest.raises(UserError, match="blank"):
        frame_line(photograph(np.zeros((28, 200), np.uint8), 4))


def test_a_photographed_line_is_read_as_the_line_itself(reader, easy_lines):
    pairs = [(reader.read(image).digits, reader.read_line(photograph(image, 4)).digits) for image in easy_lines.images]
    assert np.mean([read == photographed for read, photographed in pairs]) > 0.7


@given(ink=st.integers(60, 255), inverted=st.booleans())
@settings(max_examples=10)
def test_a_drawn_line_is_read_whichever_way_round_and_however_faint(reader, easy_lines, ink, inverted):
    image = (easy_lines.images[1].astype(np.float64) * ink / 255).astype(np.uint8)
    answer = reader.read_line(np.pad(255 - image if inverted else image, 9, constant_values=255 * inverted))
    assert answer.digits == reader.read(easy_lines.images[1]).digits


@pytest.mark.parametrize("picture", [np.zeros((1, 1), np.uint8), np.full((40, 900), 255, np.uint8)])
def test_a_blank_picture_is_refused_in_one_sentence(reader, picture):
    with pytest.raises(UserError, match="blank"):
        reader.read_line(picture)


def test_a_line_without_end_is_refused(reader):
    with pytest.raises(UserError, match="too long a line: 1500 times as wide as high"):
        reader.read_line(np.pad(np.full((1, 1500), 255, np.uint8), 1000))
    assert LONGEST >= 20 * 28


def test_saved_and_loaded_it_answers_alike(line_directory, learnt_line_model, easy_lines):
    again = checkpoint.load_line(line_directory)
    for one, other in zip(
        log_probabilities(again, easy_lines), log_probabilities(learnt_line_model, easy_lines), strict=True
    ):
        assert np.array_equal(one, other)


def test_saving_changes_nothing_and_the_same_model_gives_the_same_bytes(learnt_line_model, tmp_path):
    before = copy.deepcopy(learnt_line_model.state_dict())
    for name in ("once", "again"):
        checkpoint.save_line(learnt_line_model, tmp_path / name, {}, {})
    assert artifacts.digest(tmp_path / "once") == artifacts.digest(tmp_path / "again")
    assert all(torch.equal(value, before[name]) for name, value in learnt_line_model.state_dict().items())


def test_a_model_of_single_digits_is_refused(model_directory, trained_model, tmp_path):
    with pytest.raises(UserError, match=r"a model of single digits \(int8\)"):
        LineReader(model_directory)
    checkpoint.save(trained_model, tmp_path / "student", "student", {}, {})
    with pytest.raises(UserError, match=r"a model of single digits \(student\)"):
        LineReader(tmp_path / "student")


def test_the_runtime_of_lines_needs_no_torch(line_directory):
    ask = f"""
import sys, pathlib, numpy
from inkloop.line.runtime import LineReader
LineReader(pathlib.Path({str(line_directory)!r})).read(numpy.zeros((28, 60), numpy.uint8))
print("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout == "False\n"
