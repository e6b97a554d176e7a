"""Where a step runs on a cluster, on what, how often it is tried, and which secrets it gets."""

import os

from kfp import kubernetes
from kfp.dsl import PipelineTask

from components.component import IMAGE, IMAGE_VARIABLE
from infra.notifications import VARIABLE_PREFIX
from inkloop.lineage import CODE_VARIABLE
from pipeline.cluster_settings import ClusterSettings, TrainingPodSettings

# Secrets of Kubernetes, each of which may be absent; the keys are named like the variables, but for KubeRay's own.
S3_SECRET, RAY_SECRET, NOTIFY_SECRET = "inkloop-s3", "inkloop-ray", "inkloop-notify"
S3_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")
RAY_TOKEN = {"auth_token": "RAY_AUTH_TOKEN"}
NOTIFY_VARIABLES = tuple(
    f"{VARIABLE_PREFIX}{name}"
    for name in (
        *("WEBHOOK_URL", "WEBHOOK_SECRET", "EMAIL_TO", "EMAIL_FROM"),
        *("SMTP_HOST", "SMTP_PORT", "SMTP_TLS", "SMTP_USER", "SMTP_PASSWORD"),
    )
)


def place(task: PipelineTask, cluster: ClusterSettings, on_ray: bool = False, tells: bool = False) -> None:
    """Set all of it. on_ray: the step trains; tells: it tells people."""
    pod = cluster.training if on_ray and cluster.training else cluster
    task.set_cpu_request(pod.cpu).set_memory_request(pod.memory)
    if cluster.retries:
        task.set_retry(cluster.retries, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="10m")
    own_image = cluster.image if IMAGE_VARIABLE not in os.environ else ""
    if own_image:
        task.set_container_image(own_image)
    task.set_env_variable(CODE_VARIABLE, f"image {own_image or IMAGE}")  # what models say of the code that made them
    for key, value in pod.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in pod.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump())
    if isinstance(pod, TrainingPodSettings) and pod.gpus:
        task.set_accelerator_type(pod.gpu_type).set_accelerator_limit(pod.gpus)
    _with_secret(task, S3_SECRET, S3_VARIABLES)
    if on_ray and cluster.ray_address:
        task.set_env_variable("RAY_ADDRESS", cluster.ray_address)
        task.set_env_variable("RAY_AUTH_MODE", cluster.ray_auth_mode)
        kubernetes.use_secret_as_env(task, RAY_SECRET, RAY_TOKEN, optional=True)
    if tells:
        _with_secret(task, NOTIFY_SECRET, NOTIFY_VARIABLES)


def _with_secret(task: PipelineTask, secret: str, variables: tuple[str, ...]) -> None:
    kubernetes.use_secret_as_env(task, secret, {name: name for name in variables}, optional=True)
