"""What a client may not do: dribble, send headers or requests without end, hold connections for ever."""

import os
import signal
import socket
import time

import httpx
import pytest
from server import free_port, launch, wait_until_ready

from infra.rates import Rates
from inkloop.errors import UserError
from serving.limits import PREFIX, LimitSettings

REQUEST_S = 1.0
BURST = 40


@pytest.fixture(scope="module")
def strict(champion_store):
    """A client of a server with narrow limits."""
    port = free_port()
    limits = {"REQUEST_S": str(REQUEST_S), "HEAD_BYTES": "2000", "REQUESTS_PER_S": "20", "BURST": str(BURST)}
    environment = {**os.environ, **{PREFIX + name: value for name, value in limits.items()}}
    process = launch(champion_store, port, env=environment)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        wait_until_ready(process, client)
        yield client
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)


def heard(connection: socket.socket) -> bytes:
    """All that the server says until it hangs up."""
    said = b""
    while part := connection.recv(65536):
        said += part
    return said


HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\ncontent-length: 784\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"POST /pre", HEAD[:60], HEAD, HEAD + b"x" * 100])
def test_who_does_not_send_a_whole_request_in_time_is_hung_up_on(strict, sent):
    with connect(strict) as slow:
        began = time.monotonic()
        slow.sendall(sent)
        said = heard(slow)
        assert REQUEST_S / 2 < time.monotonic() - began < REQUEST_S + 5
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in said


def test_who_dribbles_is_hung_up_on_though_there_is_always_something(strict):
    with connect(strict) as slow:
        slow.settimeout(0.05)
        began = time.monotonic()
        said = b""
        for byte in HEAD * 10:
            try:
                slow.sendall(bytes([byte]))
                said = slow.recv(65536)
            except TimeoutError:
                continue
            break
        assert time.monotonic() - began < REQUEST_S + 5
    assert said.startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_was_answered_may_rest_longer(strict, digit):
    with httpx.Client(base_url=strict.base_url) as client:
        assert client.get("/healthz").status_code == 200
        time.sleep(2 * REQUEST_S)
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "flood",
    [b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1000, b"GET / HTTP/1.1\r\na: " + b"b" * 9000, b"GET /" + b"a" * 9000],
)
def test_headers_without_end_are_refused(strict, flood):
    with connect(strict) as greedy:
        greedy.sendall(flood)
        assert heard(greedy).startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))


def test_a_head_that_is_too_long_is_refused_also_if_it_comes_at_once(strict):
    with connect(strict) as greedy:
        greedy.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\na: " + b"b" * 9000 + b"\r\n\r\n")
        assert heard(greedy).startswith(b"HTTP/1.1 431 ")


def test_what_is_not_http_is_refused_as_a_problem(strict):
    with connect(strict) as stranger:
        stranger.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        said = heard(stranger)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in said


def test_a_web_socket_reaches_no_route_of_bentomls(strict):
    upgrade = (
        b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n\r\n"
    )
    with connect(strict) as stranger:
        stranger.sendall(b"GET /ws HTTP/1.1\r\nhost: x\r\n" + upgrade)
        assert b" 404 " in stranger.recv(65536)


def test_who_asks_too_often_is_told_when_to_come_again_and_probes_are_not_counted(strict):
    answers = [strict.get("/model") for _ in range(2 * BURST)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert refused[0].json()["detail"].startswith("Too many requests from 127.0.0.1; come again in ")
    assert int(refused[0].headers["retry-after"]) >= 1
    assert strict.get("/readyz").status_code == 200
    time.sleep(0.2)
    assert strict.get("/model").status_code == 200


def test_a_bucket_refills_as_asked():
    rates = Rates(per_s=10, burst=5)
    assert [rates.wait_s("a", 0.0) for _ in range(5)] == [0.0] * 5
    assert rates.wait_s("a", 0.0) == pytest.approx(0.1)
    assert rates.wait_s("b", 0.0) == 0.0
    assert rates.wait_s("a", 0.11) == 0.0
    passed = sum(rates.wait_s("a", 0.11 + step / 1000) == 0.0 for step in range(10_000))
    assert passed == pytest.approx(100, abs=1)


def test_a_token_that_is_given_back_is_there_again_and_none_is_won():
    rates = Rates(per_s=10, burst=2)
    rates.give_back("a")
    for _ in range(5):
        assert rates.wait_s("a", 0.0) == 0.0
        rates.give_back("a")
    rates.give_back("a")
    assert [rates.wait_s("a", 0.0) == 0.0 for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("name", "value"), [("REQUEST_S", "0"), ("REQUESTS", "5"), ("BURST", "many")])
def test_a_limit_that_makes_no_sense_is_named(name, value):
    with pytest.raises(UserError, match=f"^INKLOOP_LIMIT_{name}[:=]"):
        LimitSettings.from_environment(PREFIX, {PREFIX + name: value})
