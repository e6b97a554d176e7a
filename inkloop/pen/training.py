"""Training of the pen's recognizer: a short loop, with the schedule and loss of `inkloop.training`."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from inkloop.losses import classification_loss
from inkloop.memory import keep_freed_memory
from inkloop.pen import trajectory
from inkloop.pen.augmentation import PenAugmentationSettings, deform
from inkloop.pen.model import PenRecognizer, probabilities
from inkloop.pen.trajectory import PenDigits
from inkloop.training import TrainingSettings, learning_rate_factor

TRAINING = TrainingSettings(epochs=30, batch_size=128, learning_rate=1e-2, patience_epochs=30)


def fit(
    model: PenRecognizer,
    train: PenDigits,
    validation: PenDigits,
    settings: TrainingSettings,
    augmentation: PenAugmentationSettings,
    seed: int,
    on_epoch: Callable[[int, float], None] = lambda epoch, accuracy: None,
) -> float:
    """Train the model, leave it with the weights that were best on the validation digits.

    on_epoch: told each epoch, from 0, and its validation accuracy. Returns the best of these, 0..1.
    The same seed, digits and settings give the same weights on one machine and one thread.
    """
    keep_freed_memory()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)  # dropout
    total = settings.epochs * math.ceil(len(train) / settings.batch_size)
    labels, step = torch.from_numpy(train.labels), 0
    best, best_accuracy, best_epoch = model.state_dict(), -1.0, 0
    model.train()
    for epoch in range(settings.epochs):
        for rows in np.array_split(random.permutation(len(train)), math.ceil(len(train) / settings.batch_size)):
            optimizer.param_groups[0]["lr"] = settings.learning_rate * learning_rate_factor(step, total, settings)
            steps = torch.from_numpy(trajectory.features(deform(train.paths[rows], augmentation, random)))
            optimizer.zero_grad()
            classification_loss(model(steps)[0], labels[rows], settings.loss).backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimizer.step()
            step += 1
        reached = accuracy(model, validation)
        on_epoch(epoch, reached)
        if reached >= best_accuracy:
            best_accuracy, best_epoch = reached, epoch
            best = {name: value.clone() for name, value in model.state_dict().items()}
        if epoch - best_epoch >= settings.patience_epochs:
            break
    model.load_state_dict(best)
    return best_accuracy


def accuracy(model: PenRecognizer, digits: PenDigits) -> float:
    """Share of right answers, 0..1."""
    answers = probabilities(model, torch.from_numpy(trajectory.features(digits.paths))).argmax(1)
    return float((answers.numpy() == digits.labels).mean())
