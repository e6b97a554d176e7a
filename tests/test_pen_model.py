"""The pen's recognizer: it learns traced real digits in seconds, answers alike in ONNX, and is small."""

import math

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_strokes import REAL

from inkloop.model import count_parameters
from inkloop.pen import export as pen_export
from inkloop.pen import tracing, trajectory
from inkloop.pen.augmentation import PenAugmentationSettings, deform
from inkloop.pen.model import PenModelSettings, PenRecognizer, probabilities
from inkloop.pen.training import TRAINING, accuracy, fit
from inkloop.pen.trajectory import PenDigits

OFF = PenAugmentationSettings(**dict.fromkeys(PenAugmentationSettings.model_fields, 0))
WRITTEN = [(digit, stroke) for digit, several in REAL.items() for stroke in several]
strengths = st.floats(0, 0.5)


@pytest.fixture(scope="module")
def traced(train_digits) -> PenDigits:
    """2,000 real digits as a pen might have written them."""
    return tracing.traced(train_digits.images[:2000], train_digits.labels[:2000])


@pytest.fixture(scope="module")
def learnt_pen(traced) -> PenRecognizer:
    """A small pen's recognizer that really learned to read."""
    torch.manual_seed(0)
    model = PenRecognizer(PenModelSettings(sizes=(24,), attention_size=8, dropout=0.1))
    settings = TRAINING.model_copy(update={"epochs": 5, "batch_size": 32})
    fit(model, traced.take(slice(200, None)), traced.take(slice(0, 200)), settings, PenAugmentationSettings(), seed=0)
    return model


def test_it_learns_to_read_traced_digits_of_other_hands(learnt_pen, test_digits):
    assert accuracy(learnt_pen, tracing.traced(test_digits.images, test_digits.labels)) > 0.85


def test_it_reads_what_real_pens_wrote(learnt_pen):
    paths = np.stack([trajectory.path([stroke]) for _, stroke in WRITTEN])
    assert accuracy(learnt_pen, PenDigits(paths, np.array([digit for digit, _ in WRITTEN]))) >= 0.6


@given(
    st.sampled_from(WRITTEN),
    st.floats(1e-3, 1e3),
    st.floats(-1e4, 1e4),
    st.floats(-1e4, 1e4),
)
def test_moving_or_scaling_a_digit_never_changes_its_answer(learnt_pen, written, scale, right, down):
    _, stroke = written
    moved = [(x * scale + right, y * scale + down) for x, y in stroke]
    steps = trajectory.features(np.stack([trajectory.path([stroke]), trajectory.path([moved])]))
    answer, other = probabilities(learnt_pen, torch.from_numpy(steps))
    assert torch.allclose(answer, other, atol=1e-3)


def test_a_dot_gets_ten_probabilities(learnt_pen):
    answer = probabilities(learnt_pen, torch.from_numpy(trajectory.features(trajectory.path([[(3, 3)]])[None])))
    assert answer.isfinite().all()
    assert float(answer.sum()) == pytest.approx(1)


def test_the_default_shape_is_small():
    assert count_parameters(PenRecognizer(PenModelSettings())) < 60_000


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("sizes", [(7,), (9, 4)])
def test_a_model_of_any_shape_answers_in_onnx_as_in_torch(cell, sizes, traced):
    torch.manual_seed(0)
    agree(PenRecognizer(PenModelSettings(cell=cell, sizes=sizes, attention_size=5)), traced)


def test_a_trained_model_answers_in_onnx_as_in_torch(learnt_pen, traced):
    agree(learnt_pen, traced)


def agree(model: PenRecognizer, digits: PenDigits) -> None:
    proto = pen_export.build(model)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    steps = trajectory.features(digits.paths[:300])
    answers, attention = session.run(["probabilities", "attention_pen"], {"steps": steps})
    np.testing.assert_allclose(answers, probabilities(model, torch.from_numpy(steps)).numpy(), atol=1e-5)
    np.testing.assert_allclose(attention.sum(1), 1, atol=1e-5)


def test_the_file_is_written_whole(learnt_pen, tmp_path):
    assert pen_export.export(learnt_pen, tmp_path / "pen.onnx") == (tmp_path / "pen.onnx").stat().st_size
    assert [each.name for each in tmp_path.iterdir()] == ["pen.onnx"]


def test_the_same_seed_gives_the_same_weights(traced):
    def trained() -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        model = PenRecognizer(PenModelSettings(sizes=(6,)))
        settings = TRAINING.model_copy(update={"epochs": 2})
        fit(model, traced.take(slice(0, 300)), traced.take(slice(300, 400)), settings, PenAugmentationSettings(), 3)
        return model.state_dict()

    once, again = trained(), trained()
    assert all(torch.equal(once[name], again[name]) for name in once)


def test_without_strength_a_path_stays_as_it_is(traced):
    paths = traced.paths[:200]
    same = deform(paths, OFF, np.random.default_rng(0))
    np.testing.assert_allclose(trajectory.features(same), trajectory.features(paths), atol=1e-6)


@given(
    st.builds(
        PenAugmentationSettings,
        rotation_deg=st.floats(0, 45),
        slant=strengths,
        stretch=strengths,
        speed=strengths,
        jitter=st.floats(0, 0.1),
        joined=st.floats(0, 1),
    ),
    st.integers(0, 2**32),
)
def test_deformed_paths_are_paths_by_seed(traced, recipe, seed):
    paths = traced.paths[:64]
    once, again = (deform(paths, recipe, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert once.shape == paths.shape
    steps = trajectory.features(once)
    assert np.isfinite(steps).all()
    assert np.abs(steps[..., :2]).max() <= 1 + 1e-6
    assert steps[..., 4].min() >= -1e-6


def test_a_turned_digit_is_turned_by_no_more_than_asked():
    bar = np.tile(trajectory.path([[(0, 0), (100, 0)]]), (500, 1, 1))
    turned = deform(bar, OFF.model_copy(update={"rotation_deg": 20.0}), np.random.default_rng(0))
    run, rise = (turned[:, -1] - turned[:, 0])[:, :2].T
    angles = np.degrees(np.arctan2(rise, run))
    assert np.abs(angles).max() <= 20 + 1e-6
    assert angles.min() < -15
    assert angles.max() > 15
    assert math.isclose(np.hypot(run, rise).min(), np.hypot(run, rise).max(), rel_tol=1e-9)


def test_a_pen_whose_lifting_is_lost_leaves_ink():
    apart = trajectory.path([[(0, 0), (0, 10)], [(10, 10), (10, 0)]])[None]
    inked = deform(apart, OFF.model_copy(update={"joined": 1.0}), np.random.default_rng(0))
    assert (trajectory.features(inked)[..., 4] == 0).all()
