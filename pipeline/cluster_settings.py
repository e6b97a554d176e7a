"""What the steps ask of a Kubernetes cluster: a profile's `cluster`."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

from inkloop.settings import Settings, matching

Label = Annotated[
    str,
    matching(r"([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?", "a Kubernetes name, such as example.com/name"),
]

NUMBER = Field(coerce_numbers_to_str=True)  # YAML reads `cpu: 2` as one


class Toleration(Settings):
    """A taint of nodes that a step does not mind, as in a pod's `tolerations`."""

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""  # empty: all

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise ValueError("a toleration whose operator is Exists has no value")
        if not self.key and self.operator != "Exists":
            raise ValueError("a toleration needs a key, or the operator Exists")
        return self


class PodSettings(Settings):
    """What a step's pod asks for, and which nodes it may run on."""

    cpu: Annotated[str, NUMBER, matching(r"\d+m|\d+(\.\d+)?", "cores, such as 2, 0.5 or 500m")] = "2"
    memory: Annotated[str, NUMBER, matching(r"\d+(\.\d+)?([KMGT]i?)?", "bytes, such as 4Gi or 500M")] = "4Gi"
    node_selector: dict[Label, str] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()


class TrainingPodSettings(PodSettings):
    """What `tune`, `train` and `distill` ask for, if it is something else than the other steps."""

    gpus: NonNegativeInt = 0
    gpu_type: Label = "nvidia.com/gpu"  # the resource's name


class ClusterSettings(PodSettings):
    """How the steps run on Kubeflow. An empty text: as it is without."""

    training: TrainingPodSettings | None = None
    retries: Annotated[int, Field(ge=0, le=10)] = 3  # of a step, with back-off
    image: str = ""  # of the steps; INKLOOP_IMAGE goes before it
    service_account: str = ""  # of Kubernetes, that the steps run as
    # Empty: Ray inside the step.
    ray_address: Annotated[str, matching(r"((ray://)?[\w.-]+:\d+)?", "an address, such as ray://head:10001")] = ""
    ray_auth_mode: Literal["token", "disabled"] = "token"  # of that Ray
    # Empty: STORE/artifacts.
    pipeline_root: Annotated[str, matching(r"((s3|gs|minio)://.+)?", "a place, such as s3://bucket/folder")] = ""
    # As a step reaches it.
    api: Annotated[str, matching(r"https?://.+", "a URL of http or https")] = "http://ml-pipeline.kubeflow:8888"

    @model_validator(mode="after")
    def _gpus_are_where_training_is(self) -> Self:
        if self.ray_address and self.training and self.training.gpus:
            raise ValueError("training.gpus are of a step that trains in its own pod: with ray_address Ray has them")
        return self
