"""What the steps on Ray keep and hand to workers: checkpoints of the same work alone, digits without a copy."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import ray
import torch
from pyarrow import fs
from test_blocks import Cut

from infra import lease, ray_data
from infra.ray_checkpoints import LIFETIME_S, MARGIN_S, kept
from infra.ray_session import ray_session
from infra.ray_train import Job, fit_on_ray
from infra.ray_tune import Base, search
from infra.storage import open_store
from inkloop.augmentation import AugmentationSettings
from inkloop.model import ModelSettings
from inkloop.readings import Reading
from inkloop.search import TuningSettings
from inkloop.training import TrainingSettings

SMALL = ModelSettings(readings=(Reading(kind="rows", size=4),), hidden_size=8, attention_size=8, fc_size=16)


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def store(request, tmp_path) -> str:
    """The URL of an empty store."""
    if request.param == "folder":
        return str(tmp_path / "store")
    return f"s3://{request.getfixturevalue('s3_bucket')}/runs"


def left(store: str) -> list[str]:
    return open_store(store).list("checkpoints/")


def write(place: str, name: str, content: bytes) -> None:
    filesystem, path = fs.FileSystem.from_uri(place)
    filesystem.create_dir(path)
    with filesystem.open_output_stream(f"{path}/{name}") as file:
        file.write(content)


def test_the_same_work_finds_what_was_left_and_leaves_nothing_in_the_end(store):
    with pytest.raises(RuntimeError, match="cut off"), kept(store, "train", "digits 1", "seed 0") as first:
        write(first, "epoch", b"3")
        raise RuntimeError("cut off")
    with kept(store, "train", "digits 1", "seed 0") as again:
        assert again == first
        filesystem, path = fs.FileSystem.from_uri(again)
        assert filesystem.open_input_file(f"{path}/epoch").read() == b"3"
    assert left(store) == []


def test_other_work_never_finds_it(tmp_path):
    places = set()
    for step, work in (("train", "seed 0"), ("train", "seed 1"), ("distill", "seed 0")):
        with kept(str(tmp_path), step, work) as place:
            places.add(place)
    assert len(places) == 3


def test_two_at_the_same_work_do_not_write_over_each_other(store, monkeypatch):
    monkeypatch.setattr("infra.ray_checkpoints.LIFETIME_S", 0.5)
    monkeypatch.setattr("infra.ray_checkpoints.MARGIN_S", 0.1)
    with kept(store, "train", "seed 0") as one, kept(store, "train", "seed 0") as other:
        assert one != other
        write(one, "epoch", b"1")
        write(other, "epoch", b"2")
    assert left(store) == []


def test_a_killed_try_is_waited_for_until_its_lease_is_over(tmp_path):
    with kept(str(tmp_path), "train", "seed 0") as place:
        key = f"{place.removeprefix(str(tmp_path))[1:]}/lease.json"
    store = open_store(str(tmp_path))
    died = datetime.now(UTC) - timedelta(seconds=LIFETIME_S + MARGIN_S - 2)
    lease.take(store, key, LIFETIME_S, MARGIN_S, lambda: died)
    started = time.monotonic()
    with kept(str(tmp_path), "train", "seed 0") as again:
        assert again == place
    assert 1 < time.monotonic() - started < LIFETIME_S


def test_workers_read_the_digits_of_the_object_store_in_place(cluster, train_digits):
    @ray.remote(num_cpus=0)
    def look(stored) -> tuple[bool, bool, int]:
        ray_data.accept_read_only_arrays()
        digits = ray_data.get(stored[0])
        pixels = torch.from_numpy(digits.images)
        shared = pixels.data_ptr() == digits.images.__array_interface__["data"][0]
        return shared, digits.images.flags.writeable, int(digits.images.sum())

    with ray_session():
        stored = ray_data.put(train_digits)
        assert ray.get(look.remote([stored])) == (True, False, int(train_digits.images.sum()))


def test_blocks_reach_the_workers_and_are_learned(cluster, train_digits, validation_digits, tmp_path):
    blocks = Cut(train_digits.take(slice(0, 2000)), 250)
    job = Job(SMALL, TrainingSettings(epochs=3, batch_size=64, learning_rate=1e-2), None, seed=0)
    _, state = fit_on_ray(job, blocks, validation_digits, f"{tmp_path}/kept", tmp_path / "logs", workers=2)
    assert state.best_accuracy > 0.5


@pytest.mark.slow
def test_a_search_that_was_cut_off_trains_no_epoch_again(cluster, train_digits, validation_digits, tmp_path):
    train, validation = train_digits.take(slice(0, 300)), validation_digits.take(slice(0, 100))
    base = Base(SMALL, TrainingSettings(batch_size=64, learning_rate=1e-2), AugmentationSettings(), seed=0)
    settings = TuningSettings(trials=4, epochs=2, batch_size=(32, 64))
    first = search(base, train, validation, settings, f"{tmp_path}/kept", lambda _: None)
    states = {path: path.stat().st_mtime_ns for path in Path(tmp_path, "kept", "states").iterdir()}
    assert len(states) == sum(trial.epochs for trial in first)
    latest = max(states, key=lambda path: states[path])
    latest.unlink()  # what was not finished yet
    again = search(base, train, validation, settings, f"{tmp_path}/kept", lambda _: None)
    after = {path: path.stat().st_mtime_ns for path in Path(tmp_path, "kept", "states").iterdir()}
    assert again == first
    assert {path for path in after if after[path] != states[path]} == {latest}


@pytest.mark.slow
def test_a_population_takes_over_what_is_good_and_stays_in_its_ranges(
    cluster, train_digits, validation_digits, tmp_path
):
    train, validation = train_digits.take(slice(0, 300)), validation_digits.take(slice(0, 100))
    base = Base(SMALL, TrainingSettings(batch_size=64, learning_rate=1e-2), AugmentationSettings(), seed=0)
    settings = TuningSettings(trials=4, epochs=3, batch_size=(32, 64), scheduler="pbt")
    trials = search(base, train, validation, settings, str(tmp_path), lambda _: None)
    assert [trial.epochs for trial in trials] == [3, 3, 3, 3], "none is stopped"
    taken_over = list(Path(tmp_path).rglob("pbt_policy_*"))
    assert taken_over
    for trial in trials:
        assert 1e-3 <= trial.choice["learning_rate"] <= 1e-2
        assert 0 <= trial.choice["label_smoothing"] <= 0.1
        assert trial.choice["batch_size"] in (32, 64)
