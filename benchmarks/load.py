"""A load generator: one thread, raw sockets, so that it takes little from the server beside it."""

import select
import socket
import time
from dataclasses import dataclass

WARM_UP = 200  # requests before the clock starts


@dataclass(frozen=True)
class Request:
    """An HTTP request, ready to be sent."""

    content: bytes

    @staticmethod
    def post(path: str, content_type: str, body: bytes) -> "Request":
        """A POST that keeps its connection."""
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}"
        return Request(f"{head}\r\n\r\n".encode() + body)


class Connection:
    """One connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._heard = b""

    def receive(self) -> bool:
        """Take what came; whether the answer is whole. Raises RuntimeError unless it is 200."""
        self._heard += self.socket.recv(1 << 20)
        head, end, body = self._heard.partition(b"\r\n\r\n")
        if not end:
            return False
        if b" 200 " not in head[:20]:
            raise RuntimeError(f"the server answered {self._heard[:500]!r}")
        if not _is_whole(head, body):
            return False
        self._heard = b""
        return True

    def ask(self, request: Request) -> None:
        """Send the request and wait for its answer."""
        self.socket.sendall(request.content)
        while not self.receive():
            pass


def one_after_another(port: int, request: Request, count: int) -> list[float]:
    """Seconds that each of `count` requests took, one at a time on one connection."""
    connection, took = Connection(port), []
    for number in range(WARM_UP + count):
        began = time.perf_counter()
        connection.ask(request)
        if number >= WARM_UP:
            took.append(time.perf_counter() - began)
    connection.socket.close()
    return took


def all_at_once(port: int, request: Request, connections: int, seconds: float) -> float:
    """Answers a second, where each of the connections sends its next request as soon as it has its answer."""
    poll, open_ones = select.epoll(), {}
    for _ in range(connections):
        connection = Connection(port)
        open_ones[connection.socket.fileno()] = connection
        poll.register(connection.socket, select.EPOLLIN)
        connection.socket.sendall(request.content)
    answered, began, counting_since = 0, time.perf_counter(), 0.0
    while (now := time.perf_counter()) < began + 1 + seconds:
        if not counting_since and now > began + 1:
            answered, counting_since = 0, now
        for number, _ in poll.poll(1):
            connection = open_ones[number]
            if connection.receive():
                answered += 1
                connection.socket.sendall(request.content)
    for connection in open_ones.values():
        connection.socket.close()
    return answered / (now - counting_since)


def _is_whole(head: bytes, body: bytes) -> bool:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line[15:])
        if line.startswith(b"transfer-encoding: chunked"):
            return body.endswith(b"0\r\n\r\n")
    raise RuntimeError(f"an answer that does not say how long it is: {head!r}")
