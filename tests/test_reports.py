"""Reports on what production saw: made of the store alone, once a window, and shown to nobody but this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import psutil
import pytest
from evidently.ui.service.components.telemetry import TelemetryComponent
from recorded import label_of
from scipy import ndimage
from server import free_port
from starlette.testclient import TestClient

from infra import captured, persons, privacy, reference, registry
from infra.storage import Missing, Store, open_store
from inkloop import digits
from inkloop.digits import Digits
from inkloop.errors import UserError
from inkloop.runtime import Recognizer
from monitoring.reports import ui, workspace
from monitoring.reports.windows import Window, windows_of
from serving.records import Record
from serving.shipping import to_table

# Evidently's, of which nothing can be mended here.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")

DAY = datetime(2026, 11, 20, tzinfo=UTC)
NEXT = DAY + timedelta(days=1)
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def model(model_directory) -> Recognizer:
    return Recognizer(model_directory)


@pytest.fixture(scope="module")
def published(model, model_directory, mnist, tmp_path_factory) -> Path:
    """A store with a champion and its reference, of 2,000 real digits; not to be written to."""
    store = open_store(str(tmp_path_factory.mktemp("published") / "store"))
    registry.publish(store, model_directory)
    held_out = mnist["validation"].take(slice(0, 2000))
    reference.publish(store, model, digits.to_table(held_out.images, held_out.labels, "mnist", "validation"))
    registry.promote(store, model.digest, {"reason": "the first"}, None)
    return Path(str(store))


@pytest.fixture
def store(published, tmp_path) -> Store:
    """A store of one's own with a champion and its reference, in which nothing was captured yet."""
    store = open_store(str(tmp_path / "store"))
    source = open_store(str(published))
    for key in source.list():
        store.put(key, source.get(key))
    return store


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "monitoring"


def id_at(when: datetime, number: int) -> bytes:
    """An id as the server makes it at that time."""
    return int(when.timestamp() * 1000).to_bytes(6, "big") + b"\x70\x00\x80" + number.to_bytes(7, "big")


def seen(
    model: Recognizer,
    images: np.ndarray,
    when: datetime,
    source: str = "production",
    version: str | None = None,
    person: bytes = b"",
) -> list[Record]:
    """What the server would have captured of these pictures, one a second from then on."""
    said = np.concatenate([model.probabilities(images[at : at + 256]) for at in range(0, len(images), 256)])
    records = []
    for number, (image, probabilities) in enumerate(zip(images, said, strict=True)):
        at = when + timedelta(seconds=number)
        micros, answer = int(at.timestamp()) * 1_000_000, int(probabilities.argmax())
        records.append(
            Record(
                "answer",
                id_at(at, number),
                micros,
                answer,
                person,
                source,
                version or model.version,
                image,
                probabilities.astype(np.float32),
            )
        )
    return records


