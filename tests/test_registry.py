"""The registry: one champion, swapped by one at a time, with its whole history kept."""

import contextlib
import json
import threading
from pathlib import Path

import pytest

from infra import registry
from infra.storage import Conflict, FolderStore, Store, open_store
from inkloop import artifacts
from inkloop.errors import UserError

DECISION = {"promoted": True, "reason": "better on the test set (p = 0.001)"}


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def store(request, tmp_path) -> Store:
    if request.param == "s3":
        return open_store(f"s3://{request.getfixturevalue('s3_bucket')}/some/prefix")
    return open_store(str(tmp_path / "store"))


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


def test_the_history_lists_every_champion_also_one_that_came_twice(store, models):
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
            outcomes.append(registry.promote(open_store(str(store)), digest, DECISION, expected=models[0]).digest)
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


def crown(store: Store, *digests: str) -> None:
    """Make these champions, one after the other."""
    for digest in digests:
        now = registry.champion(store)
        registry.promote(store, digest, DECISION, expected=now.digest if now else None)


def test_a_rollback_puts_the_champion_before_back_and_keeps_why(store, models):
    crown(store, *models[:2])
    restored = registry.rollback(store, " misreads sevens ", "ada")
    assert restored == registry.champion(store)
    assert (restored.digest, restored.previous, restored.number) == (models[0], models[1], 3)
    assert restored.decision == {"rolled_back": models[1], "reason": "misreads sevens", "by": "ada"}
    assert [champion.digest for champion in registry.history(store)] == [models[0], models[1], models[0]]


def test_rolling_back_twice_goes_two_champions_back_and_not_to_and_fro(store, models):
    crown(store, *models[:3])
    assert registry.rollback(store, "first", "ada").digest == models[1]
    assert registry.rollback(store, "second", "ada").digest == models[0]
    with pytest.raises(UserError, match="no earlier champion is left"):
        registry.rollback(store, "third", "ada")
    assert [registry.champion(store).bars(digest) is None for digest in models[:3]] == [True, False, False]


def test_a_rollback_goes_past_what_was_rolled_back_before(store, models):
    crown(store, models[0], models[1])
    registry.rollback(store, "bad", "ada")
    crown(store, models[2])
    assert registry.rollback(store, "bad too", "ada").digest == models[0]


@pytest.mark.parametrize(("champions", "says"), [(0, "no champion in"), (1, "no earlier champion is left")])
def test_where_nothing_was_before_nothing_is_rolled_back(store, models, champions, says):
    crown(store, *models[:champions])
    with pytest.raises(UserError, match=says):
        registry.rollback(store, "bad", "ada")
    assert len(registry.history(store)) == champions


def test_a_rollback_needs_a_reason(store, models):
    crown(store, *models[:2])
    with pytest.raises(UserError, match="no reason given"):
        registry.rollback(store, "  ", "ada")


def test_a_champion_before_that_was_deleted_is_said_to_be_missing(store, models):
    crown(store, *models[:2])
    for key in store.list(f"models/{models[0]}/"):
        store.delete(key)
    with pytest.raises(UserError, match="no longer in the store"):
        registry.rollback(store, "bad", "ada")
    assert registry.champion(store).digest == models[1]


def test_a_model_that_was_rolled_back_stays_out_until_someone_readmits_it(store, models):
    crown(store, *models[:2])
    registry.rollback(store, "misreads sevens.", "ada")
    with pytest.raises(UserError, match=r"was rolled back on \d{4}-\d\d-\d\d: misreads sevens\. .* readmit"):
        registry.promote(store, models[1], DECISION, expected=models[0])
    crown(store, models[2])
    with pytest.raises(UserError, match="was rolled back"):
        registry.promote(store, models[1], DECISION, expected=models[2])
    registry.readmit(store, models[1])
    crown(store, models[1])
    assert registry.champion(store).digest == models[1]
    assert registry.champion(store).rolled_back == ()


def test_a_model_that_was_not_rolled_back_cannot_be_readmitted(store, models):
    crown(store, models[0])
    with pytest.raises(UserError, match="was not rolled back"):
        registry.readmit(store, models[0])


def test_rollbacks_and_promotions_at_once_leave_one_line_of_champions(store, models):
    crown(store, *models[:3])
    start, done = threading.Barrier(4), []

    def attempt(change) -> None:
        start.wait()
        with contextlib.suppress(Conflict):
            done.append(change(open_store(str(store))).digest)

    changes = [lambda home: registry.rollback(home, "bad", "ada")] * 2
    changes += [lambda home, new=new: registry.promote(home, new, DECISION, expected=models[2]) for new in models[3:]]
    threads = [threading.Thread(target=attempt, args=(change,)) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    history = registry.history(store)
    assert len(history) == 3 + len(done)
    assert [champion.number for champion in history] == list(range(1, len(history) + 1))
    assert [champion.previous for champion in history] == [None, *(champion.digest for champion in history[:-1])]
    assert history[-1].bars(history[-1].digest) is None
    rollbacks = sum("rolled_back" in champion.decision for champion in history)
    assert len(history[-1].rolled_back) == rollbacks


def test_a_swap_during_a_rollback_is_noticed(store, models, monkeypatch):
    crown(store, *models[:2])
    record = registry._record

    def overtake(past):
        monkeypatch.undo()
        crown(store, models[2])
        return record(past)

    monkeypatch.setattr(registry, "_record", overtake)
    with pytest.raises(Conflict, match="nothing was rolled back"):
        registry.rollback(store, "bad", "ada")
    assert registry.champion(store).digest == models[2]
    assert registry.champion(store).rolled_back == ()


def test_a_pointer_from_before_there_were_rollbacks_is_read(store, models):
    crown(store, *models[:2])
    old = json.loads(store.get(registry.CHAMPION))
    del old["rolled_back"]
    store.put(registry.CHAMPION, json.dumps(old).encode())
    assert registry.rollback(store, "bad", "ada").digest == models[0]


def test_a_model_is_named_by_the_start_of_its_digest(store, models):
    assert registry.resolve(store, models[0]) == registry.resolve(store, models[0][:12]) == models[0]
    for unknown in ("0" * 12, models[0][:3], "", "../registry", models[0].upper()):
        with pytest.raises(UserError, match="Give the model_version"):
            registry.resolve(store, unknown)


def test_another_champion_than_the_one_meant_is_not_rolled_back(store, models):
    crown(store, *models[:2])
    with pytest.raises(Conflict, match="is champion now, so nothing was rolled back"):
        registry.rollback(store, "bad", "watch", expected=models[0])
    assert registry.champion(store).digest == models[1]
