"""`make lines`: from MNIST to a model that reads lines."""

from short_lines import EASY, QUICK, SMALL

from infra import readers, registry
from infra.storage import FolderStore
from inkloop.line.runtime import LineReader
from pipeline import lines


def test_what_was_learned_is_published_and_reads_lines(data_dir, tmp_path, easy_lines, capsys):
    store = FolderStore(tmp_path / "store")
    brief = QUICK.model_copy(update={"epochs": 2})
    settings = lines.LinesSettings(model=SMALL, training=brief, validation=EASY, validation_lines=40)
    version, cer = lines.train(store, data_dir, settings, by="ada")
    assert cer < 0.8
    assert capsys.readouterr().out.count("of the validation lines' digits misread") == 2
    appointed = readers.appointed(store, "line")
    assert appointed.by == "ada"
    assert registry.version_of(appointed.digest) == version
    registry.fetch(store, appointed.digest, tmp_path / "model")
    reader = LineReader(tmp_path / "model")
    assert {"mnist", "seed"} <= reader.info.lineage.keys()
    assert reader.info.metrics["validation_cer"] == cer
    assert any(
        reader.read(image).digits == truth for image, truth in zip(easy_lines.images, easy_lines.labels, strict=True)
    )
