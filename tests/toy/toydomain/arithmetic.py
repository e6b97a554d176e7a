"""What training and evaluation share."""


def mean(numbers: list[int]) -> float:
    return sum(numbers) / len(numbers)
