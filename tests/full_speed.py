"""Processes that capture at full speed until they are killed: one alone, and a server under load."""

import sys
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from serving.capture import Capture, CaptureSettings, Ticket
from serving.records import Record, id_text, new_id

SEEN_AT = 1_764_000_000_000_000


def write(folder: Path, image: np.ndarray, acknowledged: Connection) -> None:
    """Capture answers to the image without end, and send on the ids of those that are durable."""
    capture = Capture(folder, CaptureSettings(batch_s=0.002, segment_mib=0.5), b"secret")
    probabilities = np.zeros(10, np.float32)
    while True:
        tickets = []
        for _ in range(100):
            record = Record("answer", new_id(), SEEN_AT, 7, b"", "production", "v1", image, probabilities)
            capture.put(record, ticket := Ticket())
            tickets.append((record, ticket))
        acknowledged.send([id_text(record.prediction_id) for record, ticket in tickets if ticket.result()])


def serve(model: str, store_url: str, folder: str, port: str) -> None:
    """Serve the model directory on loopback, capturing to the folder and shipping to the store every second."""
    import uvicorn

    from inkloop.runtime import Recognizer
    from serving import shipper
    from serving.app import answer_with, capture_with, create_app

    app = create_app(Path(folder).parent)
    answer_with(app, Recognizer(Path(model)))
    settings = CaptureSettings(folder=Path(folder), segment_mib=0.5, ship_interval_s=1)
    capture, ships = shipper.start(store_url, settings)
    capture_with(app, capture)
    uvicorn.run(app, port=int(port), log_level="error")
    capture.close()
    ships.close()


if __name__ == "__main__":
    serve(*sys.argv[1:])
