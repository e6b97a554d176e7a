"""The first step."""

from kfp.dsl import Dataset, Metrics, Output

from components.component import component


@component
def ingest(source: str, source_digest: str, digits: Output[Dataset], metrics: Output[Metrics]):
    from pathlib import Path

    from toydomain.mishaps import perhaps_hang
    from toydomain.reading import read

    folder = Path(digits.path)
    folder.mkdir(parents=True)
    (folder / "half.txt").write_text("unfinished")
    perhaps_hang("ingest")
    (folder / "half.txt").unlink()
    numbers = read(Path(source).read_text())
    (folder / "numbers.txt").write_text(" ".join(map(str, numbers)))
    metrics.log_metric("rows", len(numbers))
