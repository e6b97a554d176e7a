"""The closed loop, live: another population writes, the alarm fires, labels arrive, a better champion takes over."""

import argparse
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks import loop_picture, populations
from benchmarks.populations import Population
from benchmarks.record import ROOT, keep
from benchmarks.traffic import Traffic
from infra import api_keys, registry
from infra.guard import guarded
from infra.storage import Store, open_store
from inkloop import digits, mnist, sources
from inkloop.digits import Digits
from inkloop.evaluation import answers
from inkloop.runtime import Recognizer
from monitoring import retrainings
from monitoring.state import State
from monitoring.watch import STATE

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

UNSEEN = 25_000  # training digits of MNIST from here on are learned from neither at first nor later
HELD_OUT = 1_000  # digits of the other population that are never sent
FIRST_PROFILE = "smoke"
WATCH = {  # for a demonstration: look often, wait for nobody
    "interval_s": 3.0,
    "metrics_port": 0,
    "watch": {
        "training_minutes": 3.0,
        "triggers": {"cooldown_hours": 0, "min_labels": 1_000},
    },
}


@dataclass(frozen=True)
class Scale:
    """How long the demonstration is."""

    rate: float = 20.0  # digits a second
    before_s: float = 40.0  # of MNIST's writers
    after_s: float = 60.0  # of the others, once the new champion answers
    labeled_share: float = 0.7  # of the digits sent after the alarm
    audit_share: float = 0.05  # before it
    limit_s: float = 780.0  # within which the new champion must answer
    pool: int = 6_000  # digits of each pen: enough for the whole time
    min_labels: int = 1_000


SHORT = Scale(rate=15, before_s=20, after_s=20, pool=5_000, min_labels=400)


@dataclass
class News:
    """What the watch tells people, in the order it came."""

    events: list[dict[str, Any]] = field(default_factory=list)
    drifted: threading.Event = field(default_factory=threading.Event)


def main() -> None:
    """Run it, draw it, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer digits")
    parser.add_argument("--folder", type=Path, default=ROOT / "artifacts" / "loop-demo", help="emptied first")
    chosen = parser.parse_args()
    report = run(chosen.folder.absolute(), SHORT if chosen.short else Scale(), Console())
    keep("loop_demo", [report])
    sys.exit(0 if report["promoted"] else 1)


def run(folder: Path, scale: Scale, console: Console) -> dict[str, Any]:
    """The whole demonstration in an emptied folder. Returns its figures; `loop.png` is left in the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begun = time.time()
    data = _own_data(folder)
    store_url = str(folder / "store")
    console.print("A first champion is trained (profile smoke) ...")
    _pipeline("run", f"--profile={FIRST_PROFILE}", f"--store={store_url}", *_places(folder, data))
    store = open_store(store_url)
    first = registry.reigning(store)
    old, others, held_out = _handwriting(folder, data, scale)
    key, news, port = api_keys.add(store, "loop-demo"), News(), free_port()
    with guarded() as mark, _receiver(news) as webhook, _running(folder, store_url, data, port, webhook, mark, scale):
        _wait_for(port)
        traffic = Traffic(port, key, scale.rate, labeled_share=scale.audit_share)
        traffic.send(old).join()
        others_from = time.time()
        console.print("Other people write now ...")
        writing = traffic.send(others)
        changed = _follow(traffic, news, first.version, scale, console)
        if changed:
            time.sleep(scale.after_s)
        traffic.stop()
        writing.join()
        time.sleep(2 * WATCH["interval_s"])
    figures = _figures(folder, store, first.version, traffic, news, held_out, begun, others_from)
    state = State.model_validate_json(store.get(STATE))
    loop_picture.draw(folder / "loop.png", traffic.answered, state.points, registry.history(store), news.events)
    _show(figures, console)
    console.print(f"The picture: {folder / 'loop.png'}")
    return figures


def _own_data(folder: Path) -> Path:
    """A data folder with MNIST and a DVC of its own, so that the checkout's `data.dvc` stays as it is."""
    data = folder / "data"
    data.mkdir()
    if mnist.is_whole(ROOT / "data" / mnist.NAME):
        shutil.copytree(ROOT / "data" / mnist.NAME, data / mnist.NAME)
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--quiet", "--no-scm"], cwd=folder, check=True)
    subprocess.run([*dvc, "add", "--quiet", data.name], cwd=folder, check=True)
    return data


def _places(folder: Path, data: Path) -> tuple[str, str]:
    return f"--artifacts={folder / 'artifacts'}", f"--data={data}"


