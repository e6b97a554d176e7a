"""`POST /predict/line`: a model of lines appointed, followed by the server, dismissed; and what is no line, refused."""

import base64

import numpy as np
import pytest
from PIL import Image
from served import Server, wait_until
from server import app_of, encoded, store_of
from starlette.testclient import TestClient
from test_serving import expect_problem

from infra import readers, registry
from infra.storage import FolderStore
from inkloop.errors import UserError
from inkloop.line.runtime import LineReader
from inkloop.pictures import decode
from serving import champion


@pytest.fixture(scope="module")
def line_store(tmp_path_factory, model_directory, line_directory) -> FolderStore:
    """A store with a champion, and a model of lines that is appointed."""
    store = store_of(tmp_path_factory.mktemp("lines") / "store", model_directory)
    readers.appoint(store, "line", registry.publish(store, line_directory), by="ada")
    return store


@pytest.fixture(scope="module")
def client(line_store, tmp_path_factory):
    """A client of a server in a process of its own that reads lines."""
    log = tmp_path_factory.mktemp("log") / "log"
    with Server(str(line_store.root), log) as server:
        wait_until(lambda: "reads lines." in log.read_text(), 10)
        yield server.client


@pytest.fixture
def store(tmp_path, model_directory, line_directory) -> FolderStore:
    """A store with a champion, and a model of lines that is published but reads nothing yet."""
    return store_of(tmp_path / "store", model_directory, line_directory)


@pytest.fixture
def app(store, tmp_path):
    return app_of(store, tmp_path)


def on_paper(line: np.ndarray) -> np.ndarray:
    """The line as dark ink on white paper, three times as large."""
    height, width = line.shape
    return 255 - np.pad(np.asarray(Image.fromarray(line).resize((3 * width, 3 * height))), 40)


def as_png(page: np.ndarray) -> dict:
    return {"content": encoded(page), "headers": {"content-type": "image/png"}}


def as_jpeg(page: np.ndarray) -> dict:
    return {"content": encoded(page, "JPEG"), "headers": {"content-type": "image/jpeg"}}


def as_form(page: np.ndarray) -> dict:
    return {"files": {"image": ("line.png", encoded(page))}}


def as_base64(page: np.ndarray) -> dict:
    return {"json": base64.b64encode(encoded(page)).decode()}


def as_data_url(page: np.ndarray) -> dict:
    return {"json": {"image": "data:image/png;base64," + as_base64(page)["json"]}}


@pytest.mark.parametrize("form", [as_png, as_jpeg, as_form, as_base64, as_data_url])
def test_every_form_of_a_line_gets_the_models_own_answer(client, line_directory, easy_lines, form):
    reader = LineReader(line_directory)
    for line in easy_lines.images[:10]:
        page = on_paper(line)
        answer = client.post("/predict/line", **form(page))
        assert answer.status_code == 200, answer.text
        expected = reader.read_line(decode(encoded(page, "JPEG" if form is as_jpeg else "PNG")))
        assert answer.json()["digits"] == "".join(map(str, expected.digits))
        assert answer.json()["confidence"] == pytest.approx(expected.confidence, abs=1e-6)
        assert answer.json()["model_version"] == reader.version


def test_it_reads_real_lines_and_says_where_each_digit_is(client, easy_lines):
    right = []
    for line, truth in zip(easy_lines.images, easy_lines.labels, strict=True):
        answer = client.post("/predict/line", **as_png(on_paper(line))).json()
        right.append(answer["digits"] == "".join(map(str, truth)))
        alignment = answer["alignment"]
        assert "".join(str(each["digit"]) for each in alignment) == answer["digits"]
        edges = [edge for each in alignment for edge in (each["start"], each["stop"])]
        assert edges == sorted(edges)
        assert all(0 <= edge <= 1 for edge in edges)
        assert all(0 < each["probability"] <= 1 for each in alignment)
        if right[-1]:
            # A digit's ink is somewhere in its share of the line.
            middles = [(each["start"] + each["stop"]) / 2 * len(truth) for each in alignment]
            assert all(place - 1 < middle < place + 2 for place, middle in enumerate(middles))
    assert np.mean(right) > 0.6


