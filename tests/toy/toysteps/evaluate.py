"""The last step."""

from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components.component import component


@component
def evaluate(digits: Input[Dataset], model: Input[Model], report: Output[Artifact]):
    from pathlib import Path

    from toydomain.judging import error
    from toydomain.mishaps import perhaps_hang
    from toydomain.reading import read

    Path(report.path).write_text("unfinished")
    perhaps_hang("evaluate")
    numbers = read((Path(digits.path) / "numbers.txt").read_text())
    Path(report.path).write_text(str(error(numbers, float(Path(model.path).read_text()))))
