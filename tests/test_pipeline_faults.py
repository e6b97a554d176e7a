"""The pipeline on bad days: killed steps, full disks, flipped bits, a store that dies, two at once, jumping clocks."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import s3
from served import wait_until
from small_disk import small_disk
from test_lineage import flipped
from test_local_run import STEPS, Toy, hang, runs, toy  # noqa: F401 - a fixture

from infra import dvc, pinned_data, registry
from infra.storage import FolderStore, Missing, open_store
from inkloop import artifacts, download, mnist
from inkloop.errors import UserError
from inkloop.gate import Decision

pytestmark = pytest.mark.faults
KIB = 1024


@pytest.fixture
def disk(tmp_path):
    """A disk of 256 KiB of its own."""
    with small_disk(tmp_path / "disk", "256k") as place:
        yield place


def fill(disk: Path, left_kib: int) -> Path:
    """A file that takes all of the disk but for that much."""
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - left_kib * KIB))
    return ballast


# Steps


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_is_killed_is_said_to_be_and_the_next_run_goes_on_from_before_it(toy: Toy, step: str):  # noqa: F811
    process, pid_of_step = hang(toy, step)
    os.kill(pid_of_step, signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"The step {step} failed" in said
    assert "It was ended from outside" in said
    assert toy.cached() == STEPS[: STEPS.index(step)]


@pytest.mark.parametrize("left_kib", [0, 4, 12, 20, 28, 36])
def test_a_disk_that_is_full_at_any_point_is_named_and_the_run_goes_on_once_there_is_room(
    toy: Toy,  # noqa: F811
    disk: Path,
    left_kib: int,
):
    ballast = fill(disk, left_kib)
    code, said, shown = toy.run(artifacts=disk / "artifacts")
    assert code in (0, 2), said + shown
    if code == 2:
        assert "no space left on device" in said
        assert len(said.strip().splitlines()) == 1
        assert "Traceback" not in shown
    ballast.unlink()
    toy.cached(artifacts=disk / "artifacts")
    assert (disk / "artifacts" / "latest" / "evaluate" / "report").read_text() == "0.0"


# Stores


def test_a_full_disk_under_the_store_changes_nothing_and_leaves_nothing(disk: Path, model_directory):
    store = FolderStore(disk / "store")
    store.put("registry/champion.json", b"the champion")
    ballast = fill(disk, left_kib=8)
    with pytest.raises(UserError, match="cannot be written to \\(No space left on device\\)"):
        registry.publish(store, model_directory)
    with pytest.raises(UserError, match="No space left on device"):
        store.put("registry/champion.json", bytes(64 * KIB))
    assert store.get("registry/champion.json") == b"the champion"
    assert sorted(path.name for path in (disk / "store" / ".store").iterdir()) == ["lock"]
    digest = artifacts.digest(model_directory)
    with pytest.raises(Missing):
        registry.fetch(store, digest, disk / "fetched")
    ballast.unlink()


@pytest.mark.s3
def test_s3_that_is_killed_during_an_upload_and_comes_back_holds_all_or_says_that_it_does_not(tmp_path, monkeypatch):
    (folder := tmp_path / "model").mkdir()
    chance = np.random.default_rng(0)
    for number in range(200):
        (folder / f"part-{number:03}").write_bytes(chance.bytes(32 * KIB))
    (place := tmp_path / "s3").mkdir()
    ports = s3.free_ports(len(s3.PARTS))
    with contextlib.ExitStack() as server:
        endpoint = server.enter_context(s3.running(place, ports))
        store = open_store(f"s3://{s3.fresh_bucket(endpoint, monkeypatch)}/prefix")
        with ThreadPoolExecutor(1) as uploader:
            upload = uploader.submit(store.upload, folder, "models/one")
            wait_until(lambda: len(store.list("models/one/")) >= 20, 60)
            server.close()
            with pytest.raises(UserError, match="Check AWS_ENDPOINT_URL") as said:
                upload.result(timeout=120)
        assert len(str(said.value).splitlines()) == 1
        server.enter_context(s3.running(place, ports))
        there = len(store.list("models/one/"))
        assert 20 <= there < 200
        with pytest.raises(Missing):
            store.download("models/one", tmp_path / "fetched")
        assert not (tmp_path / "fetched").exists()

        store.upload(folder, "models/one")

        store.download("models/one", tmp_path / "fetched")
        assert artifacts.digest(tmp_path / "fetched") == artifacts.digest(folder)
    print(f"killed after {there} of 200 files")


def test_s3_that_refuses_a_clock_that_is_off_says_so(monkeypatch):
    body = b"<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message></Error>"

    class Strict(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(403)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Strict)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {"KEY_ID": "a", "KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{'ACCESS' if name == 'KEY_ID' else 'SECRET_ACCESS'}_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(UserError, match=r"RequestTimeTooSkewed.*Set the clock of this machine"):
        open_store("s3://bucket/prefix").get("registry/champion.json")
    server.shutdown()
    server.server_close()


# Bytes that changed


def test_a_flipped_bit_in_the_dvc_remote_or_cache_is_never_read_and_fetched_elsewhere(data_dir, tmp_path, monkeypatch):
    names = ("t10k-labels-idx1-ubyte", "train-labels-idx1-ubyte")
    monkeypatch.setattr(mnist, "MD5", {name: mnist.MD5[name] for name in names})
    fetched = []

    def fetch(folder: Path) -> str:
        fetched.append(folder)
        mnist.write({name: (data_dir / "mnist" / name).read_bytes() for name in names}, folder)
        return "a mirror"

    monkeypatch.setattr(download, "fetch", fetch)

    def run(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=tmp_path, check=True, capture_output=True)

    data = tmp_path / "data"
    fetch(data / "mnist")
    fetched.clear()
    run("init", "--no-scm")
    run("add", "data")
    run("remote", "add", "--default", "store", str(tmp_path / "remote"))
    run("push")
    version = dvc.pinned(data)
    md5 = mnist.MD5[names[0]]
    kept = tmp_path / "remote" / "files" / "md5" / md5[:2] / md5[2:]
    cached = tmp_path / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    kept.chmod(0o644)

    with flipped(kept):
        for place in (data / "mnist", tmp_path / ".dvc" / "cache"):
            subprocess.run(["rm", "-rf", place], check=True)
        pinned_data.ensure(data)
        assert mnist.is_whole(data / "mnist")
        assert fetched == [data / "mnist"]
    assert dvc.damaged(data, version) == []

    cached.chmod(0o644)
    with flipped(cached):
        subprocess.run(["rm", "-rf", data / "mnist"], check=True)
        pinned_data.ensure(data)
        assert mnist.is_whole(data / "mnist")
        assert dvc.damaged(data, version) == []


@pytest.mark.parametrize(
    ("step", "name"), [("ingest", "digits/numbers.txt"), ("train", "model"), ("evaluate", "report")]
)
def test_a_flipped_bit_in_any_cached_artifact_is_found_and_the_step_done_again(toy: Toy, step: str, name: str):  # noqa: F811
    toy.cached()
    path = (toy.folder / "artifacts" / "latest" / step / name).resolve()
    whole = path.read_bytes()
    path.write_bytes(bytes([whole[0] ^ 4, *whole[1:]]))
    os.utime(path, ns=(1, 1))
    assert toy.cached() == [each for each in STEPS if each != step]
    assert (toy.folder / "artifacts" / "latest" / step / name).read_bytes() == whole


# Two at once


def test_two_runs_that_need_the_same_data_fetch_it_once_and_whole(data_dir, tmp_path, monkeypatch):
    names = ("t10k-labels-idx1-ubyte",)
    monkeypatch.setattr(mnist, "MD5", {name: mnist.MD5[name] for name in names})
    fetched = []

    def slowly(folder: Path) -> str:
        fetched.append(folder)
        time.sleep(0.5)
        mnist.write({name: (data_dir / "mnist" / name).read_bytes() for name in names}, folder)
        return "a mirror"

    monkeypatch.setattr(download, "fetch", slowly)
    with ThreadPoolExecutor(4) as crowd:
        list(crowd.map(pinned_data.ensure, [tmp_path / "data"] * 4))
    assert len(fetched) == 1
    assert mnist.is_whole(tmp_path / "data" / "mnist")


PACKAGE = """
import json, sys
from kfp.dsl import Artifact, Dataset, Markdown, Model
from components.package import package
from inkloop.errors import UserError
asked = json.loads(sys.argv[1])
kinds = {"validated": Dataset, "teacher": Model, "challenger": Model, "report": Artifact, "decision": Artifact,
         "bento": Artifact, "card": Markdown}
