"""The graph compiles to one IR YAML that Kubeflow draws well, and asks the cluster for what a step needs."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

from infra.notifications import NotificationSettings
from inkloop.errors import UserError
from pipeline import graph, profile
from pipeline.cluster import compile_to
from pipeline.code_digest import files_of
from pipeline.placement import S3_VARIABLES

GOLDEN = Path(__file__).parent / "golden" / "pipeline.yaml"
STEPS = [
    "ingest",
    "validate",
    "augment",
    "tune",
    "train",
    "distill",
    "prune",
    "quantize",
    "evaluate",
    "gate",
    "package",
]
PROFILES = sorted(path.stem for path in profile.FOLDER.glob("*.yaml"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ir") / "pipeline.yaml"
    compile_to(graph.build(), path)
    return path


@pytest.fixture(scope="module")
def spec(compiled: Path) -> dict[str, Any]:
    document: dict[str, Any] = next(yaml.safe_load_all(compiled.read_text()))
    return document


@pytest.fixture(scope="module")
def line(spec: dict[str, Any]) -> dict[str, Any]:
    """The steps of the main line, in the box that the exit step is told of."""
    tasks: dict[str, Any] = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    return tasks


@pytest.fixture(scope="module")
def platform(compiled: Path) -> dict[str, Any]:
    *_, document = yaml.safe_load_all(compiled.read_text())
    executors: dict[str, Any] = document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return executors


def test_the_ir_is_the_golden_one(compiled: Path):
    assert compiled.read_text() == GOLDEN.read_text(), "the graph has changed: if wanted, run `make golden`"


def test_kubeflows_own_schema_knows_every_field(spec: dict[str, Any]):
    json_format.ParseDict(spec, PipelineSpec())


def test_the_main_line_is_flat_and_in_order(spec: dict[str, Any], line: dict[str, Any]):
    assert set(line) == {*STEPS, "record"}
    assert not any({"iterator", "triggerPolicy"} & set(task) for task in line.values())
    for before, after in pairwise([*STEPS, "record"]):
        assert before in line[after]["dependentTasks"], f"{after} must come after {before}"
    boxes = {name for name, component in spec["components"].items() if "executorLabel" not in component}
    assert boxes == {"comp-exit-handler-1"}


def test_however_a_run_ends_the_last_step_is_told_how(spec: dict[str, Any], platform: dict[str, Any]):
    tasks = spec["root"]["dag"]["tasks"]
    assert set(tasks) == {"conclude", "exit-handler-1"}
    last = tasks["conclude"]
    assert last["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert last["inputs"]["parameters"]["status"]["taskFinalStatus"]["producerTask"] == "exit-handler-1"
    assert not last["cachingOptions"].get("enableCache")
    secrets = {each["secretName"]: each for each in platform["exec-conclude"]["secretAsEnv"]}
    assert secrets["inkloop-notify"]["optional"]
    variables = {each["envVar"] for each in secrets["inkloop-notify"]["keyToEnv"]}
    known = {f"INKLOOP_NOTIFY_{name.upper()}" for name in NotificationSettings.model_fields}
    assert "INKLOOP_NOTIFY_WEBHOOK_URL" in variables <= known


def test_steps_have_display_names_and_outputs_have_names(spec: dict[str, Any], line: dict[str, Any]):
    for name, task in line.items():
        assert task["taskInfo"]["name"] == {**graph.TITLES, "record": graph.RECORD_TITLE}[name]
    for component in spec["components"].values():
        assert "Output" not in component.get("outputDefinitions", {}).get("artifacts", {})


@pytest.mark.parametrize(
    ("step", "output", "kind"),
    [
        ("ingest", "digits", "system.Dataset"),
        ("ingest", "metrics", "system.Metrics"),
        ("validate", "data_docs", "system.HTML"),
        ("augment", "preview", "system.HTML"),
        ("train", "teacher", "system.Model"),
        ("quantize", "int8", "system.Model"),
        ("evaluate", "challenger", "system.Model"),
        ("evaluate", "confusion", "system.ClassificationMetrics"),
        ("evaluate", "table", "system.HTML"),
        ("package", "card", "system.Markdown"),
    ],
)
def test_what_a_person_looks_at_is_an_artifact_that_kubeflow_draws(
    spec: dict[str, Any], step: str, output: str, kind: str
):
    outputs = spec["components"][f"comp-{step}"]["outputDefinitions"]["artifacts"]
    assert outputs[output]["artifactType"]["schemaTitle"] == kind


@pytest.mark.parametrize("step", STEPS)
def test_on_a_cluster_a_step_is_tried_again_and_asks_for_its_resources(
    spec: dict[str, Any], line: dict[str, Any], platform: dict[str, Any], step: str
):
    task, executor = line[step], spec["deploymentSpec"]["executors"][f"exec-{step}"]
    assert task["retryPolicy"]["maxRetryCount"] == 3
    assert task["retryPolicy"]["backoffFactor"] == 2.0
    assert executor["container"]["resources"] == {
        **{"cpuRequest": 2.0, "resourceCpuRequest": "2"},
        **{"memoryRequest": 4.294967296, "resourceMemoryRequest": "4Gi"},
    }
    (secret,) = platform[f"exec-{step}"]["secretAsEnv"]
    assert secret["optional"]
    assert {each["envVar"] for each in secret["keyToEnv"]} == set(S3_VARIABLES)


def test_all_steps_are_cached_on_a_cluster_but_those_that_hang_on_the_champion(line: dict[str, Any]):
    cached = {name for name, task in line.items() if task["cachingOptions"].get("enableCache")}
    assert cached == set(STEPS) - {"gate", "package"}


def test_on_a_laptop_the_code_is_in_the_key_and_a_mistake_is_not_tried_again():
    local = graph.build({step: f"digest of {step}" for step in STEPS}).pipeline_spec
    for step in STEPS:
        assert not local.root.dag.tasks[step].HasField("retry_policy")
        assert local.root.dag.tasks[step].caching_options.enable_cache
        (variable,) = local.deployment_spec["executors"][f"exec-{step}"]["container"]["env"]
        assert variable["value"] == f"digest of {step}"


@pytest.mark.parametrize("name", PROFILES)
def test_one_ir_serves_every_profile(spec: dict[str, Any], name: str):
    arguments = graph.arguments_on_cluster(profile.load(name), "mnist", "s3://bucket/inkloop")
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert set(arguments) <= set(parameters)
    assert {each for each in parameters if not parameters[each].get("isOptional")} <= set(arguments)


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_reaches_the_steps_unchanged(name: str):
    """kfp carries no null, so what is null must be null by default."""
    chosen = profile.load(name)
    arguments = graph.arguments_on_cluster(chosen, "mnist", "s3://bucket")
    received = {key: value for key, value in arguments.items() if key in profile.Profile.model_fields}
    assert profile.Profile.model_validate(received).model_dump(exclude={"cluster", "expected_s"}) == chosen.model_dump(
        exclude={"cluster", "expected_s"}
    )


def test_a_cluster_is_not_sent_to_folders_of_this_machine(tmp_path: Path):
    with pytest.raises(UserError, match="STORE"):
        graph.arguments_on_cluster(profile.Profile(), "mnist", str(tmp_path))
    with pytest.raises(UserError, match="SOURCE"):
        graph.arguments_on_cluster(profile.Profile(), str(tmp_path), "s3://bucket")


def test_a_steps_code_is_what_it_imports_and_for_the_bento_whole_rooms():
    imports = grimp.build_graph(*graph.ROOMS, cache_dir=None)
    prune, gate, package = (set(files_of(imports, graph.CODE[step])) for step in ("prune", "gate", "package"))
    assert {"components.prune", "inkloop.distillation", "inkloop.model", "inkloop", "components"} <= prune
    assert not {name for name in prune if name.startswith(("serving", "infra"))}
    assert "inkloop.distillation" not in gate
    assert {"serving.service", "serving/docs.html", "inkloop.runtime", "infra.storage"} <= package
