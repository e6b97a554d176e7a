"""Data-parallel training on Ray Train, with a checkpoint an epoch and resumption after a worker has died."""

import logging
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, prepare_model
from torch import Tensor, nn

from infra.ray_session import ray_session
from inkloop.augmentation import AugmentationSettings
from inkloop.checkpoint import load_state, save_state
from inkloop.digits import Digits
from inkloop.distillation import Lessons, taught_loss
from inkloop.logs import TrainingLog
from inkloop.model import ModelSettings, Recognizer
from inkloop.training import EpochResult, TrainingSettings, TrainingState, fit

LOGS_NAME = "logs"
MAX_FAILURES = 3


@dataclass(frozen=True)
class Job:
    """One training run: everything but the digits and the workers."""

    model: ModelSettings
    training: TrainingSettings
    augmentation: AugmentationSettings | None
    seed: int
    lessons: Lessons | None = None  # a teacher's, beside the labels
    initial: dict[str, Tensor] | None = None  # weights to go on from; None = random ones


def _digits(reference: ray.ObjectRef[Any]) -> Digits:
    images, labels, ids = ray.get(reference)
    return Digits(images.copy(), labels.copy(), ids)  # what lies in Ray's object store cannot be written, as torch asks


def _worker(config: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    job: Job = config["job"]
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    train, validation = (_digits(config[split]) for split in ("train", "validation"))
    torch.manual_seed(job.seed)
    model = Recognizer(job.model)
    if job.initial is not None:
        model.load_state_dict(job.initial)
    parallel = prepare_model(model, parallel_strategy="ddp" if workers > 1 else None)
    state = None
    with tempfile.TemporaryDirectory() as scratch:
        log = TrainingLog(Path(scratch), validation)
        if (checkpoint := ray.train.get_checkpoint()) is not None:
            with checkpoint.as_directory() as folder:
                state = load_state(Path(folder))
                shutil.copytree(Path(folder) / LOGS_NAME, scratch, dirs_exist_ok=True)

        def report(model: nn.Module, result: EpochResult, state: TrainingState) -> None:
            with tempfile.TemporaryDirectory() as folder:
                if rank == 0:
                    log.write(model, result, state)
                    save_state(state, Path(folder))
                    shutil.copytree(scratch, Path(folder) / LOGS_NAME)
                ray.train.report(asdict(result), checkpoint=Checkpoint(folder) if rank == 0 else None)

        fit(
            model,
            train,
            validation,
            job.training,
            job.augmentation,
            job.seed,
            loss=None if job.lessons is None else taught_loss(job.lessons),
            on_epoch=report,
            state=state,
            parallel=parallel,
            rank=rank,
            workers=workers,
        )


def fit_on_ray(
    job: Job, train: Digits, validation: Digits, storage: Path, logs: Path, workers: int = 0
) -> tuple[Recognizer, TrainingState]:
    """Train on the Ray at `RAY_ADDRESS` or one started here.

    workers: processes, each on one CPU or GPU; 0 = as many as the cluster has. storage: where checkpoints go; on a
    cluster of several machines it must be shared. logs: where TensorBoard's files are put at the end.
    Returns the model with its best weights, and the final state.
    """
    with ray_session() as cpus:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        trainer = TorchTrainer(
            _worker,
            train_loop_config={
                "job": job,
                "train": ray.put((train.images, train.labels, train.ids)),
                "validation": ray.put((validation.images, validation.labels, validation.ids)),
            },
            scaling_config=ScalingConfig(num_workers=workers or gpus or cpus, use_gpu=gpus > 0),
            run_config=RunConfig(
                name="training",
                storage_path=str(storage.resolve()),
                failure_config=FailureConfig(max_failures=MAX_FAILURES),
                checkpoint_config=CheckpointConfig(num_to_keep=1),
            ),
        )
        result = trainer.fit()
        assert result.checkpoint is not None
        with result.checkpoint.as_directory() as folder:
            state = load_state(Path(folder))
            shutil.copytree(Path(folder) / LOGS_NAME, logs, dirs_exist_ok=True)
    model = Recognizer(job.model)
    model.load_state_dict(state.best)
    return model, state
