"""The training loop, one for teacher, student, pruned and quantized models; alone or data-parallel."""

import copy
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from inkloop.augmentation import AugmentationSettings
from inkloop.batches import Batch, Blocks, batches, steps_per_epoch
from inkloop.digits import Digits
from inkloop.losses import LossSettings, classification_loss
from inkloop.memory import keep_freed_memory
from inkloop.model import Answer, normalize
from inkloop.muon import Muon
from inkloop.settings import Settings, ShareBelowOne


class TrainingSettings(Settings):
    """How a model is trained."""

    epochs: PositiveInt = 8
    batch_size: PositiveInt = 128  # over all workers
    learning_rate: PositiveFloat = 4e-3
    optimizer: Literal["adamw", "muon"] = "adamw"  # muon: see `inkloop.muon`
    weight_decay: NonNegativeFloat = 5e-4
    clip_norm: PositiveFloat = 1.0
    schedule: Literal["one_cycle", "cosine", "cosine_restarts"] = "one_cycle"
    restarts: PositiveInt = 2  # cycles of cosine_restarts
    warmup_share: ShareBelowOne = 0.1  # of all steps
    patience_epochs: PositiveInt = 5  # early stopping, on validation accuracy
    gradient_checkpointing: bool = False  # less memory, more time, same weights: see `model.Recognizer.forward`
    ema_decay: ShareBelowOne = 0.0  # exponential moving average of the weights, used for the answers; 0 = off
    loss: LossSettings = LossSettings()


@dataclass(frozen=True)
class EpochResult:
    """What one epoch came to. Accuracy in 0..1."""

    epoch: int  # from 0
    epochs: int  # planned
    train_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float
    cpu_seconds: float  # of this process: other work on the machine hardly changes it

    def line(self) -> str:
        """How it went, in one line for people."""
        return (
            f"epoch {self.epoch + 1} of {self.epochs}: loss {self.train_loss:.4f}, "
            f"validation accuracy {self.validation_accuracy:.2%}, {self.seconds:.0f} s"
        )


@dataclass(frozen=True)
class Interruption:
    """A training that went on from a checkpoint: with which epoch, how long after the checkpoint was written."""

    epoch: int
    seconds: float  # lost work, and the time until all was up again


@dataclass
class TrainingState:
    """All that a resumed run needs to go on as if it had never stopped; tensors and numbers only.

    Its tensors change as training goes on: to keep a state, write it down.
    """

    epoch: int = 0  # the next one
    model: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_accuracy: float = -1.0
    best_epoch: int = -1
    epochs: list[EpochResult] = field(default_factory=list)
    interruptions: list[Interruption] = field(default_factory=list)
    kept_at: float = 0.0  # when it was written down, seconds since 1970


Loss = Callable[[Answer, Batch], Tensor]
Weights = Callable[[nn.Module], AbstractContextManager[None]]
OnEpoch = Callable[[nn.Module, EpochResult, TrainingState], None]


def exact_weights(model: nn.Module) -> AbstractContextManager[None]:
    """Compute with the weights as they are."""
    return nullcontext()


def label_loss(settings: LossSettings) -> Loss:
    """The loss of learning from labels alone."""
    return lambda answer, batch: classification_loss(answer.logits, batch.labels, settings)


def learning_rate_factor(step: int, total_steps: int, settings: TrainingSettings) -> float:
    """The schedule, as a factor in 0..1 of the peak learning rate: warm-up, then cosine annealing (Loshchilov 2017)."""
    warmup_steps = max(1, round(settings.warmup_share * total_steps))
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if settings.schedule == "cosine_restarts":
        cycle = math.ceil((total_steps - warmup_steps) / settings.restarts)
        position = ((step - warmup_steps) % cycle) / cycle
    else:
        position = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    floor = 0.01 if settings.schedule == "cosine" else 0.0
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * position))


