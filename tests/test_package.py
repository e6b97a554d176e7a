"""The step `package`: a Bento and a card from a model, and the champion swapped if the gate said so."""

import subprocess
import sys
from pathlib import Path

import bentoml
import pytest
from figures import REPORT
from kfp.dsl import Artifact, Dataset, Markdown, Model

from components.package import package
from infra import challenger, registry
from infra.storage import Conflict, FolderStore, Store
from inkloop import artifacts
from inkloop.card import PackagingSettings
from inkloop.errors import UserError
from inkloop.gate import Decision


@pytest.fixture
def store(tmp_path) -> Store:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def packed(model_directory, other_model_directory, few_digits, store, tmp_path):
    """Runs the step with a decision of the gate; returns the folder of its outputs."""

    def run(promoted: bool, champion: str | None = None, **config: str) -> Path:
        folder = tmp_path / "outputs"
        folder.mkdir(exist_ok=True)
        decision = Decision(
            promoted=promoted,
            reason="the first champion: reads 99.12% of the test digits",
            challenger=artifacts.digest(model_directory),
            champion=champion,
            challenger_accuracy=0.9912,
            worse_slices=(),
        )
        (folder / "decision").write_text(decision.model_dump_json())
        (folder / "report").write_text(REPORT.model_dump_json())
        package.python_func(
            validated=Dataset(uri=str(few_digits)),
            teacher=Model(uri=str(other_model_directory)),
            challenger=Model(uri=str(model_directory)),
            report=Artifact(uri=str(folder / "report")),
            decision=Artifact(uri=str(folder / "decision")),
            bento=Artifact(uri=str(folder / "bento")),
            card=Markdown(uri=str(folder / "card.md")),
            config=PackagingSettings(**config).model_dump(),
            store=str(store.root),
            store_id="",
        )
        return folder

    return run


def test_a_promoted_model_is_published_and_becomes_champion(packed, store, model_directory, tmp_path):
    packed(promoted=True)
    champion = registry.champion(store)
    assert champion is not None
    assert champion.digest == artifacts.digest(model_directory)
    assert champion.decision["reason"].startswith("the first champion")
    registry.fetch(store, champion.digest, tmp_path / "fetched")
    assert artifacts.digest(tmp_path / "fetched") == champion.digest


def test_running_the_step_again_changes_nothing(packed, store):
    packed(promoted=True)
    before = registry.history(store)
    packed(promoted=True)
    assert registry.history(store) == before


def test_a_model_that_was_rolled_back_is_not_brought_back_by_running_the_step_again(
    packed, store, other_model_directory
):
    before = registry.publish(store, other_model_directory)
    registry.promote(store, before, {}, expected=None)
    packed(promoted=True, champion=before)
    registry.rollback(store, "misreads sevens", "ada")
    with pytest.raises(UserError, match="was rolled back"):
        packed(promoted=True, champion=before)
    assert registry.champion(store).digest == before


def test_a_model_that_did_not_pass_the_gate_is_published_but_is_not_champion(packed, store, model_directory):
    packed(promoted=False)
    assert registry.champion(store) is None
    assert store.exists(f"models/{artifacts.digest(model_directory)}/model.onnx")


def test_a_verdict_on_a_champion_of_yesterday_promotes_nobody(packed, store):
    with pytest.raises(Conflict, match="Run the pipeline again"):
        packed(promoted=True, champion="0" * 64)
    assert registry.champion(store) is None


def test_the_bento_holds_the_model_and_the_code_and_names_where_they_come_from(packed, model_directory):
    bento = bentoml.Bento.from_path(str(packed(promoted=False) / "bento"))
    digest = artifacts.digest(model_directory)
    assert str(bento.tag) == f"inkloop:{digest[:12]}"
    assert bento.info.labels["model"] == digest
    assert artifacts.digest(Path(bento.path) / "src" / "model") == digest
    assert (Path(bento.path) / "src" / "serving" / "docs.html").is_file()
    assert "onnxruntime==" in (Path(bento.path) / "env" / "python" / "requirements.txt").read_text()


def test_the_users_own_bentos_are_left_alone(packed, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentos"))
    packed(promoted=False)
    assert not (tmp_path / "bentos").exists()
    assert not (tmp_path / "home" / "bentoml").exists()


def test_the_bento_answers_with_its_own_model_where_no_store_is_given(packed, model_directory):
    source = packed(promoted=False) / "bento" / "src"
    script = "import serving.service as s; print(s.__file__); print(s.load_recognizer(None).digest)"
    ran = subprocess.run([sys.executable, "-c", script], cwd=source, capture_output=True, text=True, check=True)
    where, digest = ran.stdout.split()
    assert Path(where).is_relative_to(source.resolve())
    assert digest == artifacts.digest(model_directory)


def test_the_card_says_how_good_the_model_is_what_for_and_from_where(packed, model_directory):
    card = (packed(promoted=True) / "card.md").read_text()
    assert "Attention Bi-LSTM that reads a picture of 28 x 28 pixels as sequences (rows of 2, columns of 2)" in card
    assert "| int8, chosen | 99.21% | 99.12% | 95.34% | 54,321 | 87.7 KB | 151 us | 210 us |" in card
    assert card.index("| slant: left | 96.00% |") < card.index("| label 8 | 98.10% |")
    for needed in ("promoted; the first champion", "## Intended use", "## Limits", "| seed | `0` |"):
        assert needed in card


@pytest.mark.parametrize(("promotion", "share"), [("shadow", 0), ("canary", 0.05)])
def test_if_asked_production_tries_it_first(packed, store, other_model_directory, promotion, share):
    champion = registry.publish(store, other_model_directory)
    registry.promote(store, champion, {}, expected=None)

    packed(promoted=True, champion=champion, promotion=promotion)

    assert registry.reigning(store).digest == champion
    tried = challenger.challenger(store)
    assert (tried.mode, tried.share) == (promotion, share)


def test_the_first_champion_has_nothing_to_be_tried_beside(packed, store, model_directory):
    packed(promoted=True, promotion="shadow")
    assert registry.reigning(store).digest == artifacts.digest(model_directory)
