"""DVC: `data.dvc` pins the bytes in `data/`; a remote, where one is configured, holds them."""

import configparser
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import yaml

PULL_TIMEOUT_S = 600


def pull(data_dir: Path) -> bool:
    """Fetch what `data.dvc` pins from the DVC remote; whether that worked. False where no remote is."""
    root = data_dir.parent
    return _is_pinned(data_dir) and _has_remote(root) and _dvc(root, "pull", f"{data_dir.name}.dvc")


def record(data_dir: Path) -> bool:
    """Tell DVC that the pinned bytes are in `data/`, so that `dvc status` agrees; whether they are the pinned ones."""
    if not _is_pinned(data_dir):
        return False
    return _is_cached(data_dir) or _dvc(data_dir.parent, "commit", f"{data_dir.name}.dvc")


def new_version(data_dir: Path) -> str | None:
    """Pin what is in `data/` now, and push it if there is a remote. Returns the version's hash, None without DVC."""
    root, pin = data_dir.parent, f"{data_dir.name}.dvc"
    if not _is_pinned(data_dir) or not _dvc(root, "commit", "--force", pin):
        return None
    if _has_remote(root):
        _dvc(root, "push", pin)
    return _pinned(data_dir)


def pinned(data_dir: Path) -> str | None:
    """The hash of the version that `data.dvc` pins now, None without DVC."""
    return _pinned(data_dir) if _is_pinned(data_dir) else None


def hash_of(folder: Path) -> str:
    """The hash that DVC gives to the folder as it is: over the MD5 of each file, and its name."""
    inside = sorted(
        (each for each in folder.rglob("*") if each.is_file()), key=lambda each: each.relative_to(folder).parts
    )
    listed = [{"md5": _md5(each.read_bytes()), "relpath": each.relative_to(folder).as_posix()} for each in inside]
    return f"{_md5(json.dumps(listed, sort_keys=True).encode())}.dir"


def damaged(data_dir: Path, version: str) -> list[str] | None:
    """What of a version is not in DVC's cache as it was put there, by file; None if the version is not there at all."""
    listed = _object(data_dir, version)
    if not listed.is_file():
        return None
    if _md5(content := listed.read_bytes()) != version.removesuffix(".dir"):
        return [listed.name]
    places = {each["relpath"]: (each["md5"], _object(data_dir, each["md5"])) for each in json.loads(content)}
    return [name for name, (md5, place) in places.items() if not place.is_file() or _md5(place.read_bytes()) != md5]


def mend(data_dir: Path) -> list[str]:
    """Throw away what is damaged of the pinned version in DVC's cache, if `data/` is that version; its names."""
    version = pinned(data_dir)
    if version is None or not (wrong := damaged(data_dir, version)) or hash_of(data_dir) != version:
        return []
    listed = _object(data_dir, version)
    named = {"relpath": listed.name, "md5": version}
    entries = [named] if wrong == [listed.name] else json.loads(listed.read_bytes())
    for each in entries:
        if each["relpath"] in wrong:
            _object(data_dir, each["md5"]).unlink(missing_ok=True)
    listed.unlink(missing_ok=True)  # so that DVC takes the version in anew
    return wrong


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _object(data_dir: Path, md5: str) -> Path:
    return data_dir.parent / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def _is_pinned(data_dir: Path) -> bool:
    return (data_dir.parent / f"{data_dir.name}.dvc").is_file() and (data_dir.parent / ".dvc" / "config").is_file()


def _has_remote(root: Path) -> bool:
    config = configparser.ConfigParser()
    config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"])
    return any(section.strip("'").startswith("remote ") for section in config.sections())


def _is_cached(data_dir: Path) -> bool:
    return _object(data_dir, _pinned(data_dir)).is_file()


def _pinned(data_dir: Path) -> str:
    content: str = yaml.safe_load((data_dir.parent / f"{data_dir.name}.dvc").read_text())["outs"][0]["md5"]
    return content


def _dvc(root: Path, *arguments: str) -> bool:
    command = [sys.executable, "-m", "dvc", arguments[0], "--quiet", *arguments[1:]]
    try:
        done = subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL, capture_output=True, timeout=PULL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
