"""The benchmarks of Ray: what they set beside each other is the same work."""

import pytest
from rich.console import Console

from benchmarks import asha, ray_train, scaling
from benchmarks.asha import Curve
from infra.ray_train import Job
from infra.ray_tune import Base
from inkloop.augmentation import AugmentationSettings
from inkloop.model import ModelSettings
from inkloop.readings import Reading
from inkloop.search import TuningSettings
from inkloop.training import TrainingSettings

SMALL = ModelSettings(
    readings=(Reading(kind="rows", size=4),), hidden_size=8, attention_size=8, fc_size=16, dropout=0.2
)
TRAINING = TrainingSettings(epochs=2, batch_size=64, learning_rate=1e-2)
AUGMENTATION = AugmentationSettings()


def text(table: object) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


@pytest.mark.slow
def test_training_with_and_without_ray_comes_to_the_same_and_tells_what_each_took(
    cluster, train_digits, validation_digits
):
    job = Job(SMALL, TRAINING, AUGMENTATION, seed=3)
    rows = ray_train.one_round(job, train_digits.take(slice(0, 300)), validation_digits, mark="none")
    assert [row["way"] for row in rows] == [ray_train.LOOP, ray_train.KEPT, ray_train.RAY]
    assert len({row["validation_accuracy"] for row in rows}) == 1
    assert all(row["epochs_cpu_s"] > 0 and row["epochs_s"] < row["call_s"] for row in rows)
    assert "the whole call, s" in text(ray_train.shown(rows))


@pytest.mark.parametrize("scheduler", ["halving", "asha"])
def test_a_replayed_search_stops_its_trials_where_the_real_one_does(
    cluster, train_digits, validation_digits, scheduler
):
    settings = TuningSettings(trials=6, epochs=4, batch_size=(32, 64), scheduler=scheduler)
    base = Base(SMALL, TRAINING, AUGMENTATION, seed=1)
    train, validation = train_digits.take(slice(0, 300)), validation_digits.take(slice(0, 200))
    whole = asha.curves(base, train, validation, settings.model_copy(update={"grace_epochs": 4}))
    stopped = asha.curves(base, train, validation, settings)
    assert [len(curve.accuracies) for curve in whole] == [4] * 6
    assert asha.replayed(whole, settings) == stopped
    assert sum(len(curve.accuracies) for curve in stopped) < 24


def test_a_search_that_stops_the_best_trial_is_said_to_lack_what_it_missed():
    whole = [Curve({"learning_rate": 0.01}, (0.8, 0.9)), Curve({"learning_rate": 0.02}, (0.7, 0.95))]
    stopped = asha.replayed(whole, TuningSettings(trials=2, epochs=2, scheduler="asha"))
    assert [curve.accuracies for curve in stopped] == [(0.8, 0.9), (0.7,)]
    found = asha.compared(whole, stopped)
    assert found == {"best": 0.9, "lacks": pytest.approx(0.05), "epochs": 3, "share": 0.75}
    rows = [
        {"kind": "full", "best": 0.95, "retrained": [0.94, 0.95]},
        {"kind": "replay", "scheduler": "asha", "grace_epochs": 1, "reduction_factor": 2, **found},
    ]
    assert "0 of 1" in text(asha.shown(rows))


def test_the_line_of_an_epochs_cost_is_found_and_says_how_far_off_it_is():
    rows = [{"images": images, "epoch_cpu_s": 2 + images * 1e-5} for images in (60_000, 240_000, 960_000)]
    assert scaling.line_of(rows) == pytest.approx((2, 1e-5, 0), abs=1e-9)
    rows[1]["epoch_cpu_s"] *= 1.2
    assert 0.05 < scaling.line_of(rows)[2] < 0.2


def test_repeated_digits_are_the_digits_again(train_digits):
    repeats = scaling.Repeats(train_digits, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaling, "BLOCK", 2000)
        assert repeats.sizes == (2000,) * 6
        assert (repeats.read(5).images == train_digits.images[2000:4000]).all()
