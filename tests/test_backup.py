"""The store backed up, lost and restored: the same champion answers the same, and what was captured is there."""

import shutil

import pytest
from served import Server, crown, wait_until

from infra import captured, registry
from infra.storage import FolderStore, open_store
from pipeline.__main__ import main

KEPT = {"Inkloop-Capture": "wait", "content-type": "application/octet-stream"}


def command(monkeypatch, *words: str) -> int:
    """The exit code of `python -m pipeline WORDS`."""
    monkeypatch.setattr("sys.argv", ["pipeline", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def answers(url: str, images, log, **environment: str) -> tuple[str, list]:
    """What a server of this store answers, and the digest of who answers."""
    with Server(url, log, INKLOOP_CAPTURE_SHIP_INTERVAL_S="1", **environment) as server:
        said = [server.client.post("/predict", content=image.tobytes(), headers=KEPT).json() for image in images]
        wait_until(lambda: bool(captured.keys(open_store(url), captured.ANSWERS)), 60)
        return server.client.get("/model").json()["digest"], [(each["label"], each["probabilities"]) for each in said]


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_store_that_was_lost_comes_back_from_its_backup(
    kind, request, tmp_path, model_directory, test_digits, monkeypatch
):
    url = str(tmp_path / "store") if kind == "folder" else f"s3://{request.getfixturevalue('s3_bucket')}/store"
    store, copied = open_store(url), str(tmp_path / "backup")
    crown(store, registry.publish(store, model_directory))
    images, folder = test_digits.images[:5], {"INKLOOP_CAPTURE_FOLDER": str(tmp_path / "captured")}
    digest, before = answers(url, images, tmp_path / "before.log", **folder)
    rows = captured.keys(store, captured.ANSWERS)

    assert command(monkeypatch, "backup", copied, "--store", url) == 0
    if kind == "folder":
        shutil.rmtree(url)
    else:
        for key in store.list():
            store.delete(key)
    assert command(monkeypatch, "restore", copied, "--store", url) == 0

    assert answers(url, images, tmp_path / "after.log", **folder) == (digest, before)
    assert set(rows) <= set(captured.keys(open_store(url), captured.ANSWERS))


def test_a_store_that_is_there_is_not_overwritten(champion_store, tmp_path, monkeypatch, capsys):
    backup = str(tmp_path / "backup")
    assert command(monkeypatch, "backup", backup, "--store", champion_store) == 0

    assert command(monkeypatch, "restore", backup, "--store", champion_store) == 2

    assert "not empty. Name an empty place" in capsys.readouterr().err


def test_a_backup_with_a_broken_champion_is_no_backup(model_directory, tmp_path, monkeypatch, capsys):
    store = FolderStore(tmp_path / "store")
    digest = registry.publish(store, model_directory)
    crown(store, digest)
    [model] = [key for key in store.list() if key.endswith("model.onnx")]
    store.put(model, store.get(model)[:-1] + b"?")

    assert command(monkeypatch, "backup", str(tmp_path / "backup"), "--store", str(tmp_path / "store")) == 2

    assert model in capsys.readouterr().err


def test_without_a_place_it_says_how(monkeypatch, capsys):
    assert command(monkeypatch, "backup", "") == 2
    assert "make backup TO=" in capsys.readouterr().err


def test_a_backup_may_go_from_a_folder_to_s3(champion_store, s3_bucket, monkeypatch):
    assert command(monkeypatch, "backup", f"s3://{s3_bucket}/copy", "--store", champion_store) == 0

    there, here = open_store(f"s3://{s3_bucket}/copy"), open_store(champion_store)
    assert {key: there.get(key) for key in there.list()} == {key: here.get(key) for key in here.list()}
