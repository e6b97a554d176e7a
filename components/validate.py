"""Stop a bad batch of digits before anyone trains on it."""

from kfp.dsl import HTML, Dataset, Input, Metrics, Output

from components.component import component


@component
def validate(
    digits: Input[Dataset],
    validated: Output[Dataset],
    data_docs: Output[HTML],
    metrics: Output[Metrics],
    config: dict,
) -> None:
    """Hold the table against the Great Expectations suite; pass it on only if it is good, else list what is not."""
    from pathlib import Path

    from components.data_docs import lines, page
    from components.expectations import judge
    from inkloop import digits as table_of_digits
    from inkloop.errors import UserError
    from inkloop.inspection import ValidationSettings, inspect, inspect_classes

    settings = ValidationSettings.model_validate(config)
    source = Path(digits.path)
    table, rejected = table_of_digits.read_table(source), table_of_digits.read_rejected(source)
    verdict = judge(inspect(table, rejected), inspect_classes(table, settings.complete_splits), settings)
    report = Path(data_docs.path)
    report.parent.mkdir(parents=True, exist_ok=True)
    seen = table.num_rows + len(rejected)
    report.write_text(page(verdict, f"Validation of {seen:,} digits"), encoding="utf-8")
    metrics.log_metric("expectations", len(verdict.results))
    metrics.log_metric("failed", sum(not result.success for result in verdict.results))
    if not verdict.success:
        count = sum(map(len, verdict.findings))
        raise UserError(
            f"validation: {count:,} finding(s) in {seen:,} digits; nothing was passed on. "
            f"Mend or remove these, then run again:\n{lines(verdict, str(report))}"
        )
    table_of_digits.write(table, Path(validated.path))
    validated.metadata.update(digits.metadata)
