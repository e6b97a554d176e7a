"""Capture: every answer and its input, durable on disk within a blink, and never in the way of an answer.

The request path appends to a queue. One thread writes what has gathered there to a segment: few, large writes, since
each of them takes the interpreter from the answers for a moment.
"""

import asyncio
import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from infra.persons import pseudonym
from infra.storage import Store
from inkloop.settings import Settings, Share
from serving import metrics
from serving.records import Record, encode, share_position
from serving.segments import Segment

VARIABLE_PREFIX = "INKLOOP_CAPTURE_"
FOLDER_VARIABLE = f"{VARIABLE_PREFIX}FOLDER"

log = logging.getLogger("inkloop.capture")

Ticket = Future[bool]  # comes to True once its record is durable, to False once it is known to be lost


class CaptureSettings(Settings):
    """What is captured and for how long; each field is also an environment variable, as INKLOOP_CAPTURE_SHARE."""

    folder: Path = Path("captured")  # where segments wait until they are shipped
    share: Share = 1.0  # of the answers
    queue_size: PositiveInt = 20_000  # records in memory, 1 KB each
    batch_s: NonNegativeFloat = 0.05  # what gathers in this time is written at once, unless a client waits for it
    segment_mib: PositiveFloat = 16
    ship_interval_s: PositiveFloat = 60  # also the age at which a segment is closed
    retention_days: PositiveInt = 365  # in the store

    def folder_for(self, store: Store) -> Path:
        """Where segments bound for this store wait: a server of another store must not ship them to that one."""
        return self.folder.absolute() / hashlib.sha256(str(store).encode()).hexdigest()[:12]


class Capture:
    """Takes records from the request path and makes them durable in segments in the folder."""

    def __init__(self, folder: Path, settings: CaptureSettings, secret: bytes) -> None:
        """Start the writing thread. secret: the key of the pseudonyms, see `infra.persons`."""
        self.folder = folder
        self._settings = settings
        self._secret = secret
        self._queue: deque[tuple[Record, Ticket | None]] = deque()
        self._wake = threading.Event()
        self._hurry = threading.Event()  # someone waits for what is in the queue
        self._stopping = threading.Event()
        self._segment: Segment | None = None
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def put(self, record: Record, ticket: Ticket | None = None) -> None:
        """Have the record captured soon; what cannot be is counted and dropped. Never blocks or raises."""
        if record.kind == "answer" and share_position(record.prediction_id) >= self._settings.share:
            self._drop([(record, ticket)], "sampling")
        elif len(self._queue) >= self._settings.queue_size:
            self._drop([(record, ticket)], "queue full")
        elif self._stopping.is_set():
            self._drop([(record, ticket)], "stopped")
        else:
            self._queue.append((record, ticket))
            if ticket is not None:
                self._hurry.set()
            if not self._wake.is_set():
                self._wake.set()

    async def durable(self, record: Record) -> bool:
        """Capture the record; True once it is on the disk, False if it was dropped."""
        ticket = Ticket()
        self.put(record, ticket)
        return await asyncio.wrap_future(ticket)

    async def put_label(self, prediction_id: bytes, label: int, person: str | None = None, source: str = "") -> bool:
        """Keep that this person says the prediction shows this digit; True once that is on the disk.

        prediction_id: 16 bytes (`records.id_from`); label: 0 to 9. Raises ValueError for others.
        """
        if len(prediction_id) != 16 or not 0 <= label <= 9:
            raise ValueError(f"no label to keep: {label} for the prediction {prediction_id.hex()}")
        seen_at = time.time_ns() // 1000
        return await self.durable(Record("label", prediction_id, seen_at, label, self.pseudonym(person), source))

    def pseudonym(self, person: str | None) -> bytes:
        """By which the person is known; empty for nobody."""
        return pseudonym(self._secret, person) if person else b""

    def close(self) -> None:
        """Write what has gathered and seal the segment."""
        self._stopping.set()
        self._hurry.set()
        self._wake.set()
        self._thread.join()
        self._drop(self._gathered(), "stopped")  # put while the thread ended

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._settings.ship_interval_s / 4)
            if self._queue:
                self._hurry.wait(self._settings.batch_s)
            self._hurry.clear()
            self._wake.clear()
            self._write(self._gathered())
            self._close_segment(only_if_due=True)
        self._write(self._gathered())
        self._close_segment()

    def _gathered(self) -> list[tuple[Record, Ticket | None]]:
        return [self._queue.popleft() for _ in range(len(self._queue))]

    def _write(self, batch: Sequence[tuple[Record, Ticket | None]]) -> None:
        if not batch:
            return
        try:
            self._segment = self._segment or Segment(self.folder)
            self._segment.append([encode(record) for record, _ in batch])
        except (
            Exception
        ) as error:  # whatever it is, the next batch may fare better, and the thread must be there for it
            if not self._failing:  # twenty times a second otherwise, onto a disk that may be full
                log.error("Records are not captured until further notice, at first %d: %s", len(batch), error)
            self._failing = True
            self._drop(batch, "disk" if isinstance(error, OSError) else "error")
            if self._segment is not None:
                self._segment.abandon()
                self._segment = None
            return
        if self._failing:
            log.info("Records are captured again.")
        self._failing = False
        metrics.CAPTURED.inc(len(batch))
        _settle(batch, durable=True)

    def _close_segment(self, only_if_due: bool = False) -> None:
        segment = self._segment
        if segment is None:
            return
        old = time.monotonic() - segment.begun >= self._settings.ship_interval_s
        if only_if_due and not old and segment.size < self._settings.segment_mib * 2**20:
            return
        self._segment = None
        try:
            segment.seal()
        except OSError as error:  # what it holds is durable all the same
            log.warning("%s is not sealed: %s", segment.path.name, error)

    def _drop(self, batch: Sequence[tuple[Record, Ticket | None]], reason: str) -> None:
        if batch:
            metrics.NOT_CAPTURED.labels(reason).inc(len(batch))
        _settle(batch, durable=False)


def _settle(batch: Sequence[tuple[Record, Ticket | None]], durable: bool) -> None:
    for _, ticket in batch:
        if ticket is not None and ticket.set_running_or_notify_cancel():  # else nobody waits for it any more
            ticket.set_result(durable)
