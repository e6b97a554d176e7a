"""Lineage: from an answer back to the bytes it was learned from, each link checked, and what other tools read of it."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from figures import REPORT
from kfp.dsl import Artifact, Dataset, Markdown, Model
from recorded import micros, write_segment

from components.package import package
from infra import datasets, openlineage, registry, runs, sbom
from infra.storage import FolderStore, Store
from inkloop import artifacts, digits
from inkloop.card import PackagingSettings
from inkloop.errors import UserError
from inkloop.gate import Decision
from inkloop.lineage import lineage_of
from inkloop.runtime import Recognizer
from pipeline import graph, profile
from pipeline.code_digest import code_digests
from pipeline.lineage import Lineage
from pipeline.local import StepRun
from pipeline.trace import trace
from serving import shipping
from serving.records import Record, id_text, new_id

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Traced:
    """A store in which a run published a model, what that model answered, and where its artifacts are."""

    store: Store
    prediction: str
    digest: str
    artifacts: Path
    run: str

    def states(self, data: Path) -> dict[str, str]:
        """How each link stands, by what it is."""
        return {link.what: link.state for link in trace(self.store, self.prediction, data).walk()}


@pytest.fixture(scope="module")
def traced(data_dir, few_digits, model_directory, other_model_directory, test_digits, tmp_path_factory) -> Traced:
    """A run's last step done for real, with a record as a run leaves it, and one answer of the model."""
    folder = tmp_path_factory.mktemp("traced")
    store, place = FolderStore(folder / "store"), folder / "artifacts" / "runs" / "inkloop-1"
    table = shutil.copytree(few_digits, place / "validate" / "validated")
    teacher = shutil.copytree(other_model_directory, place / "train" / "teacher")
    challenger = shutil.copytree(model_directory, place / "evaluate" / "challenger")
    info = artifacts.info(challenger)
    artifacts.write_info(challenger, info.model_copy(update={"lineage": lineage_of(table, 0, teacher=teacher)}))
    production = made_of_production(store, test_digits)

    chosen = profile.load("smoke")
    arguments = graph.arguments_here(chosen, "mnist", str(store), data_dir, production)
    started = datetime.now(UTC)
    lineage = Lineage(runs.new_id(started), arguments, code_digests(graph.CODE, graph.ROOMS), started)
    lineage.step(StepRun("ingest", 2.5, False, {"source": "mnist"}, {"digits": Dataset(uri=str(table))}))
    lineage.step(StepRun("validate", 1.0, True, {}, {"validated": Dataset(uri=str(table))}))
    inputs = {"validated": Dataset(uri=str(table)), "seed": 0, "config": {"workers": 1}}
    lineage.step(StepRun("train", 9.0, False, inputs, {"teacher": Model(uri=str(teacher))}))
    lineage.step(StepRun("package", 3.0, False, {}, packed(store, table, teacher, challenger, place / "package")))
    digest = artifacts.digest(challenger)
    lineage.end([digest, artifacts.digest(teacher)])
    runs.keep(store, run_of(runs.new_id(started), started, digest))
    return Traced(store, asked(store, challenger, test_digits.images[0], folder), digest, place, runs.new_id(started))


def made_of_production(store: Store, shown: digits.Digits) -> str:
    table = digits.to_table(shown.images[:20], shown.labels[:20], "scans", "train")
    return datasets.publish(store, table)


def packed(store: Store, table: Path, teacher: Path, challenger: Path, folder: Path) -> dict[str, Artifact]:
    folder.mkdir()
    decision = Decision(
        promoted=True,
        reason="the first champion",
        challenger=artifacts.digest(challenger),
        champion=None,
        challenger_accuracy=0.9,
        worse_slices=(),
    )
    (folder / "decision").write_text(decision.model_dump_json())
    (folder / "report").write_text(REPORT.model_dump_json())
    bento = Artifact(uri=str(folder / "bento"))
    package.python_func(
        validated=Dataset(uri=str(table)),
        teacher=Model(uri=str(teacher)),
        challenger=Model(uri=str(challenger)),
        report=Artifact(uri=str(folder / "report")),
        decision=Artifact(uri=str(folder / "decision")),
        bento=bento,
        card=Markdown(uri=str(folder / "card.md")),
        config=PackagingSettings().model_dump(),
        store=str(store),
        store_id="",
    )
    return {"bento": bento}


