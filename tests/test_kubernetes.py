"""infra/k8s: each overlay is built, held to Kubernetes' and KubeRay's schemas, and to what must be true of it.

Neither a cluster nor the internet is needed. KubeRay's schemas are looked for in KUBERAY_CRDS, then in shared/crds
beside the checkout.
"""

import copy
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from monitoring.operator import serve as dashboard
from pipeline import placement
from pipeline.watch import LoopSettings
from serving.app import create_app
from serving.shipper import LAST_TRY_S

ROOT = Path(__file__).parents[1]
K8S = ROOT / "infra" / "k8s"
OVERLAYS = ("kind", "aws", "gcp")
VERSION = "1.34"  # of Kubernetes' schemas
CRDS = [Path(os.environ["KUBERAY_CRDS"])] if "KUBERAY_CRDS" in os.environ else [ROOT.parent / "shared" / "crds"]
WORKLOADS = {"Deployment", "StatefulSet", "CronJob", "RayCluster", "RayJob"}
LASTING = WORKLOADS - {"CronJob", "RayJob"}
# They are made by hand or by `make cluster-up`: docs/kubernetes.md says how.
DOCUMENTED_SECRETS = {"inkloop-s3", "inkloop-grafana", "inkloop-notify", "inkloop-ray"}

Object = dict[str, Any]


@pytest.fixture(scope="session", params=OVERLAYS)
def overlay(request) -> list[Object]:
    """The objects of an overlay, as `kubectl apply -k` would send them."""
    kubectl = Path(sys.executable).with_name("kubectl")
    run = subprocess.run([kubectl, "kustomize", K8S / "overlays" / request.param], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "deprecated" not in run.stderr
    return list(yaml.safe_load_all(run.stdout))


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each["kind"] in kinds]


def templates(workload: Object) -> list[Object]:
    """The pod templates of a workload."""
    spec = workload["spec"]
    match workload["kind"]:
        case "CronJob":
            return [spec["jobTemplate"]["spec"]["template"]]
        case "RayCluster":
            return [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]
        case "RayJob":
            return [spec["submitterPodTemplate"]]
        case _:
            return [spec["template"]]


def pods(objects: list[Object], kinds: set[str] = WORKLOADS) -> Iterator[tuple[str, Object]]:
    """Every pod template with the name of its workload."""
    for workload in of_kind(objects, *kinds):
        for template in templates(workload):
            yield f"{workload['kind']} {workload['metadata']['name']}", template


def containers(objects: list[Object], kinds: set[str] = WORKLOADS) -> Iterator[tuple[str, Object, Object]]:
    """Every container with its pod's spec."""
    for name, template in pods(objects, kinds):
        spec = template["spec"]
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            yield f"{name}: {container['name']}", spec, container


