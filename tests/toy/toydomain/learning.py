"""How the toy learns."""

from toydomain.arithmetic import mean


def learn(numbers: list[int], factor: float) -> float:
    return factor * mean(numbers)
