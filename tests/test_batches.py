"""Many digits in one request."""

import json

import numpy as np
import pytest

from serving.inputs import MAX_BODY_BYTES

RAW = {"content-type": "application/octet-stream"}
JSON = {"content-type": "application/json"}


def test_a_batch_of_raw_pixels_gets_the_answers_of_its_pictures(server, recognizer, test_digits):
    images = test_digits.images[:200]
    answer = server.post("/predict/batch", content=images.tobytes(), headers=RAW).json()
    alone = np.concatenate([recognizer.probabilities(image[None]) for image in images])
    np.testing.assert_allclose(answer["probabilities"], alone, atol=1e-5)
    assert answer["labels"] == alone.argmax(1).tolist()
    assert answer["model_version"] == recognizer.version


@pytest.mark.parametrize("under_key", [True, False])
def test_a_batch_as_json_gets_the_same_answers_as_raw(server, test_digits, under_key):
    images = test_digits.images[:70]
    pictures = [image.tolist() if row % 2 else image.ravel().tolist() for row, image in enumerate(images)]
    sent = {"images": pictures} if under_key else pictures
    by_json = server.post("/predict/batch", json=sent).json()
    as_raw = server.post("/predict/batch", content=images.tobytes(), headers=RAW).json()
    assert by_json.pop("prediction_ids") != as_raw.pop("prediction_ids")
    assert by_json == as_raw


def test_thousands_of_digits_come_back_in_order(server, test_digits):
    images = np.tile(test_digits.images, (10, 1, 1))
    labels = server.post("/predict/batch", content=images.tobytes(), headers=RAW).json()["labels"]
    assert len(labels) == len(images)
    assert np.mean(np.array(labels) == np.tile(test_digits.labels, 10)) > 0.8


BLANK = [[0] * 784]
BAD = {
    "nothing": (RAW, b"", 400, "empty"),
    "half a picture": (RAW, b"\x07" * 1000, 422, "multiple of 784"),
    "too many": (RAW, b"\x07" * (MAX_BODY_BYTES + 1), 413, "over 10 MiB"),
    "no JSON": (JSON, b"{", 400, "not JSON"),
    "no pictures": (JSON, b"[]", 422, "array of pictures"),
    "another key": (JSON, json.dumps({"pictures": BLANK}).encode(), 422, '"images"'),
    "one broken among good ones": (JSON, json.dumps(BLANK * 3 + [[0] * 783]).encode(), 422, "Picture 3: "),
    "NaN": (JSON, b"[[NaN]]", 400, "not JSON"),
    "text": ({"content-type": "text/plain"}, b"7", 415, "content type"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_batch_that_is_none_is_refused_in_one_sentence(server, name):
    headers, body, status, says = BAD[name]
    answer = server.post("/predict/batch", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]