try:
    package.python_func(**{name: kind(uri=asked[name]) for name, kind in kinds.items()}, config={},
                        store=asked["store"], store_id="")
except UserError as error:
    sys.exit(str(error))
"""


@pytest.mark.s3
def test_of_two_runs_that_promote_into_one_store_at_once_one_wins_and_the_other_is_told(
    model_directory, other_model_directory, few_digits, s3_bucket, tmp_path
):
    from test_lineage import REPORT

    url, started = f"s3://{s3_bucket}/prefix", []
    for model, teacher in ((model_directory, other_model_directory), (other_model_directory, model_directory)):
        (folder := tmp_path / artifacts.digest(model)).mkdir()
        decision = Decision(
            promoted=True,
            reason="the first champion",
            challenger=artifacts.digest(model),
            champion=None,
            challenger_accuracy=0.9,
            worse_slices=(),
        )
        (folder / "decision").write_text(decision.model_dump_json())
        (folder / "report").write_text(REPORT.model_dump_json())
        mine = {name: str(folder / name) for name in ("decision", "report", "bento", "card")}
        asked = {**mine, "validated": str(few_digits), "teacher": str(teacher), "challenger": str(model), "store": url}
        command = [sys.executable, "-c", PACKAGE, json.dumps(asked)]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    ended = {process.communicate(timeout=280)[1].strip(): process.returncode for process in started}

    store = open_store(url)
    assert sorted(ended.values()) == [0, 1], ended
    (told,) = (said for said, code in ended.items() if code)
    assert "Run the pipeline again to judge it anew" in told.splitlines()[-1]
    assert len(registry.history(store)) == 1
    for number, model in enumerate((model_directory, other_model_directory)):
        registry.fetch(store, artifacts.digest(model), tmp_path / f"fetched-{number}")


# Clocks


def test_a_clock_that_was_ahead_costs_no_result_and_hides_no_report(toy: Toy):  # noqa: F811
    toy.cached()
    folder = toy.folder / "artifacts"
    (before,) = (folder / "runs").iterdir()
    ahead = before.with_name("toy-2099-01-01-00-00-00-000000")
    before.rename(ahead)
    far = time.time() + 10 * 365 * 24 * 3600
    for entry in (folder / "cache").glob("*.json"):
        entry.write_text(entry.read_text().replace(str(before), str(ahead)))
        os.utime(entry, (far, far))

    assert toy.cached() == STEPS
    code, said, _ = toy.run(failure="mendable")
    assert code == 2
    report = toy.output("train", "model")
    assert f"The report: {report}" in said
    assert ahead not in report.resolve().parents
    assert toy.cached() == STEPS
