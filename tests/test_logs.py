"""TensorBoard logs: read back as TensorBoard would."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from inkloop.augmentation import AugmentationSettings
from inkloop.logs import TrainingLog
from inkloop.model import ModelSettings, Recognizer
from inkloop.training import EpochResult, TrainingSettings, TrainingState, fit, logits


@pytest.fixture
def run(trained_model, train_digits, validation_digits, tmp_path) -> tuple[Path, TrainingState]:
    log = TrainingLog(tmp_path, validation_digits)
    settings = TrainingSettings(epochs=2, batch_size=64)
    few = train_digits.take(slice(0, 200))
    state = fit(trained_model, few, validation_digits, settings, AugmentationSettings(), seed=0, on_epoch=log.write)
    return tmp_path, state


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0, "images": 0, "tensors": 0})
    return events.Reload()


def test_every_epochs_figures_are_logged(run):
    folder, state = run
    events = read(folder)
    for tag, figure in (
        ("loss/train", "train_loss"),
        ("accuracy/validation", "validation_accuracy"),
        ("learning_rate", "learning_rate"),
    ):
        logged = [(event.step, event.value) for event in events.Scalars(tag)]
        expected = [(result.epoch, getattr(result, figure)) for result in state.epochs]
        np.testing.assert_allclose(logged, expected, rtol=1e-5)


def test_weights_and_gradients_of_every_parameter_are_logged(run, trained_model):
    histograms = read(run[0]).Tags()["histograms"]
    for name, _ in trained_model.named_parameters():
        assert f"weights/{name}" in histograms
        assert f"gradients/{name}" in histograms


def test_attention_maps_and_misread_digits_are_drawn(run):
    events = read(run[0])
    attention = events.Images("attention")[-1]
    assert (attention.width, attention.height) == (8 * 28, 3 * 28)  # 8 digits; as they are, by rows, by columns
    assert events.Images("errors")[-1].height == 28
    assert b"read as" in events.Tensors("errors/text_summary")[-1].tensor_proto.string_val[0]


def test_a_faultless_model_has_no_errors_to_draw(trained_model, validation_digits, tmp_path):
    result = EpochResult(0, 1, 0.5, 1.0, 0.001, 1.0, 0.9)
    answered = logits(trained_model, torch.from_numpy(validation_digits.images)).argmax(1).numpy()
    faultless = replace(validation_digits, labels=answered)
    TrainingLog(tmp_path, faultless).write(trained_model, result, TrainingState())
    assert "errors" not in read(tmp_path).Tags()["images"]


def test_a_model_without_attention_has_no_maps_to_draw(validation_digits, tmp_path):
    model = Recognizer(ModelSettings(hidden_size=4, attention_size=0))
    TrainingLog(tmp_path, validation_digits).write(model, EpochResult(0, 1, 0.5, 1.0, 0.001, 1.0, 0.9), TrainingState())
    assert read(tmp_path).Tags()["images"] == ["errors"]


def test_progress_is_told_in_a_line_an_epoch(trained_model, validation_digits, tmp_path, capsys):
    result = EpochResult(0, 1, 0.5, 0.93, 0.001, 1.0, 0.9)
    TrainingLog(tmp_path, validation_digits).write(trained_model, result, TrainingState())
    assert capsys.readouterr().out == result.line() + "\n"


def test_logging_changes_nothing_that_is_learned(trained_model, learnt, train_digits, validation_digits, tmp_path):
    few, settings = train_digits.take(slice(0, 200)), TrainingSettings(epochs=2, batch_size=64)
    silent = copy.deepcopy(learnt)
    fit(silent, few, validation_digits, settings, None, seed=0)
    log = TrainingLog(tmp_path, validation_digits)
    fit(trained_model, few, validation_digits, settings, None, seed=0, on_epoch=log.write)
    for name, value in silent.state_dict().items():
        assert (value == trained_model.state_dict()[name]).all()
