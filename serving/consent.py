"""What a client says about the capture of its request, in headers, and the capture that follows from it."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving import metrics
from serving.capture import Capture
from serving.records import Record

DEFAULT_SOURCE = "production"
HEADERS = {
    "Inkloop-Capture": "`no`: keep neither the picture nor the answer; `wait`: answer only once both are on the disk, "
    "and say so in the header `Inkloop-Captured`",
    "Inkloop-Person": "who wrote the digit; only a keyed hash of it is kept, by which it can be found and forgotten",
    "Inkloop-Source": f"where the digit comes from, kept with it; without it: {DEFAULT_SOURCE}",
}
CAPTURED_HEADER = "Inkloop-Captured"


class Consent(NamedTuple):
    """What a request's headers say: whether to capture, whether to wait for that, who wrote it, where it comes from."""

    given: bool = True
    wait: bool = False
    person: str | None = None
    source: str = DEFAULT_SOURCE


UNSAID = Consent()


def read(headers: Iterable[tuple[bytes, bytes]]) -> Consent:
    """The consent in a request's raw headers, whose names are in lower case."""
    ours = {
        name: value.decode(errors="surrogateescape").strip() for name, value in headers if name.startswith(b"inkloop-")
    }
    if not ours:
        return UNSAID
    wish = ours.get(b"inkloop-capture", "").lower()
    person, source = ours.get(b"inkloop-person") or None, ours.get(b"inkloop-source") or DEFAULT_SOURCE
    return Consent(wish != "no", wish == "wait", person, source)


async def capture_answers(
    capture: Capture | None,
    headers: Iterable[tuple[bytes, bytes]],
    images: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    labels: Sequence[int],
    ids: Sequence[bytes],
    version: str,
) -> dict[str, str]:
    """Capture the answers to a request as its headers allow; returns the headers of the response.

    images: uint8 (n, height, width); probabilities: float32 (n, 10).
    """
    consent = read(headers)
    if capture is None or not consent.given:
        metrics.NOT_CAPTURED.labels("opted out" if capture else "off").inc(len(labels))
        return {CAPTURED_HEADER: "no"} if consent.wait else {}
    seen_at, person = time.time_ns() // 1000, capture.pseudonym(consent.person)
    records = [
        Record("answer", each, seen_at, label, person, consent.source, version, image, answer)
        for each, label, image, answer in zip(ids, labels, images, probabilities, strict=True)
    ]
    if not consent.wait:
        for record in records:
            capture.put(record)
        return {}
    durable = await asyncio.gather(*map(capture.durable, records))
    return {CAPTURED_HEADER: "yes" if all(durable) else "no"}