def _pipeline(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pipeline", *arguments], cwd=ROOT, check=True)


def _handwriting(folder: Path, data: Path, scale: Scale) -> tuple[Population, Population, Population]:
    """MNIST's test digits; the other population; a part of it that is never sent."""
    table, _ = sources.read(mnist.NAME, data, sources.IngestSettings())
    digits.write(table, folder / "mnist")
    unseen = digits.read(folder / "mnist", "train").take(slice(UNSEEN, UNSEEN + 2 * scale.pool))
    test = digits.read(folder / "mnist", "test").take(slice(0, round(scale.rate * scale.before_s)))
    thick, slanted = unseen.take(slice(0, scale.pool)), unseen.take(slice(scale.pool, None))
    everyone = populations.another(thick, slanted, seed=0)
    return populations.mnist(test), everyone.take(slice(HELD_OUT, None)), everyone.take(slice(0, HELD_OUT))


@contextmanager
def _receiver(news: News) -> Iterator[str]:
    """A webhook on this machine, as an operator's chat would be."""

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            news.events.append(body | {"received": time.time()})
            if body["kind"] == "drift":
                news.drifted.set()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


@contextmanager
def _running(
    folder: Path, store_url: str, data: Path, port: int, webhook: str, mark: dict[str, str], scale: Scale
) -> Iterator[None]:
    """The server and the watch, as `make serve` and `make watch` start them."""
    settings = folder / "watch.yaml"
    WATCH["watch"]["triggers"]["min_labels"] = scale.min_labels
    settings.write_text(yaml.safe_dump(WATCH))
    environment = (
        os.environ
        | mark
        | {
            "INKLOOP_CAPTURE_FOLDER": str(folder / "captured"),
            "INKLOOP_CAPTURE_SHIP_INTERVAL_S": "2",
            "INKLOOP_NOTIFY_WEBHOOK_URL": webhook,
            "INKLOOP_NOTIFY_FOLDER": str(folder / "notifications"),
        }
    )
    commands = {
        "serve": ["serve", f"--store={store_url}", f"--port={port}"],
        "watch": ["watch", f"--settings={settings}", f"--store={store_url}", *_places(folder, data)],
    }
    for name, arguments in commands.items():
        with (folder / f"{name}.log").open("w") as log:
            subprocess.Popen(
                [sys.executable, "-m", "pipeline", *arguments], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
    yield


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    for _ in range(240):
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return
        time.sleep(0.5)
    raise TimeoutError("the server did not start; see serve.log")


def _follow(traffic: Traffic, news: News, first: str, scale: Scale, console: Console) -> bool:
    """Label once the alarm has fired, and wait for the next champion. Returns whether it came."""
    start, told = time.monotonic(), 0
    while time.monotonic() - start < scale.limit_s:
        if news.drifted.is_set():
            traffic.labeled_share = scale.labeled_share
        for event in news.events[told:]:
            line = f"{time.monotonic() - start:5.0f} s  {event['title']}: {event['text']}"
            console.print(line, highlight=False, soft_wrap=True)
        told = len(news.events)
        if traffic.answered and traffic.answered[-1].version != first:
            return True
        time.sleep(0.5)
    return False


def _figures(
    folder: Path,
    store: Store,
    first: str,
    traffic: Traffic,
    news: News,
    held_out: Population,
    begun: float,
    others_from: float,
) -> dict[str, Any]:
    """What the demonstration came to, in figures."""
    champions = registry.history(store)
    last = champions[-1]
    swapped = next((each.at for each in traffic.answered if each.version == last.version), None)
    test = digits.read(folder / "mnist", "test")
    drift = next((event["received"] for event in news.events if event["kind"] == "drift"), None)
    started = next((each.started.timestamp() for each in retrainings.history(store)), None)
    accuracy = {
        name: {
            "mnist": _accuracy(store, champion, folder, test.images, test.labels),
            "another": _accuracy(store, champion, folder, held_out.images, held_out.labels),
        }
        for name, champion in (("before", champions[0]), ("after", last))
    }
    return {
        "promoted": last.version != first,
        "dropped": traffic.dropped,
        "sent": len(traffic.answered),
        "labels": traffic.labels,
        "alarm_after_s": _since(others_from, drift),
        "alarm_after_digits": sum(others_from <= each.at <= drift for each in traffic.answered) if drift else None,
        "retraining_after_s": _since(others_from, started),
        "new_champion_after_s": _since(others_from, swapped),
        "whole_s": round(time.time() - begun, 1),
        "accuracy": accuracy,
        "retrainings": [each.model_dump(mode="json") for each in retrainings.history(store)],
    }


def _since(start: float, then: float | None) -> float | None:
    return None if then is None else round(then - start, 1)


def _accuracy(store: Store, champion: registry.Champion, folder: Path, images: Images, labels: Labels) -> float:
    place = folder / "models" / champion.version
    registry.fetch(store, champion.digest, place)
    test = Digits(images, labels, ("",) * len(images))
    return round(float((answers(Recognizer(place), test) == labels).mean()), 4)


def _show(figures: dict[str, Any], console: Console) -> None:
    table = Table("the loop", "")
    before, after = figures["accuracy"]["before"], figures["accuracy"]["after"]
    for name, value in {
        "digits sent, labels given": f"{figures['sent']:,}, {figures['labels']:,}",
        "requests dropped": figures["dropped"],
        "drift alarm after the others began": f"{figures['alarm_after_digits']} digits, {figures['alarm_after_s']} s",
        "retraining started after": f"{figures['retraining_after_s']} s",
        "new champion answered after": f"{figures['new_champion_after_s']} s",
        "held-out digits of the others, before and after": f"{before['another']:.2%}, {after['another']:.2%}",
        "MNIST's 10,000 test digits, before and after": f"{before['mnist']:.2%}, {after['mnist']:.2%}",
        "the whole demonstration": f"{figures['whole_s']:.0f} s",
    }.items():
        table.add_row(name, str(value))
    console.print(table)


if __name__ == "__main__":
    main()
