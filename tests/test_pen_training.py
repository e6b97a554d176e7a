"""`make strokes`: from MNIST and a user's file to a model that reads strokes."""

import pytest
from test_pendigits import PLAIN
from test_unipen import SEGMENTS, STROKES

from infra import readers, registry
from infra.storage import FolderStore
from inkloop.errors import UserError
from inkloop.pen.model import PenModelSettings
from inkloop.pen.runtime import PenReader
from inkloop.training import TrainingSettings
from pipeline import strokes

QUICK = strokes.StrokesSettings(
    tracings=1000,
    model=PenModelSettings(sizes=(12,), attention_size=4, dropout=0.0),
    training=TrainingSettings(epochs=3, batch_size=16, learning_rate=1e-2),
)


@pytest.mark.parametrize(("content", "labels"), [(PLAIN, {0, 2, 3, 6}), (SEGMENTS + STROKES, {4, 7})])
def test_a_file_is_known_by_what_it_holds(content, labels, tmp_path):
    (tmp_path / "pen.tra").write_text(content)
    assert set(strokes.read(tmp_path / "pen.tra").labels) == labels


def test_a_file_of_neither_kind_is_refused(tmp_path):
    (tmp_path / "pen.tra").write_text("seven\neight\n")
    with pytest.raises(UserError, match=r"pen\.tra, line 2"):
        strokes.read(tmp_path / "pen.tra")


def test_what_was_learned_is_published_and_reads_strokes(data_dir, tmp_path):
    (tmp_path / "pen.tra").write_text(PLAIN)
    store = FolderStore(tmp_path / "store")
    version, accuracy = strokes.train(store, data_dir, tmp_path / "pen.tra", QUICK, by="ada")
    assert accuracy > 0.4
    appointed = readers.appointed(store, "pen")
    assert appointed.by == "ada"
    assert registry.version_of(appointed.digest) == version
    registry.fetch(store, appointed.digest, tmp_path / "model")
    reader = PenReader(tmp_path / "model")
    assert {"mnist", "file", "seed"} <= reader.info.lineage.keys()
    assert reader.info.metrics["validation_accuracy"] == accuracy
    assert reader.explained([[(0, 0), (80, 0), (30, 100)]])[0].argmax() in range(10)
