"""What a server meets in bad company and on bad days: it answers rightly, refuses in one sentence, and stays small."""

import contextlib
import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hostile
import httpx
import numpy as np
import psutil
import pytest
import s3
from PIL import Image
from served import crown, wait_until
from server import DECISION, free_port, launch, wait_until_ready
from small_disk import small_disk

from benchmarks.load import Request, all_at_once
from infra import captured, registry
from infra.storage import MANIFEST, Store, open_store
from inkloop.runtime import Recognizer

pytestmark = pytest.mark.faults

CONNECTIONS = 10_000
REQUESTS = 200_000
MIB = 2**20
RAW = {"content-type": "application/octet-stream"}
WORKER = "_bentoml_impl.worker.service"


class Served:
    """A running server, and the process that answers."""

    def __init__(self, process: subprocess.Popen, client: httpx.Client) -> None:
        self.process, self.client, self.port = process, client, client.base_url.port

    @property
    def worker(self) -> psutil.Process:
        family = psutil.Process(self.process.pid).children(recursive=True)
        return next(each for each in family if WORKER in each.cmdline())

    @property
    def supervisor(self) -> psutil.Process:
        return self.worker.parent()

    def memory_mib(self) -> float:
        return self.worker.memory_info().rss / MIB

    def metric(self, start: str) -> float:
        """The sum of all samples whose line begins so."""
        lines = [line for line in self.client.get("/metrics").text.splitlines() if line.startswith(start)]
        return sum(float(line.split()[-1]) for line in lines)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)


@contextlib.contextmanager
def serving(store: Store | str, **environment: str) -> Iterator[Served]:
    """The store's champion, served as by `make serve` with these variables."""
    port = free_port()
    process = launch(str(store), port, env={**os.environ, "OMP_NUM_THREADS": "1", **environment})
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until_ready(process, client)
            yield Served(process, client)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=60)
    assert code == 0