def selected(labels: dict[str, str], selector: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


# Schemas


def test_every_object_of_kubernetes_own_is_valid_and_none_is_passed_over(overlay):
    unknown = set()
    for each in overlay:
        try:
            kubernetes_validate.validate(each, VERSION, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            unknown.add(each["kind"])

    assert unknown == {"RayCluster", "RayJob"}  # theirs is the next test


def test_a_misspelled_field_is_found(overlay):
    wrong = copy.deepcopy(of_kind(overlay, "Deployment")[0])
    wrong["spec"]["template"]["spec"]["containers"][0]["resource"] = {}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


@pytest.fixture(scope="session")
def ray_schemas() -> dict[str, Object]:
    """The schema of each of KubeRay's kinds, unknown fields refused."""
    files = [path for folder in CRDS for path in sorted(folder.glob("ray.io_*.yaml"))]
    if not files:
        pytest.skip("no schemas of KubeRay: set KUBERAY_CRDS to a folder with its config/crd/bases")
    found = {}
    for path in files:
        crd = yaml.safe_load(path.read_text())
        [version] = [each for each in crd["spec"]["versions"] if each["name"] == "v1"]
        found[crd["spec"]["names"]["kind"]] = closed(version["schema"]["openAPIV3Schema"])
    return found


def closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if isinstance(inner.get("properties"), dict) and not inner.get("x-kubernetes-preserve-unknown-fields"):
        # What Kubernetes itself adds stands in no schema but as an object.
        inner.setdefault("additionalProperties", False)
    if inner.get("type") == "object" and set(schema) <= {"type", "description"}:
        inner.pop("additionalProperties", None)
    return inner


def test_every_object_of_kuberays_is_valid(overlay, ray_schemas):
    rays = of_kind(overlay, "RayCluster", "RayJob")

    assert len(rays) == 2
    for each in rays:
        jsonschema.Draft202012Validator(ray_schemas[each["kind"]]).validate(each)
    wrong = copy.deepcopy(rays[0])
    wrong["spec"]["authOption"] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(ray_schemas[wrong["kind"]]).validate(wrong)


# Containers


def test_no_container_is_root_or_privileged_or_may_become_so(overlay):
    for name, pod, container in containers(overlay):
        inside = container["securityContext"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert inside["allowPrivilegeEscalation"] is False, name
        assert inside["capabilities"] == {"drop": ["ALL"]}, name
        assert not inside.get("privileged") and inside.get("runAsUser") != 0, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
        assert not any("hostPath" in volume for volume in pod.get("volumes", [])), name
    [cluster] = of_kind(overlay, "RayCluster")
    autoscaler = cluster["spec"]["autoscalerOptions"]["securityContext"]
    assert autoscaler["allowPrivilegeEscalation"] is False
    [namespace] = of_kind(overlay, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_container_says_what_it_needs_and_how_much_it_may_take(overlay):
    for name, _, container in containers(overlay):
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
        assert "memory" in container["resources"]["limits"], name


def test_every_container_that_lasts_is_asked_whether_it_is_ready_and_alive(overlay):
    for name, pod, container in containers(overlay, LASTING):
        if container in pod["containers"]:
            assert {"readinessProbe", "livenessProbe"} <= set(container), name


def test_every_image_has_a_fixed_version(overlay):
    for name, _, container in containers(overlay):
        image, _, tag = container["image"].rpartition(":")
        assert image and re.fullmatch(r"v?\d[\w.]*|kind", tag), f"{name}: {container['image']}"


def test_the_steps_run_in_the_image_that_the_cluster_has(overlay):
    [settings] = [each for each in of_kind(overlay, "ConfigMap") if each["metadata"]["name"] == "inkloop"]
    images = {container["image"] for name, _, container in containers(overlay) if "watch" in name or "ray" in name}

    assert images == {settings["data"]["INKLOOP_IMAGE"]}
    assert settings["data"]["INKLOOP_STORE"].startswith("s3://")


# References


def referred(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(kind, name) of every config map and secret that is named anywhere in it."""
    kinds = {"configMapRef": "ConfigMap", "configMapKeyRef": "ConfigMap", "configMap": "ConfigMap"}
    kinds |= {"secretRef": "Secret", "secretKeyRef": "Secret", "secret": "Secret"}
    if isinstance(value, list):
        for each in value:
            yield from referred(each)
    elif isinstance(value, dict):
        if key in kinds and (name := value.get("name") or value.get("secretName")):
            yield kinds[key], name
        if "secretName" in value and key == "authOptions":
            yield "Secret", value["secretName"]
        for name, each in value.items():
            yield from referred(each, name)


def test_every_config_map_is_there_and_every_secret_is_documented(overlay):
    there = {each["metadata"]["name"] for each in of_kind(overlay, "ConfigMap")}
    docs = (ROOT / "docs" / "kubernetes.md").read_text()

    for each in overlay:
        for kind, name in referred(each.get("spec", {})):
            if kind == "ConfigMap":
                assert name in there, f"{each['metadata']['name']} wants {name}"
            else:
                assert name in DOCUMENTED_SECRETS and f"`{name}`" in docs, name
    assert not of_kind(overlay, "Secret")
    assert {placement.S3_SECRET, placement.RAY_SECRET, placement.NOTIFY_SECRET} <= DOCUMENTED_SECRETS


def test_every_key_that_is_mounted_is_in_its_config_map(overlay):
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(overlay, "ConfigMap")}

    for name, template in pods(overlay):
        for volume in template["spec"].get("volumes", []):
            sources = [volume, *volume.get("projected", {}).get("sources", [])]
            for source in (each["configMap"] for each in sources if "configMap" in each):
                assert {item["key"] for item in source.get("items", [])} <= set(maps[source["name"]]), name


def test_every_service_account_is_there_and_only_rays_head_may_speak_to_kubernetes(overlay):
    accounts = {each["metadata"]["name"]: each for each in of_kind(overlay, "ServiceAccount")}
    speaking = set()

    for name, template in pods(overlay):
        account = accounts[template["spec"]["serviceAccountName"]]
        if template["spec"].get("automountServiceAccountToken", account.get("automountServiceAccountToken", True)):
            speaking.add(name)
    assert speaking == {"RayCluster ray"}
    assert not of_kind(overlay, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


def test_every_service_leads_to_a_port_of_a_pod(overlay):
    for service in of_kind(overlay, "Service"):
        name, spec = service["metadata"]["name"], service["spec"]
        behind = [pod for _, pod in pods(overlay) if selected(pod["metadata"]["labels"], spec["selector"])]
        assert behind, name
        ports = {port["name"] for pod in behind for each in pod["spec"]["containers"] for port in each.get("ports", [])}
        assert {port["targetPort"] for port in spec["ports"]} <= ports, name


def test_what_is_scaled_and_kept_up_is_the_server(overlay):
    [scaler], [budget] = of_kind(overlay, "HorizontalPodAutoscaler"), of_kind(overlay, "PodDisruptionBudget")
    [server] = [each for each in of_kind(overlay, "Deployment") if each["metadata"]["name"] == "serve"]

    assert scaler["spec"]["scaleTargetRef"]["name"] == "serve" and "replicas" not in server["spec"]
    assert scaler["spec"]["minReplicas"] > budget["spec"]["minAvailable"] >= 1  # else no node could be emptied
    assert selected(server["spec"]["template"]["metadata"]["labels"], budget["spec"]["selector"]["matchLabels"])


# The network


def admitted(overlay: list[Object], labels: dict[str, str]) -> set[int]:
    """The ports of such a pod that policies let others come to; Ray's nodes come to all of each other's."""
    ports = set()
    for policy in of_kind(overlay, "NetworkPolicy"):
        spec = policy["spec"]
        if "Ingress" in spec["policyTypes"] and selected(labels, spec["podSelector"].get("matchLabels", {})):
            for rule in spec.get("ingress", []):
                among_themselves = rule.get("from") == [{"podSelector": spec["podSelector"]}]
                assert "ports" in rule or among_themselves, policy["metadata"]["name"]
                ports |= {port["port"] for port in rule.get("ports", [])}
    return ports


def test_nobody_reaches_anybody_unless_a_policy_says_so(overlay):
    everybody = [each["spec"] for each in of_kind(overlay, "NetworkPolicy") if each["spec"]["podSelector"] == {}]

    assert [set(spec["policyTypes"]) for spec in everybody] == [{"Ingress", "Egress"}]
    assert "ingress" not in everybody[0]


def test_policies_admit_the_declared_ports_and_nothing_else(overlay):
    for name, pod in pods(overlay):
        if name == "RayCluster ray":
            continue
        declared = {port["containerPort"] for each in pod["spec"]["containers"] for port in each.get("ports", [])}
        assert admitted(overlay, pod["metadata"]["labels"]) == declared, name
    [cluster] = of_kind(overlay, "RayCluster")
    head = templates(cluster)[0]["spec"]["containers"][0]
    assert admitted(overlay, {"app": "ray"}) == {port["containerPort"] for port in head["ports"]}


def test_who_uses_the_store_may_go_there_and_the_others_may_not(overlay):
    [way] = [each for each in of_kind(overlay, "NetworkPolicy") if each["metadata"]["name"] == "to-the-store"]
    selector = way["spec"]["podSelector"]["matchLabels"]

    for name, pod in pods(overlay, WORKLOADS - {"RayJob"}):
        asks = any("inkloop-s3" in str(each.get("envFrom")) for each in pod["spec"]["containers"])
        if name != "StatefulSet seaweedfs":
            assert asks == selected(pod["metadata"]["labels"], selector), name


def container_of(overlay: list[Object], deployment: str) -> Object:
    [found] = [each for each in of_kind(overlay, "Deployment") if each["metadata"]["name"] == deployment]
    return templates(found)[0]["spec"]["containers"][0]


def test_ports_and_probes_are_those_that_our_programs_answer_on(overlay):
    serve, watch, page = (container_of(overlay, name) for name in ("serve", "watch", "dashboard"))
    paths = {getattr(route, "path", "") for route in create_app(K8S).routes}

    assert serve["ports"][0]["containerPort"] == served_port()
    assert {serve[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")} <= paths
    assert watch["ports"][0]["containerPort"] == LoopSettings().metrics_port
    assert page["ports"][0]["containerPort"] == inspect.signature(dashboard.serve).parameters["port"].default


def test_the_settings_of_the_watch_are_accepted_and_prometheus_reaches_it(overlay):
    [found] = [each for each in of_kind(overlay, "ConfigMap") if each["metadata"]["name"].startswith("watch-")]

    settings = LoopSettings.model_validate(yaml.safe_load(found["data"]["watch.yaml"]))

    assert settings.metrics_host == "0.0.0.0"


def test_a_server_asked_to_stop_has_time_to_ship_what_it_captured(overlay):
    [server] = [each for each in of_kind(overlay, "Deployment") if each["metadata"]["name"] == "serve"]
    waits = int(container_of(overlay, "serve")["lifecycle"]["preStop"]["exec"]["command"][1])

    assert templates(server)[0]["spec"]["terminationGracePeriodSeconds"] > waits + 2 * LAST_TRY_S


# Monitoring


def test_prometheus_has_the_rules_and_asks_under_the_names_that_they_use(overlay):
    maps = {each["metadata"]["name"].rpartition("-")[0]: each["data"] for each in of_kind(overlay, "ConfigMap")}
    config = yaml.safe_load(maps["prometheus"]["prometheus.yml"])
    here = yaml.safe_load((ROOT / "monitoring" / "alerts" / "prometheus.yaml").read_text())

    assert maps["prometheus-rules"]["rules.yaml"] == (ROOT / "monitoring" / "alerts" / "rules.yaml").read_text()
    assert {job["job_name"] for job in config["scrape_configs"]} == {job["job_name"] for job in here["scrape_configs"]}
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind(overlay, "Service")}
    for job in config["scrape_configs"]:
        [sd] = job["dns_sd_configs"]
        service = services[sd["names"][0]]
        assert service["clusterIP"] == "None" and service["ports"][0]["port"] == sd["port"]


def test_grafana_has_every_dashboard(overlay):
    maps = {each["metadata"]["name"].rpartition("-")[0]: each["data"] for each in of_kind(overlay, "ConfigMap")}
    files = {path.name: path.read_text() for path in (ROOT / "monitoring" / "dashboards").glob("*.json")}

    assert maps["grafana-dashboards"] == files


# Ray


def test_ray_asks_for_a_token_scales_by_itself_and_is_the_version_of_the_lock(overlay):
    [cluster], [job] = of_kind(overlay, "RayCluster"), of_kind(overlay, "RayJob")
    spec, lock = cluster["spec"], (ROOT / "requirements.lock").read_text()

    assert spec["authOptions"] == {"mode": "token", "secretName": "inkloop-ray"}
    assert spec["enableInTreeAutoscaling"] is True
    assert all(group["minReplicas"] < group["maxReplicas"] for group in spec["workerGroupSpecs"])
    assert f"ray=={spec['rayVersion']}\n" in lock
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    assert "aiohttp-cors" in (ROOT / "requirements-train.lock").read_text()  # without it Ray takes no jobs


def test_what_is_fetched_from_elsewhere_is_pinned_and_in_no_overlay():
    versions = dict(
        line.split("=") for line in (K8S / "versions.env").read_text().splitlines() if not line.startswith("#")
    )

    assert set(versions) == {"KFP", "KUBERAY", "METRICS_SERVER"}
    assert all(re.fullmatch(r"v?\d+\.\d+\.\d+", version) for version in versions.values())
    for path in K8S.rglob("kustomization.yaml"):
        assert "://" not in "".join(yaml.safe_load(path.read_text()).get("resources", []))


def served_port() -> int:
    """The service's own. In a process of its own: once imported, it answers for every server of its process."""
    ask = "from serving.service import Inkloop; print(Inkloop.config['http']['port'])"
    return int(subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout)
