"""The store: bytes under keys, in a folder (the default) or in S3, swapped safely under many hands."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from inkloop.errors import UserError
from inkloop.files import sync_folder

IMPATIENT = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})
MANIFEST = "manifest.sha256.json"  # written last, so that its presence says the uploaded folder is whole


HINTS = {"NoSuchBucket": "Create the bucket.", "RequestTimeTooSkewed": "Set the clock of this machine."}


class Missing(UserError):
    """The store holds nothing under this key."""


class Conflict(UserError):
    """Someone else wrote this key first; read it again and decide anew."""


class Store(Protocol):
    """Bytes under keys such as `registry/champion.json`; a reader sees the old bytes or the new ones, never a mix."""

    @abstractmethod
    def put(self, key: str, content: bytes, if_match: str | None = None, if_none_match: bool = False) -> str:
        """Store the bytes, return their etag. `if_match`: only over this etag; `if_none_match`: only where nothing is.

        Raises Conflict if the condition does not hold.
        """

    @abstractmethod
    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The bytes and the etag to hand to `put(if_match=...)`. Raises Missing."""

    @abstractmethod
    def list(self, prefix: str = "") -> "list[str]":
        """All keys that begin with the prefix, sorted."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the key; removing what is not there is no error."""

    def get(self, key: str) -> bytes:
        """The bytes under the key. Raises Missing."""
        return self.get_with_etag(key)[0]

    def get_or_put(self, key: str, content: bytes) -> bytes:
        """The bytes under the key; where there are none, these are put there, unless another process comes first."""
        try:
            return self.get(key)
        except Missing:
            pass
        try:
            self.put(key, content, if_none_match=True)
        except Conflict:
            return self.get(key)
        return content

    def exists(self, key: str) -> bool:
        """Whether the store holds the key."""
        return key in self.list(key)

    def upload(self, folder: Path, prefix: str) -> None:
        """Store every file of the folder under the prefix, and last a manifest of their SHA-256 sums."""
        sums: dict[str, str] = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name, content = path.relative_to(folder).as_posix(), path.read_bytes()
            self.put(f"{prefix}/{name}", content)
            sums[name] = hashlib.sha256(content).hexdigest()
        self.put(f"{prefix}/{MANIFEST}", json.dumps(sums, indent=1).encode())

    def download(self, prefix: str, folder: Path) -> None:
        """Fetch an uploaded folder, whole or not at all; what was at `folder` is replaced.

        Raises Missing if it was never wholly uploaded, UserError if a file differs from the manifest.
        """
        try:
            sums: dict[str, str] = json.loads(self.get(f"{prefix}/{MANIFEST}"))
        except ValueError:
            raise UserError(f"{prefix}/{MANIFEST}: not readable as JSON. Upload {prefix} again.") from None
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            unfinished = Path(scratch) / folder.name
            unfinished.mkdir()
            for name, expected in sums.items():
                content = self.get(f"{prefix}/{name}")
                if hashlib.sha256(content).hexdigest() != expected:
                    raise UserError(f"{prefix}/{name}: differs from its checksum in the store. Upload {prefix} again.")
                path = unfinished / _checked(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)


class FolderStore(Store):
    """A store in a folder of this machine."""

    def __init__(self, root: Path, existing: bool = False) -> None:
        """existing: write only to what is a store already."""
        self.root, self._existing = root.absolute(), existing
        self._inside = self.root / ".store"  # unfinished files and the lock: on the same disk, outside every key

    def __str__(self) -> str:
        return str(self.root)

    def put(self, key: str, content: bytes, if_match: str | None = None, if_none_match: bool = False) -> str:
        """See `Store.put`."""
        path = self.root / _checked(key)
        with self._explained(), self._locked():
            if if_match is not None and not (path.is_file() and _etag(path.read_bytes()) == if_match):
                raise Conflict(f"{path}: changed by another process meanwhile. Run again.")
            if if_none_match and path.exists():
                raise Conflict(f"{path}: already there. Run again.")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(content, path)
            sync_folder(path.parent)
        return _etag(content)

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """See `Store.get_with_etag`."""
        try:
            content = (self.root / _checked(key)).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise Missing(f"{self.root / key}: not in the store.") from error
        except OSError as error:
            raise UserError(f"{self.root / key}: cannot be read ({error.strerror}).") from error
        return content, _etag(content)

    def list(self, prefix: str = "") -> "list[str]":
        """See `Store.list`."""
        start = self.root / prefix.rpartition("/")[0]
        files = (path for path in start.rglob("*") if path.is_file() and not path.is_relative_to(self._inside))
        keys = (path.relative_to(self.root).as_posix() for path in files)
        return sorted(key for key in keys if key.startswith(prefix))

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        (self.root / _checked(key)).unlink(missing_ok=True)

    def _write(self, content: bytes, path: Path) -> None:
        # One name, under the lock: what a killed process or a full disk leaves there, the next one writes over.
        unfinished = self._inside / "unfinished"
        try:
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self._existing and not self._inside.is_dir():
            raise UserError(f"store {self.root}: it is not there. Is its disk mounted?")
        self._inside.mkdir(parents=True, exist_ok=True)
        with (self._inside / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"store {self.root}: cannot be written to ({error.strerror}). Name another folder."
            ) from error