NO_LINES = {
    "blank": ("image/png", encoded(np.full((90, 900), 255, np.uint8)), 422, "blank"),
    "a blank row of 30,000 pixels": ("image/png", encoded(np.full((1, 30_000), 255, np.uint8)), 422, "blank"),
    "a row of 30,000 pixels": ("image/png", encoded(np.tile([0, 255], 15_000)[None].astype(np.uint8)), 422, "."),
    "a line without end": (
        "image/png",
        encoded(np.pad(np.full((2, 20_000), 255, np.uint8), 500)),
        422,
        "too long a line",
    ),
    "words": ("image/png", b"these are words", 422, "neither a png nor a jpeg"),
    "half a PNG": ("image/png", encoded(np.eye(200, dtype=np.uint8) * 255)[:100], 422, "not a readable picture"),
    "no bytes": ("image/png", b"", 400, "empty"),
    "784 bytes": ("application/octet-stream", b"\x07" * 784, 415, "accepted here"),
    "text": ("text/plain", b"7", 415, "accepted here"),
    "no content type": ("", b"7", 415, "accepted here"),
    "pixels": ("application/json", str([[0] * 60] * 28).encode(), 422, "base64"),
    "no base64": ("application/json", b'"7"', 422, "base64"),
    "a URL": ("application/json", b'{"image": "http://127.0.0.1/secret"}', 422, "never its url"),
    "another key": ("application/json", b'{"line": "abcd"}', 422, "image"),
    "no JSON": ("application/json", b"{", 400, "json"),
    "an empty form": ("multipart/form-data; boundary=x", b"--x--\r\n", 422, 'no file named "image"'),
}


@pytest.mark.parametrize("name", NO_LINES)
def test_what_is_no_line_is_refused_in_one_sentence(client, name):
    content_type, body, status, says = NO_LINES[name]
    answer = client.post("/predict/line", content=body, headers={"content-type": content_type})
    assert says in expect_problem(answer, status).lower()


def test_lines_are_read_from_when_a_model_is_appointed_until_it_is_dismissed(app, store, line_directory, easy_lines):
    watcher, asker, sent = (
        champion.Watcher(app, str(store.root)),
        TestClient(app),
        as_png(on_paper(easy_lines.images[0])),
    )
    watcher.look()
    assert "`make lines`" in expect_problem(asker.post("/predict/line", **sent), 404)

    reader = LineReader(line_directory)
    readers.appoint(store, "line", reader.digest, by="ada")
    watcher.look()
    assert asker.post("/predict/line", **sent).json()["model_version"] == reader.version

    readers.dismiss(store, "line")
    watcher.look()
    expect_problem(asker.post("/predict/line", **sent), 404)


def test_a_model_that_cannot_be_loaded_reads_no_lines(app, store, line_directory, easy_lines):
    digest = LineReader(line_directory).digest
    readers.appoint(store, "line", digest, by="ada")
    for file in (store.root / "models" / digest).glob("model.onnx"):
        file.write_bytes(b"broken")
    champion.Watcher(app, str(store.root)).look()
    expect_problem(TestClient(app).post("/predict/line", **as_png(on_paper(easy_lines.images[0]))), 404)


def test_only_a_model_of_lines_is_appointed_and_digits_are_still_read_by_the_champion(
    app, store, line_directory, test_digits
):
    with pytest.raises(UserError, match="a int8, which does not read lines"):
        readers.appoint(store, "line", registry.reigning(store).digest, by="ada")
    assert readers.appointed(store, "line") is None
    readers.appoint(store, "line", LineReader(line_directory).digest, by="ada")
    champion.Watcher(app, str(store.root)).look()
    answer = TestClient(app).post("/predict", json=test_digits.images[0].tolist()).json()
    assert answer["model_version"] == registry.reigning(store).version
