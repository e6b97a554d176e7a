"""Builds a Bento: a model, the code that serves it and the exact packages it needs, in one folder."""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import yaml

SERVICE = "serving.service:Inkloop"
SBOM = "sbom.cdx.json"
ROOMS = ("inkloop", "infra", "serving")
PACKAGES = (
    "boto3",
    "cryptography",
    "httptools",
    "numpy",
    "onnxruntime",
    "orjson",
    "pillow",
    "prometheus-client",
    "pyarrow",
    "pydantic",
    "python-multipart",
    "scipy",
    "starlette",
    "uvicorn",
    "uvloop",
)
QUIET = {"BENTOML_DO_NOT_TRACK": "True"}  # BentoML reports its use to its makers unless told not to


def build(
    model: Path,
    name: str,
    bento_version: str,
    readme: str,
    labels: dict[str, str],
    beside: dict[str, bytes],
    target: Path,
) -> None:
    """Build the Bento `name:bento_version` of a model directory into the folder `target`, whole or not at all.

    beside: what goes along, by its name: the model's signatures by their keys in a store (`infra.signing`), its SBOM.
    It needs neither the network nor the user's BentoML home. `bentoml serve TARGET` serves it.
    """
    # BentoML builds from no hidden folder, so not in one beside the target.
    with tempfile.TemporaryDirectory(prefix="bento-") as scratch:
        context, home = Path(scratch) / "context", Path(scratch) / "home"
        for room in ROOMS:
            shutil.copytree(_package(room), context / room, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(model, context / "model")
        for key, content in beside.items():
            (context / key).parent.mkdir(parents=True, exist_ok=True)
            (context / key).write_bytes(content)
        (context / "README.md").write_text(readme)
        (context / "bentofile.yaml").write_text(yaml.safe_dump(_bentofile(name, labels)))
        subprocess.run(
            [sys.executable, "-m", "bentoml", "build", "--version", bento_version],
            cwd=context,
            env={**os.environ, **QUIET, "BENTOML_HOME": str(home)},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        unfinished = target.with_name(f".{target.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(home / "bentos" / name / bento_version, unfinished)
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)


def _bentofile(name: str, labels: dict[str, str]) -> dict[str, object]:
    return {
        "service": SERVICE,
        "name": name,
        "description": "file:./README.md",
        "labels": labels,
        "include": [*(f"{room}/**" for room in ROOMS), "model/**", "signatures/**", SBOM],
        "python": {"packages": [f"{package}=={version(package)}" for package in PACKAGES], "lock_packages": False},
        "docker": {"python_version": "3.11"},
        # A container's own loopback cannot be reached from outside it.
        "envs": [{"name": "BENTOML_HOST", "value": "0.0.0.0"}],
    }


def _package(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None and spec.origin is not None, name
    return Path(spec.origin).parent