def run_of(name: str, started: datetime, challenger: str) -> runs.Run:
    return runs.Run(
        id=name,
        started=started,
        wall_s=16,
        profile="smoke",
        cause="asked for",
        steps=(),
        challenger=challenger,
        promoted=True,
        verdict="the first champion",
    )


def asked(store: Store, model: Path, image, folder: Path, when: datetime | None = None) -> str:
    """The id of an answer that the model gave, and that has reached the store."""
    recognizer = Recognizer(model)
    said = recognizer.probabilities(image[None])[0]
    name, at = new_id(), micros(when)
    if when is not None:
        name = (at // 1000).to_bytes(6, "big") + name[6:]
    record = Record("answer", name, at, int(said.argmax()), b"", "scans", recognizer.version, image, said)
    write_segment(folder / "captured", [record])
    shipping.ship(folder / "captured", store)
    return id_text(name)


@contextmanager
def flipped(path: Path) -> Iterator[None]:
    """One bit of the file is another meanwhile."""
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 4
    path.write_bytes(changed)
    try:
        yield
    finally:
        path.write_bytes(whole)


@contextmanager
def gone(path: Path) -> Iterator[None]:
    """The file or folder is elsewhere meanwhile."""
    elsewhere = path.with_name(f"{path.name} elsewhere")
    path.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(path)


def traced_by_command(traced: Traced, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "trace", *options, f"--store={traced.store}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_chain_goes_from_an_answer_to_the_sums_of_the_data_files_and_every_byte_is_held_against_it(
    traced, data_dir
):
    chain = trace(traced.store, traced.prediction, data_dir)
    links = {link.what: link for link in chain.walk()}
    assert list(links) == [
        "prediction", "model", "SBOM", "teacher", "run", "bento", "code", "settings", "digits", "data.dvc",
        "source", "file", "production",
    ]  # fmt: skip
    assert {name: link.state for name, link in links.items() if link.state != "ok"} == {
        "run": "recorded",
        "settings": "recorded",
    }
    assert links["model"].facts["digest"] == traced.digest
    assert links["settings"].facts["seed"] == 0
    assert links["settings"].facts["teacher"]["training"]["epochs"] == 3
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert links["code"].name == head.stdout.strip()
    assert links["data.dvc"].name in (ROOT / "data.dvc").read_text()
    sums = {link.name: link.facts["sha256"] for link in chain.walk() if link.what == "file"}
    assert sums["t10k-labels-idx1-ubyte"] == "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    assert len(sums) == 4


def test_the_command_draws_the_chain_or_gives_it_as_json(traced, data_dir):
    drawn = traced_by_command(traced, traced.prediction)
    assert drawn.returncode == 0, drawn.stderr
    assert drawn.stdout.startswith(f"prediction {traced.prediction} ok\n")
    assert f"digest: {traced.digest}" in drawn.stdout
    told = json.loads(traced_by_command(traced, traced.prediction, "--json").stdout)
    assert (told["what"], told["below"][0]["facts"]["digest"]) == ("prediction", traced.digest)


@pytest.mark.parametrize(
    ("what", "place"),
    [
        ("model", "store/models/{digest}/model.onnx"),
        ("SBOM", "store/sboms/{digest}.cdx.json"),
        ("production", "store/datasets/*/part-00000.parquet"),
        ("digits", "artifacts/runs/inkloop-1/validate/validated/part-00000.parquet"),
        ("bento", "artifacts/runs/inkloop-1/package/bento/src/model/model.onnx"),
        ("teacher", "store/models/{teacher}/weights.safetensors"),
    ],
)
def test_one_flipped_bit_is_said_to_be_a_change(traced, data_dir, what, place):
    teacher = artifacts.digest(traced.artifacts / "train" / "teacher")
    folder = traced.store.root.parent
    (path,) = folder.glob(place.format(digest=traced.digest, teacher=teacher))
    with flipped(path):
        assert traced.states(data_dir)[what] == "changed"
    assert traced.states(data_dir)[what] == "ok"


def test_changed_bytes_end_the_command_with_another_exit_code(traced):
    with flipped(traced.store.root / "models" / traced.digest / "model.onnx"):
        ended = traced_by_command(traced, traced.prediction)
    assert ended.returncode == 1
    assert "changed" in ended.stdout


def test_what_is_no_longer_here_is_said_to_be_missing(traced, data_dir, tmp_path):
    with gone(traced.artifacts / "package"), gone(traced.artifacts / "validate"):
        states = traced.states(data_dir)
    assert (states["bento"], states["digits"], states["source"]) == ("missing", "missing", "ok")
    elsewhere = traced.states(tmp_path)
    assert (elsewhere["data.dvc"], elsewhere["source"], elsewhere["file"]) == ("missing",) * 3


def test_a_changed_data_file_is_named(traced, data_dir, tmp_path):
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    for path in (data_dir / "mnist").iterdir():
        shutil.copy(path, tmp_path / "data" / "mnist")
    with flipped(tmp_path / "data" / "mnist" / "t10k-labels-idx1-ubyte"):
        chain = trace(traced.store, traced.prediction, tmp_path / "data")
    changed = {(link.what, link.name) for link in chain.walk() if link.state == "changed"}
    assert changed == {("source", "mnist"), ("file", "t10k-labels-idx1-ubyte")}


@pytest.mark.parametrize(
    ("prediction", "says"),
    [
        ("seven", "prediction 'seven': not an id"),
        (id_text(new_id()), "was withheld (Inkloop-Capture: no), not sampled, or forgotten"),
        ("01500000-0000-7000-8000-000000000000", "keeps answers for 365 days"),
    ],
)
def test_an_answer_that_is_not_kept_is_told_in_one_sentence(traced, prediction, says):
    ended = traced_by_command(traced, prediction)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_model_that_is_no_longer_in_the_store_is_told_in_one_sentence(traced, data_dir):
    with (
        gone(traced.store.root / "models"),
        pytest.raises(UserError, match=f"model {traced.digest[:12]} gave it, which .* no longer holds"),
    ):
        trace(traced.store, traced.prediction, data_dir)


def test_a_model_whose_run_was_not_kept_is_still_traced_to_what_it_says_of_itself(
    model_directory, test_digits, data_dir, tmp_path
):
    store = FolderStore(tmp_path / "store")
    registry.publish(store, model_directory)
    chain = trace(store, asked(store, model_directory, test_digits.images[3], tmp_path), data_dir)
    (run,) = [link for link in chain.walk() if link.what == "run"]
    assert (run.state, run.facts["seed"]) == ("missing", "0")


def test_a_retrained_model_names_the_models_it_went_on_from_and_production_at_each(
    traced, other_model_directory, model_directory, few_digits, test_digits, data_dir, tmp_path
):
    store = FolderStore(Path(shutil.copytree(traced.store.root, tmp_path / "store")))
    retrained = shutil.copytree(model_directory, tmp_path / "retrained")
    info = artifacts.info(retrained)
    artifacts.write_info(retrained, info.model_copy(update={"lineage": {"seed": "1"}}))
    digest = registry.publish(store, retrained)
    production = datasets.publish(store, digits.to_table(test_digits.images, test_digits.labels, "app", "train"))
    arguments = graph.arguments_here(
        profile.load("smoke"), "mnist", str(store), data_dir, production, warm_start=traced.digest
    )
    started = datetime.now(UTC)
    lineage = Lineage(runs.new_id(started), arguments, dict.fromkeys(graph.TITLES, "other code"), started)
    lineage.step(StepRun("ingest", 1, False, {}, {"digits": Dataset(uri=str(few_digits))}))
    lineage.end([digest])
    runs.keep(store, run_of(runs.new_id(started), started, digest))

    chain = trace(store, asked(store, retrained, test_digits.images[1], tmp_path), data_dir)

    (before,) = [link for link in chain.walk() if link.what == "trained on from"]
    assert (before.name, before.state, before.facts["run"]) == (traced.digest[:12], "ok", traced.run)
    assert [link.facts["digits"] for link in chain.walk() if link.what == "production"] == [1000, 20]
    (code,) = [link for link in chain.walk() if link.what == "code"]
    assert (code.state, code.facts["other code here now"]) == ("missing", "ingest")


def test_the_sbom_is_valid_cyclonedx_and_lists_the_models_files_and_what_it_is_served_with(traced):
    content = traced.store.get(sbom.key_of(traced.digest))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(content.decode()) is None
    listed = json.loads(content)["components"]
    packages = {each["name"] for each in listed if each["type"] == "library"}
    assert {"bentoml", "onnxruntime", "botocore"} <= packages  # botocore: through boto3
    assert "torch" not in packages
    assert (traced.artifacts / "package" / "bento" / "src" / "sbom.cdx.json").read_bytes() == content


def test_every_event_is_as_openlineage_asks(traced):
    events = openlineage.read(traced.store, traced.run)
    assert [(each["job"]["name"], each["eventType"]) for each in events[:3]] == [
        ("pipeline", "START"),
        ("pipeline.ingest", "START"),
        ("pipeline.ingest", "COMPLETE"),
    ]
    assert (events[-1]["job"]["name"], events[-1]["eventType"]) == ("pipeline", "COMPLETE")
    of_run = events[0]["run"]["runId"]
    for each in events:
        assert {"eventTime", "producer", "schemaURL"} <= each.keys()
        assert datetime.fromisoformat(each["eventTime"]).tzinfo is not None
        UUID(each["run"]["runId"])
        if each["job"]["name"] != "pipeline":
            assert each["run"]["facets"]["parent"]["run"]["runId"] == of_run
        datasets_of = each["inputs"] + each["outputs"]
        assert all({"namespace", "name"} <= found.keys() for found in datasets_of)
        held = [each["run"]["facets"], each["job"]["facets"], *(found["facets"] for found in datasets_of)]
        assert all({"_producer", "_schemaURL"} <= facet.keys() for facets in held for facet in facets.values())
    train = next(each for each in events if each["job"]["name"] == "pipeline.train" and each["outputs"])
    (read,), (written,) = train["inputs"], train["outputs"]
    assert (read["name"], written["name"]) == ("validate/validated", "train/teacher")
    assert openlineage.version_of(written) == artifacts.digest(traced.artifacts / "train" / "teacher")
    assert train["run"]["facets"]["inkloop_settings"]["parameters"] == {"seed": 0, "config": {"workers": 1}}


@contextmanager
def listening(status: int) -> Iterator[tuple[str, list[dict], list[str | None]]]:
    """An OpenLineage server: its address, the events that it was sent, and their keys."""
    events: list[dict] = []
    keys: list[str | None] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/api/v1/lineage"
            events.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            keys.append(self.headers["authorization"])
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", events, keys
    finally:
        server.shutdown()
        server.server_close()


def failed_run(store: Store, data_dir: Path) -> Lineage:
    started = datetime.now(UTC)
    arguments = graph.arguments_here(profile.load("smoke"), "mnist", str(store), data_dir)
    lineage = Lineage(runs.new_id(started), arguments, dict.fromkeys(graph.TITLES, "code"), started)
    lineage.begin()
    lineage.failed("ingest", "the disk is on fire", was_stopped=False)
    return lineage


def test_events_go_to_an_openlineage_server_as_they_happen(data_dir, tmp_path, monkeypatch):
    with listening(201) as (url, events, keys):
        monkeypatch.setenv(openlineage.URL, url)
        monkeypatch.setenv(openlineage.API_KEY, "secret")
        lineage = failed_run(FolderStore(tmp_path / "store"), data_dir)
    assert lineage.complaint is None
    assert [each["eventType"] for each in events] == ["START", "START", "FAIL", "FAIL"]
    assert events[-1]["run"]["facets"]["errorMessage"]["message"] == "the disk is on fire"
    assert set(keys) == {"Bearer secret"}


@pytest.mark.parametrize("status", [500, None])
def test_a_server_that_does_not_take_them_is_asked_once_and_costs_the_run_nothing(
    data_dir, tmp_path, monkeypatch, status
):
    store = FolderStore(tmp_path / "store")
    with listening(status or 201) as (url, events, _):
        monkeypatch.setenv(openlineage.URL, url if status else "http://127.0.0.1:9")
        lineage = failed_run(store, data_dir)
    assert "the lineage of this run is in the store alone" in lineage.complaint
    assert len(events) <= 1
    (key,) = store.list(openlineage.PLACE)
    assert len(json.loads(store.get(key))) == 4
