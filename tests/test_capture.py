"""Capture keeps what it acknowledges, whatever happens to the process, the disk or the client."""

import asyncio
import contextlib
import multiprocessing
import random
import signal
import subprocess
import sys
import time
from multiprocessing.context import BaseContext
from pathlib import Path

import full_speed
import httpx
import numpy as np
import pytest
from recorded import answers, made, stored
from test_serving import free_port, launch, wait_until_ready

from infra import captured, registry
from infra.storage import Store, open_store
from inkloop.errors import UserError
from serving import consent, metrics
from serving.capture import VARIABLE_PREFIX, Capture, CaptureSettings, Ticket
from serving.records import Record, decode, new_id
from serving.segments import parse, waiting
from serving.shipping import ship

SECRET = b"the store's secret"


def started(folder: Path, **settings) -> Capture:
    return Capture(folder, CaptureSettings(**{"batch_s": 0.005, **settings}), SECRET)


def kept(folder: Path) -> list[Record]:
    """All records in the folder's segments."""
    contents = [parse(path.read_bytes()) for path in waiting(folder)]
    return [decode(record) for each in contents for record in each.records]


def put_and_wait(capture: Capture, record: Record) -> bool:
    capture.put(record, ticket := Ticket())
    return ticket.result(timeout=10)


def not_captured(reason: str) -> float:
    return metrics.NOT_CAPTURED.labels(reason)._value.get()


def test_every_answer_is_on_the_disk_after_an_orderly_stop(test_digits, folder):
    capture, records = started(folder), answers(test_digits, 500)
    for record in records:
        capture.put(record)
    capture.close()
    assert [record.prediction_id for record in kept(folder)] == [record.prediction_id for record in records]
    assert parse(waiting(folder)[-1].read_bytes()).sealed


def test_what_is_acknowledged_is_on_the_disk_at_that_moment(test_digits, folder):
    capture = started(folder)
    for record in answers(test_digits, 20):
        assert put_and_wait(capture, record)
        assert kept(folder)[-1].prediction_id == record.prediction_id
    capture.close()


def test_a_client_that_leaves_while_it_waits_disturbs_nobody(test_digits, folder):
    async def leave_and_stay() -> bool:
        capture = started(folder, batch_s=0.1)
        leaver = asyncio.create_task(capture.durable(answers(test_digits, 1)[0]))
        await asyncio.sleep(0.01)
        leaver.cancel()
        stays = await capture.durable(answers(test_digits, 1)[0])
        capture.close()
        return stays

    assert asyncio.run(leave_and_stay())
    assert len(kept(folder)) == 2


def test_a_full_queue_drops_and_counts_and_never_blocks(test_digits, folder):
    before = not_captured("queue full")
    capture = started(folder, queue_size=10, batch_s=0.2)
    tickets = []
    for record in answers(test_digits, 25):
        capture.put(record, ticket := Ticket())
        tickets.append(ticket)
    assert [ticket.result(timeout=10) for ticket in tickets] == [True] * 10 + [False] * 15
    capture.close()
    assert not_captured("queue full") - before == 15
    assert len(kept(folder)) == 10


def test_without_a_disk_nothing_is_acknowledged_and_capture_resumes_once_there_is_one(test_digits, folder):
    before = not_captured("disk")
    folder.write_text("a file where the folder should be")
    capture = started(folder)
    first, second = answers(test_digits, 2)
    assert not put_and_wait(capture, first)
    assert not_captured("disk") - before == 1
    folder.unlink()
    assert put_and_wait(capture, second)
    capture.close()
    assert [record.prediction_id for record in kept(folder)] == [second.prediction_id]


def test_a_sample_is_as_large_as_asked_and_the_same_on_every_server(test_digits, tmp_path):
    records = answers(test_digits, 4000)
    for name in ("one", "other"):
        capture = started(tmp_path / name, share=0.25)
        for record in records:
            capture.put(record)
        capture.close()
    one, other = ([record.prediction_id for record in kept(tmp_path / name)] for name in ("one", "other"))
    assert one == other
    assert 0.22 < len(one) / len(records) < 0.28


