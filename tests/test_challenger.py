"""A challenger on real requests: its answers compared in the shadow, or given to a share of those who ask."""

import copy
import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import Server, crown, wait_until

from infra import challenger, registry
from infra.challenger import Challenger
from infra.storage import Store, open_store
from inkloop import checkpoint
from inkloop.errors import UserError
from serving import metrics, shadow
from serving.shadow import Challenge, Shadow

PICK_UP_S = 5.0


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def store(request, tmp_path, publish_both) -> Store:
    """A store whose champion is the first model; the second is published."""
    if request.param == "s3":
        store = open_store(f"s3://{request.getfixturevalue('s3_bucket')}/some/prefix")
    else:
        store = open_store(str(tmp_path / "store"))
    publish_both(store)
    return store


@pytest.fixture
def folder_store(tmp_path, publish_both) -> Store:
    store = open_store(str(tmp_path / "store"))
    publish_both(store)
    return store


def test_a_challenger_is_set_replaced_and_withdrawn(store, second):
    assert challenger.challenger(store) is None
    challenger.challenge(store, second.digest, canary=None, by="ada")
    tried = challenger.challenger(store)
    assert (tried.digest, tried.mode, tried.share, tried.by) == (second.digest, "shadow", 0, "ada")
    assert challenger.challenge(store, second.digest, canary=0.05, by="ada") == challenger.challenger(store)
    assert challenger.challenger(store).share == 0.05
    challenger.withdraw(store)
    challenger.withdraw(store)
    assert challenger.challenger(store) is None


def test_the_champion_a_model_rolled_back_and_a_wrong_share_are_refused(store, first, second):
    with pytest.raises(UserError, match="is the champion"):
        challenger.challenge(store, first.digest, canary=None, by="ada")
    for share in (0, -0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="not a share"):
            challenger.challenge(store, second.digest, canary=share, by="ada")
    crown(store, second.digest)
    registry.rollback(store, "misreads sevens", "ada")
    with pytest.raises(UserError, match=r"was rolled back on .*: misreads sevens"):
        challenger.challenge(store, second.digest, canary=0.5, by="ada")
    assert challenger.challenger(store) is None


def command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_release_by_the_command_line(folder_store, first, second, monkeypatch):
    """Challenge, promote, roll back, readmit: each says in one sentence what it did, or why not."""
    monkeypatch.setenv("USER", "ada")
    home = ["--store", str(folder_store)]
    assert (
        f"Challenger {second.version} is tried by 0.05"
        in command("challenge", second.version, "--canary", "0.05", *home).stdout
    )
    assert challenger.challenger(folder_store).by == "ada"
    assert "in the shadow" in command("challenge", second.version, "--shadow", *home).stdout
    assert command("withdraw", *home).returncode == 0
    crown(folder_store, second.digest)
    assert f"Champion {first.version} is back" in command("rollback", "--reason", "misreads 7", *home).stdout
    assert registry.champion(folder_store).decision["by"] == "ada"
    assert "no earlier champion is left" in command("rollback", "--reason", "bad", *home).stderr
    assert f"Model {second.version} may be promoted again" in command("readmit", second.version, *home).stdout
    for arguments, says in [
        (["rollback"], "no reason given"),
        (["readmit", second.version], "was not rolled back"),
        (["challenge", "0123456789ab", "--shadow"], "no such model"),
        (["challenge", second.version], "either --shadow or --canary"),
        (["challenge", second.version, "--canary", "5"], "not a share"),
    ]:
        ended = command(*arguments, *home)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
        assert says in ended.stderr


def canary_of(recognizer, share: float) -> Challenge:
    return Challenge(
        recognizer,
        Challenger(digest=recognizer.digest, mode="canary", share=share, since=datetime.now(UTC), by="ada"),
    )


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_a_share_of_real_digits_meets_the_canary(second, mnist, share):
    canary, images = canary_of(second, share), mnist["test"].images
    met = np.mean([canary.meets(image.tobytes()) for image in images])
    assert abs(met - share) < 4 * np.sqrt(share * (1 - share) / len(images))


@given(who=st.binary(max_size=20), smaller=st.floats(0.001, 1), larger=st.floats(0.001, 1))
def test_a_larger_share_holds_all_of_a_smaller_one(second, who, smaller, larger):
    smaller, larger = sorted((smaller, larger))
    assert not canary_of(second, smaller).meets(who) or canary_of(second, larger).meets(who)
    assert canary_of(second, 1.0).meets(who)


def test_other_people_meet_the_next_challenger(first, second):
    people = [f"person {number}".encode() for number in range(2_000)]
    one, next_one = ([canary_of(model, 0.5).meets(who) for who in people] for model in (first, second))
    assert 0.4 < np.mean(np.equal(one, next_one)) < 0.6


