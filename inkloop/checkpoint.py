"""A model directory, and the state of a training, written from and read into torch."""

import time
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from inkloop import artifacts
from inkloop.artifacts import Kind, ModelInfo
from inkloop.export import export
from inkloop.files import written_whole
from inkloop.line import export as line_export
from inkloop.line.model import LineModel, LineModelSettings
from inkloop.model import ModelSettings, Recognizer, count_parameters
from inkloop.pen import export as pen_export
from inkloop.pen.model import PenRecognizer
from inkloop.training import EpochResult, Interruption, TrainingState

STATE_NAME = "state.pt"


def save(model: Recognizer, folder: Path, kind: Kind, metrics: dict[str, float], lineage: dict[str, str]) -> ModelInfo:
    """Write the model directory: ONNX (INT8 if that is its kind), weights, and `model.json` last."""
    folder.mkdir(parents=True, exist_ok=True)
    size_bytes = export(model, folder / artifacts.ONNX_NAME, int8=kind == "int8")
    return _described(model, folder, kind, size_bytes, metrics, lineage)


def save_rounded(source: Path, target: Path) -> ModelInfo:
    """Write a model directory again in INT8, its weights rounded as they are (post-training quantization)."""
    info = artifacts.info(source)
    lineage = {**info.lineage, info.kind: artifacts.digest(source)}
    return save(load(source), target, "int8", info.metrics, lineage)


def save_pen(model: PenRecognizer, folder: Path, metrics: dict[str, float], lineage: dict[str, str]) -> ModelInfo:
    """Write the model directory of a pen's recognizer, as `save` does."""
    folder.mkdir(parents=True, exist_ok=True)
    size_bytes = pen_export.export(model, folder / artifacts.ONNX_NAME)
    return _described(model, folder, "pen", size_bytes, metrics, lineage)


def save_line(model: LineModel, folder: Path, metrics: dict[str, float], lineage: dict[str, str]) -> ModelInfo:
    """Write the model directory of a line model, as `save` does."""
    folder.mkdir(parents=True, exist_ok=True)
    size_bytes = line_export.export(model, folder / artifacts.ONNX_NAME)
    return _described(model, folder, "line", size_bytes, metrics, lineage)


def _described(
    model: Recognizer | PenRecognizer | LineModel,
    folder: Path,
    kind: Kind,
    size_bytes: int,
    metrics: dict[str, float],
    lineage: dict[str, str],
) -> ModelInfo:
    with written_whole(folder / artifacts.WEIGHTS_NAME) as unfinished:
        save_file(model.state_dict(), unfinished)
    info = ModelInfo(
        kind=kind,
        architecture=model.settings.model_dump(mode="json"),
        parameters=count_parameters(model),
        size_bytes=size_bytes,
        metrics=metrics,
        lineage=lineage,
    )
    artifacts.write_info(folder, info)
    return info


def load(folder: Path) -> Recognizer:
    """The torch model of a model directory, ready to train on. Raises UserError if the folder holds no model."""
    model = Recognizer(ModelSettings.model_validate(artifacts.info(folder).architecture))
    model.load_state_dict(load_file(folder / artifacts.WEIGHTS_NAME))
    return model


def load_line(folder: Path) -> LineModel:
    """The torch model of a line model's directory, as `load` does."""
    model = LineModel(LineModelSettings.model_validate(artifacts.info(folder).architecture))
    model.load_state_dict(load_file(folder / artifacts.WEIGHTS_NAME))
    return model


def save_state(state: TrainingState, folder: Path) -> None:
    """Write what a training goes on from, whole or not at all: tensors, numbers and lists only."""
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / STATE_NAME) as unfinished:
        rows = {name: [asdict(each) for each in getattr(state, name)] for name in ("epochs", "interruptions")}
        torch.save({**vars(state), **rows, "kept_at": time.time()}, unfinished)


def load_state(folder: Path) -> TrainingState:
    """Read what a training goes on from; nothing in it is executed."""
    content = torch.load(folder / STATE_NAME, weights_only=True)
    epochs = [EpochResult(**epoch) for epoch in content["epochs"]]
    interruptions = [Interruption(**each) for each in content["interruptions"]]
    return TrainingState(**{**content, "epochs": epochs, "interruptions": interruptions})
