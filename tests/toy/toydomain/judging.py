"""How the toy is judged."""


def error(numbers: list[int], learnt: float) -> float:
    from toydomain.arithmetic import mean

    return abs(mean(numbers) - learnt)
