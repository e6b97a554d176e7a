"""Copies of a whole store: to back it up, and to bring it back; between folders and S3 alike."""

import tempfile
from pathlib import Path

from infra import registry
from infra.storage import Missing, Store
from inkloop.errors import UserError

POINTERS = "registry/"


def copy(source: Store, target: Store) -> int:
    """Copy every object into an empty store, and see that the champion there is whole; returns how many there were.

    The source may be in use: its pointers are read first and written last, so what they name is always there.
    Raises UserError if the target holds anything, or the source no champion or a broken one.
    """
    if target.list():
        raise UserError(f"{target}: not empty. Name an empty place; nothing is overwritten.")
    if registry.champion(source) is None:
        raise UserError(f"{source}: no store with a champion, and no copy of one. Check the place.")
    pointers = {key: source.get(key) for key in source.list(POINTERS)}
    copied = 0
    for key in source.list():
        if not key.startswith(POINTERS):
            try:
                target.put(key, source.get(key))
            except Missing:  # expired, or forgotten, since it was listed
                continue
            copied += 1
    for key in sorted(pointers, key=lambda key: key == registry.CHAMPION):
        target.put(key, pointers[key])
    with tempfile.TemporaryDirectory() as scratch:
        registry.fetch(target, registry.reigning(target).digest, Path(scratch) / "model")
    return copied + len(pointers)
