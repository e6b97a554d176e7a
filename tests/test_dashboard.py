"""The operators' page: what it tells, what its buttons do, and who may press them."""

import base64
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from operators import STEPS, digests, run_of, showing, watched
from served import crown, wait_until
from server import free_port

from infra import api_keys, challenger, lease, registry, runs
from infra.lease import Lease
from infra.signing import TRUSTED_KEYS
from infra.storage import IMPATIENT, FolderStore, Store, open_store
from inkloop import checkpoint
from inkloop.errors import UserError
from monitoring import decisions, requests
from monitoring.decisions import WATCH_LEASE
from monitoring.operator.access import BURST
from monitoring.operator.app import LARGEST_FORM
from monitoring.operator.overview import look
from monitoring.operator.serve import serve

PROGRAM = {"accept": "*/*"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def what_stands(store: Store) -> tuple[object, ...]:
    return registry.champion(store), challenger.challenger(store), requests.pending(store)


def test_an_empty_store_has_a_page_that_says_so(tmp_path):
    with showing(FolderStore(tmp_path / "nothing")) as client:
        page = client.get("/")
    assert page.status_code == 200
    assert "The first run of the pipeline brings one" in page.text
    assert "Nobody watches" in page.text
    assert "Roll back" not in page.text
    assert "Promote" not in page.text


def test_a_run_that_failed_tells_in_which_step_and_of_what(home):
    failed = {"failed": "Train teacher", "verdict": "The disk is full.", "models": {}, "steps": run_of("").steps[:2]}
    runs.keep(home, run_of("", promoted=False).model_copy(update=failed))
    with showing(home) as client:
        text = client.get("/").text
    assert '<strong class="bad">failed</strong>' in text
    assert "Train teacher: The disk is full." in text
    assert "latency p50" not in text


def test_it_tells_what_the_store_knows_wherever_that_is(store, model_directory, other_model_directory):
    crown(store, before := registry.publish(store, other_model_directory))
    crown(store, registry.publish(store, model_directory))
    runs.keep(store, run_of(before))
    state = watched(store)
    requests.ask(store, "bob", "new pens", datetime.now(UTC))
    seen = look(store, datetime.now(UTC))
    assert seen.champion == registry.reigning(store)
    assert [(each.standing, each.run is not None) for each in seen.versions] == [
        ("champion", False),
        ("champion before", True),
    ]
    assert (seen.restored, seen.promised) == (before[:12], 0.9886)
    assert (seen.drifts, seen.point) == (state.drifts, state.points[-1])
    assert [request.by for request in seen.requests] == ["bob"]
    with showing(store) as client:
        text = client.get("/").text
    for told in (
        "0.42",
        "90.00%",
        "98.86%",
        "1,234",
        "98.71%",
        "97.2 KB",
        "4,321",
        "400 of 1000 labels are suspicious",
    ):
        assert told in text
    assert [text.index(step) for step in STEPS] == sorted(text.index(step) for step in STEPS)


def test_what_was_seen_of_a_champion_before_is_not_told_of_the_one_now(home, operators):
    watched(home)
    registry.rollback(home, "misreads sevens", "ada")
    seen = look(home, datetime.now(UTC))
    assert (seen.point, seen.drifts, seen.decision, seen.promised) == (None, (), None, None)
    assert "Not looked for: nobody watches" in operators.get("/").text
    with lease.held(home, WATCH_LEASE):
        assert "Nothing was seen of this champion yet" in operators.get("/").text


def test_who_watches_and_who_retrains_is_told_while_they_do(home, operators):
    with lease.held(home, WATCH_LEASE) as watch, lease.held(home, decisions.LEASE) as run:
        text = operators.get("/").text
        assert f"Watched by {watch.lease.by}" in text
        assert f"({run.lease.by})" in text
    assert "Nobody watches" in operators.get("/").text


def test_nothing_that_comes_from_outside_is_markup(home, operators):
    named, other = api_keys.add(home, HOSTILE, operator=True), api_keys.add(home, f"{HOSTILE}2")
    runs.keep(home, run_of(digests(home)[1], HOSTILE).model_copy(update={"profile": HOSTILE, "cause": HOSTILE}))
    watched(home, HOSTILE)
    now = datetime.now(UTC)
    held = Lease(number=1, holder="h", by=HOSTILE, since=now, expires_at=now + timedelta(minutes=2), lifetime_s=120)
    home.put(WATCH_LEASE, held.model_dump_json().encode())
    operators.post("/retrain", data={"why": HOSTILE, "key": named})
    requests.done(home, requests.ask(home, HOSTILE, HOSTILE, now), HOSTILE)
    operators.post("/rollback", data={"why": HOSTILE, "key": named, "expected": digests(home)[1]})
    refused = operators.post("/promote", data={"why": HOSTILE, "version": HOSTILE, "key": named})
    assert refused.status_code == 422
    for_corrections = operators.post("/retrain", data={"why": HOSTILE, "key": other})
    assert for_corrections.status_code == 403
    for text in (operators.get("/").text, refused.text, for_corrections.text):
        assert text.count("&lt;script&gt;alert(1)") >= 10
        assert "<script>" not in text
        assert "<img" not in text


def test_a_retraining_that_is_asked_for_waits_with_name_and_reason(home, operators, key):
    answer = operators.post("/retrain", data={"why": " misreads\nsevens ", "key": key})
    assert (answer.status_code, answer.headers["location"]) == (303, "./?done=retrain")
    assert [(each.by, each.why) for each in requests.pending(home)] == [("ada", "misreads sevens")]
    assert "misreads sevens" in operators.get("/").text
    requests.done(home, requests.pending(home)[0], "nothing is labeled yet")
    assert "nothing is labeled yet" in operators.get("/").text


def test_any_published_model_is_promoted_with_name_and_reason(home, operators, key):
    before, now = digests(home)
    answer = operators.post("/promote", data={"why": "better", "version": before, "expected": now, "key": key})
    assert answer.status_code == 303
    champion = registry.reigning(home)
    assert (champion.digest, champion.previous) == (before, now)
    assert champion.decision == {"promoted": True, "reason": "better", "by": "ada"}


def test_a_challenger_that_is_promoted_is_tried_no_longer(home, operators, key):
    before, now = digests(home)
    challenger.challenge(home, before, None, "bob")
    assert "is tried" in operators.get("/").text
    operators.post("/promote", data={"why": "won", "version": before, "expected": now, "key": key})
    assert registry.reigning(home).digest == before
    assert challenger.challenger(home) is None


def test_a_rollback_brings_the_champion_before_back_and_bars_the_one_now(home, operators, key):
    before, now = digests(home)
    assert operators.post("/rollback", data={"why": "misreads 7", "expected": now, "key": key}).status_code == 303
    champion = registry.reigning(home)
    assert champion.digest == before
    assert [(each.digest, each.reason, each.by) for each in champion.rolled_back] == [(now, "misreads 7", "ada")]
    refused = operators.post("/promote", data={"why": "again", "version": now, "expected": before, "key": key})
    assert refused.status_code == 422
    assert "was rolled back" in refused.text
    assert registry.reigning(home) == champion


def test_a_teacher_is_shown_and_never_promoted(home, operators, key, trained_model, tmp_path):
    checkpoint.save(trained_model, tmp_path / "teacher", "teacher", {}, {})
    teacher = registry.publish(home, tmp_path / "teacher")
    found = {each.digest: (each.standing, each.may_be_promoted) for each in look(home, datetime.now(UTC)).versions}
    before, now = digests(home)
    assert found == {now: ("champion", False), before: ("champion before", True), teacher: ("teacher", False)}
    answer = operators.post("/promote", data={"why": "w", "version": teacher, "expected": now, "key": key})
    assert (answer.status_code, registry.reigning(home).digest) == (422, now)
    assert "a teacher, to train on from" in answer.text


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_a_page_that_is_behind_changes_nothing(home, operators, key, action):
    before, now = digests(home)
    registry.promote(home, before, {"promoted": True}, expected=now)
    stood = what_stands(home)
    form = {"why": "misreads 7", "expected": now, "version": now, "key": key}
    form |= {"expected": "0" * 64} if action == "promote" else {}
    answer = operators.post(f"/{action}", data=form)
    assert answer.status_code == 409
    assert before[:12] in answer.text
    assert what_stands(home) == stood


def test_of_two_operators_who_decide_at_once_one_is_told_to_look_again(home, operators, key):
    before, now = digests(home)
    answers: list[int] = []
    start = threading.Barrier(2)

    def decide_on(action: str) -> None:
        start.wait()
        form = {"why": "now", "version": before, "expected": now, "key": key}
        answers.append(operators.post(f"/{action}", data=form).status_code)

    threads = [threading.Thread(target=decide_on, args=(action,)) for action in ("promote", "rollback")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.reigning(home).digest == before
    assert 303 in answers
    assert len(registry.history(home)) == 3


@pytest.mark.parametrize(
    ("action", "form", "said"),
    [
        ("retrain", {"why": " "}, "No reason was given"),
        ("promote", {}, "No reason was given"),
        ("rollback", {"why": "x" * 501}, "501 characters is too long"),
        ("promote", {"why": "w", "version": "feedfeed"}, "no such model in the store"),
        ("promote", {"why": "w", "version": "../registry"}, "no such model in the store"),
    ],
)
def test_a_form_that_lacks_something_says_what_and_changes_nothing(home, operators, key, action, form, said):
    stood = what_stands(home)
    answer = operators.post(f"/{action}", data={**form, "expected": digests(home)[1], "key": key})
    assert answer.status_code == 422
    assert said in answer.text
    assert key not in answer.text
    assert what_stands(home) == stood


def test_a_model_that_nobody_trusted_signed_is_not_promoted(home, operators, key, monkeypatch, tmp_path):
    before, now = digests(home)
    public = tmp_path / "mine.pub"
    for command in (["genpkey", "-algorithm", "ed25519", "-out", "mine.pem"], ["pkey", "-in", "mine.pem", "-pubout"]):
        made = subprocess.run(["openssl", *command], cwd=tmp_path, check=True, capture_output=True)
    public.write_bytes(made.stdout)
    monkeypatch.setenv(TRUSTED_KEYS, str(public))
    answer = operators.post("/promote", data={"why": "w", "version": before, "expected": now, "key": key})
    assert (answer.status_code, registry.reigning(home).digest) == (422, now)
    assert "not signed by a key" in answer.text


@pytest.mark.parametrize("action", ["retrain", "promote", "rollback"])
@pytest.mark.parametrize("sent", ["none", "empty", "wrong", "removed", "address", "cookie", "basic"])
def test_without_a_key_in_the_form_nothing_is_done(home, operators, key, action, sent):
    before, now = digests(home)
    form = {"why": "w", "version": before, "expected": now}
    if sent == "empty":
        form["key"] = " "
    asked: dict[str, dict[str, str]] = {"params": {}, "headers": {}}
    if sent == "wrong":
        form["key"] = key[:-1]
    if sent == "removed":
        form["key"] = api_keys.add(home, "eve", operator=True)
        api_keys.remove(home, "eve")
    if sent == "address":
        asked["params"] = {"key": key}
    if sent == "cookie":
        asked["headers"] = {"cookie": f"key={key}"}
    if sent == "basic":
        asked["headers"] = basic(key)
    stood = what_stands(home)
    answer = operators.post(f"/{action}", data=form, **asked)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")  # which no browser asks a password for
    said = "This API key is not known here" if sent in ("wrong", "removed") else "The API key is missing"
    assert said in answer.text
    assert "`make key NAME=... OPERATOR=1` makes an operator&#39;s." in answer.text
    assert what_stands(home) == stood


@pytest.mark.parametrize("action", ["retrain", "promote", "rollback"])
def test_a_key_for_corrections_presses_no_button_and_is_told_what_does(home, operators, corrections_key, action):
    before, now = digests(home)
    stood = what_stands(home)
    form = {"why": "w", "version": before, "expected": now, "key": corrections_key}
    answer = operators.post(f"/{action}", data=form)
    assert answer.status_code == 403
    assert "The API key of bob is for corrections alone" in answer.text
    assert "make key NAME=... OPERATOR=1" in answer.text
    assert corrections_key not in answer.text
    assert what_stands(home) == stood


def test_where_no_operators_key_was_made_the_refusal_says_so(home, operators, corrections_key):
    for sent in ("", "a guess"):
        refused = operators.post("/retrain", data={"why": "w", "key": sent}, headers=PROGRAM)
        assert refused.status_code == 401
        assert refused.text.startswith("No operator's API key was made for this store yet; `make key NAME=")
    api_keys.add(home, "ada", operator=True)
    for sent, said in (("", "The API key is missing"), ("a guess", "This API key is not known here")):
        refused = operators.post("/retrain", data={"why": "w", "key": sent}, headers=PROGRAM)
        assert refused.text.startswith(said)


def test_a_program_sends_the_key_as_a_bearer_and_is_answered_in_one_sentence(home, operators, key):
    answer = operators.post("/retrain", data={"why": "w"}, headers={**PROGRAM, "authorization": f"Bearer {key}x"})
    assert (answer.status_code, answer.text.count("\n")) == (401, 1)
    assert answer.text.startswith("This API key is not known here")
    answer = operators.post("/retrain", data={"why": "w"}, headers={**PROGRAM, "authorization": f"bearer {key}"})
    assert answer.status_code == 303
    assert len(requests.pending(home)) == 1


def guess(client: httpx.Client, count: int) -> list[int]:
    """The statuses of so many wrong keys."""
    guesses = [{"why": "w", "key": f"guess {number}"} for number in range(count)]
    return [client.post("/retrain", data=form, headers=PROGRAM).status_code for form in guesses]


def test_who_tries_many_wrong_keys_is_slowed_down(home, operators, corrections_key):
    statuses = guess(operators, BURST + 10)
    assert statuses[:BURST] == [401] * BURST
    assert statuses.count(429) >= 5
    slowed = operators.post("/retrain", data={"why": "w", "key": corrections_key})
    assert slowed.status_code == 429
    assert "Too many wrong keys came from this address" in slowed.text
    assert int(slowed.headers["retry-after"]) >= 1
    assert requests.pending(home) == []


def test_an_operator_is_let_in_beside_one_who_guesses_from_the_same_address(home, operators, key):
    def ask() -> int:
        return operators.post("/retrain", data={"why": "w", "key": key}, headers=PROGRAM).status_code

    assert [ask() for _ in range(2 * BURST)] == [303] * 2 * BURST
    assert guess(operators, BURST) == [401] * BURST, "right keys cost nothing"
    assert 429 in guess(operators, BURST)
    assert [ask() for _ in range(BURST)] == [303] * BURST
    api_keys.remove(home, "ada")
    assert ask() == 401
    assert len(requests.pending(home)) == 3 * BURST


def test_a_key_made_while_someone_guesses_from_its_address_is_soon_let_in(home, operators):
    assert 429 in guess(operators, 2 * BURST)
    late = {"why": "w", "key": api_keys.add(home, "ada", operator=True)}

    def let_in() -> bool:
        guess(operators, 5)
        return operators.post("/retrain", data=late, headers=PROGRAM).status_code == 303

    wait_until(let_in, 10)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_what_another_site_sends_is_refused_even_with_a_key(home, operators, key, headers):
    answer = operators.post("/retrain", data={"why": "w", "key": key}, headers=headers)
    assert answer.status_code == 403
    assert requests.pending(home) == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:3001", "localhost.evil.example", ""])
def test_a_site_whose_name_was_made_to_lead_here_sees_and_does_nothing(home, operators, key, host):
    for answer in (
        operators.get("/", headers={"host": host}),
        operators.post("/retrain", data={"why": "w", "key": key}, headers={"host": host}),
    ):
        assert answer.status_code == 400
        assert registry.reigning(home).version not in answer.text
    assert requests.pending(home) == []


def test_only_a_short_form_is_read(home, operators, key):
    assert operators.post("/retrain", json={"why": "w", "key": key}).status_code == 415
    assert operators.post("/retrain", data={"why": "w" * LARGEST_FORM, "key": key}).status_code == 413
    assert operators.get("/retrain").status_code == 405
    assert operators.get("/../registry/api-keys.json").status_code == 404
    assert requests.pending(home) == []


def test_beyond_this_machine_everything_needs_an_operators_key_and_a_login_alone_does_nothing(
    home, key, corrections_key
):
    with showing(home, local=False) as client:
        for path in ("/", "/style.css", "/refresh.js"):
            refused = client.get(path)
            assert (refused.status_code, refused.headers["www-authenticate"][:5]) == (401, "Basic")
            assert client.get(path, headers=basic(key[:-1])).status_code == 401
            other = client.get(path, headers=basic(corrections_key))
            assert (other.status_code, other.headers["www-authenticate"][:5]) == (401, "Basic")  # it asks again
            assert "for corrections alone" in other.text
            assert client.get(path, headers=basic(key)).status_code == 200
        assert client.get("/", headers={"authorization": b"Basic \xff"}).status_code == 401
        assert [client.get("/").status_code for _ in range(2 * BURST)] == [401] * 2 * BURST  # or no browser asks
        assert client.get("/", headers={"authorization": f"Bearer {key}"}).status_code == 200
        assert client.post("/retrain", data={"why": "w", "key": key}).status_code == 401
        assert client.post("/retrain", data={"why": "w"}, headers=basic(key)).status_code == 401
        assert requests.pending(home) == []
        assert client.post("/retrain", data={"why": "w", "key": key}, headers=basic(key)).status_code == 303
    assert len(requests.pending(home)) == 1


def test_a_store_that_is_away_is_a_sentence(monkeypatch):
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    away = open_store("s3://nowhere/prefix", IMPATIENT)
    for local in (True, False):
        with showing(away, local) as client:
            for answer in (client.get("/"), client.post("/retrain", data={"why": "w", "key": "k"})):
                assert answer.status_code == 503
                assert "cannot be shown" in answer.text
                assert "Traceback" not in answer.text


def test_a_record_that_cannot_be_read_is_a_sentence_that_names_it(home, operators):
    home.put(f"{runs.PLACE}20261125T120000.000000Z.json", b'{"id": 7}')
    answer = operators.get("/")
    assert answer.status_code == 503
    assert "Run" in answer.text


def test_the_page_is_small_strict_and_never_kept(home, operators):
    watched(home)
    answers = [operators.get(path) for path in ("/", "/style.css", "/refresh.js", "/nothing")]
    assert sum(len(answer.content) for answer in answers) < 60_000
    for answer in [*answers, operators.post("/retrain", data={"why": "w"})]:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_the_command_shows_the_page_on_this_machine_alone(home):
    port = free_port()
    command = [sys.executable, "-m", "pipeline", "dashboard", "--store", str(home), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        wait_until(lambda: answers_at(f"http://127.0.0.1:{port}/"), 30)
        with pytest.raises(UserError, match="cannot be had"):
            serve(str(home), port=port)
        assert not answers_at(f"http://127.0.0.2:{port}/")
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 0), ("127.0.0.1", 70_000), ("no.such.host.example", 3001)])
def test_a_place_that_is_none_is_a_sentence(home, host, port):
    with pytest.raises(UserError, match="Give"):
        serve(str(home), host, port)


def answers_at(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def basic(key: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"ada:{key}".encode()).decode()}
