"""Data-parallel training on Ray Train, with a checkpoint an epoch and resumption after a worker has died."""

import logging
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, prepare_model
from torch import Tensor, nn

from infra import ray_data
from infra.ray_session import ray_session
from inkloop.augmentation import AugmentationSettings
from inkloop.batches import Blocks
from inkloop.checkpoint import load_state, save_state
from inkloop.digits import Digits
from inkloop.distillation import Lessons, taught_loss
from inkloop.logs import TrainingLog
from inkloop.model import ModelSettings, Recognizer
from inkloop.training import EpochResult, Interruption, TrainingSettings, TrainingState, fit

NAME, LOGS_NAME = "training", "logs"
MAX_FAILURES = 3
# Ray learns late that a machine is gone: whoever can do with fewer workers asks again after so long.
START_TIMEOUT, ELASTIC_START_S = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "60"


@dataclass(frozen=True)
class Job:
    """One training run: everything but the digits and the workers."""

    model: ModelSettings
    training: TrainingSettings
    augmentation: AugmentationSettings | None
    seed: int
    lessons: Lessons | None = None  # a teacher's, beside the labels
    initial: dict[str, Tensor] | None = None  # weights to go on from; None = random ones


def _worker(config: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    ray_data.accept_read_only_arrays()
    job: Job = config["job"]
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    train, validation = ray_data.get(config["train"]), ray_data.get(config["validation"])
    assert isinstance(validation, Digits)
    loss = None
    if config["lessons"] is not None:
        said, teaching = config["lessons"]
        loss = taught_loss(Lessons(torch.from_numpy(ray.get(said)), teaching), job.training.loss)
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
            state.interruptions.append(Interruption(state.epoch, time.time() - state.kept_at))

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
            loss=loss,
            on_epoch=report,
            state=state,
            parallel=parallel,
            rank=rank,
            workers=workers,
        )


def fit_on_ray(
    job: Job,
    train: Digits | Blocks,
    validation: Digits,
    storage: str,
    logs: Path,
    workers: int = 0,
    least_workers: int = 0,
) -> tuple[Recognizer, TrainingState]:
    """Train on the Ray at `RAY_ADDRESS` or one started here, from the checkpoint in the storage on if there is one.

    storage: the folder or S3 URL of checkpoints; a cluster of several machines must reach it from all of them.
    logs: where TensorBoard's files are put at the end.
    workers: processes, each on one CPU or GPU; 0 = as many as the cluster has.
    least_workers: as many are enough when a machine is lost; 0 = wait until there is one in its place.
    Returns the model with its best weights, and the final state.
    """
    with ray_session() as cpus:
        if least_workers:
            os.environ[START_TIMEOUT] = ELASTIC_START_S
        gpus = int(ray.cluster_resources().get("GPU", 0))
        number = workers or gpus or cpus
        size: Any = (min(least_workers, number), number) if least_workers else number
        lessons = job.lessons and (ray.put(job.lessons.teacher_logits.numpy()), job.lessons.teaching)
        trainer = TorchTrainer(
            _worker,
            train_loop_config={
                "job": replace(job, lessons=None),
                "lessons": lessons,
                "train": ray_data.put(replace(train, ids=()) if isinstance(train, Digits) else train),
                "validation": ray_data.put(validation),
            },
            scaling_config=ScalingConfig(num_workers=size, use_gpu=gpus > 0),
            run_config=RunConfig(
                name=NAME,
                storage_path=storage,
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