class S3Store(Store):
    """A store in an S3 bucket, at the endpoint and with the credentials of the AWS_* environment."""

    def __init__(self, bucket: str, prefix: str = "", config: Config | None = None) -> None:
        custom = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        # Servers other than Amazon's rarely have a DNS name for each bucket.
        style = Config(s3={"addressing_style": "path"}) if custom else Config()
        self.s3 = boto3.Session().client(
            "s3", config=style.merge(config or Config())
        )  # a session of its own: clients are made on many threads
        self.bucket, self.prefix = bucket, prefix.strip("/")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def put(self, key: str, content: bytes, if_match: str | None = None, if_none_match: bool = False) -> str:
        """See `Store.put`."""
        conditions = {"IfMatch": if_match} if if_match is not None else {"IfNoneMatch": "*"} if if_none_match else {}
        with self._explained(key):
            answer = self.s3.put_object(Bucket=self.bucket, Key=self._full(key), Body=content, **conditions)  # type: ignore[arg-type]
        return answer["ETag"]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """See `Store.get_with_etag`."""
        with self._explained(key):
            answer = self.s3.get_object(Bucket=self.bucket, Key=self._full(key))
            return answer["Body"].read(), answer["ETag"]

    def list(self, prefix: str = "") -> "list[str]":
        """See `Store.list`."""
        root = f"{self.prefix}/" if self.prefix else ""
        with self._explained(prefix):
            pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=root + prefix)
            keys = (item["Key"] for page in pages for item in page.get("Contents", []))
            return sorted(key.removeprefix(root) for key in keys if not key.endswith("/"))  # no markers of folders

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        with self._explained(key):
            self.s3.delete_object(Bucket=self.bucket, Key=self._full(key))

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{_checked(key)}" if self.prefix else _checked(key)

    @contextlib.contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        where = f"s3://{self.bucket}/{self.prefix + '/' if self.prefix else ''}{key}"
        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}:
                raise Conflict(f"{where}: changed by another process meanwhile. Run again.") from error
            if code in {"NoSuchKey", "404"}:
                raise Missing(f"{where}: not in the store.") from error
            hint = HINTS.get(code, "Check the bucket and the AWS_* credentials.")
            raise UserError(f"{where}: refused by {self.s3.meta.endpoint_url} ({code}). {hint}") from error
        except BotoCoreError as error:
            raise UserError(
                f"{where}: {str(error).rstrip('.')}. Check AWS_ENDPOINT_URL and the AWS_* credentials."
            ) from error


def open_store(url: str, s3: Config | None = None, existing: bool = False) -> Store:
    """The store at a folder path, `file:///path` or `s3://bucket/prefix`. Raises UserError for any other URL.

    s3: how long to wait for S3 and how often, such as IMPATIENT. existing: never make a folder that is not there.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3" and parts.netloc:
        return S3Store(parts.netloc, parts.path, s3)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return FolderStore(Path(unquote(parts.path)), existing)
    if url and not parts.scheme:
        return FolderStore(Path(url), existing)
    raise UserError(f"store {url!r}: not a store. Give a folder, file:///folder or s3://bucket/prefix.")


def _checked(key: str) -> str:
    parts = key.split("/")
    if not key or parts[0] == ".store" or any(part in {"", ".", ".."} for part in parts):
        raise ValueError(f"{key!r} is not a key: it must be a relative path such as registry/champion.json.")
    return key


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
