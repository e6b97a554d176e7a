"""How the toy reads."""


def read(text: str) -> list[int]:
    return [int(word) for word in text.split()]
