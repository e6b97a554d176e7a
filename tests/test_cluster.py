"""`make cluster-up` and `cluster-down`: the commands they give, to programs that only note what they were asked."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "infra" / "k8s" / "cluster"
NOTES = """#!/bin/bash
echo "$(basename "$0") $*" >> "$CALLS"
case "$*" in
    "get clusters") echo "$CLUSTERS" ;;
    *"get secret"*) exit "$SECRETS_MISSING" ;;
    info) exit "$DOCKER_IS_DOWN" ;;
    *"$FAILS"*) exit 1 ;;
esac
"""


@dataclass
class Machine:
    """A machine with these programs; `run` gives its exit code, what it complained of and what was asked."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def has(self, *programs: str) -> "Machine":
        for program in programs:
            (self.folder / program).write_text(NOTES)
            (self.folder / program).chmod(0o755)
        return self

    def run(self, action: str, **variables: str) -> tuple[int, str, list[str]]:
        calls = self.folder / "calls"
        calls.unlink(missing_ok=True)
        said = {"CLUSTERS": "", "SECRETS_MISSING": "1", "DOCKER_IS_DOWN": "0", "FAILS": "nothing", **variables}
        environment = {**os.environ, "PATH": f"{self.folder}:{self.folder}/tools", "CALLS": str(calls), **said}
        run = subprocess.run(["/bin/bash", SCRIPT, action], env=environment, capture_output=True, text=True)
        return run.returncode, run.stderr, calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def machine(tmp_path) -> Machine:
    """One without docker, kind and kubectl, whatever this one has."""
    (tmp_path / "tools").mkdir()
    for tool in ("bash", "dirname", "basename", "grep", "head", "base64", "tr", "cat", "env"):
        (tmp_path / "tools" / tool).symlink_to(
            next(p for p in (Path("/usr/bin", tool), Path("/bin", tool)) if p.exists())
        )
    return Machine(tmp_path)


@pytest.mark.parametrize("missing", ["docker", "kind", "kubectl"])
def test_a_program_that_is_missing_is_named_in_one_sentence(machine, missing):
    machine.has(*({"docker", "kind", "kubectl"} - {missing}))

    code, complaint, calls = machine.run("up")

    assert code == 2 and calls == []
    assert complaint.startswith(f"{missing}: not found. Install it (https://") and complaint.count("\n") == 1


def test_a_docker_that_is_not_running_is_said(machine):
    code, complaint, calls = machine.has("docker", "kind", "kubectl").run("up", DOCKER_IS_DOWN="1")

    assert (code, complaint) == (2, "docker: it does not answer. Start it, then run again.\n")
    assert calls == ["docker info"]


def test_up_builds_the_images_makes_the_cluster_and_waits_until_all_is_ready(machine):
    code, complaint, calls = machine.has("docker", "kind", "kubectl").run("up")

    def at(*words: str) -> int:
        return next(number for number, call in enumerate(calls) if all(word in call for word in words))

    assert code == 0, complaint
    order = [
        at("docker build", "--target train", "inkloop-train:kind"),
        at("docker build", "--target serve"),
        at("docker build", "--target monitor"),
        at("kind create cluster"),
        at("kind load docker-image", "inkloop-serve:kind"),
        at("apply -k", "cluster-scoped-resources?ref=2.17.2"),
        at("apply -k", "env/platform-agnostic?ref=2.17.2"),
        at("kuberay/ray-operator/config/default?ref=v1.7.0"),
        at("create secret generic inkloop-s3"),
        at("create secret generic inkloop-ray", "auth_token"),
        at("s3.bucket.create -name inkloop"),
        at("apply -k infra/k8s/overlays/kind"),
        at("wait", "rayjob/first-champion"),
        at("rollout restart deployment/serve"),
        at("rollout status deployment/serve"),
    ]
    assert order == sorted(order)
    # Whatever other cluster this machine's kubectl points at is left alone.
    assert all("--context kind-inkloop" in call for call in calls if call.startswith("kubectl"))


def test_both_namespaces_get_the_same_keys_of_the_store_and_no_two_secrets_are_alike(machine):
    _, _, calls = machine.has("docker", "kind", "kubectl").run("up")

    def value(call: str, name: str) -> str:
        return next(word.split("=", 2)[2] for word in call.split() if word.startswith(f"--from-literal={name}="))

    stores = [call for call in calls if "generic inkloop-s3" in call]
    assert [call.split()[4] for call in stores] == ["inkloop", "kubeflow"]
    [key] = {value(call, "AWS_SECRET_ACCESS_KEY") for call in stores}
    [token] = [value(call, "auth_token") for call in calls if "generic inkloop-ray" in call]
    assert len(key) > 20 and len(token) > 20 and key != token


def test_up_again_makes_no_second_cluster_and_no_new_secrets(machine):
    code, _, calls = machine.has("docker", "kind", "kubectl").run("up", CLUSTERS="inkloop", SECRETS_MISSING="0")

    assert code == 0
    assert not [call for call in calls if "create cluster" in call or "create secret" in call]


def test_up_ends_where_a_command_fails(machine):
    code, _, calls = machine.has("docker", "kind", "kubectl").run("up", FAILS="env/platform-agnostic")

    assert code == 1
    assert "env/platform-agnostic" in calls[-1]


def test_down_removes_the_cluster(machine):
    code, _, calls = machine.has("kind").run("down")

    assert (code, calls) == (0, ["kind delete cluster --name inkloop"])


def test_anything_else_is_answered_with_how_to_use_it(machine):
    code, complaint, _ = machine.run("sideways")

    assert (code, complaint) == (2, "usage: infra/k8s/cluster up|down\n")