class Bystander:
    """A client that means no harm: it asks for one digit after the other and checks every answer. A context manager."""

    def __init__(self, served: Served, recognizer: Recognizer, images: np.ndarray, pause_s: float = 0.01) -> None:
        self._url, self._images, self._pause_s = served.client.base_url, images, pause_s
        self._expected = [recognizer.probabilities(image[None])[0] for image in images]
        self.latencies: list[float] = []
        self.ids: list[str] = []  # of its answers
        self.wrong: list[str] = []
        self.cut: list[Exception] = []  # connections that ended without an answer
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Bystander":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def was_served_well(self, within_s: float = 5.0) -> None:
        assert self.wrong == []
        assert self.cut == []
        assert self.latencies
        assert max(self.latencies) < within_s

    def __str__(self) -> str:
        took = sorted(self.latencies)
        middle, last = took[len(took) // 2] * 1e3, took[-1] * 1e3
        return f"{len(took)} answers to a bystander, median {middle:.1f} ms, longest {last:.0f} ms"

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            for image, expected in itertools.cycle(zip(self._images, self._expected, strict=True)):
                if self._over.wait(self._pause_s):
                    return
                began = time.monotonic()
                try:
                    answer = client.post("/predict", content=image.tobytes(), headers=RAW)
                except httpx.TransportError as error:
                    self.cut.append(error)
                    continue
                self.latencies.append(time.monotonic() - began)
                if answer.status_code != 200 or np.abs(answer.json()["probabilities"] - expected).max() > 1e-6:
                    self.wrong.append(answer.text)
                else:
                    self.ids.append(answer.json()["prediction_id"])


@pytest.fixture(scope="module")
def plain(champion_store) -> Iterator[Served]:
    """A server as anyone starts it."""
    with serving(champion_store) as served:
        yield served


@pytest.fixture
def bystander(plain, recognizer, test_digits) -> Iterator[Bystander]:
    with Bystander(plain, recognizer, test_digits.images[:100]) as someone:
        yield someone


@pytest.fixture
def store(model_directory, tmp_path) -> Store:
    """A store of one's own in a folder, with a champion."""
    home = open_store(str(tmp_path / "store"))
    registry.promote(home, registry.publish(home, model_directory), DECISION, expected=None)
    return home


def send(served: Served, body: bytes, content_type: str = "image/png") -> httpx.Response:
    return served.client.post("/predict", content=body, headers={"content-type": content_type})


def send_alone(served: Served, body: bytes) -> httpx.Response:
    """As `send`, on a connection of its own."""
    url = f"{served.client.base_url}/predict"
    return httpx.post(url, content=body, headers={"content-type": "image/png"}, timeout=120)


def expect_refusal(answer: httpx.Response) -> str:
    """The sentence, in lower case, of a refusal that blames the client."""
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["detail"].lower()


# Pictures


@pytest.mark.parametrize("number", range(5))
def test_a_digit_is_the_same_digit_in_every_encoding(plain, test_digits, number):
    page = hostile.photographed(test_digits.images[number])
    files = hostile.encodings(page)
    expected = send(plain, files["8-bit grey PNG"]).json()
    for name, file in files.items():
        answer = send(plain, file, "image/jpeg" if "JPEG" in name else "image/png")
        assert answer.status_code == 200, (name, answer.text)
        assert answer.json()["label"] == expected["label"], name
        lossy = "JPEG" in name
        assert answer.json()["probabilities"] == pytest.approx(expected["probabilities"], abs=0.15 if lossy else 1e-6)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_cut_anywhere_is_refused_never_guessed_at(plain, digit, kind):
    page = Image.fromarray(hostile.photographed(digit)).resize((480, 640))
    grain = np.random.default_rng(0).integers(-12, 12, (640, 480))
    whole = hostile.saved(Image.fromarray((np.asarray(page) + grain).clip(0, 255).astype(np.uint8)), kind)
    assert send(plain, whole, f"image/{kind.lower()}").status_code == 200
    cuts = range(64, len(whole), 64)
    for cut in cuts:
        assert "not a readable picture" in expect_refusal(send(plain, whole[:cut], f"image/{kind.lower()}"))
    print(f"{kind}: {len(whole)} bytes, refused at {len(cuts)} places")


def test_files_made_to_hurt_are_refused_or_read_as_what_they_show(plain, bystander, recognizer, digit):
    page = hostile.photographed(digit)
    label = send(plain, hostile.saved(Image.fromarray(page))).json()["label"]
    for name, file in hostile.malicious(page).items():
        before, began = plain.memory_mib(), time.monotonic()
        answer = send(plain, file)
        if answer.status_code == 200:
            assert "text" in name and answer.json()["label"] == label, name
        else:
            expect_refusal(answer)
        assert time.monotonic() - began < 5, name
        assert plain.memory_mib() - before < 64, name
    bystander.was_served_well()


def test_other_kinds_of_picture_called_png_are_refused(plain, digit):
    for name, file in hostile.foreign(hostile.photographed(digit)).items():
        assert "neither a png nor a jpeg" in expect_refusal(send(plain, file)), name


def test_numbers_of_another_kind_are_refused_never_read_as_pixels(plain, digit):
    wrong = {
        "float32": digit.astype(np.float32).tobytes(),
        "float64": digit.astype(np.float64).tobytes(),
        "16 bits": digit.astype(np.uint16).tobytes(),
        "a .npy file": b"\x93NUMPY\x01\x00v\x00" + b" " * 118 + digit.tobytes(),
    }
    for name, body in wrong.items():
        assert "784 bytes" in expect_refusal(send(plain, body, RAW["content-type"])), name
    number = digit.ravel().tolist()
    for odd in ("NaN", "Infinity", "-Infinity", "1e400", "-1e-9", "255.0001", "true", "null", '"7"', "[7]", "{}"):
        body = f"[{odd},{json.dumps(number[1:])[1:]}".encode()
        expect_refusal(send(plain, body, "application/json"))
        expect_refusal(plain.client.post("/predict/batch", content=b"[" + body + b"]"))
    exact = send(plain, json.dumps([float(each) for each in number]).encode(), "application/json")
    assert exact.json()["probabilities"] == send(plain, digit.tobytes(), RAW["content-type"]).json()["probabilities"]


def test_bombs_of_50_megapixels_at_once_cost_nobody_anything(plain, bystander):
    bomb = hostile.png((5_000, 10_000), 8, 0, np.zeros((5_000, 10_000), np.uint8))
    before = plain.memory_mib()
    with ThreadPoolExecutor(64) as clients:
        answers = list(clients.map(lambda file: send_alone(plain, file), [bomb] * 256))
    assert all("too large" in expect_refusal(answer) for answer in answers)
    bystander.was_served_well()
    print(f"memory {before:.0f} MiB before, {plain.memory_mib():.0f} MiB after; {bystander}")
    assert plain.memory_mib() - before < 32


def test_the_largest_pictures_at_once_are_read_and_their_memory_comes_back(plain, bystander, digit):
    sheet = Image.fromarray(hostile.photographed(digit)).resize((4_320, 5_760))
    sixteen_bits = hostile.saved(Image.fromarray(np.asarray(sheet, np.uint16) * 257))
    files = [hostile.saved(sheet), hostile.saved(sheet.convert("RGBA")), sixteen_bits]
    before, peak = plain.memory_mib(), 0.0
    with ThreadPoolExecutor(9) as clients:
        asked = [clients.submit(send_alone, plain, file) for file in files * 3]
        while not all(each.done() for each in asked):
            peak = max(peak, plain.memory_mib())
            time.sleep(0.01)
    assert [each.result().status_code for each in asked] == [200] * 9
    assert len({each.result().json()["label"] for each in asked[::3]}) == 1
    bystander.was_served_well()
    wait_until(lambda: plain.memory_mib() - before < 48, 10)
    print(f"memory {before:.0f} MiB before, at most {peak:.0f}, {plain.memory_mib():.0f} after; {bystander}")
    assert peak - before < 700


# Connections


def test_it_listens_on_loopback_alone(plain):
    family = [psutil.Process(plain.process.pid), *psutil.Process(plain.process.pid).children(recursive=True)]
    listening = {each.laddr for member in family for each in member.net_connections() if each.status == "LISTEN"}
    assert plain.port in {address.port for address in listening}
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_ten_thousand_connections_are_held_answered_and_given_back(plain, bystander, recognizer, digit):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < CONNECTIONS + 1_000:
        pytest.skip(f"this machine lets a process open {most} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    question = Request.post("/predict", RAW["content-type"], digit.tobytes())
    label = b'{"label":%d,' % recognizer.probabilities(digit[None]).argmax()
    files, memory = plain.worker.num_fds(), [plain.memory_mib()]
    for _ in range(2):
        crowd = [plain.connect() for _ in range(CONNECTIONS)]
        for each in crowd[::2]:  # the others say nothing
            each.sendall(question.content)
        heard = [answer_heard(each) for each in crowd[::2]]
        assert all(said.startswith(b"HTTP/1.1 200 ") and label in said for said in heard)
        for each in crowd:
            each.close()
        wait_until(lambda: plain.worker.num_fds() <= files + 5, 30)
        memory.append(plain.memory_mib())
    bystander.was_served_well(within_s=10)
    print(f"memory before, after one crowd and after two: {', '.join(f'{mib:.0f}' for mib in memory)} MiB; {bystander}")
    assert memory[1] - memory[0] < 150
    assert memory[2] - memory[1] < 32


def answer_heard(connection: socket.socket) -> bytes:
    """All of an answer that is JSON, or what there is of it when the server hangs up."""
    said = b""
    while not said.endswith(b"}") and (part := connection.recv(65_536)):
        said += part
    return said


@pytest.fixture(scope="module")
def strict(champion_store) -> Iterator[Served]:
    """A server with little patience."""
    limits = {"REQUEST_S": "3", "ANSWER_S": "3", "HELD_MIB": "64"}
    with serving(champion_store, **{f"INKLOOP_LIMIT_{name}": value for name, value in limits.items()}) as served:
        yield served


def test_those_who_send_slowly_are_hung_up_on_and_cost_others_nothing(strict, recognizer, test_digits):
    files = strict.worker.num_fds()
    question = Request.post("/predict", "image/png", bytes(5_000)).content
    with Bystander(strict, recognizer, test_digits.images[:100]) as someone:
        slow = [strict.connect() for _ in range(500)]
        for position in range(0, 500, 10):
            for each in slow:
                with contextlib.suppress(OSError):  # hung up on already
                    each.sendall(question[position : position + 10])
            time.sleep(0.1)
        said = [answer_heard(each) for each in slow]
        assert all(each.startswith(b"HTTP/1.1 408 ") for each in said)
        wait_until(lambda: strict.worker.num_fds() <= files + 5, 30)
    someone.was_served_well()
    print(someone)


def test_those_who_never_read_their_answers_are_cut_off_and_their_memory_comes_back(strict, recognizer, test_digits):
    files, memory = strict.worker.num_fds(), strict.memory_mib()
    batch = Request.post("/predict/batch", RAW["content-type"], test_digits.images.tobytes() * 10)
    answered = 'inkloop_requests_total{path="/predict/batch",status="200"}'
    with Bystander(strict, recognizer, test_digits.images[:100]) as someone:
        deaf = [socket.socket() for _ in range(20)]
        for number, each in enumerate(deaf, 1):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.connect(("127.0.0.1", strict.port))
            each.sendall(batch.content)
            wait_until(lambda number=number: strict.metric(answered) >= number, 30)
        held = strict.memory_mib() - memory
        wait_until(lambda: strict.worker.num_fds() <= files + 5, 30)
        wait_until(lambda: strict.memory_mib() - memory < 64, 10)
    someone.was_served_well()
    print(f"held {held:.0f} MiB, {strict.memory_mib() - memory:.0f} MiB after; {someone}")


def test_pictures_that_are_sent_and_never_finished_take_a_bounded_part_of_the_memory(strict, recognizer, test_digits):
    memory = strict.memory_mib()
    size = 10 * MIB - 1
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: {size}\r\n\r\n".encode()
    with Bystander(strict, recognizer, test_digits.images[:100]) as someone, ThreadPoolExecutor(40) as clients:

        def send_all_but_the_last_byte(_: int) -> bytes:
            with strict.connect() as each, contextlib.suppress(ConnectionError):
                each.sendall(head + bytes(size - 1))
                return each.recv(65_536)
            return b""

        asked = [clients.submit(send_all_but_the_last_byte, number) for number in range(40)]
        peak = 0.0
        while not all(each.done() for each in asked):
            peak = max(peak, strict.memory_mib() - memory)
            time.sleep(0.01)
    statuses = [each.result()[9:12] for each in asked]
    assert set(statuses) <= {b"503", b"408", b""}
    assert b"503" in statuses
    someone.was_served_well()
    wait_until(lambda: strict.memory_mib() - memory < 32, 10)
    print(f"at most {peak:.0f} MiB more for {40 * 10} MiB sent; {someone}")
    assert peak < 64 * 2 + 64


def test_who_only_listens_after_the_question_is_answered(strict, recognizer, digit):
    with strict.connect() as half:
        half.sendall(Request.post("/predict", RAW["content-type"], digit.tobytes()).content)
        half.shutdown(socket.SHUT_WR)
        said = answer_heard(half)
        assert half.recv(1) == b""
    assert said.startswith(b"HTTP/1.1 200 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["label"] == recognizer.probabilities(digit[None]).argmax()


def test_who_closes_in_the_middle_of_a_question_leaves_nothing_behind(strict, digit):
    files = strict.worker.num_fds()
    question = Request.post("/predict", RAW["content-type"], digit.tobytes()).content
    for cut in range(0, len(question), 7):
        with strict.connect() as half:
            half.sendall(question[:cut])
    wait_until(lambda: strict.worker.num_fds() <= files + 5, 10)


# The disk and the store


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A disk of 1 MiB of its own."""
    with small_disk(tmp_path / "disk", "1m") as place:
        yield place


def test_a_full_disk_costs_records_which_are_counted_and_never_an_answer(store, disk, recognizer, test_digits, capfd):
    ours = {"INKLOOP_CAPTURE_FOLDER": str(disk), "INKLOOP_CAPTURE_SHIP_INTERVAL_S": "3600"}
    lost = 'inkloop_not_captured_total{reason="disk"}'
    waits = {**RAW, "inkloop-capture": "wait"}
    with serving(store, **ours) as served, Bystander(served, recognizer, test_digits.images[:100], 0.002) as someone:
        wait_until(lambda: served.metric(lost) > 200, 60)
        digit = test_digits.images[0].tobytes()

        def is_kept() -> bool:
            answer = served.client.post("/predict", content=digit, headers=waits)
            return answer.headers["inkloop-captured"] == "yes"

        assert not is_kept()
        label = {"prediction_id": someone.ids[0], "label": 7}
        assert served.client.post("/feedback", json=label).status_code == 507
        for segment in sorted(disk.rglob("*.segment"))[:1]:
            segment.unlink()
        back_s = wait_until(is_kept, 10)
        assert served.client.post("/feedback", json=label).status_code == 200
        captured_and_lost = served.metric("inkloop_captured_total"), served.metric(lost)
    someone.was_served_well()
    told = "".join(capfd.readouterr()).count("Records are not captured")
    print(f"{captured_and_lost} captured and lost, captured again after {back_s:.2f} s, told {told} times; {someone}")
    assert told == 1


def test_while_the_store_is_down_for_a_minute_answers_go_on_and_no_record_is_lost(
    model_directory, recognizer, test_digits, tmp_path, monkeypatch
):
    (disk := tmp_path / "s3").mkdir()
    ports = s3.free_ports(len(s3.PARTS))
    ours = {"INKLOOP_CAPTURE_FOLDER": str(tmp_path / "captured"), "INKLOOP_CAPTURE_SHIP_INTERVAL_S": "1"}
    with contextlib.ExitStack() as running:
        s3_server = contextlib.ExitStack()
        running.callback(s3_server.close)
        endpoint = s3_server.enter_context(s3.running(disk, ports))
        store = open_store(f"s3://{s3.fresh_bucket(endpoint, monkeypatch)}/prefix")
        registry.promote(store, registry.publish(store, model_directory), DECISION, expected=None)
        served = running.enter_context(serving(store, **ours))
        with Bystander(served, recognizer, test_digits.images[:100]) as someone:
            wait_until(lambda: bool(someone.ids), 10)
            corrected = [correct(served, someone)]
            time.sleep(5)
            s3_server.close()
            answered = len(someone.ids)
            labels_took = []
            for _ in range(60):
                began = time.monotonic()
                corrected.append(correct(served, someone))
                labels_took.append(time.monotonic() - began)
                time.sleep(max(0.0, 1 - labels_took[-1]))
            meanwhile = len(someone.ids) - answered
            s3_server.enter_context(s3.running(disk, ports))
            time.sleep(2)
        someone.was_served_well()
        # It tries again after 1 s, 2 s, 4 s and so on, the last time up to a minute after the store came back.
        arrived_s = wait_until(lambda: set(stored_ids(store, captured.ANSWERS)) >= set(someone.ids), 150)
        assert sorted(stored_ids(store, captured.ANSWERS)) == sorted(someone.ids)
        wait_until(lambda: sorted(stored_ids(store, captured.LABELS)) == sorted(corrected), 30)
    print(f"{meanwhile} answers while it was down, all there after {arrived_s:.0f} s; "
          f"a correction took at most {max(labels_took):.1f} s; {someone}")  # fmt: skip


def correct(served: Served, someone: Bystander) -> str:
    """Say what the latest answer should have been; returns its id."""
    told = {"prediction_id": someone.ids[-1], "label": 7}
    assert served.client.post("/feedback", json=told).status_code == 200
    return told["prediction_id"]


def stored_ids(store: Store, kind: str) -> list[str]:
    """Of all answers, or labels, in the store, as often as they lie there."""
    tables = [captured.from_parquet(store.get(key)) for key in captured.keys(store, kind)]
    return [each for table in tables for each in table.column("prediction_id").to_pylist()]


def flipped(path: Path, position: int) -> bytes:
    """Flip one bit of the file; returns what was in it."""
    content = path.read_bytes()
    changed = bytearray(content)
    changed[position % len(content)] ^= 4
    path.write_bytes(changed)
    return content


@pytest.mark.parametrize("name", ["model.onnx", "model.json", "weights.safetensors", MANIFEST])
def test_a_model_with_one_flipped_bit_never_answers(store, other_model_directory, recognizer, test_digits, name):
    digest = registry.publish(store, other_model_directory)
    path = store.root / "models" / digest / name
    failed = 'inkloop_model_reload_failures_total{of="champion"}'
    with serving(store) as served, Bystander(served, recognizer, test_digits.images[:100]) as someone:
        whole = flipped(path, 2 if name == MANIFEST else path.stat().st_size // 2)
        crown(store, digest)
        wait_until(lambda: served.metric(failed) >= 2, 30)
        assert served.client.get("/model").json()["model_version"] == recognizer.version
        someone.__exit__()
        path.write_bytes(whole)
        wait_until(lambda: served.client.get("/model").json()["digest"] == digest, 15)
    someone.was_served_well()


@pytest.mark.parametrize("name", ["model.onnx", MANIFEST])
def test_a_server_does_not_start_with_a_flipped_bit_and_says_so(store, name):
    digest = registry.reigning(store).digest
    path = store.root / "models" / digest / name
    for position in (0, path.stat().st_size // 2, path.stat().st_size - 1):
        whole = flipped(path, position)
        command = [sys.executable, "-m", "pipeline", "serve", "--store", str(store), "--port", str(free_port())]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert ended.returncode == 2
        assert len(ended.stderr.strip().splitlines()) == 1
        assert digest in ended.stderr
        path.write_bytes(whole)


# Processes that die


def test_a_killed_worker_is_replaced_and_who_comes_meanwhile_waits_and_is_answered(store, recognizer, test_digits):
    images = test_digits.images[:100]
    with serving(store) as served, contextlib.ExitStack() as clients:
        crowd = [clients.enter_context(Bystander(served, recognizer, images, 0.0)) for _ in range(8)]
        back = []
        for _ in range(3):
            time.sleep(2)
            before, began = served.worker.pid, time.monotonic()
            served.worker.kill()
            wait_until(lambda: is_ready(served), 60)
            assert served.worker.pid != before
            back.append(time.monotonic() - began)
        time.sleep(2)
    assert all(each.wrong == [] for each in crowd)
    # A connection ends with the process that held it; asked once more, it is answered.
    assert all(len(each.cut) <= 3 for each in crowd)
    print(f"back after {', '.join(f'{seconds:.1f}' for seconds in back)} s; {sum(len(each.cut) for each in crowd)} "
          f"requests cut off; {crowd[0]}")  # fmt: skip
    assert max(back) < 30


def is_ready(served: Served) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return served.client.get("/readyz").status_code == 200
    return False


def test_a_server_whose_supervisor_is_killed_ends_and_says_so(store):
    port = free_port()
    command = [sys.executable, "-m", "pipeline", "serve", "--store", str(store), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        wait_until_ready(process, client)
        served = Served(process, client)
        family = psutil.Process(process.pid).children(recursive=True)
        served.supervisor.kill()
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert "The server ended by itself, by signal 9" in said
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []


# Time


def test_memory_is_flat_over_two_hundred_thousand_requests(plain, digit):
    page = hostile.saved(Image.fromarray(hostile.photographed(digit)))
    mix = [
        Request.post("/predict", RAW["content-type"], digit.tobytes()),
        Request.post("/predict", "application/json", json.dumps(digit.tolist()).encode()),
        Request.post("/predict", "image/png", page),
    ]
    count = 'inkloop_requests_total{path="/predict",status="200"}'
    start, began, measured = plain.metric(count), time.monotonic(), {}
    for request in itertools.cycle(mix):
        all_at_once(plain.port, request, connections=16, seconds=2)
        answered = plain.metric(count) - start
        measured[answered] = plain.memory_mib()
        if answered >= REQUESTS:
            break
    early = next(memory for answered, memory in measured.items() if answered >= REQUESTS / 10)
    print(f"{answered:.0f} requests in {time.monotonic() - began:.0f} s: {early:.1f} MiB after a tenth, "
          f"{measured[answered]:.1f} MiB after all")  # fmt: skip
    assert measured[answered] - early < 8
