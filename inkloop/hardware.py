"""Where a model is to run: what it may weigh and take there, and which of several models is the best that fits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import PositiveFloat

from inkloop.errors import UserError
from inkloop.settings import Settings

Hardware = Literal["edge", "cpu", "gpu"]


class HardwareSettings(Settings):
    """The hardware by its name, whose limits may be set otherwise. 1 KB = 1,000 bytes."""

    name: Hardware = "cpu"
    size_limit_kb: PositiveFloat | None = None  # of model.onnx; None = as the hardware has it
    latency_limit_ms: PositiveFloat | None = None  # p50 of one image, one thread; None = as the hardware has it


@dataclass(frozen=True)
class Budget:
    """Limits, in KB of model.onnx and milliseconds an image; infinite where there are none."""

    size_kb: float
    latency_ms: float

    def __str__(self) -> str:
        return f"{self.size_kb:g} KB, {self.latency_ms:g} ms"


@dataclass(frozen=True)
class Offer:
    """What a model costs, and how good it is: share of the validation digits that it reads right, 0..1."""

    accuracy: float
    size_kb: float
    latency_ms: float

    def __str__(self) -> str:
        return f"{self.size_kb:.1f} KB, {self.latency_ms:.3f} ms"

    def fits(self, budget: Budget) -> bool:
        """Whether it is within both limits."""
        return self.size_kb <= budget.size_kb and self.latency_ms <= budget.latency_ms

    def excess(self, budget: Budget) -> float:
        """How many times the budget it costs, by whichever limit it is further over."""
        return max(self.size_kb / budget.size_kb, self.latency_ms / budget.latency_ms)

    def beats(self, other: "Offer") -> bool:
        """Whether it is nowhere worse than the other, and somewhere better."""
        ours, theirs = ((each.accuracy, -each.size_kb, -each.latency_ms) for each in (self, other))
        return ours != theirs and all(own >= their for own, their in zip(ours, theirs, strict=True))


BUDGETS: dict[Hardware, Budget] = {
    "edge": Budget(40, 0.1),
    "cpu": Budget(250, 0.5),
    "gpu": Budget(float("inf"), float("inf")),
}


def described(settings: HardwareSettings) -> str:
    """The hardware with its limits, for people: `cpu (250 KB, 0.5 ms)`."""
    return f"{settings.name} ({budget_of(settings)})"


def budget_of(settings: HardwareSettings) -> Budget:
    """The hardware's limits, or those set otherwise."""
    budget = BUDGETS[settings.name]
    return Budget(settings.size_limit_kb or budget.size_kb, settings.latency_limit_ms or budget.latency_ms)


def front(offers: Mapping[str, Offer]) -> list[str]:
    """The names of those that no other beats (the Pareto front), smallest first."""
    unbeaten = [name for name, offer in offers.items() if not any(other.beats(offer) for other in offers.values())]
    return sorted(unbeaten, key=lambda name: offers[name].size_kb)


def choose(offers: Mapping[str, Offer], settings: HardwareSettings) -> str:
    """The name of the best that fits; of two as good the smaller. Raises UserError naming the nearest if none fits."""
    budget = budget_of(settings)
    fitting = [name for name, offer in offers.items() if offer.fits(budget)]
    if not fitting:
        nearest = min(offers, key=lambda name: offers[name].excess(budget))
        raise UserError(
            f"hardware {described(settings)}: no model fits; the nearest is {nearest} with {offers[nearest]}. "
            "Make student.model smaller, raise pruning.share, or name other hardware."
        )
    return max(fitting, key=lambda name: (offers[name].accuracy, -offers[name].size_kb))
