"""The registry: one champion, swapped by one at a time, with its whole history kept."""

import threading
from pathlib import Path

import pytest

from infra import registry
from infra.storage import Conflict, FolderStore, Store
from inkloop import artifacts
from inkloop.errors import UserError

DECISION = {"promoted": True, "reason": "better on the test set (p = 0.001)"}


@pytest.fixture
def store(tmp_path) -> Store:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def models(store, tmp_path) -> list[str]:
    """Digests of five published models."""
    return [
        registry.publish(store, model_folder(tmp_path / f"model-{number}", f"weights {number}")) for number in range(5)
    ]


def model_folder(folder: Path, content: str) -> Path:
    (folder / "extras").mkdir(parents=True)
    (folder / "model.onnx").write_text(content)
    (folder / "extras" / "notes.txt").write_text("a file in a folder")
    return folder


def test_an_empty_store_has_no_champion(store):
    assert registry.champion(store) is None
    assert registry.history(store) == []


def test_the_promoted_model_is_champion(store, models):
    registry.promote(store, models[0], DECISION, expected=None)
    champion = registry.champion(store)
    assert champion is not None
    assert (champion.digest, champion.version, champion.previous) == (models[0], models[0][:12], None)
    assert champion.decision == DECISION


def test_a_judgment_against_a_champion_of_yesterday_does_not_count(store, models):
    registry.promote(store, models[0], DECISION, expected=None)
    registry.promote(store, models[1], DECISION, expected=models[0])
    with pytest.raises(Conflict, match=f"the champion is {models[1][:12]} now"):
        registry.promote(store, models[2], DECISION, expected=models[0])


def test_promoting_twice_is_promoting_once(store, models):
    first = registry.promote(store, models[0], DECISION, expected=None)
    assert registry.promote(store, models[0], DECISION, expected=None) == first
    assert len(registry.history(store)) == 1


def test_a_model_that_was_never_published_cannot_be_champion(store):
    with pytest.raises(UserError, match="Publish it first"):
        registry.promote(store, "0" * 64, DECISION, expected=None)


def test_the_history_lists_every_champion_and_rolling_back_is_a_swap_too(store, models):
    order = [models[0], models[1], models[0], models[2]]
    for before, after in zip([None, *order], order, strict=False):
        registry.promote(store, after, DECISION, expected=before)
    history = registry.history(store)
    assert [champion.digest for champion in history] == order
    assert [champion.previous for champion in history] == [None, *order[:-1]]
    assert [champion.since for champion in history] == sorted(champion.since for champion in history)


def test_of_many_promotions_at_once_exactly_one_wins(store, models):
    registry.promote(store, models[0], DECISION, expected=None)
    start, outcomes = threading.Barrier(4), []

    def challenge(digest: str) -> None:
        start.wait()
        try:
            outcomes.append(registry.promote(FolderStore(store.root), digest, DECISION, expected=models[0]).digest)
        except Conflict:
            outcomes.append(None)

    threads = [threading.Thread(target=challenge, args=(digest,)) for digest in models[1:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    winners = [outcome for outcome in outcomes if outcome]
    assert len(winners) == 1
    assert [champion.digest for champion in registry.history(store)] == [models[0], *winners]


def test_a_swap_between_reading_and_writing_is_noticed(store, models, monkeypatch):
    registry.promote(store, models[0], DECISION, expected=None)
    record = registry._record

    def overtake(past):
        monkeypatch.undo()
        registry.promote(store, models[1], DECISION, expected=models[0])
        return record(past)

    monkeypatch.setattr(registry, "_record", overtake)
    with pytest.raises(Conflict, match="Run the pipeline again"):
        registry.promote(store, models[2], DECISION, expected=models[0])
    assert [champion.digest for champion in registry.history(store)] == models[:2]


def test_a_published_model_comes_back_as_it_was(store, tmp_path):
    folder = model_folder(tmp_path / "model", "weights")
    digest = registry.publish(store, folder)
    assert registry.publish(store, folder) == digest
    registry.fetch(store, digest, tmp_path / "back")
    assert artifacts.digest(tmp_path / "back") == artifacts.digest(folder) == digest


def test_a_model_with_one_flipped_bit_is_refused(store, models, tmp_path):
    key = f"models/{models[0]}/model.onnx"
    content = bytearray(store.get(key))
    content[0] ^= 1
    store.put(key, bytes(content))
    with pytest.raises(UserError):
        registry.fetch(store, models[0], tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_another_model_in_the_place_of_one_is_refused(store, models, tmp_path):
    store.upload(model_folder(tmp_path / "other", "another model"), f"models/{models[0]}")
    with pytest.raises(UserError, match="publish again"):
        registry.fetch(store, models[0], tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_store_keeps_its_name_and_a_wiped_store_is_another(store, tmp_path):
    assert registry.store_id(store) == registry.store_id(store)
    assert registry.store_id(store) != registry.store_id(FolderStore(tmp_path / "wiped"))
