"""A cached verdict of the gate is used only while the champion is the one that it was given on."""

from pathlib import Path

import pytest
from kfp import dsl

from infra import registry
from infra.storage import FolderStore
from inkloop import artifacts
from inkloop.gate import Decision
from pipeline.verdict import stands


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def crown(store: FolderStore, tmp_path: Path, name: str) -> str:
    """Make a model champion; its digest."""
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_text(name)
    current = registry.champion(store)
    digest = registry.publish(store, folder)
    registry.promote(store, digest, {}, current.digest if current else None)
    return digest


def digest_of(tmp_path: Path, name: str) -> str:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_text(name)
    return artifacts.digest(folder)


def both_stand(
    store: FolderStore, tmp_path: Path, promoted: bool, challenger: str, champion: str | None, barred: bool = False
) -> list[bool]:
    """Whether the gate's and the package's cached result of this decision stand now."""
    decision = Decision(
        promoted=promoted,
        reason="",
        challenger=challenger,
        champion=champion,
        challenger_accuracy=0.99,
        worse_slices=(),
        barred=barred,
    )
    path = tmp_path / "decision"
    path.write_text(decision.model_dump_json())
    artifact = dsl.Artifact(name="decision", uri=str(path))
    home = {"store": str(store.root)}
    gate = stands("gate", home, {"decision": artifact})
    return [gate, stands("package", {**home, "decision": artifact}, {})]


def test_a_promotion_that_was_carried_out_stands(store: FolderStore, tmp_path: Path):
    challenger = crown(store, tmp_path, "first")
    assert both_stand(store, tmp_path, True, challenger, None) == [True, True]


def test_a_promotion_not_yet_carried_out_keeps_its_verdict_and_is_carried_out(store: FolderStore, tmp_path: Path):
    assert both_stand(store, tmp_path, True, digest_of(tmp_path, "first"), None) == [True, False]


def test_after_another_model_became_champion_the_verdict_is_given_anew(store: FolderStore, tmp_path: Path):
    challenger = crown(store, tmp_path, "first")
    crown(store, tmp_path, "second")
    assert both_stand(store, tmp_path, True, challenger, None) == [False, False]


def test_a_refusal_stands_while_the_champion_stays(store: FolderStore, tmp_path: Path):
    champion, loser = crown(store, tmp_path, "first"), digest_of(tmp_path, "loser")
    assert both_stand(store, tmp_path, False, loser, champion) == [True, True]
    crown(store, tmp_path, "second")
    assert both_stand(store, tmp_path, False, loser, champion) == [False, True]


def test_after_a_rollback_the_promotion_does_not_stand_and_the_refusal_does(store: FolderStore, tmp_path: Path):
    champion, bad = crown(store, tmp_path, "first"), crown(store, tmp_path, "bad")
    registry.rollback(store, "misreads sevens", "ada")
    assert both_stand(store, tmp_path, True, bad, champion) == [False, False]
    assert both_stand(store, tmp_path, False, bad, champion, barred=True) == [True, True]


def test_after_a_readmission_the_refusal_does_not_stand_and_the_promotion_may_be_carried_out(
    store: FolderStore, tmp_path: Path
):
    champion, bad = crown(store, tmp_path, "first"), crown(store, tmp_path, "bad")
    registry.rollback(store, "misreads sevens", "ada")
    registry.readmit(store, bad)
    assert both_stand(store, tmp_path, False, bad, champion, barred=True) == [False, False]
    assert both_stand(store, tmp_path, True, bad, champion) == [True, False]


def test_other_steps_do_not_hang_on_the_champion():
    assert stands("train", {}, {})
