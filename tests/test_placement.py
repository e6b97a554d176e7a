"""What a profile's `cluster` asks of Kubernetes is what the steps' pods ask for, each at its place."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

from inkloop.errors import UserError
from pipeline import graph, profile
from pipeline.cluster import compile_to

GPUS = """
cluster:
  cpu: 500m
  node_selector: {pool: general}
  retries: 1
  image: registry/inkloop:7
  training:
    cpu: "8"
    memory: 32Gi
    gpus: 2
    gpu_type: amd.com/gpu
    node_selector: {cloud.google.com/gke-accelerator: nvidia-l4}
    tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}]
"""


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Compile the graph for a profile of this text: its pipeline and its Kubernetes settings, by step."""
    monkeypatch.delenv("INKLOOP_IMAGE", raising=False)

    def compile_for(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
        (tmp_path / "mine.yaml").write_text(text)
        settings = profile.load(str(tmp_path / "mine.yaml")).cluster
        compile_to(graph.build(cluster=settings), tmp_path / "pipeline.yaml")
        spec, platform = yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text())
        json_format.ParseDict(spec, PipelineSpec())
        return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    return compile_for


def container(spec: dict[str, Any], step: str) -> dict[str, Any]:
    found: dict[str, Any] = spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]
    return found


def environment(spec: dict[str, Any], step: str) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container(spec, step).get("env", [])}


def test_only_what_trains_gets_the_gpus_and_their_nodes(compiled):
    spec, platform = compiled(GPUS)
    for step in (*graph.TITLES, "record", "conclude"):
        asked, trains = container(spec, step)["resources"], step in graph.ON_RAY
        assert asked["resourceCpuRequest"] == ("8" if trains else "500m")
        assert asked["resourceMemoryRequest"] == ("32Gi" if trains else "4Gi")
        pod = platform[f"exec-{step}"]
        assert pod["nodeSelector"]["labels"] == (
            {"cloud.google.com/gke-accelerator": "nvidia-l4"} if trains else {"pool": "general"}
        )
        assert ("tolerations" in pod) == ("accelerator" in asked) == trains
        assert container(spec, step)["image"] == "registry/inkloop:7"
    assert container(spec, "train")["resources"]["accelerator"] == {
        **{"count": "2", "resourceCount": "2", "type": "amd.com/gpu", "resourceType": "amd.com/gpu"}
    }
    (toleration,) = platform["exec-tune"]["tolerations"]
    assert toleration["key"] == "gpu" and toleration["operator"] == "Exists" and toleration["effect"] == "NoSchedule"


def test_the_image_of_the_environment_goes_before_the_profiles(compiled, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INKLOOP_IMAGE", "registry/inkloop:8")
    spec, _ = compiled("cluster: {image: 'registry/inkloop:7'}")
    assert container(spec, "train")["image"] != "registry/inkloop:7"


def test_ray_steps_are_told_the_address_of_the_ray_cluster_and_get_its_token_by_secret(compiled):
    spec, platform = compiled("cluster: {ray_address: 'ray://inkloop-ray-head:10001'}")
    for step in graph.TITLES:
        told = environment(spec, step).get("RAY_ADDRESS")
        secrets = {each["secretName"]: each for each in platform[f"exec-{step}"]["secretAsEnv"]}
        if step in graph.ON_RAY:
            assert told == "ray://inkloop-ray-head:10001"
            assert environment(spec, step)["RAY_AUTH_MODE"] == "token"
            assert secrets["inkloop-ray"]["keyToEnv"] == [{"secretKey": "auth_token", "envVar": "RAY_AUTH_TOKEN"}]
            assert secrets["inkloop-ray"]["optional"]
        else:
            assert told is None and "inkloop-ray" not in secrets


def test_a_step_may_be_tried_once_only(compiled):
    spec, _ = compiled("cluster: {retries: 0}")
    assert not any("retryPolicy" in task for task in spec["components"]["comp-exit-handler-1"]["dag"]["tasks"].values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{gpus: 1}", r"cluster\.gpus: no such key"),
        ("{training: {gpu: 1}}", r"cluster\.training\.gpu: no such key"),
        ("{training: {gpus: -1}}", r"cluster\.training\.gpus: .*greater than or equal to 0"),
        ("{training: {gpus: 1}, ray_address: 'head:6379'}", "with ray_address Ray has them"),
        ("{ray_address: http://head}", r"cluster\.ray_address: .* is not "),
        ("{node_selector: {'a b': c}}", r"cluster\.node_selector\.a b: .* is not "),
        ("{node_selector: {gpu: yes}}", r"cluster\.node_selector\.gpu: .*string"),
        ("{tolerations: [{effect: NoSchedule}]}", r"cluster\.tolerations\.0: a toleration needs a key"),
        ("{tolerations: [{key: a, operator: Exists, value: b}]}", r"tolerations\.0: .*has no value"),
        ("{tolerations: [{key: a, effect: Never}]}", r"cluster\.tolerations\.0\.effect: "),
        ("{pipeline_root: /tmp/here}", r"cluster\.pipeline_root: .* is not "),
        ("{retries: 99}", r"cluster\.retries: .*less than or equal to 10"),
    ],
)
def test_a_mistake_is_named_by_its_key(compiled, text: str, said: str):
    with pytest.raises(UserError, match=said):
        compiled(f"cluster: {text}")


def test_models_say_in_which_image_they_were_made(compiled):
    """There the image's tag stands for the code; on a laptop it is a digest of the step's modules."""
    assert environment(compiled(GPUS)[0], "train")["INKLOOP_CODE"] == "image registry/inkloop:7"
    assert environment(compiled("base: smoke")[0], "train")["INKLOOP_CODE"].startswith("image ghcr.io/inkloop/")
