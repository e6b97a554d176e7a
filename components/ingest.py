"""Read digits from their source into the one table."""

from kfp.dsl import Dataset, Metrics, Output

from components.component import component


@component
def ingest(
    digits: Output[Dataset],
    metrics: Output[Metrics],
    source: str,
    source_digest: str,
    data_dir: str,
    config: dict,
    store: str,
    production: str,
) -> None:
    """Fetch MNIST by name, checked by checksum, or read a folder of pictures or IDX files; write the table.

    source_digest: of the source's bytes (`inkloop.sources.digest`); when it changes, the step runs again.
    production: a version of production's digits in the store (`infra.datasets`), which join those of the source.
    """
    from pathlib import Path

    from infra import datasets, pinned_data
    from infra.storage import open_store
    from inkloop import digits as table_of_digits
    from inkloop import mnist, sources

    settings = sources.IngestSettings.model_validate(config)
    if source == mnist.NAME:
        pinned_data.ensure(Path(data_dir))
    table, rejected = sources.read(source, Path(data_dir), settings)
    if production:
        table = sources.with_production(table, datasets.read(open_store(store), production))
        digits.metadata["production"] = production
    table_of_digits.write(table, Path(digits.path))
    table_of_digits.write_rejected(rejected, Path(digits.path))
    digits.metadata["source_digest"] = source_digest
    digits.metadata["split_digests"] = table_of_digits.split_digests(table)
    metrics.log_metric("digits", table.num_rows)
    metrics.log_metric("rejected", len(rejected))
    for split in ("train", "validation", "test"):
        metrics.log_metric(split, table.column("split").to_pylist().count(split))
