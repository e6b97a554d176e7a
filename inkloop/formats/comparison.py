"""A model directory in every format, each asked the same digits as torch. One that fails does not stop the others."""

import multiprocessing
import os
import shutil
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from inkloop import artifacts, checkpoint
from inkloop.errors import UserError
from inkloop.formats.catalog import FORMATS, Format
from inkloop.formats.equality import EQUAL, Asked, Figures, Timing, asked_of_torch, measured
from inkloop.model import Recognizer

LOG_NAME = "log.txt"
LONGEST = 300  # characters of an error in the table
OTHERS = {"pen": "pen strokes", "line": "lines of digits"}  # what models read that read no single pictures


@dataclass(frozen=True)
class Row:
    """A format's row in the table."""

    format: str
    versions: dict[str, str]  # of the packages it was tried with
    file: str = ""  # in the folder of exports; empty: it was not written
    size_bytes: int | None = None  # of all its files
    figures: Figures | None = None
    is_equal: bool | None = None  # whether it answers as torch does with the same weights; None: not known
    remark: str = ""  # what it cannot hold or do, or why it failed


def compare(
    model_folder: Path,
    folder: Path,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    timing: Timing,
    formats: Sequence[Format] = FORMATS,
) -> Iterator[Row]:
    """Write a recognizer in every format, each into a folder of its own in `folder`, and measure it: a row each.

    images: uint8 (n, 28, 28), labels (n,). What a format's packages print goes to `log.txt`. Raises UserError if there
    is no such model, or the folder cannot be written to.
    """
    model = recognizer(model_folder, images.shape[1])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOG_NAME).write_text("")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}). Name another folder.") from error
    asked = asked_of_torch(model.eval(), images, labels)
    for each in formats:
        yield _in_a_process_of_its_own(each, model_folder, folder, asked, timing)


def recognizer(folder: Path, side: int) -> Recognizer:
    """The model of a directory, that is to read pictures of `side` pixels a side. Raises UserError if it does not."""
    info = artifacts.info(folder)
    if info.kind in OTHERS:
        raise UserError(f"{folder}: a model of {OTHERS[info.kind]}. Name one that reads single pictures of digits.")
    try:
        model = checkpoint.load(folder)
    except (ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise artifacts.unreadable(folder / artifacts.WEIGHTS_NAME, error) from error
    if model.settings.frame != side:
        raise UserError(f"{folder}: reads pictures of {model.settings.frame} pixels a side; the digits have {side}.")
    return model


def _in_a_process_of_its_own(each: Format, model_folder: Path, folder: Path, asked: Asked, timing: Timing) -> Row:
    """Native code that dies takes nothing else with it, and threads and memory of one format are no other's."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        try:
            return process.submit(_row, each, model_folder, folder, asked, timing).result()
        except BrokenProcessPool:
            return Row(each.name, _versions(each), remark=f"Failed: its process died; see {LOG_NAME}.")


def _row(each: Format, model_folder: Path, folder: Path, asked: Asked, timing: Timing) -> Row:
    """Write, load, ask and time one format. From here on this process prints to the log."""
    with (folder / LOG_NAME).open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    torch.set_num_threads(1)
    row, home = Row(each.name, _versions(each), remark=each.remark), folder / each.folder
    try:
        shutil.rmtree(home, ignore_errors=True)  # so that no export of another model is left if this one fails
        home.mkdir()
        path = each.write(recognizer(model_folder, asked.images.shape[1]).eval(), home)
        size_bytes = sum(file.stat().st_size for file in home.iterdir())
        row = replace(row, file=path.relative_to(folder).as_posix(), size_bytes=size_bytes)
        if each.load is None:
            return row
        expected = asked.rounded if each.weights == "rounded" else asked.exact
        figures = measured(each.load(path), asked, expected, timing)
        return replace(row, figures=figures, is_equal=None if each.weights == "other" else figures.difference <= EQUAL)
    except ModuleNotFoundError as error:
        package = (error.name or str(error)).partition(".")[0].replace("_", "-")
        return replace(row, remark=f"Not tried: the package {package} is missing; `make exports` installs it.")
    except Exception as error:  # the packages' own errors share no other base
        traceback.print_exc()
        said = textwrap.shorten(f"{type(error).__name__}: {error}", LONGEST, placeholder=" ...").rstrip(".")
        return replace(row, remark=f"Failed: {said}. More in {LOG_NAME}.")


def _versions(each: Format) -> dict[str, str]:
    """Of the format's packages, those that are installed."""
    installed = {}
    for package in each.packages:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed
