"""Ray: training by several workers, resumed after one has died, and the search; on a cluster and on one's own."""

import os
import pickle
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest
import safetensors.torch
import torch
from ray_cluster import wait_until

from infra import guard
from infra.ray_head import RayHead
from infra.ray_session import ray_session
from infra.ray_train import Job, fit_on_ray
from infra.ray_tune import Base, search
from inkloop.augmentation import AugmentationSettings
from inkloop.checkpoint import STATE_NAME, load_state, save_state
from inkloop.digits import Digits
from inkloop.distillation import Lessons, TeachingSettings, soft_labels
from inkloop.errors import UserError
from inkloop.model import ModelSettings, Recognizer
from inkloop.readings import Reading
from inkloop.search import Trial, TuningSettings, trials_page, with_choice
from inkloop.training import TrainingSettings, TrainingState, accuracy, fit

SMALL = ModelSettings(
    readings=(Reading(kind="rows", size=4),), hidden_size=8, attention_size=8, fc_size=16, dropout=0.2
)
JOB = Job(SMALL, TrainingSettings(epochs=3, batch_size=64, learning_rate=1e-2), AugmentationSettings(), seed=5)


@pytest.fixture
def train(train_digits) -> Digits:
    return train_digits.take(slice(0, 500))


@pytest.fixture
def validation(validation_digits) -> Digits:
    return validation_digits.take(slice(0, 200))


def weights(model: Recognizer) -> bytes:
    return safetensors.torch.save(model.state_dict())


def trained(
    job: Job, train: Digits, validation: Digits, folder: Path, workers: int = 2
) -> tuple[Recognizer, TrainingState]:
    return fit_on_ray(job, train, validation, str(folder / "checkpoints"), folder / "logs", workers)


@pytest.mark.slow
def test_two_workers_give_the_same_weights_twice(cluster, train, validation, tmp_path):
    once, state = trained(JOB, train, validation, tmp_path / "once")
    again, _ = trained(JOB, train, validation, tmp_path / "again")
    assert weights(once) == weights(again)
    assert len(state.epochs) == 3
    assert accuracy(once, validation) == pytest.approx(state.best_accuracy)


@pytest.mark.slow
def test_one_worker_gives_the_weights_of_training_without_ray(cluster, train, validation, tmp_path):
    on_ray, _ = trained(JOB, train, validation, tmp_path, workers=1)
    torch.manual_seed(JOB.seed)
    alone = Recognizer(JOB.model)
    fit(alone, train, validation, JOB.training, JOB.augmentation, JOB.seed)
    assert weights(on_ray) == weights(alone)


def test_two_workers_learn_what_one_would_have(cluster, train, validation, tmp_path):
    """Without what each draws by itself, dropout and deformations; 500 digits leave uneven parts."""
    job = replace(JOB, model=SMALL.model_copy(update={"dropout": 0.0}), augmentation=None)
    together, _ = trained(job, train.take(slice(0, 451)), validation, tmp_path)
    torch.manual_seed(job.seed)
    alone = Recognizer(job.model)
    fit(alone, train.take(slice(0, 451)), validation, job.training, None, job.seed)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(together.state_dict()[name], value, atol=2e-3, rtol=0, msg=name)


@pytest.mark.slow
def test_a_teachers_lessons_reach_the_workers(cluster, learnt, train, validation, tmp_path):
    lessons = Lessons(soft_labels([learnt], train), TeachingSettings(teacher_share=1.0))
    mislabeled = replace(train, labels=(train.labels + 1) % 10)
    job = replace(JOB, training=JOB.training.model_copy(update={"epochs": 6}), augmentation=None, lessons=lessons)
    student, _ = trained(job, mislabeled, validation, tmp_path)
    assert accuracy(student, validation) > 0.3


