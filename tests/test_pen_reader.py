"""The model that reads pen strokes, beside the champion: published, appointed, followed by the server, dismissed."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from server import app_of, store_of
from starlette.testclient import TestClient
from test_strokes import REAL

from infra import readers, registry
from infra.storage import FolderStore
from inkloop import checkpoint
from inkloop.errors import UserError
from inkloop.pen import trajectory
from inkloop.pen.model import PenModelSettings, PenRecognizer, probabilities
from inkloop.pen.runtime import PenReader
from inkloop.runtime import Recognizer
from serving import champion

STROKES = [[list(point) for point in REAL[3][0]]]


@pytest.fixture(scope="module")
def model() -> PenRecognizer:
    torch.manual_seed(0)
    return PenRecognizer(PenModelSettings(sizes=(6,), attention_size=4)).eval()


@pytest.fixture(scope="module")
def pen_directory(model, tmp_path_factory) -> Path:
    """A model directory that reads strokes; not to be written to."""
    folder = tmp_path_factory.mktemp("pen") / "pen"
    checkpoint.save_pen(copy.deepcopy(model), folder, {"validation_accuracy": 0.1}, {"seed": "0"})
    return folder


@pytest.fixture
def store(tmp_path, model_directory, pen_directory) -> FolderStore:
    """A store with a champion, and a model of strokes that is published but reads nothing yet."""
    return store_of(tmp_path / "store", model_directory, pen_directory)


@pytest.fixture
def app(store, tmp_path):
    return app_of(store, tmp_path)


def digest_of(folder: Path) -> str:
    return PenReader(folder).digest


def test_the_runtime_answers_as_torch_does(model, pen_directory):
    steps = torch.from_numpy(trajectory.features(trajectory.path(STROKES)[None]))
    answer, attention = PenReader(pen_directory).explained(STROKES)
    np.testing.assert_allclose(answer, probabilities(model, steps)[0].numpy(), atol=1e-5)
    assert attention.shape == (trajectory.STEPS,)
    assert attention.sum() == pytest.approx(1, abs=1e-5)


def test_a_model_of_pictures_reads_no_strokes(model_directory):
    with pytest.raises(UserError, match="a int8, which reads pictures"):
        PenReader(model_directory)


def test_strokes_are_read_by_the_model_appointed_and_after_it_as_pictures(app, store, pen_directory, model_directory):
    reader, watcher, client = PenReader(pen_directory), champion.Watcher(app, str(store.root)), TestClient(app)
    by_picture = client.post("/predict/strokes", json=STROKES).json()
    assert by_picture["model_version"] == Recognizer(model_directory).version

    readers.appoint(store, "pen", reader.digest, by="ada")
    watcher.look()
    by_pen = client.post("/predict/strokes?attention=1", json=STROKES).json()
    assert by_pen["model_version"] == reader.version
    assert by_pen["probabilities"] == pytest.approx(reader.explained(STROKES)[0].tolist(), abs=1e-6)
    assert len(by_pen["attention"]["pen"]) == trajectory.STEPS

    readers.dismiss(store, "pen")
    watcher.look()
    assert client.post("/predict/strokes", json=STROKES).json()["probabilities"] == by_picture["probabilities"]


def test_pictures_are_still_read_by_the_champion(app, store, pen_directory, test_digits):
    readers.appoint(store, "pen", digest_of(pen_directory), by="ada")
    champion.Watcher(app, str(store.root)).look()
    answer = TestClient(app).post("/predict", json=test_digits.images[0].tolist()).json()
    assert answer["model_version"] == registry.reigning(store).version


@pytest.mark.parametrize("body", [[], [[]], [[[1]]]])
def test_strokes_that_are_none_are_refused_by_either(app, store, pen_directory, body):
    client = TestClient(app)
    before = client.post("/predict/strokes", json=body)
    readers.appoint(store, "pen", digest_of(pen_directory), by="ada")
    champion.Watcher(app, str(store.root)).look()
    after = client.post("/predict/strokes", json=body)
    assert before.status_code == after.status_code == 422
    assert before.json() == after.json()


def test_a_model_that_cannot_be_loaded_leaves_strokes_to_the_one_before(app, store, pen_directory):
    readers.appoint(store, "pen", digest_of(pen_directory), by="ada")
    for file in (store.root / "models" / digest_of(pen_directory)).glob("model.onnx"):
        file.write_bytes(b"broken")
    champion.Watcher(app, str(store.root)).look()
    answer = TestClient(app).post("/predict/strokes", json=STROKES).json()
    assert answer["model_version"] == registry.reigning(store).version


def test_only_a_model_of_strokes_is_appointed_and_it_is_never_tried_on_pictures(store, pen_directory):
    with pytest.raises(UserError, match="a int8, which does not read pen strokes"):
        readers.appoint(store, "pen", registry.reigning(store).digest, by="ada")
    assert readers.appointed(store, "pen") is None
    with pytest.raises(UserError, match="a pen"):
        registry.require_served(store, digest_of(pen_directory))
