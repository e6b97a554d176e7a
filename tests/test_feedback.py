"""Corrections over HTTP: who may send them, and that they are found beside what was answered."""

import os
import signal
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import numpy as np
import pytest
from server import DECISION, free_port, launch, wait_until_ready

from infra import api_keys, captured, registry
from infra.storage import open_store


@pytest.fixture(scope="module")
def store(model_directory, tmp_path_factory):
    """A store of one's own with a champion: what is captured goes there."""
    home = open_store(str(tmp_path_factory.mktemp("corrected") / "store"))
    registry.promote(home, registry.publish(home, model_directory), DECISION, expected=None)
    return home


@pytest.fixture(scope="module")
def client(store, tmp_path_factory):
    """A client of a server that ships what it captures every second."""
    port = free_port()
    ours = {"INKLOOP_CAPTURE_FOLDER": str(tmp_path_factory.mktemp("segments")), "INKLOOP_CAPTURE_SHIP_INTERVAL_S": "1"}
    process = launch(str(store), port, env={**os.environ, **ours})
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        wait_until_ready(process, client)
        yield client
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


def ask(client: httpx.Client, image: np.ndarray) -> dict:
    raw = {"content-type": "application/octet-stream", "inkloop-capture": "wait"}
    answer = client.post("/predict", content=image.tobytes(), headers=raw)
    assert answer.headers["inkloop-captured"] == "yes"
    return answer.json()


def kept(store, prediction_id: str) -> list[dict]:
    """The rows of this prediction in the store, once they carry a label."""
    now = datetime.now(UTC)
    for _ in range(100):
        rows = captured.read(store, now - timedelta(hours=2), now + timedelta(hours=2)).to_pylist()
        found = [row for row in rows if row["prediction_id"] == prediction_id]
        if found and found[0]["label"] is not None:
            return found
        time.sleep(0.2)
    raise TimeoutError("no label within twenty seconds")


def test_a_correction_is_found_beside_the_picture_and_the_answer(client, store, digit):
    answer = ask(client, digit)
    said = client.post("/feedback", json={"prediction_id": answer["prediction_id"], "label": 3})
    assert (said.status_code, said.json()) == (200, {"prediction_id": answer["prediction_id"], "label": 3})
    (row,) = kept(store, answer["prediction_id"])
    assert (row["label"], row["answer"], row["image"]) == (3, answer["label"], digit.tobytes())


def test_the_last_of_several_corrections_counts(client, store, digit):
    answer = ask(client, digit)
    for label in (1, 2, 9):
        assert client.post("/feedback", json={"prediction_id": answer["prediction_id"], "label": label}).is_success
    time.sleep(3)
    assert [row["label"] for row in kept(store, answer["prediction_id"])] == [9]


def test_each_picture_of_a_batch_can_be_corrected(client, store, test_digits):
    raw = {"content-type": "application/octet-stream", "inkloop-capture": "wait"}
    answer = client.post("/predict/batch", content=test_digits.images[:5].tobytes(), headers=raw)
    assert answer.headers["inkloop-captured"] == "yes"
    ids = answer.json()["prediction_ids"]
    assert len(set(ids)) == 5
    client.post("/feedback", json={"prediction_id": ids[3], "label": 4})
    (row,) = kept(store, ids[3])
    assert row["image"] == test_digits.images[3].tobytes()


GOOD = {"prediction_id": str(uuid4()), "label": 7}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"label": 7}, "prediction_id: "),
        ({**GOOD, "label": 10}, "label: "),
        ({**GOOD, "label": "7"}, "label: "),
        ({**GOOD, "label": 7.5}, "label: "),
        ({**GOOD, "prediction_id": "seven"}, "prediction_id: "),
        ({**GOOD, "why": "I know"}, "why: "),
        ([GOOD], "The body: "),
    ],
)
def test_a_correction_that_is_none_is_refused_in_one_sentence(client, body, says):
    refused = client.post("/feedback", json=body)
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith(says)


def test_only_json_is_a_correction(client):
    """A form, which any page on the web could have a browser send, is not."""
    assert client.post("/feedback", data=GOOD).status_code == 415
    assert client.post("/feedback", content=b"{", headers={"content-type": "application/json"}).status_code == 422


def test_a_page_under_another_name_cannot_correct_though_it_asks_from_here(client):
    """As a browser here would, tricked by DNS rebinding."""
    assert client.post("/feedback", json=GOOD, headers={"host": "evil.example:3000"}).status_code == 401


def test_once_there_are_keys_a_correction_needs_one_of_either_kind_even_from_here(client, store):
    made = [api_keys.add(store, "ada"), api_keys.add(store, "bob", operator=True)]
    time.sleep(5.5)
    refused = client.post("/feedback", json=GOOD)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    for key in made:
        assert client.post("/feedback", json=GOOD, headers={"authorization": f"Bearer {key}"}).status_code == 200
    api_keys.remove(store, "ada")
    api_keys.remove(store, "bob")