def keep(store: Store, records: list[Record], segment: str) -> None:
    """Put captured records in the store as the shipper does, each hour in its object."""
    kind = {"answer": captured.ANSWERS, "label": captured.LABELS}[records[0].kind]
    by_hour: dict[datetime, list[Record]] = {}
    for record in records:
        hour = datetime.fromtimestamp(record.seen_at // 3_600_000_000 * 3600, UTC)
        by_hour.setdefault(hour, []).append(record)
    for hour, rows in by_hour.items():
        store.put(captured.key_of(kind, hour, segment), captured.to_parquet(to_table(rows)))


def labels_for(records: list[Record], truth: np.ndarray) -> list[Record]:
    return [label_of(record, int(label)) for record, label in zip(records, truth, strict=True)]


def snapshots(folder: Path) -> dict[str, dict]:
    """All snapshots of the workspace, by file."""
    return {path.name: json.loads(path.read_text()) for path in (folder / "workspace").glob("*/snapshots/*.json")}


def one(folder: Path, kind: str, **metadata: str) -> dict:
    """The one snapshot of this kind and part."""
    wanted = {"part": "all", **metadata, "kind": kind}
    found = [each for each in snapshots(folder).values() if each["metadata"].items() >= wanted.items()]
    assert len(found) == 1, [each["metadata"] for each in snapshots(folder).values()]
    return found[0]


def values(snapshot: dict, metric: str, param: str = "column") -> dict[str, float]:
    """A metric's values by column."""
    found = {}
    for result in snapshot["metric_results"].values():
        params = result["metric_value_location"]["metric"]["params"]
        if params["type"] == f"evidently:metric_v2:{metric}":
            found[params.get(param, "")] = result.get("value", result.get("share"))
    return found


def tallies(snapshot: dict) -> dict[str, float]:
    return values(snapshot, "Tally", "name")


def drifted(snapshot: dict) -> set[str]:
    return {column for column, distance in values(snapshot, "ValueDrift").items() if distance >= 0.1}


def thick(images: np.ndarray) -> np.ndarray:
    return np.stack([ndimage.grey_dilation(image, (2, 2)) for image in images])


@pytest.fixture(scope="module")
def sample(mnist) -> Digits:
    """1,200 real digits that the model never saw, of all writers: those beside each other are of few."""
    unseen = np.arange(4000, len(mnist["train"]))
    return mnist["train"].take(np.random.default_rng(0).choice(unseen, 1200, replace=False))


def test_a_report_says_how_many_there_were_and_that_nothing_drifted(store, folder, model, sample):
    keep(store, seen(model, sample.images, DAY), "a")

    assert workspace.update(store, folder) == [Window(DAY, NEXT)]

    report = one(folder, "data")
    assert tallies(report) == {"answers": 1200, "labels": 0}
    assert drifted(report) == set()
    assert set(values(report, "MeanValue")) >= {"ink", "pen width", "slant", "confidence", "entropy"}
    assert report["timestamp"] == "2026-11-20T00:00:00+00:00"
    assert not [each for each in snapshots(folder).values() if each["metadata"]["kind"] == "quality"]


def test_a_report_says_which_columns_have_drifted(store, folder, model, sample):
    keep(store, seen(model, thick(sample.images), DAY), "a")

    workspace.update(store, folder)

    assert drifted(one(folder, "data")) >= {"pen width", "ink"}
    assert "slant" not in drifted(one(folder, "data"))


def test_a_report_on_few_says_nothing_of_drift(store, folder, model, sample):
    keep(store, seen(model, thick(sample.images[:50]), DAY), "a")

    workspace.update(store, folder)

    assert tallies(one(folder, "data"))["answers"] == 50
    assert values(one(folder, "data"), "ValueDrift") == {}


def test_quality_is_reported_as_labels_arrive(store, folder, model, sample):
    records = seen(model, sample.images, DAY)
    keep(store, records, "a")
    workspace.update(store, folder)

    keep(store, labels_for(records[:400], sample.labels[:400]), "b")
    assert workspace.update(store, folder) == [Window(DAY, NEXT)]

    right = np.mean([record.label == label for record, label in zip(records[:400], sample.labels, strict=False)])
    assert tallies(one(folder, "quality")) == {"live accuracy": pytest.approx(right), "labeled": 400}
    assert values(one(folder, "quality"), "Accuracy")[""] == pytest.approx(right)
    assert tallies(one(folder, "data")) == {"answers": 1200, "labels": 400}


def test_a_window_is_reported_once_until_something_new_is_in_it(store, folder, model, sample):
    keep(store, seen(model, sample.images[:400], DAY), "a")
    keep(store, seen(model, sample.images[400:800], NEXT), "b")
    assert workspace.update(store, folder) == [Window(DAY, NEXT), Window(NEXT, NEXT + timedelta(days=1))]
    before = snapshots(folder)

    assert workspace.update(store, folder) == []
    assert snapshots(folder) == before
    keep(store, seen(model, sample.images[800:], NEXT + timedelta(hours=5)), "c")
    assert workspace.update(store, folder) == [Window(NEXT, NEXT + timedelta(days=1))]

    assert set(snapshots(folder)) == set(before)
    counted = [tallies(each)["answers"] for each in snapshots(folder).values() if each["metadata"]["kind"] == "data"]
    assert sorted(counted) == [400, 800]


def test_late_labels_renew_the_window_of_their_predictions_alone(store, folder, model, sample):
    first, second = (seen(model, sample.images[:400], when) for when in (DAY, NEXT))
    keep(store, first, "a")
    keep(store, second, "b")
    workspace.update(store, folder)

    late = [
        label._replace(seen_at=label.seen_at + 3 * 86_400_000_000) for label in labels_for(first, sample.labels[:400])
    ]
    keep(store, late, "c")

    assert workspace.update(store, folder) == [Window(DAY, NEXT)]


def test_an_answer_that_was_shipped_twice_counts_once(store, folder, model, sample):
    records = seen(model, sample.images[:400], DAY)
    keep(store, records[:300], "a")
    keep(store, records[100:], "b")

    workspace.update(store, folder)

    assert tallies(one(folder, "data"))["answers"] == 400


def test_the_rows_of_a_window_are_those_that_capture_itself_reads(store, folder, model, sample):
    """The same predictions with the same labels, though they are read in another way."""
    records = seen(model, sample.images[:500], DAY + timedelta(minutes=58))
    keep(store, records[:300], "a")
    keep(store, records[200:], "b")
    labels = labels_for(records[::3], sample.labels[:500][::3])
    keep(store, labels, "c")
    keep(store, [labels[0]._replace(label=(labels[0].label + 1) % 10, seen_at=labels[0].seen_at + 5_000_000)], "d")
    keys, window = captured.keys(store, captured.ANSWERS), Window(DAY + timedelta(hours=1), DAY + timedelta(hours=2))
    latest = workspace.Labels(captured.latest_labels(store, DAY))

    found = [row for batch in workspace.batches(store, window, keys, latest) for row in batch.to_pylist()]

    assert 0 < len(found) < 500
    assert sorted(found, key=str) == sorted(captured.read(store, window.start, window.end).to_pylist(), key=str)


def test_each_source_and_version_has_reports_of_its_own(store, folder, model, sample):
    keep(store, seen(model, sample.images[:600], DAY, source="kiosk"), "a")
    keep(store, seen(model, thick(sample.images[600:]), DAY + timedelta(hours=1), "telephone", "an-older-one"), "b")

    workspace.update(store, folder)

    assert "pen width" not in drifted(one(folder, "data", part="source", source="kiosk"))
    assert "pen width" in drifted(one(folder, "data", part="source", source="telephone"))
    assert tallies(one(folder, "data", part="version", version="an-older-one"))["answers"] == 600
    assert one(folder, "data", part="source", source="kiosk")["tags"] == sorted(
        ["data", "kiosk", model.version, "source"]
    )


def test_any_number_of_names_of_sources_makes_a_few_reports(store, folder, model, sample):
    for number in range(60):
        start = DAY + timedelta(minutes=number)
        keep(store, seen(model, sample.images[:12], start, source=f"<b>{number}</b>"), f"{number:03}")

    workspace.update(store, folder)

    assert tallies(one(folder, "data"))["answers"] == 720
    sources = [each for each in snapshots(folder).values() if each["metadata"]["part"] == "source"]
    assert len(sources) == workspace.REPORTED_SOURCES
    assert tallies(one(folder, "data", part="source", source=workspace.OTHERS))["answers"] == 12 * (60 - 32)


def test_a_window_is_compared_with_the_champion_of_its_time(store, folder, model, sample, other_model_directory):
    keep(store, seen(model, sample.images[:400], DAY), "a")
    workspace.update(store, folder)
    later = Recognizer(other_model_directory)
    registry.publish(store, other_model_directory)
    held_out = digits.to_table(sample.images, sample.labels, "mnist", "validation")
    registry.promote(store, later.digest, {"reason": "better"}, model.digest)
    with pytest.raises(Missing, match="no reference"):
        workspace.update(store, folder)
    reference.publish(store, later, held_out)

    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    keep(store, seen(later, sample.images[:400], today), "b")
    workspace.update(store, folder)

    compared = {
        each["timestamp"][:10]: each["metadata"]["reference"]
        for each in snapshots(folder).values()
        if each["metadata"]["kind"] == "data"
    }
    assert compared == {f"{DAY:%Y-%m-%d}": registry.version_of(later.digest), f"{today:%Y-%m-%d}": later.version}


def test_a_store_without_a_champion_is_a_sentence(tmp_path, folder):
    with pytest.raises(UserError, match=r"no champion .* yet: run `make pipeline-run`"):
        workspace.update(open_store(str(tmp_path / "empty")), folder)


def test_a_store_without_answers_has_an_empty_dashboard(store, folder):
    assert workspace.update(store, folder) == []
    with TestClient(ui.app(folder / "workspace", ["testserver"])) as client:
        assert [each["name"] for each in client.get("/api/projects").json()] == ["Inkloop, every day"]


def test_windows_are_as_long_as_one_says():
    keys = [captured.key_of(captured.ANSWERS, DAY + timedelta(hours=hours), "a") for hours in (0, 1, 26)]
    hours = [DAY, DAY + timedelta(hours=1), DAY + timedelta(hours=26)]
    assert [window.start for window in windows_of(keys, 60)] == hours
    assert [window.start for window in windows_of(keys, 1440)] == [DAY, NEXT]
    assert [window.start for window in windows_of(keys, 360)] == [DAY, NEXT]
    assert windows_of(keys, 5)[:2] == [
        Window(DAY, DAY + timedelta(minutes=5)),
        Window(DAY + timedelta(minutes=5), DAY + timedelta(minutes=10)),
    ]
    assert len(windows_of(keys, 5)) == 36
    with pytest.raises(UserError, match="a window of 7 minutes: a day does not divide"):
        windows_of(keys, 7)


def test_the_strangest_inputs_are_shown_each_picture_once(store, folder, model, sample):
    blot = np.full((1, 28, 28), 255, np.uint8)
    images = np.concatenate([sample.images[:300], np.repeat(blot, 60, 0)])
    keep(store, seen(model, images, DAY), "a")

    workspace.update(store, folder)

    sheet = folder / "strangest" / "1440" / "2026-11-20.png"
    assert sheet.read_bytes()[:4] == b"\x89PNG"
    report = one(folder, "strangest")
    shown = json.dumps(report["widgets"])
    assert "data:image/png;base64," in shown
    found = workspace.Found()
    keys = captured.keys(store, captured.ANSWERS)
    champion = workspace.Reference.of(model.digest, reference.read(store, model.digest))
    for batch in workspace.batches(
        store, Window(DAY, NEXT), keys, workspace.Labels(captured.LABEL_SCHEMA.empty_table())
    ):
        found.add(batch, champion)
    assert (found.strangest.unlike[0].image == 255).all()
    for strangest in (found.strangest.unlike, found.strangest.unsure):
        assert len({strange.id for strange in strangest}) == 20
    surest = model.probabilities(images).max(1)
    assert found.strangest.unsure[0].confidence == pytest.approx(surest.min(), abs=0.02)


def test_whoever_is_forgotten_is_no_longer_shown(store, folder, model, sample):
    anna = persons.pseudonym(persons.secret(store), "anna")
    blot = np.full((1, 28, 28), 255, np.uint8)
    keep(store, seen(model, sample.images[:400], DAY), "a")
    keep(store, seen(model, blot, DAY + timedelta(hours=2), person=anna), "b")
    workspace.update(store, folder)
    sheet = folder / "strangest" / "1440" / "2026-11-20.png"
    with_anna = sheet.read_bytes()

    persons.suppress(store, anna.hex(), datetime.now(UTC))
    privacy.remove(store, anna.hex())
    workspace.update(store, folder)

    assert tallies(one(folder, "data"))["answers"] == 400
    assert sheet.read_bytes() != with_anna


@pytest.mark.parametrize("left", ["nothing", "objects without rows"])
def test_of_what_has_expired_the_numbers_stay_and_the_pictures_go(left, store, folder, model, sample):
    keep(store, seen(model, sample.images[:400], DAY), "a")
    workspace.update(store, folder)
    for key in captured.keys(store, captured.ANSWERS):
        store.delete(key)
        if left == "objects without rows":
            empty = captured.to_parquet(captured.SCHEMA.empty_table())
            store.put(key.replace("/a.parquet", "/b.parquet"), empty)

    workspace.update(store, folder)

    assert {each["metadata"]["kind"] for each in snapshots(folder).values()} == {"data"}
    assert tallies(one(folder, "data"))["answers"] == 400
    assert list((folder / "strangest").rglob("*.png")) == []


@pytest.mark.faults
def test_a_report_that_was_killed_is_made_whole_by_the_next(store, folder, model, sample, tmp_path):
    records = seen(model, sample.images[:400], DAY)
    keep(store, records, "a")
    keep(store, labels_for(records, sample.labels[:400]), "b")
    workspace.update(store, tmp_path / "undisturbed")
    command = [sys.executable, "-m", "pipeline", "monitor", "--update-only", "--store", str(store)]
    for files in (1, 2):
        with subprocess.Popen([*command, "--folder", str(folder)], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 60
            while process.poll() is None and len(snapshots(folder)) < files and time.monotonic() < deadline:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)

    workspace.update(store, folder)

    assert set(snapshots(folder)) == set(snapshots(tmp_path / "undisturbed"))
    assert {name: tallies(each) for name, each in snapshots(folder).items()} == {
        name: tallies(each) for name, each in snapshots(tmp_path / "undisturbed").items()
    }


@pytest.mark.faults
def test_two_monitors_at_once_make_the_reports_of_one(store, folder, model, sample):
    keep(store, seen(model, sample.images[:400], DAY), "a")
    command = [sys.executable, "-m", "pipeline", "monitor", "--update-only", "--store", str(store)]
    both = [
        subprocess.Popen([*command, "--folder", str(folder)], cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(2)
    ]
    assert [process.wait(120) for process in both] == [0, 0]
    before = set(snapshots(folder))

    assert workspace.update(store, folder) == []
    assert set(snapshots(folder)) == before


class Client(TestClient):
    """Evidently's own UI, asked as its page asks."""

    project = ""

    def series(self, metric: str, where: dict[str, str], **labels: str) -> list[float]:
        """What a panel draws."""
        asked = {"metric": f"evidently:metric_v2:{metric}", "tags": [], "metadata": where, "metric_labels": labels}
        answer = self.post(f"/api/v2/snapshots/{self.project}/data_series_batch", json={"series_filter": [asked]})
        assert answer.status_code == 201, answer.text
        return [each["values"] for each in answer.json()["series"]]


@pytest.fixture
def shown(folder) -> Iterator[Callable[[], Client]]:
    """Opens the UI on the folder."""
    opened: list[Client] = []

    def open_ui() -> Client:
        client = Client(ui.app(folder / "workspace", ["testserver"]))
        client.__enter__()
        opened.append(client)
        client.project = client.get("/api/projects").json()[0]["id"]
        return client

    yield open_ui
    for client in opened:
        client.__exit__(None, None, None)


def test_every_panel_of_the_dashboard_has_something_to_draw(store, folder, model, sample, shown):
    for when in (DAY, NEXT):
        records = seen(model, sample.images[:400], when)
        keep(store, records, f"{when:%d}")
        keep(store, labels_for(records, sample.labels[:400]), f"{when:%d}-labels")
    workspace.update(store, folder)
    client = shown()

    dashboard = client.get(f"/api/v2/dashboards/{client.project}").json()
    panels = [panel for panel in dashboard["panels"] if panel["values"]]

    assert len(panels) >= 14
    for panel in panels:
        for value in panel["values"]:
            kind = value["metric"].removeprefix("evidently:metric_v2:")
            drawn = client.series(kind, value["metadata"], **value["metric_labels"])
            assert [len(series) for series in drawn] == [2], panel["title"]


def test_a_running_ui_shows_new_reports_and_new_versions_of_old_ones(store, folder, model, sample, shown):
    keep(store, seen(model, sample.images[:400], DAY), "a")
    workspace.update(store, folder)
    client = shown()
    assert client.series("Tally", {"part": "all"}, name="answers") == [[400]]

    keep(store, seen(model, sample.images[400:700], DAY + timedelta(hours=3)), "b")
    keep(store, seen(model, sample.images[700:], NEXT), "c")
    workspace.update(store, folder)

    deadline = time.monotonic() + 20
    while client.series("Tally", {"part": "all"}, name="answers") != [[700, 500]]:
        assert time.monotonic() < deadline, client.series("Tally", {"part": "all"}, name="answers")
        time.sleep(0.1)


def test_the_ui_can_be_read_but_not_changed(store, folder, model, sample, shown):
    keep(store, seen(model, sample.images[:400], DAY), "a")
    workspace.update(store, folder)
    client = shown()
    [snapshot, *_] = client.get(f"/api/projects/{client.project}/snapshots").json()

    for method, path in (
        ("DELETE", f"/api/projects/{client.project}/{snapshot['id']}"),
        ("DELETE", f"/api/projects/{client.project}"),
        ("POST", f"/api/v2/snapshots/{client.project}"),
        ("POST", "/api/projects"),
        ("POST", "/v1/traces"),
        ("PATCH", f"/api/v2/projects/{client.project}"),
    ):
        answer = client.request(method, path, content=b"{}")
        assert (answer.status_code, answer.text) == (
            405,
            "The reports are made from the store; here they are only shown.",
        )
    assert len(client.get(f"/api/projects/{client.project}/snapshots").json()) == len(snapshots(folder))


def test_the_ui_answers_to_its_own_name_alone(store, folder, shown):
    """Or a page on another site, which had its name lead here, could read it all with the visitor's browser."""
    workspace.update(store, folder)
    client = shown()
    assert client.get("/api/projects", headers={"host": "evil.example"}).status_code == 400
    assert client.get("/api/projects").status_code == 200


class Home(ThreadingHTTPServer):
    """Where Evidently reports to; keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Hears)


class _Hears(BaseHTTPRequestHandler):
    server: Home

    def do_POST(self):
        self.server.told.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_evidently_reports_nothing_home(store, folder, monkeypatch, shown):
    home = Home()
    threading.Thread(target=home.serve_forever, daemon=True).start()
    monkeypatch.setattr(TelemetryComponent.__fields__["url"], "default", f"http://127.0.0.1:{home.server_port}/event")
    workspace.update(store, folder)

    shown().get("/api/projects")
    time.sleep(2)

    assert home.told == []
    assert os.environ["DO_NOT_TRACK"] == "1"
    home.shutdown()


def addresses_of(process: subprocess.Popen[bytes], port: int) -> set[str]:
    listening = psutil.Process(process.pid).net_connections("inet")
    return {each.laddr.ip for each in listening if each.status == psutil.CONN_LISTEN and each.laddr.port == port}


def test_make_monitor_shows_the_reports_on_this_machine_alone(store, folder, model, sample):
    keep(store, seen(model, sample.images[:400], DAY), "a")
    port = free_port()
    command = [sys.executable, "-m", "pipeline", "monitor", "--store", str(store), "--folder", str(folder)]
    with subprocess.Popen([*command, "--port", str(port)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline(), process.stdout.readline()]
        deadline = time.monotonic() + 60
        while not addresses_of(process, port) and time.monotonic() < deadline:
            time.sleep(0.1)
        found = addresses_of(process, port)
        process.send_signal(signal.SIGINT)
        process.wait(30)

    assert lines[0] == f"Windows with new reports: 1. The strangest inputs: {folder}/strangest/1440\n"
    assert lines[1] == f"Evidently is on http://127.0.0.1:{port}. Ctrl+C ends it.\n"
    assert found == {"127.0.0.1"}
    assert process.returncode == 0


def test_a_store_without_answers_has_no_reports_and_says_so(store, folder, model):
    command = [sys.executable, "-m", "pipeline", "monitor", "--update-only", "--store", str(store)]
    ran = subprocess.run([*command, "--folder", str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert f"Nothing was captured in {store} yet" in ran.stdout


def refused() -> None:
    pytest.fail("reports were made though they cannot be shown")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_a_host_that_others_reach_is_refused_unless_one_says_why(host, folder):
    with pytest.raises(UserError, match=r"the Evidently UI has no login.*--open-because"):
        ui.serve(folder, refused, host, free_port())
    with pytest.raises(UserError, match=r"the Evidently UI has no login"):
        ui.serve(folder, refused, host, free_port(), open_because="  ")


def test_a_port_that_is_taken_is_a_sentence(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"127\.0\.0\.1:\d+: cannot be had .*give another port"):
            ui.serve(folder, refused, port=taken.getsockname()[1])