def test_labels_are_kept_whatever_the_sample(folder):
    capture = started(folder, share=0)
    assert asyncio.run(capture.put_label(new_id(), 7, "anna@example.org"))
    capture.close()
    (label,) = kept(folder)
    assert (label.kind, label.label) == ("label", 7)


def test_a_person_is_known_by_a_keyed_hash_alone(folder):
    capture = started(folder)
    asyncio.run(capture.put_label(new_id(), 7, "anna@example.org"))
    capture.close()
    (path,) = waiting(folder)
    assert b"anna" not in path.read_bytes()
    assert kept(folder)[0].person == capture.pseudonym("anna@example.org") != capture.pseudonym("anna")
    assert capture.pseudonym(None) == b""


def test_segments_are_closed_when_they_are_large_or_old(test_digits, folder):
    capture = started(folder, segment_mib=0.02)
    for record in answers(test_digits, 100):
        put_and_wait(capture, record)
    capture.close()
    assert 3 <= len(waiting(folder)) <= 6
    capture = started(folder / "old", ship_interval_s=0.1)
    put_and_wait(capture, answers(test_digits, 1)[0])
    time.sleep(0.4)
    assert parse(waiting(folder / "old")[0].read_bytes()).sealed
    capture.close()


def test_headers_say_whether_a_request_is_captured():
    read = consent.read
    assert read([(b"content-type", b"image/png")]) == consent.UNSAID
    assert not read([(b"inkloop-capture", b" No ")]).given
    assert read([(b"inkloop-capture", b"WAIT")]).wait
    assert read([(b"inkloop-person", b"anna"), (b"inkloop-source", b"tablet")])[2:] == ("anna", "tablet")


def test_an_unknown_or_wrong_setting_is_an_error_that_names_it():
    settings = CaptureSettings.from_environment(
        VARIABLE_PREFIX, {"INKLOOP_CAPTURE_SHARE": "0.5", "INKLOOP_STORE": "store"}
    )
    assert settings == CaptureSettings(share=0.5)
    with pytest.raises(UserError, match="INKLOOP_CAPTURE_SHAER: not a setting"):
        CaptureSettings.from_environment(VARIABLE_PREFIX, {"INKLOOP_CAPTURE_SHAER": "0.5"})
    with pytest.raises(UserError, match="INKLOOP_CAPTURE_SHARE=2: "):
        CaptureSettings.from_environment(VARIABLE_PREFIX, {"INKLOOP_CAPTURE_SHARE": "2"})