@torch.no_grad()
def logits(model: nn.Module, images: Tensor, batch_size: int = 1000) -> Tensor:
    """The model's answers to uint8 images (n, height, width): float (n, 10), without dropout."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    answers = [model(normalize(part.to(device))).logits.cpu() for part in images.split(batch_size)]
    model.train(was_training)
    return torch.cat(answers)


def accuracy(model: nn.Module, digits: Digits) -> float:
    """Share of right answers, 0..1."""
    right = logits(model, torch.from_numpy(digits.images)).argmax(1) == torch.from_numpy(digits.labels)
    return right.float().mean().item()


def fit(
    model: nn.Module,
    train: Digits | Blocks,
    validation: Digits,
    settings: TrainingSettings,
    augmentation: AugmentationSettings | None,
    seed: int,
    *,
    loss: Loss | None = None,
    weights: Weights = exact_weights,
    on_epoch: OnEpoch | None = None,
    state: TrainingState | None = None,
    parallel: nn.Module | None = None,
    rank: int = 0,
    workers: int = 1,
) -> TrainingState:
    """Train the model, leave it with the weights that were best on the validation digits.

    model: a recognizer, or any other that gives an `Answer`.
    train: digits in memory, or blocks that are read one after another in each epoch.
    weights: a context in which weights are replaced for each forward and backward pass (quantization).
    parallel: the model wrapped for data-parallel training, where this is worker `rank` of `workers`.
    state: a state that `on_epoch` was given, to go on from. Same seed, settings and workers: same weights, bit for bit,
    on one machine and one thread a worker.
    """
    keep_freed_memory()
    loss = loss or label_loss(settings.loss)
    state = state or TrainingState()
    device = next(model.parameters()).device
    optimizer = _optimizer(model, settings)
    average = copy.deepcopy(model) if settings.ema_decay > 0 else model
    if state.model:
        model.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        for group in optimizer.param_groups:  # the search may go on from a state with other settings
            group["weight_decay"] = settings.weight_decay
        if average is not model:
            average.load_state_dict(state.average)
    steps = steps_per_epoch(train, settings.batch_size, workers)
    model.train()
    while not _is_over(state, settings):
        started, cpu_started = time.perf_counter(), time.process_time()
        losses, rate = torch.zeros((), device=device), 0.0
        torch.manual_seed(_epoch_seed(seed, state.epoch) * 1000 + rank)  # dropout
        drawn = batches(train, settings.batch_size, augmentation, _epoch_seed(seed, state.epoch), rank, workers)
        for step, batch in enumerate(drawn, state.epoch * steps):
            rate = settings.learning_rate * learning_rate_factor(step, settings.epochs * steps, settings)
            optimizer.zero_grad()
            with weights(model):
                losses += _backward(parallel or model, batch.to(device), loss, settings.gradient_checkpointing)
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            if average is not model:
                # Early on the mean is over few steps, or it would remember the random start.
                _average(average, model, min(settings.ema_decay, (1 + step) / (10 + step)))
        with weights(average):
            reached = accuracy(average, validation)
        mean_loss = losses.item() / steps
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        result = EpochResult(state.epoch, settings.epochs, mean_loss, reached, rate, seconds, cpu_seconds)
        if reached >= state.best_accuracy:
            state.best_accuracy, state.best_epoch = reached, state.epoch
            state.best = {name: value.detach().clone() for name, value in average.state_dict().items()}
        state.epochs.append(result)
        state.epoch += 1
        state.model, state.optimizer = model.state_dict(), optimizer.state_dict()
        state.average = average.state_dict() if average is not model else {}
        if on_epoch is not None:
            on_epoch(model, result, state)
    model.load_state_dict(state.best)
    return state


def _optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer | Muon:
    if settings.optimizer == "muon":
        return Muon(model.parameters(), settings.learning_rate, settings.weight_decay)
    return torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )


def _is_over(state: TrainingState, settings: TrainingSettings) -> bool:
    """Whether all epochs are done, or the last ones brought nothing (early stopping)."""
    waited = state.epoch - 1 - state.best_epoch
    return state.epoch >= settings.epochs or (state.epoch > 0 and waited >= settings.patience_epochs)


def _epoch_seed(seed: int, epoch: int) -> int:
    """Seeded anew each epoch, so that a resumed run draws what an unbroken one would have drawn."""
    return seed * 1000 + epoch


def _backward(network: nn.Module, batch: Batch, loss: Loss, checkpointing: bool) -> Tensor:
    """Add the batch's gradients to the parameters'. Returns its loss."""
    device = batch.images.device
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        value = loss(network(batch.images, checkpointing), batch)
    (value * batch.weight).backward()
    return value.detach()


@torch.no_grad()
def _average(average: nn.Module, model: nn.Module, decay: float) -> None:
    get_ema_multi_avg_fn(decay)(list(average.parameters()), list(model.parameters()), 0)
