"""A profile: the configuration of every step, from defaults in code and a YAML file that says what differs."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import Field, NonNegativeFloat, ValidationError, model_validator

from inkloop.augmentation import AugmentationSettings
from inkloop.card import PackagingSettings
from inkloop.distillation import DistillationSettings
from inkloop.errors import UserError
from inkloop.evaluation import EvaluationSettings
from inkloop.gate import GateSettings
from inkloop.hardware import BUDGETS, HardwareSettings
from inkloop.inspection import ValidationSettings
from inkloop.pruning import PruningSettings, check_prunable
from inkloop.qat import QuantizationSettings
from inkloop.search import TeacherSettings, TuningSettings
from inkloop.settings import Settings
from inkloop.sources import IngestSettings
from pipeline.cluster_settings import ClusterSettings

FOLDER = Path(__file__).parent / "profiles"

Kind = TypeVar("Kind", bound=Settings)
Step = Literal[
    "ingest", "validate", "augment", "tune", "train", "distill", "prune", "quantize", "evaluate", "gate", "package"
]


class _KeyTwice(ValueError):
    """A key stands twice in one mapping: YAML's own rules forbid it, PyYAML takes the last."""


class _Loader(yaml.SafeLoader):
    """Reads safe YAML whose keys stand once each. Raises _KeyTwice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise _KeyTwice(f"{key.value}: stands there twice, again in line {key.start_mark.line + 1}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class Profile(Settings):
    """Every choice a run of the pipeline makes."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: IngestSettings = IngestSettings()
    validation: ValidationSettings = ValidationSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    tuning: TuningSettings = TuningSettings()
    teacher: TeacherSettings = TeacherSettings()
    student: DistillationSettings = DistillationSettings()
    pruning: PruningSettings = PruningSettings()
    quantization: QuantizationSettings = QuantizationSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    hardware: HardwareSettings = HardwareSettings()
    gate: GateSettings = GateSettings()
    packaging: PackagingSettings = PackagingSettings()
    cluster: ClusterSettings = ClusterSettings()
    # Of a step on two cores, until measured here.
    expected_s: dict[Step, NonNegativeFloat] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_of_one_size(self) -> Self:
        frame, passed = self.teacher.model.frame, (self.validation.height, self.validation.width)
        if self.student.model.frame != frame or passed != (frame, frame):
            raise ValueError("teacher.model.frame, student.model.frame, validation.height and .width must be the same")
        return self

    @model_validator(mode="after")
    def _student_can_be_compressed(self) -> Self:
        try:
            if self.pruning.share > 0:
                check_prunable(self.student.model)
        except UserError as error:
            raise ValueError(f"student.model.{str(error).removesuffix('.')}") from error
        return self


def load(name: str, hardware: str = "") -> Profile:
    """The profile of this name, or in this YAML file; what it does not say is as in its `base`, or in code.

    hardware: for which the model is to be, where it is not the profile's own.
    Raises UserError naming file and key for an unknown key or a value of the wrong type.
    """
    changes, path = _read(name)
    if hardware and hardware not in BUDGETS:
        raise UserError(f"HARDWARE {hardware!r}: not known. Give {', '.join(BUDGETS)}.")
    asked = {"hardware": {"name": hardware}} if hardware else {}
    return _validated(Profile, _merged(_merged(Profile().model_dump(), changes), asked), path)


def settings_of(path: Path, kind: type[Kind]) -> Kind:
    """Settings of another kind in a YAML file; what it does not say is as in code. Raises UserError as `load` does."""
    return _validated(kind, _mapping(path), path)


def _validated(kind: type[Kind], content: dict[str, Any], path: Path) -> Kind:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        found = error.errors()
        # A list whose item is refused is said to be too short as well.
        around = {each["loc"][:depth] for each in found for depth in range(len(each["loc"]))}
        said = [_problem(each) for each in found if each["loc"] not in around]
        raise UserError(f"{path}: {'; '.join(said)}.") from error


def _read(name: str) -> tuple[dict[str, Any], Path]:
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"profile {name!r}: no such profile. {_there_are()}; or give the path of a YAML file.")
    changes = _mapping(path)
    base = changes.pop("base", None)
    if base is None:
        return changes, path
    if base not in _shipped():
        raise UserError(f"{path}: base: {base!r} is no profile to start from. {_there_are()}.")
    return _merged(_read(base)[0], changes), path


def _mapping(path: Path) -> dict[str, Any]:
    try:
        changes = yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file.") from error
    except _KeyTwice as error:
        raise UserError(f"{path}: {error}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error}).") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(changes, dict):
        raise UserError(f"{path}: must be a mapping such as `seed: 1`, not {type(changes).__name__}.")
    return changes


def _shipped() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def _there_are() -> str:
    return f"There are {', '.join(_shipped())}"


def _problem(error: Any) -> str:  # noqa: ANN401
    key = ".".join(str(part) for part in error["loc"] if part != "[key]") or "the profile"
    if error["type"] == "extra_forbidden":
        return f"{key}: no such key"
    said = re.sub(r"valid dictionary( or instance of \w+)?", "mapping", error["msg"].removeprefix("Value error, "))
    return f"{key}: {said.replace('a valid tuple', 'a list').replace('a valid list', 'a list')}"


def _merged(defaults: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(defaults)
    for key, value in changes.items():
        below = defaults.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
