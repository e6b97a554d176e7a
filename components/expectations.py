"""Great Expectations: the suite that a batch of digits must pass, and what breaks it."""

import os
import warnings
from dataclasses import dataclass
from typing import Any

import pandas as pd

from inkloop.inspection import CLASSES, ValidationSettings

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own deprecations
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.core.expect_column_values_to_be_between import ExpectColumnValuesToBeBetween
    from great_expectations.expectations.core.expect_column_values_to_be_in_set import ExpectColumnValuesToBeInSet
    from great_expectations.expectations.core.expect_column_values_to_be_null import ExpectColumnValuesToBeNull
    from great_expectations.expectations.core.expect_column_values_to_not_be_null import ExpectColumnValuesToNotBeNull
    from great_expectations.expectations.row_conditions import Column

MISSING = (
    "missing: no digit has it; add some (100 a class are enough for all sides), or say in labels.csv, column split, "
    "which side each digit is on"
)
# What a result keeps of each offending row: the column that names the file.
RESULT_FORMAT = {"result_format": "COMPLETE", "unexpected_index_column_names": ["file"]}


@dataclass(frozen=True)
class Finding:
    """What is wrong with one file, row or class."""

    file: str
    reason: str


@dataclass(frozen=True)
class Verdict:
    """Great Expectations' result of each expectation, and what is wrong, by failed expectation; each file once."""

    results: list[Any]
    findings: list[list[Finding]]

    @property
    def success(self) -> bool:
        """Whether every expectation was met."""
        return all(result.success for result in self.results)


def digit_expectations(settings: ValidationSettings) -> list[Any]:
    """What each digit must be. `meta.finding` says of one that is not, with its `{value}`, what is wrong."""
    size = f"{settings.height} x {settings.width}"
    blank = f"its brightest pixel is {{value}}, where ink reaches {settings.min_highest} at least: blank or nearly so"
    ink = f"ink covers {{value:.1%}}, not {settings.min_ink_share:.1%} to {settings.max_ink_share:.1%}, of the picture"
    readable = Column("problem").is_null()
    copies = 1 - settings.max_copy_share
    return [
        ExpectColumnValuesToBeNull(column="problem", meta={"finding": "{value}"}),
        ExpectColumnValuesToNotBeNull(column="label", row_condition=readable, meta={"finding": "has no label"}),
        ExpectColumnValuesToBeInSet(
            column="label", value_set=list(range(CLASSES)), meta={"finding": "label {value} is not one of 0 to 9"}
        ),
        ExpectColumnValuesToBeInSet(
            column="size", value_set=[size], meta={"finding": f"{{value}} pixels (height x width) instead of {size}"}
        ),
        ExpectColumnValuesToBeBetween(
            column="highest", min_value=settings.min_highest, max_value=255, meta={"finding": blank}
        ),
        ExpectColumnValuesToBeBetween(
            column="ink_share",
            min_value=settings.min_ink_share,
            max_value=settings.max_ink_share,
            meta={"finding": ink},
        ),
        ExpectColumnValuesToBeNull(column="conflict", meta={"finding": "the same picture has {value}"}),
        ExpectColumnValuesToBeNull(column="leak", meta={"finding": "leaks: {value}"}),
        ExpectColumnValuesToBeInSet(
            column="is_copy", value_set=[False], mostly=copies, meta={"finding": "there more than once"}
        ),
    ]


def class_expectations(settings: ValidationSettings) -> list[Any]:
    """What each class of each split must be; see `digit_expectations`."""
    share = f"{{value:.1%}} of its split, not {settings.min_class_share:.1%} to {settings.max_class_share:.1%}"
    return [
        ExpectColumnValuesToBeBetween(column="digits", min_value=1, meta={"finding": MISSING}),
        ExpectColumnValuesToBeBetween(
            column="share",
            min_value=settings.min_class_share,
            max_value=settings.max_class_share,
            meta={"finding": share},
        ),
    ]


def judge(digits: pd.DataFrame, classes: pd.DataFrame, settings: ValidationSettings) -> Verdict:
    """Hold both frames (see `inkloop.inspection`) against their suites."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("table")
    results: list[Any] = []
    for name, frame, expectations in (
        ("digits", digits, digit_expectations(settings)),
        ("classes", classes, class_expectations(settings)),
    ):
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        suite = context.suites.add(gx.ExpectationSuite(name, expectations=expectations))
        check = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
        results += check.run(batch_parameters={"dataframe": frame}, result_format=RESULT_FORMAT).results
    return Verdict(results, _findings(results))


def _findings(results: list[Any]) -> list[list[Finding]]:
    named: set[str] = set()
    findings = []
    for result in results:
        if result.success:
            continue
        if result.exception_info.get("raised_exception"):
            raise RuntimeError(result.exception_info["exception_message"])
        config = result.expectation_config
        column, say = config.kwargs["column"], config.meta["finding"]
        rows = [row for row in result.result["unexpected_index_list"] if row["file"] not in named]
        named.update(row["file"] for row in rows)
        findings.append([Finding(row["file"], say.format(value=row[column])) for row in rows])
    return [each for each in findings if each]