def test_a_canary_answers_its_share_and_each_person_meets_one_version(
    folder_store, first, second, test_digits, tmp_path
):
    images, models = test_digits.images[:300], {model.version: model for model in (first, second)}
    with Server(str(folder_store), tmp_path / "log") as server:
        assert server.client.get("/model").json()["challenger"] is None
        tried = challenger.challenge(folder_store, second.digest, canary=0.3, by="ada")
        wait_until(lambda: server.client.get("/model").json()["challenger"] is not None, PICK_UP_S)
        about = server.client.get("/model").json()
        assert about["model_version"] == first.version
        assert about["challenger"] == {
            "model_version": second.version,
            "digest": second.digest,
            "mode": "canary",
            "share": 0.3,
            "since": tried.model_dump(mode="json")["since"],
        }
        answers = [server.predict(image) for image in images]
        for image, answer in zip(images, answers, strict=True):
            own = models[answer["model_version"]].probabilities(image[None])[0]
            assert answer["probabilities"] == pytest.approx(own.tolist(), abs=1e-6)
        assert 0.2 < np.mean([answer["model_version"] == second.version for answer in answers]) < 0.4
        assert [server.predict(image)["model_version"] for image in images] == [
            answer["model_version"] for answer in answers
        ]
        met = {
            person: {server.predict(image, person)["model_version"] for image in images[:8]}
            for person in map(str, range(40))
        }
        assert all(len(versions) == 1 for versions in met.values())
        assert {version for versions in met.values() for version in versions} == set(models)
        for person, versions in met.items():
            several = {"content": images[:8].tobytes(), "headers": {"content-type": "application/octet-stream"}}
            several["headers"]["Inkloop-Person"] = person
            assert {server.client.post("/predict/batch", **several).json()["model_version"]} == versions
        answered = f'inkloop_model_answers_total{{version="{second.version}"}}'
        assert server.metric(answered) > 0
        assert server.metric("inkloop_challenger_info") == 1
        challenger.withdraw(folder_store)
        wait_until(lambda: server.client.get("/model").json()["challenger"] is None, PICK_UP_S)
        assert {server.predict(image)["model_version"] for image in images[:50]} == {first.version}
        assert server.metric("inkloop_challenger_info") == 0


def test_a_canary_that_was_promoted_and_rolled_back_answers_nobody(folder_store, first, second, test_digits, tmp_path):
    with Server(str(folder_store), tmp_path / "log") as server:
        challenger.challenge(folder_store, second.digest, canary=1, by="ada")
        wait_until(lambda: server.predict(test_digits.images[0])["model_version"] == second.version, PICK_UP_S)
        crown(folder_store, second.digest)
        wait_until(lambda: server.version() == second.version, PICK_UP_S)
        registry.rollback(folder_store, "misreads sevens", "ada")
        wait_until(lambda: server.version() == first.version, PICK_UP_S)
        wait_until(lambda: server.client.get("/model").json()["challenger"] is None, 1)
        assert {server.predict(image)["model_version"] for image in test_digits.images[:50]} == {first.version}


def test_a_challenger_in_the_shadow_is_compared_and_never_answers(folder_store, first, second, test_digits, tmp_path):
    images = test_digits.images[:400]
    labels = [[int(model.probabilities(image[None]).argmax()) for image in images] for model in (first, second)]
    differ = sum(ours != theirs for ours, theirs in zip(*labels, strict=True))
    assert differ > 5
    with Server(str(folder_store), tmp_path / "log") as server:
        challenger.challenge(folder_store, second.digest, canary=None, by="ada")
        wait_until(lambda: server.client.get("/model").json()["challenger"] is not None, PICK_UP_S)
        answers = [server.predict(image) for image in images]
        assert {answer["model_version"] for answer in answers} == {first.version}
        counted = f'inkloop_shadow_answers_total{{outcome="%s",version="{second.version}"}}'
        wait_until(lambda: server.metric("inkloop_shadow_answers_total") == len(images), 10)
        assert server.metric(counted % "disagrees") == differ
        assert server.metric(counted % "agrees") == len(images) - differ
    lines = [line[line.index("{") :] for line in server.log.splitlines() if '"disagreement"' in line]
    assert len(lines) == differ
    told = json.loads(lines[0])
    assert (told["champion"]["version"], told["challenger"]["version"]) == (first.version, second.version)
    assert told["champion"]["label"] != told["challenger"]["label"]


def test_a_challenger_that_is_broken_leaves_the_champion_alone(folder_store, first, second, test_digits, tmp_path):
    key = f"models/{second.digest}/model.onnx"
    content = bytearray(folder_store.get(key))
    content[100] ^= 1
    folder_store.put(key, bytes(content))
    with Server(str(folder_store), tmp_path / "log") as server:
        challenger.challenge(folder_store, second.digest, canary=1, by="ada")
        wait_until(lambda: server.metric('inkloop_model_reload_failures_total{of="challenger"}') >= 1, PICK_UP_S)
        assert server.predict(test_digits.images[0])["model_version"] == first.version
        assert server.client.get("/model").json()["challenger"] is None


def test_a_challenger_too_slow_for_the_requests_makes_them_wait_for_nothing(first, second, test_digits):
    """Pictures come faster than any model reads them: those that do not fit into the queue are counted and dropped."""
    terms = Challenger(digest=second.digest, mode="shadow", share=0, since=datetime.now(UTC), by="ada")
    beside, challenge = Shadow(), Challenge(second, terms)
    image, answer = test_digits.images[0], first.probabilities(test_digits.images[:1])[0]
    counted = [metrics.SHADOW.labels(second.version, outcome) for outcome in ("agrees", "disagrees")]
    dropped_before, compared_before = value(metrics.SHADOW_DROPPED), sum(map(value, counted))
    start = time.perf_counter()
    for _ in range(20_000):
        beside.compare(challenge, image, first.version, answer)
    each_s = (time.perf_counter() - start) / 20_000
    dropped = value(metrics.SHADOW_DROPPED) - dropped_before
    assert dropped > 10 * shadow.WAITING
    wait_until(lambda: dropped + sum(map(value, counted)) - compared_before == 20_000, 20)
    assert each_s < 0.0005
    assert threading.active_count() < 50


def value(counter) -> float:
    return counter._value.get()


def test_a_teacher_cannot_be_challenger(store, learnt, tmp_path):
    checkpoint.save(copy.deepcopy(learnt), tmp_path / "teacher", "teacher", {}, {})
    digest = registry.publish(store, tmp_path / "teacher")
    with pytest.raises(UserError, match="a teacher, to train on from"):
        challenger.challenge(store, digest, None, "ada")