@pytest.fixture(scope="module")
def processes() -> BaseContext:
    """Processes that start within milliseconds, so that many can be killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["serving.capture"])
    return context


def test_a_label_that_is_no_digit_is_refused(folder):
    capture = started(folder)
    for prediction_id, label in ((new_id(), 10), (new_id(), -1), (b"short", 7)):
        with pytest.raises(ValueError, match="no label to keep"):
            asyncio.run(capture.put_label(prediction_id, label))
    capture.close()


def test_a_header_of_any_bytes_is_captured(test_digits, folder):
    said = consent.read([(b"inkloop-person", "Zoë".encode()), (b"inkloop-source", b"\xff\xfe")])
    capture = started(folder)
    (record,) = answers(test_digits, 1)
    assert put_and_wait(capture, record._replace(person=capture.pseudonym(said.person), source=said.source))
    capture.close()
    assert kept(folder)[0].person == capture.pseudonym("Zoë")


def test_the_served_champion_keeps_what_clients_let_it_and_ships_it_when_it_stops(
    model_directory, test_digits, tmp_path
):
    store, port = open_store(str(tmp_path / "store")), free_port()
    registry.promote(store, registry.publish(store, model_directory), {"promoted": True}, expected=None)
    server = launch(str(store), port)
    kind = {"content-type": "application/octet-stream"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, headers=kind) as client:
        wait_until_ready(server, client)
        said = [
            client.post("/predict", content=image.tobytes(), headers=headers)
            for image in test_digits.images[:10]
            for headers in ({}, {"Inkloop-Capture": "NO"}, {"Inkloop-Capture": "wait", "Inkloop-Source": "tablet"})
        ]
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=60) == 0
    assert [each.headers.get("inkloop-captured") for each in said] == [None, None, "yes"] * 10
    table = stored(store)
    kept_ids = [each.json()["prediction_id"] for row, each in enumerate(said) if row % 3 != 1]
    assert table.column("prediction_id").to_pylist() == kept_ids
    assert table.column("source").to_pylist() == ["production", "tablet"] * 10
    assert table.column("answer").to_pylist()[::2] == [each.json()["label"] for each in said[::3]]


def kill_a_writer(processes: BaseContext, folder: Path, image: np.ndarray, after_s: float) -> set[str]:
    """Run a process that captures at full speed, kill -9 it; returns the ids it was told are durable."""
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=full_speed.write, args=(folder, image, theirs))
    process.start()
    theirs.close()
    acknowledged = set(ours.recv())  # it is at work
    end = time.monotonic() + after_s
    while (rest := end - time.monotonic()) > 0:
        if ours.poll(rest):
            acknowledged.update(ours.recv())
    process.kill()
    with contextlib.suppress(EOFError, OSError):  # the last message may be torn, and acknowledges nothing
        while True:
            acknowledged.update(ours.recv())
    process.join()
    return acknowledged


def expect_each_once(acknowledged: set[str], store: Store) -> None:
    """Check that what was acknowledged is in the store, and nothing is there twice."""
    tables = [captured.from_parquet(store.get(key)) for key in captured.keys(store, captured.ANSWERS)]
    found = [each for table in tables for each in table.column("prediction_id").to_pylist()]
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)


@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_full_speed_it_loses_nothing_it_acknowledged(kills, processes, test_digits, tmp_path):
    folder, store = tmp_path / "captured", open_store(str(tmp_path / "store"))
    chance, acknowledged = random.Random(0), set()
    for _ in range(kills):
        acknowledged |= kill_a_writer(processes, folder, test_digits.images[0], after_s=chance.uniform(0, 0.15))
        ship(folder, store)
    assert len(acknowledged) > 100 * kills
    assert waiting(folder) == []
    expect_each_once(acknowledged, store)


async def ask_until_killed(server: subprocess.Popen, port: int, image: np.ndarray, after_s: float) -> set[str]:
    """Ask from 16 connections, kill -9 the server meanwhile; returns the ids it said are captured."""
    acknowledged = set()
    headers = {"content-type": "application/octet-stream", "inkloop-capture": "wait"}

    async def ask(client: httpx.AsyncClient) -> None:
        with contextlib.suppress(httpx.TransportError):
            while True:
                answer = await client.post("/predict", content=image.tobytes(), headers=headers)
                if answer.headers["inkloop-captured"] == "yes":
                    acknowledged.add(answer.json()["prediction_id"])

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        asking = [asyncio.create_task(ask(client)) for _ in range(16)]
        await asyncio.sleep(after_s)
        server.kill()
        await asyncio.gather(*asking)
    server.wait()
    return acknowledged


def serve(model: Path, store_url: str, folder: Path) -> tuple[subprocess.Popen, int]:
    """A server of the app that captures to the folder and ships every second; returns it and its port, once ready."""
    port = free_port()
    command = [sys.executable, full_speed.__file__, str(model), store_url, str(folder), str(port)]
    server = subprocess.Popen(command)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        wait_until_ready(server, client)
    return server, port


@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_a_server_killed_under_load_loses_no_answer_it_called_captured(kills, model_directory, test_digits, tmp_path):
    folder, store_url = tmp_path / "captured", str(made(tmp_path / "store"))
    chance, acknowledged = random.Random(0), set()
    for _ in range(kills):
        server, port = serve(model_directory, store_url, folder)
        after_s = chance.uniform(0.3, 1)
        acknowledged |= asyncio.run(ask_until_killed(server, port, test_digits.images[0], after_s))
    server, _ = serve(model_directory, store_url, folder)
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=60) == 0
    assert len(acknowledged) > 10 * kills
    assert list(folder.rglob("*.segment")) == []  # the last server has shipped what the others left
    expect_each_once(acknowledged, open_store(store_url))
