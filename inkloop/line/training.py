"""Training of a line model on lines composed anew in every epoch."""

import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from inkloop.augmentation import AugmentationSettings
from inkloop.digits import Digits
from inkloop.line.composition import Lines, LineSettings, compose, lengths
from inkloop.line.ctc import edits, greedy
from inkloop.line.framing import side_by_side
from inkloop.line.model import LineModel, ctc_loss
from inkloop.memory import keep_freed_memory
from inkloop.model import normalize
from inkloop.settings import Settings
from inkloop.training import TrainingSettings, learning_rate_factor


class LineTrainingSettings(Settings):
    """How a line model is trained."""

    # Shorter lines than are asked later: of as many digits, more lines, so more steps.
    lines: LineSettings = LineSettings(
        most_digits=10, hand=AugmentationSettings(rotation_deg=5, scale=0.2, shear=0.1, shift_px=0, elastic_px=1)
    )
    rounds: PositiveInt = 3  # the learning rate rises and falls anew in each, from the best weights so far
    epochs: PositiveInt = 16  # of each round
    epoch_lines: PositiveInt = 12_288  # composed for each epoch
    pool_lines: PositiveInt = 1_024  # composed at a time and put into batches of like width
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 4e-3
    weight_decay: NonNegativeFloat = 5e-4
    clip_norm: PositiveFloat = 1.0


class LineEpoch(Settings):
    """What one epoch came to: mean loss, and the share of the validation lines' digits that were misread."""

    epoch: int  # from 0
    train_loss: float
    validation_cer: float
    seconds: float


def fit_lines(
    model: LineModel,
    train: Digits,
    validation: Lines,
    settings: LineTrainingSettings,
    seed: int,
    on_epoch: Callable[[LineEpoch], None] = lambda _: None,
) -> list[LineEpoch]:
    """Train the model on lines of these digits; leave it with the weights that were best on the validation lines.

    The same seed and settings give the same weights, bit for bit, on one machine and one thread.
    """
    keep_freed_memory()
    schedule = TrainingSettings(epochs=settings.epochs)
    epoch_steps = math.ceil(settings.epoch_lines / settings.batch_size)
    results: list[LineEpoch] = []
    best = _copied(model)
    for epoch in range(settings.rounds * settings.epochs):
        if epoch % settings.epochs == 0:
            model.load_state_dict(best)
            optimizer = torch.optim.AdamW(
                model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
            )
        started, losses = time.perf_counter(), 0.0
        model.train()
        first_step = epoch % settings.epochs * epoch_steps
        for step, batch in enumerate(_batches(train, settings, seed * 1000 + epoch), first_step):
            rate = learning_rate_factor(step, settings.epochs * epoch_steps, schedule)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * rate
            optimizer.zero_grad()
            loss = ctc_loss(model(normalize(torch.from_numpy(side_by_side(batch.images)))).log_p, batch.labels)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimizer.step()
            losses += loss.item()
        cer = character_error_rate([greedy(steps) for steps in log_probabilities(model, validation)], validation.labels)
        if not results or cer <= min(result.validation_cer for result in results):
            best = _copied(model)
        seconds = time.perf_counter() - started
        results.append(LineEpoch(epoch=epoch, train_loss=losses / epoch_steps, validation_cer=cer, seconds=seconds))
        on_epoch(results[-1])
    model.load_state_dict(best)
    return results


def _copied(model: LineModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _batches(train: Digits, settings: LineTrainingSettings, seed: int) -> Iterator[Lines]:
    """One epoch's batches, each of lines of like width, so that hardly any background is added to them."""
    random = np.random.default_rng(seed)
    for first in range(0, settings.epoch_lines, settings.pool_lines):
        count = min(settings.pool_lines, settings.epoch_lines - first)
        pool_seed = int(random.integers(2**31))
        pool = compose(train, lengths(count, settings.lines.most_digits, pool_seed), settings.lines, pool_seed)
        by_width = sorted(range(count), key=lambda row: pool.images[row].shape[1])
        starts = np.arange(0, count, settings.batch_size)
        for start in random.permutation(starts):
            yield pool.take(by_width[start : start + settings.batch_size])


@torch.no_grad()
def log_probabilities(model: LineModel, lines: Lines, batch_size: int = 64) -> list[NDArray[np.float32]]:
    """What the model says of each line at each of its steps: float32 (steps, 11)."""
    model.eval()
    said: list[NDArray[np.float32]] = []
    for first in range(0, len(lines), batch_size):
        images = [normalize(torch.from_numpy(image)) for image in lines.images[first : first + batch_size]]
        log_p, real = model(images)
        said += [log_p[row, :steps].numpy() for row, steps in enumerate(real.tolist())]
    return said


def character_error_rate(answers: list[tuple[int, ...]], labels: list[tuple[int, ...]]) -> float:
    """Edits between answers and truth, over the digits written."""
    wrong = sum(edits(answer, truth) for answer, truth in zip(answers, labels, strict=True))
    return wrong / sum(map(len, labels))
