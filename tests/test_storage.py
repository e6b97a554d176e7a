"""The store behaves the same in a folder and in a real S3 bucket."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.storage import MANIFEST, Conflict, Missing, Store, open_store
from inkloop.errors import UserError


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "s3":
        yield open_store(f"s3://{request.getfixturevalue('s3_bucket')}/some/prefix")
    else:
        yield open_store(str(tmp_path / "store"))


def test_what_is_put_is_got_back(store: Store):
    store.put("models/one/model.onnx", b"\x00bytes")
    assert store.get("models/one/model.onnx") == b"\x00bytes"
    assert store.exists("models/one/model.onnx")
    assert not store.exists("models/one/model")
    assert not store.exists("models/one")


def test_what_is_not_there_is_said_with_its_place(store: Store):
    with pytest.raises(Missing, match=r"registry/champion\.json"):
        store.get("registry/champion.json")


@pytest.mark.parametrize("place", ["/proc/nowhere", "a file"])
def test_a_folder_that_cannot_be_is_refused_in_one_sentence(tmp_path: Path, place: str):
    (tmp_path / "a file").touch()
    with pytest.raises(UserError, match=r"^store .*: cannot be written to \(.*\)\. Name another folder\.$"):
        open_store(str(tmp_path / place)).put("champion", b"one")


def test_where_a_store_must_be_there_none_is_made(tmp_path: Path):
    place = str(tmp_path / "mount" / "store")
    with pytest.raises(UserError, match=r"not there\. Is its disk mounted\?"):
        open_store(place, existing=True).put("champion", b"one")
    assert list(tmp_path.iterdir()) == []
    open_store(place).put("champion", b"one")
    open_store(place, existing=True).put("champion", b"two")


def test_keys_are_listed_by_prefix_and_gone_when_deleted(store: Store):
    for key in ("a/1", "a/2", "ab/3", "b"):
        store.put(key, b"x")
    assert store.list() == ["a/1", "a/2", "ab/3", "b"]
    assert store.list("a") == ["a/1", "a/2", "ab/3"]
    assert store.list("a/") == ["a/1", "a/2"]
    assert store.list("nothing/here") == []
    store.delete("a/1")
    store.delete("a/1")
    assert store.list("a/") == ["a/2"]


def test_a_put_over_a_changed_value_is_refused(store: Store):
    first = store.put("champion", b"one")
    second = store.put("champion", b"two", if_match=first)
    with pytest.raises(Conflict):
        store.put("champion", b"three", if_match=first)
    assert store.get_with_etag("champion") == (b"two", second)


def test_a_put_only_where_nothing_is(store: Store):
    store.put("champion", b"one", if_none_match=True)
    with pytest.raises(Conflict):
        store.put("champion", b"two", if_none_match=True)
    with pytest.raises(Conflict):
        store.put("nobody", b"two", if_match="0" * 64)
    assert store.get("champion") == b"one"


def test_of_many_who_swap_at_once_none_is_lost(store: Store):
    store.put("count", b"0")

    def count_up() -> None:
        for _ in range(4):
            while True:
                value, etag = store.get_with_etag("count")
                try:
                    store.put("count", b"%d" % (int(value) + 1), if_match=etag)
                    break
                except Conflict:
                    continue

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("count") == b"16"


def test_a_folder_comes_back_as_it_went(store: Store, tmp_path: Path):
    there, back = tmp_path / "there", tmp_path / "back"
    (there / "inner").mkdir(parents=True)
    (there / "model.onnx").write_bytes(b"net")
    (there / "inner" / "empty").write_bytes(b"")
    back.mkdir()
    (back / "old").write_text("of another model")
    store.upload(there, "models/abc")
    store.download("models/abc", back)
    assert {path.relative_to(back).as_posix() for path in back.rglob("*")} == {"inner", "inner/empty", "model.onnx"}
    assert (back / "model.onnx").read_bytes() == b"net"


def test_a_folder_changed_in_the_store_is_not_downloaded(store: Store, tmp_path: Path):
    there, back = tmp_path / "there", tmp_path / "back"
    there.mkdir()
    (there / "model.onnx").write_bytes(b"net")
    store.upload(there, "models/abc")
    store.put("models/abc/model.onnx", b"nut")
    with pytest.raises(UserError, match=r"models/abc/model\.onnx.*checksum"):
        store.download("models/abc", back)
    assert not back.exists()


def test_a_folder_uploaded_in_part_is_not_there(store: Store, tmp_path: Path):
    store.put("models/abc/model.onnx", b"net")
    with pytest.raises(Missing, match=MANIFEST):
        store.download("models/abc", tmp_path / "back")


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../outside", "a/../../b", "a//b", ".store/lock"])
def test_no_key_leads_out_of_the_store(store: Store, key: str):
    with pytest.raises(ValueError, match="not a key"):
        store.put(key, b"x")


@pytest.mark.parametrize("url", ["", "gs://bucket", "s3://", "http://host/x"])
def test_a_url_that_is_no_store_is_refused(url: str):
    with pytest.raises(UserError, match="s3://bucket/prefix"):
        open_store(url)


def test_a_file_url_is_a_folder(tmp_path: Path):
    open_store((tmp_path / "a store").as_uri()).put("key", b"x")
    assert (tmp_path / "a store" / "key").read_bytes() == b"x"


def test_a_server_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UserError, match=r"s3://bucket/key.*127\.0\.0\.1:1"):
        open_store("s3://bucket").get("key")


@pytest.mark.s3
def test_a_missing_bucket_and_a_wrong_secret_are_named(s3_bucket: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match="Create the bucket"):
        open_store(f"s3://{s3_bucket}-not").list()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(UserError, match="credentials"):
        open_store(f"s3://{s3_bucket}").get("key")


@pytest.mark.s3
def test_the_store_serves_as_a_dvc_remote(s3_server: str, s3_bucket: str, tmp_path: Path):
    def dvc(*words: str) -> str:
        command = [sys.executable, "-m", "dvc", *words]
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(tmp_path / "site")}
        return subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True, text=True).stdout

    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "digits.bin").write_bytes(b"seven")
    dvc("init", "--no-scm")
    dvc("remote", "add", "--default", "remote", f"s3://{s3_bucket}/dvc")
    dvc("remote", "modify", "remote", "endpointurl", s3_server)
    dvc("add", "digits.bin")
    dvc("push")
    (checkout / "digits.bin").unlink()
    shutil.rmtree(checkout / ".dvc" / "cache")
    dvc("pull")
    assert (checkout / "digits.bin").read_bytes() == b"seven"
    assert "up to date" in dvc("status")