@pytest.mark.slow
def test_training_goes_on_after_a_worker_has_died(cluster, train, validation, tmp_path):
    job = replace(JOB, training=JOB.training.model_copy(update={"epochs": 12}))
    checkpoints = tmp_path / "broken" / "checkpoints"
    killer = threading.Thread(target=kill_a_worker, args=(cluster, checkpoints))
    killer.start()
    broken, state = trained(job, train, validation, tmp_path / "broken")
    killer.join()
    unbroken, _ = trained(job, train, validation, tmp_path / "unbroken")
    assert weights(broken) == weights(unbroken)
    assert [result.epoch for result in state.epochs] == list(range(len(state.epochs)))
    starts = {name: len(list((tmp_path / name / "logs").glob("*tfevents*"))) for name in ("broken", "unbroken")}
    assert starts == {"broken": 2, "unbroken": 1}


@pytest.mark.slow
def test_what_had_ended_is_not_trained_again(cluster, train, validation, tmp_path):
    """Of an ensemble that was cut off, the members that were there."""
    model, state = trained(JOB, train, validation, tmp_path, workers=1)
    again, found = trained(JOB, train, validation, tmp_path, workers=1)
    assert weights(again) == weights(model)
    assert [epoch.seconds for epoch in found.epochs] == [epoch.seconds for epoch in state.epochs]


def kill_a_worker(cluster: psutil.Process, checkpoints: Path) -> None:
    """Kill a worker in its fourth epoch: by then there is a checkpoint that both have reported."""
    seen: set[Path] = set()
    wait_until(lambda: seen.update(checkpoints.glob("*/checkpoint_*")) or len(seen) == 3)
    workers = [each for each in cluster.children(recursive=True) if "RayTrainWorker" in "".join(each.cmdline())]
    workers[-1].kill()


def test_a_checkpoint_holds_all_of_the_state(train, validation, tmp_path):
    state = TrainingState()
    settings = JOB.training.model_copy(update={"ema_decay": 0.9, "epochs": 1})
    fit(Recognizer(SMALL), train, validation, settings, None, seed=0, state=state)
    save_state(state, tmp_path)
    again = load_state(tmp_path)
    assert (again.epoch, again.epochs, again.best_accuracy, again.best_epoch) == (
        state.epoch,
        state.epochs,
        state.best_accuracy,
        state.best_epoch,
    )
    for part in ("model", "average", "best"):
        for name, value in getattr(state, part).items():
            assert torch.equal(getattr(again, part)[name], value)
    assert again.optimizer["param_groups"] == state.optimizer["param_groups"]


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.mkdir, (str(tmp_path / "trapped"),))

    torch.save({"epoch": Trap()}, tmp_path / STATE_NAME)
    with pytest.raises(pickle.UnpicklingError):
        load_state(tmp_path)
    assert not (tmp_path / "trapped").exists()


SPACE = TuningSettings(trials=4, epochs=2, batch_size=(32, 64))


@pytest.fixture
def base() -> Base:
    return Base(SMALL, TrainingSettings(batch_size=96, learning_rate=2e-2), AugmentationSettings(), seed=0)


def test_the_search_tries_the_own_settings_and_puts_the_best_first(cluster, base, train, validation, tmp_path):
    said: list[str] = []
    trials = search(base, train, validation, SPACE, str(tmp_path), said.append)
    assert said == ["4 trials, 1 at a time"]
    assert len(trials) == 4
    accuracies = [trial.validation_accuracy for trial in trials]
    assert accuracies == sorted(accuracies, reverse=True)
    own = {"learning_rate": 2e-2, "weight_decay": 5e-4, "label_smoothing": 0.05, "batch_size": 96}
    assert own in [trial.choice for trial in trials], "the own batch size is none of the space's"
    for trial in trials:
        assert 1 <= trial.epochs <= 2
        assert trial.choice["batch_size"] in (32, 64, 96)


@pytest.mark.parametrize("scheduler", ["halving", "asha"])
def test_the_same_search_finds_the_same(cluster, base, train, validation, tmp_path, scheduler):
    space = SPACE.model_copy(update={"scheduler": scheduler})
    once, again = (search(base, train, validation, space, str(tmp_path / name), lambda _: None) for name in ("a", "b"))
    assert once == again


