"""The benchmark of compression: one net answers alike in every engine, and the page says what the rows say."""

import numpy as np
import pytest
from rich.console import Console

from benchmarks.compress import engines, page, students
from inkloop import checkpoint
from inkloop.augmentation import AugmentationSettings
from inkloop.distillation import DistillationSettings
from inkloop.model import ModelSettings, Recognizer
from inkloop.pruning import PruningSettings
from inkloop.qat import QuantizationSettings
from inkloop.readings import Reading
from inkloop.training import TrainingSettings
from pipeline.profile import Profile

SHAPE = ModelSettings(
    readings=(Reading(kind="sweeps", size=7, margin=1),),
    hidden_size=8,
    upper_sizes=(8,),
    attention_size=4,
    fc_size=8,
    dropout=0.0,
)
ONCE = TrainingSettings(epochs=1, batch_size=64, learning_rate=1e-2)
QUICK = Profile(
    augmentation=AugmentationSettings(rotation_deg=5, elastic_px=0.5),
    student=DistillationSettings(model=SHAPE, training=ONCE),
    pruning=PruningSettings(sparsifying=ONCE, recovering=ONCE),
    quantization=QuantizationSettings(training=ONCE),
)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor", "ignore:torch.ao.quantization")
def test_one_net_answers_alike_in_every_engine(test_digits, tmp_path):
    checkpoint.save(Recognizer(SHAPE), tmp_path / "model", "student", {}, {})
    images = test_digits.images[:100]
    with engines.engines_of(tmp_path / "model") as found:
        expected = found["torch, eager"](images)
        for name, engine in found.items():
            off = 1e-5 if "fp32" in name else 0.05
            np.testing.assert_allclose(engine(images), expected, atol=off, err_msg=name)
    assert {"torch, quantize_dynamic", "ONNX Runtime, DynamicQuantizeLSTM"} < found.keys()


def test_a_student_is_trained_once_and_the_page_has_its_figures(
    train_digits, validation_digits, test_digits, trained_model, tmp_path, monkeypatch
):
    console = Console(quiet=True)
    monkeypatch.setattr(students, "FOLDER", tmp_path / "kept")
    monkeypatch.setattr(students, "TEACHER", tmp_path / "teacher")
    monkeypatch.setattr(students, "SMALL", tmp_path / "teacher")
    monkeypatch.setattr(page, "PAGE", tmp_path / "compression.md")
    monkeypatch.setattr(page, "PLOT", tmp_path / "compression.svg")
    checkpoint.save(trained_model, tmp_path / "teacher", "teacher", {}, {})
    data = students.Data(train_digits.take(slice(0, 300)), validation_digits, test_digits)
    once, again = (students.of_seed(data, QUICK, 0, console) for _ in range(2))
    assert once == again
    page.write([*once, students.by_two(data, QUICK, 0, console), *students.by_teaching(data, QUICK, 1, console)])
    written = (tmp_path / "compression.md").read_text()
    assert f"| trained in rounded weights | 1 | {100 * once[-1]['test_accuracy']:.2f} |" in written
    assert "| taught by two | 1 |" in written
    assert "| temperature 4 |" in written
