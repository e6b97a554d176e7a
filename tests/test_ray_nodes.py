"""Ray on several nodes: a worker, a node, the client are killed in the middle of an epoch, and nothing is lost."""

import multiprocessing
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
from ray_cluster import wait_until

from infra.ray_checkpoints import kept
from infra.ray_train import Job, fit_on_ray
from infra.storage import open_store
from inkloop.augmentation import AugmentationSettings
from inkloop.digits import Digits
from inkloop.model import ModelSettings, Recognizer
from inkloop.readings import Reading
from inkloop.training import TrainingSettings, TrainingState, accuracy

SMALL = ModelSettings(readings=(Reading(kind="rows", size=4),), hidden_size=8, attention_size=8, fc_size=16)
JOB = Job(SMALL, TrainingSettings(epochs=8, batch_size=64, learning_rate=1e-2), AugmentationSettings(), seed=5)
SPREAD = 0.1  # of the accuracy on 200 digits after so short a training, between numbers of workers

pytestmark = [pytest.mark.faults, pytest.mark.s3]


@pytest.fixture(scope="module")
def train(train_digits) -> Digits:
    return train_digits.take(slice(0, 1000))


@pytest.fixture(scope="module")
def validation(validation_digits) -> Digits:
    return validation_digits.take(slice(0, 200))


Trained = tuple[Recognizer, TrainingState]


@pytest.fixture(scope="module")
def unbroken(started_nodes, node_store, train, validation, tmp_path_factory) -> Trained:
    """What comes of it when nothing is killed."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_ADDRESS", started_nodes.address)
        return trained(node_store, "unbroken", train, validation, tmp_path_factory.mktemp("unbroken"))


def trained(
    store: str, step: str, train: Digits, validation: Digits, folder: Path, job: Job = JOB, least_workers: int = 0
) -> Trained:
    """As a step trains: with two workers, and checkpoints in the store."""
    with kept(store, step) as storage:
        return fit_on_ray(job, train, validation, storage, folder / step, workers=2, least_workers=least_workers)


def when_kept(store: str, step: str, number: int, act: Callable[[], object]) -> threading.Thread:
    """Act in the epoch after so many checkpoints."""

    def watch() -> None:
        seen: set[str] = set()

        def enough() -> bool:
            keys = open_store(store).list(f"checkpoints/{step}-")
            seen.update(part for key in keys for part in key.split("/") if part.startswith("checkpoint_2"))
            return len(seen) >= number

        wait_until(enough)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def lost_little(state: TrainingState, number: int) -> bool:
    """Whether training went on with the checkpoint that was being written when it was broken off, or the one before."""
    [interruption] = state.interruptions
    return number - 1 <= interruption.epoch <= number + 1 and [each.epoch for each in state.epochs] == list(range(8))


def weights(model: Recognizer) -> bytes:
    return safetensors.torch.save(model.state_dict())


def test_a_killed_worker_costs_an_epoch_at_most(nodes, node_store, unbroken, train, validation, tmp_path):
    def kill() -> None:
        family = nodes.workers[0].children(recursive=True)
        next(each for each in family if "RayTrainWorker" in "".join(each.cmdline())).kill()

    killer = when_kept(node_store, "worker", 3, kill)
    model, state = trained(node_store, "worker", train, validation, tmp_path)
    killer.join()
    assert lost_little(state, 3), state.interruptions
    assert weights(model) == weights(unbroken[0])
    print(f"\na worker: {state.interruptions}")


def test_a_killed_node_is_waited_for(nodes, node_store, unbroken, train, validation, tmp_path):
    def kill() -> None:
        nodes.kill(nodes.workers[0])
        nodes.add()

    killer = when_kept(node_store, "node", 3, kill)
    model, state = trained(node_store, "node", train, validation, tmp_path)
    killer.join()
    assert lost_little(state, 3), state.interruptions
    assert weights(model) == weights(unbroken[0])
    print(f"\na node, and another in its place: {state.interruptions}")


def test_training_goes_on_with_fewer_workers_if_that_is_allowed(
    nodes, node_store, unbroken, train, validation, tmp_path
):
    killer = when_kept(node_store, "elastic", 3, lambda: nodes.kill(nodes.workers[0]))
    model, state = trained(node_store, "elastic", train, validation, tmp_path, least_workers=1)
    killer.join()
    assert lost_little(state, 3), state.interruptions
    assert accuracy(model, validation) == pytest.approx(accuracy(unbroken[0], validation), abs=SPREAD)
    print(f"\na node, and none in its place: {state.interruptions}")


def test_a_killed_clients_training_is_taken_up_by_the_next(nodes, node_store, unbroken, train, validation, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    client = spawn.Process(target=trained, args=(node_store, "client", train, validation, tmp_path))
    client.start()
    when_kept(node_store, "client", 3, client.kill).join()
    client.join()
    model, state = trained(node_store, "client", train, validation, tmp_path)
    assert lost_little(state, 3), state.interruptions
    assert weights(model) == weights(unbroken[0])
    assert open_store(node_store).list("checkpoints/client") == []
    print(f"\nthe client: {state.interruptions}")
