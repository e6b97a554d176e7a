"""Traffic of the loop: digits sent at a steady rate, labels sent after them, and what came back."""

import http.client
import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from benchmarks.populations import Population

LABEL_AFTER_S = 3.0  # a person needs a while


@dataclass(frozen=True)
class Answered:
    """One answer: when (seconds since 1970), to whose digit, whether right, by which model, and if a label was sent."""

    at: float
    population: str
    is_right: bool
    version: str


@dataclass
class Traffic:
    """Sends one population after another to a server, from a thread of its own."""

    port: int
    key: str
    rate: float  # digits a second
    answered: list[Answered] = field(default_factory=list)
    dropped: int = 0
    labels: int = 0
    labeled_share: float = 0.0  # of what is sent from now on

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        self._to_label: deque[tuple[float, str, int]] = deque()
        self._stopped = threading.Event()

    def send(self, population: Population) -> threading.Thread:
        """Begin to send these digits; the thread ends after the last, or at `stop`."""
        thread = threading.Thread(target=self._send, args=(population,), daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Send no more."""
        self._stopped.set()

    def _send(self, population: Population) -> None:
        due = time.monotonic()
        credit = 0.0
        for image, label in zip(population.images, population.labels.tolist(), strict=True):
            if self._stopped.wait(max(0.0, due - time.monotonic())):
                return
            due += 1 / self.rate
            headers = {"Content-Type": "application/octet-stream", "Inkloop-Source": population.name}
            answer = self._post("/predict", image.tobytes(), headers)
            if answer is None:
                continue
            self.answered.append(
                Answered(time.time(), population.name, answer["label"] == label, answer["model_version"])
            )
            credit += self.labeled_share
            if credit >= 1:
                credit -= 1
                self._to_label.append((time.monotonic() + LABEL_AFTER_S, answer["prediction_id"], label))
            while self._to_label and self._to_label[0][0] <= time.monotonic():
                self._label(*self._to_label.popleft()[1:])

    def _label(self, prediction_id: str, label: int) -> None:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        body = json.dumps({"prediction_id": prediction_id, "label": label}).encode()
        if self._post("/feedback", body, headers) is not None:
            self.labels += 1

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> dict | None:
        """The answer; None if the request was dropped, which is counted."""
        try:
            self._connection.request("POST", path, body, headers)
            response = self._connection.getresponse()
            content = response.read()
        except OSError:
            self._connection.close()
            self.dropped += 1
            return None
        if response.status // 100 != 2:
            self.dropped += 1
            return None
        return json.loads(content) if content else {}