@pytest.mark.parametrize("concurrency", [1, 2])
def test_halving_lets_half_of_the_trials_go_on_each_time(cluster, base, train, validation, tmp_path, concurrency):
    space = TuningSettings(trials=5, epochs=4, batch_size=(32, 64), concurrency=concurrency)
    trials = search(base, train, validation, space, str(tmp_path), lambda _: None)
    assert sorted(trial.epochs for trial in trials) == [1, 1, 1, 2, 4]


def test_a_trial_that_waited_goes_on_as_if_it_had_not(cluster, base, train, validation, tmp_path):
    space = TuningSettings(trials=4, epochs=2, batch_size=(32, 64))
    best = max(search(base, train, validation, space, str(tmp_path), lambda _: None), key=lambda trial: trial.epochs)
    torch.manual_seed(base.seed)
    unbroken = with_choice(base.training, best.choice, 2)
    state = fit(Recognizer(base.model), train, validation, unbroken, base.augmentation, base.seed)
    assert best.validation_accuracy == state.best_accuracy


def test_an_address_without_a_ray_is_a_mendable_error(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"RAY_ADDRESS=127\.0\.0\.1:1: no Ray answers there"), ray_session():
        pass


def test_a_ray_of_ones_own_is_gone_afterwards(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = set(psutil.Process().children(recursive=True))
    started: set[psutil.Process] = set()
    with pytest.raises(RuntimeError, match="the step failed"), ray_session() as cpus:
        started = set(psutil.Process().children(recursive=True)) - before
        assert cpus == os.cpu_count()
        assert any(process.name() == "raylet" for process in started)
        raise RuntimeError("the step failed")
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive


@patch.dict(os.environ, {guard.MARK: "run of a test"})
def test_the_steps_of_a_run_share_a_ray_that_its_guard_ends():
    os.environ.pop("RAY_ADDRESS", None)
    head = RayHead()
    with tempfile.TemporaryDirectory(prefix="head") as folder:
        head.start(Path(folder))
        head.wait()
        raylets = [each for each in psutil.process_iter() if each.name() == "raylet" and folder in str(each.cmdline())]
        family = {process for raylet in raylets for process in [raylet, *raylet.children(recursive=True)]}
        joined = "from infra.ray_session import ray_session\nwith ray_session() as cpus: print(cpus)"
        steps = [subprocess.run([sys.executable, "-c", joined], capture_output=True, text=True) for _ in range(2)]
        assert [step.stdout.split() for step in steps] == [[str(os.cpu_count())]] * 2, steps[0].stderr
        assert raylets[0].is_running(), "a step took its run's Ray with it"
        guard.end_all(os.environ[guard.MARK])
        _, alive = psutil.wait_procs(family, timeout=30)
        assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_a_head_is_not_started_beside_a_cluster(cluster, tmp_path):
    address = os.environ["RAY_ADDRESS"]
    head = RayHead()
    head.start(tmp_path)
    head.wait()
    assert os.environ["RAY_ADDRESS"] == address
    assert list(tmp_path.iterdir()) == []


def test_a_trials_choices_are_put_into_the_training_settings():
    base = TrainingSettings(epochs=9)
    choice = {"learning_rate": 0.5, "weight_decay": 0.1, "label_smoothing": 0.2, "batch_size": 32}
    chosen = with_choice(base, choice)
    assert (chosen.learning_rate, chosen.weight_decay, chosen.batch_size) == (0.5, 0.1, 32)
    assert chosen.loss.label_smoothing == 0.2
    assert chosen.epochs == 9
    assert with_choice(base, choice, epochs=2).epochs == 2
    assert TrainingSettings.model_validate_json(chosen.model_dump_json()) == chosen


def test_trials_are_shown_best_first():
    page = trials_page([Trial({"learning_rate": 0.01}, 3, 0.97), Trial({"learning_rate": 0.02}, 1, 0.91)])
    assert page.index("97.00%") < page.index("91.00%")
    assert "<td>0.02</td>" in page
