"""The endpoint: real digits in every form it takes, and everything it must refuse, on the real BentoML server."""

import base64
import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from server import encoded, free_port, launch, wait_until_ready

from inkloop.pen import strokes
from serving import openapi
from serving.inputs import MAX_BODY_BYTES

BENTOML_ROUTES = ["/schema.json", "/docs.json", "/static_content/index.css"]
ROUTES = [*openapi.DOCUMENT["paths"], "/", "/docs", "/openapi.json", *BENTOML_ROUTES]


def expect_problem(answer: httpx.Response, status: int) -> str:
    """The sentence of the problem, after checking its shape."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == status
    assert problem["detail"].endswith(".")
    assert "\n" not in problem["detail"]
    return problem["detail"]


def as_form(image: np.ndarray) -> dict:
    return {"files": {"image": ("7.png", encoded(image))}}


def as_png(image: np.ndarray) -> dict:
    return {"content": encoded(image), "headers": {"content-type": "image/png"}}


def as_raw(image: np.ndarray) -> dict:
    return {"content": image.tobytes(), "headers": {"content-type": "application/octet-stream"}}


def as_flat_json(image: np.ndarray) -> dict:
    return {"json": image.ravel().tolist()}


def as_rows(image: np.ndarray) -> dict:
    return {"json": image.tolist()}


def as_object(image: np.ndarray) -> dict:
    return {"json": {"image": image.tolist()}}


def as_base64_of_a_file(image: np.ndarray) -> dict:
    return {"json": {"image": base64.b64encode(encoded(image)).decode()}}


def as_data_url(image: np.ndarray) -> dict:
    return {"json": "data:image/png;base64," + base64.b64encode(encoded(image)).decode()}


def as_base64_of_pixels(image: np.ndarray) -> dict:
    return {"json": {"image": base64.b64encode(image.tobytes()).decode()}}


ARRAYS = [as_flat_json, as_rows, as_object]
BASE64 = [as_base64_of_a_file, as_data_url, as_base64_of_pixels]


@pytest.mark.parametrize("form", [as_form, as_png, as_raw, *ARRAYS, *BASE64])
def test_every_form_of_a_digit_gets_the_models_own_answer(server, recognizer, test_digits, form):
    for image in test_digits.images[:20]:
        probabilities = recognizer.probabilities(image[None])[0]
        answer = server.post("/predict", **form(image))
        assert answer.status_code == 200, answer.text
        assert answer.json()["probabilities"] == pytest.approx(probabilities.tolist(), abs=1e-6)
        assert answer.json()["label"] == probabilities.argmax()
        assert answer.json()["model_version"] == recognizer.version


def test_on_request_it_says_where_the_model_looked_and_on_what(server, recognizer, digit):
    answer = server.post("/predict", params={"attention": 1}, **as_png(digit)).json()
    _, expected = recognizer.explained(digit[None])
    assert answer["attention"].keys() == expected.keys()
    for name, weights in expected.items():
        assert answer["attention"][name] == pytest.approx(weights[0].tolist(), abs=1e-6)
    assert base64.b64decode(answer["picture"]) == digit.tobytes()
    assert "attention" not in server.post("/predict", **as_png(digit)).json()


def test_a_large_photograph_with_dark_ink_is_read(server, recognizer, test_digits):
    images = test_digits.images[:50]
    pages = [Image.fromarray(255 - np.pad(image, 6)).resize((640, 640)) for image in images]
    answers = [server.post("/predict", files={"image": encoded(np.asarray(page), "JPEG")}).json() for page in pages]
    expected = recognizer.probabilities(images).argmax(1)
    assert np.mean([answer["label"] == label for answer, label in zip(answers, expected, strict=True)]) > 0.9


def test_it_reads_real_digits(server, test_digits):
    with_labels = zip(test_digits.images[:200], test_digits.labels[:200], strict=True)
    right = [server.post("/predict", **as_raw(image)).json()["label"] == label for image, label in with_labels]
    assert np.mean(right) > 0.8


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


GOOD = [0] * 300 + [255] * 184 + [0] * 300
BAD_JSON = {
    "not JSON": (b"{", 400),
    "NaN": (json.dumps([float("nan")] * 784).encode(), 400),
    "infinite": (json.dumps([float("inf")] * 784).encode(), 400),
    "not UTF-8": (b"\xff\xfe[1]", 400),
    "deeply nested": (b"[" * 100_000, 400),
    "empty array": (b"[]", 422),
    "empty object": (b"{}", 422),
    "null": (b"null", 422),
    "a number": (b"7", 422),
    "not base64": (b'"7"', 422),
    "base64 of nothing": (b'""', 422),
    "base64 of words": (b'"d29yZHM="', 422),
    "nulls": (json.dumps([None] * 784).encode(), 422),
    "strings": (json.dumps(["0"] * 784).encode(), 422),
    "truths": (json.dumps([True] * 784).encode(), 422),
    "783 numbers": (json.dumps(GOOD[1:]).encode(), 422),
    "785 numbers": (json.dumps([0, *GOOD]).encode(), 422),
    "27 rows": (json.dumps([[255] * 28] * 27).encode(), 422),
    "ragged rows": (json.dumps([[255] * 28] * 27 + [[0] * 27]).encode(), 422),
    "rows and numbers": (json.dumps([[255] * 28] * 27 + [0] * 28).encode(), 422),
    "256": (json.dumps([256, *GOOD[1:]]).encode(), 422),
    "-1": (json.dumps([-1, *GOOD[1:]]).encode(), 422),
    "a huge integer": (f"[{'9' * 400}, {json.dumps(GOOD[1:])[1:]}".encode(), (400, 422)),
    "1e999": (f"[1e999, {json.dumps(GOOD[1:])[1:]}".encode(), (400, 422)),
    "scaled to 0..1": (json.dumps([pixel / 255 for pixel in GOOD]).encode(), 422),
    "blank": (json.dumps([0] * 784).encode(), 422),
    "white": (json.dumps([255] * 784).encode(), 422),
    "another key": (json.dumps({"picture": GOOD}).encode(), 422),
    "two keys": (json.dumps({"image": GOOD, "label": 7}).encode(), 422),
    "a URL": (b'{"image": "http://127.0.0.1/secret"}', 422),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_json_that_is_no_digit_is_refused_in_one_sentence(server, name):
    body, status = BAD_JSON[name]
    answer = server.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (status if isinstance(status, tuple) else (status,)), answer.text
    expect_problem(answer, answer.status_code)


PICTURE = np.random.default_rng(0).integers(0, 256, (100, 100), np.uint8)
BAD_BODIES = {
    "no JSON at all": ("application/json", b"", 400, "empty"),
    "no bytes at all": ("application/octet-stream", b"", 400, "empty"),
    "783 bytes": ("application/octet-stream", b"\x07" * 783, 422, "784 bytes"),
    "blank bytes": ("application/octet-stream", b"\x00" * 784, 422, "blank"),
    "no picture at all": ("image/png", b"", 400, "empty"),
    "words": ("image/png", b"these are words", 422, "neither a png nor a jpeg"),
    "half a PNG": ("image/png", encoded(PICTURE)[:5_000], 422, "not a readable picture"),
    "half a JPEG": ("image/jpeg", encoded(PICTURE, "JPEG")[:2_000], 422, "not a readable picture"),
    "a PNG without pixels": ("image/png", png_header(0, 0), 422, "not a readable picture"),
    "a GIF": ("image/png", encoded(PICTURE, "GIF"), 422, "neither a png nor a jpeg"),
    "a blank page": ("image/png", encoded(np.full((90, 90), 255, np.uint8)), 422, "blank"),
    "a claim of 10,000 megapixels": ("image/png", png_header(100_000, 100_000), 422, "too large"),
    "a bomb of 50 megapixels": ("image/png", encoded(np.zeros((5_000, 10_000), np.uint8)), 422, "too large"),
    "a form without boundary": ("multipart/form-data", b"--x--", 400, "boundary"),
    "no form": ("multipart/form-data; boundary=x", b"no form", 400, "form"),
    "an empty form": ("multipart/form-data; boundary=x", b"--x--\r\n", 422, 'no file named "image"'),
    "text": ("text/plain", b"7", 415, "content type"),
    "a web form": ("application/x-www-form-urlencoded", b"image=7", 415, "content type"),
    "no content type": ("", b"7", 415, "content type"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_body_that_is_no_digit_is_refused_in_one_sentence(server, name):
    content_type, body, status, says = BAD_BODIES[name]
    answer = server.post("/predict", content=body, headers={"content-type": content_type})
    assert says in expect_problem(answer, status).lower()


def test_a_form_without_the_picture_is_refused(server):
    expect_problem(server.post("/predict", files={"photo": b"x"}), 422)
    expect_problem(server.post("/predict", files={"image": b""}), 422)
    expect_problem(server.post("/predict", files=[("image", b"x"), ("image", b"y")]), 400)


def test_a_body_over_the_limit_is_refused_whether_it_says_so_or_not(server):
    too_much = b"\x00" * (MAX_BODY_BYTES + 1)
    headers = {"content-type": "application/octet-stream"}
    expect_problem(server.post("/predict", content=too_much, headers=headers), 413)
    expect_problem(server.post("/predict", content=iter([too_much]), headers=headers), 413)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("kind", ["application/vnd.bentoml+pickle", "application/octet-stream", "application/x-pickle"])
def test_nothing_is_unpickled_on_any_route(server, tmp_path, path, kind):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    answer = server.post(path, content=pickle.dumps(Trap()), headers={"content-type": kind})
    assert 400 <= answer.status_code < 500
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "path", ["/nowhere", "/predict/lines", "/static/nothing.js", "/static/%2e%2e/app.py", *BENTOML_ROUTES]
)
def test_an_unknown_path_is_a_problem_too(server, path):
    expect_problem(server.get(path), 404)


def test_a_wrong_method_is_a_problem_that_names_the_right_one(server):
    answer = server.get("/predict")
    expect_problem(answer, 405)
    assert answer.headers["allow"] == "POST"


def test_it_is_healthy_and_ready(server):
    assert [server.get(path).status_code for path in ("/healthz", "/livez", "/readyz")] == [200, 200, 200]


def test_the_model_says_what_it_is_and_where_it_comes_from(server, recognizer):
    model = server.get("/model").json()
    assert (model["model_version"], model["kind"]) == (recognizer.version, "int8")
    assert model["lineage"] == recognizer.info.lineage


def test_metrics_count_requests_answers_and_the_model(server, recognizer, digit):
    def value(line_start: str) -> float:
        lines = [line for line in server.get("/metrics").text.splitlines() if line.startswith(line_start)]
        return float(lines[0].split()[-1]) if lines else 0

    answered = 'inkloop_requests_total{path="/predict",status="200"}'
    label = f'inkloop_answers_total{{label="{recognizer.probabilities(digit[None]).argmax()}"}}'
    before = value(answered), value(label), value('inkloop_request_seconds_count{path="/predict"}')
    server.post("/predict", **as_raw(digit))
    after = value(answered), value(label), value('inkloop_request_seconds_count{path="/predict"}')
    assert [now - then for then, now in zip(before, after, strict=True)] == [1, 1, 1]
    assert value(f'inkloop_model_info{{kind="int8",version="{recognizer.version}"}}') == 1


def test_paths_that_strangers_try_do_not_multiply_the_metrics(server):
    for number in range(5):
        server.get(f"/stranger-{number}")
    assert "stranger" not in server.get("/metrics").text


def test_the_page_of_the_api_needs_nothing_from_elsewhere(server):
    page = server.get("/docs").text
    assert "://" not in page
    for path in ("openapi.json", "static/swagger-ui.css", "static/swagger-ui-bundle.js"):
        assert path in page
        assert server.get(f"/{path}").status_code == 200


def test_without_a_champion_it_says_what_to_do(tmp_path):
    process = launch(str(tmp_path / "store"), free_port(), stderr=subprocess.PIPE, text=True)
    assert "no champion in" in process.communicate(timeout=60)[1]
    assert process.returncode != 0


def test_a_taken_port_is_named(champion_store):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = launch(champion_store, port, stderr=subprocess.PIPE, text=True)
        assert f"127.0.0.1:{port}: cannot serve there" in process.communicate(timeout=60)[1]


@pytest.mark.parametrize("port", [0, -1, 99_999])
def test_a_port_that_cannot_be_is_refused(champion_store, port):
    process = launch(champion_store, port, stderr=subprocess.PIPE, text=True)
    assert f"port {port}: there is no such port. Give one from 1 to 65535." in process.communicate(timeout=60)[1]


def test_a_server_whose_launcher_is_killed_ends_too(champion_store):
    port = free_port()
    process = launch(champion_store, port)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        wait_until_ready(process, client)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(family, timeout=20)
        assert alive == []
        with pytest.raises(httpx.ConnectError):
            client.get("/healthz")


def test_the_way_to_an_answer_loads_no_training_code():
    heavy = "torch", "kfp", "ray", "sklearn", "pandas", "pyarrow", "evidently", "great_expectations"
    script = f"import sys, serving.service; print([m for m in {heavy} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip().endswith("[]")


def test_the_server_does_what_its_description_says(server, tmp_path):
    tester, config = Path(sys.executable).with_name("schemathesis"), Path(__file__).with_name("schemathesis.toml")
    options = ["--max-examples", "300", "--generation-deterministic"]
    command = [tester, "--config-file", config, "run", f"{server.base_url}/openapi.json", *options]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stdout[-5000:]


SEVEN = [[[10, 10, 0], [50, 10, 100], [90, 12, 200], [60, 60, 300], [40, 110, 400]]]


@pytest.mark.parametrize("under_key", [True, False])
def test_pen_strokes_get_the_answer_of_their_picture(server, recognizer, under_key):
    answer = server.post(
        "/predict/strokes", params={"attention": 1}, json={"strokes": SEVEN} if under_key else SEVEN
    ).json()
    drawn = strokes.render(SEVEN)
    assert base64.b64decode(answer["picture"]) == drawn.tobytes()
    assert answer["probabilities"] == pytest.approx(recognizer.probabilities(drawn[None])[0].tolist(), abs=1e-6)


@pytest.mark.parametrize(
    "body",
    ["[]", "[[]]", "7", "null", '"7"', "[7]", "[[7]]", "[[[7]]]", '[[["1", "2"]]]', "[[[true, 2]]]", "[[[1, 2, 3, 4]]]",
     "[[[1e300, 0], [0, 0]]]", '{"points": []}', json.dumps([[[0, 0]] * 5_001])],
)  # fmt: skip
def test_strokes_that_are_none_are_refused_in_one_sentence(server, body):
    expect_problem(server.post("/predict/strokes", content=body, headers={"content-type": "application/json"}), 422)


def test_only_json_is_strokes(server):
    expect_problem(server.post("/predict/strokes", content=b"[]", headers={"content-type": "text/plain"}), 415)
