"""The evaluation report as a page: the models side by side, slices, confusion, and the digits misread."""

import numpy as np
from numpy.typing import NDArray

from inkloop.digits import Digits
from inkloop.evaluation import Report
from inkloop.preview import PAGE, sheet

SHEET_COLUMNS = 20


def _table(rows: list[list[str]]) -> str:
    head, *rest = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    return f"<table><tr>{head.replace('td>', 'th>')}</tr>{''.join(f'<tr>{row}</tr>' for row in rest)}</table>"


def report_page(report: Report, test: Digits, answered: NDArray[np.int64]) -> str:
    """A self-contained HTML page. answered: the INT8 student's answers to the test digits, (n,)."""
    models = [["model", "test", "deformed test", "parameters", "size", "p50", "p99"]] + [
        [
            name,
            f"{figures.test_accuracy:.2%}",
            f"{figures.deformed_accuracy:.2%}",
            f"{figures.parameters:,}",
            f"{figures.size_bytes / 1000:,.1f} KB",
            f"{figures.latency_p50_us:,.0f} us",
            f"{figures.latency_p99_us:,.0f} us",
        ]
        for name, figures in report.models.items()
    ]
    names = list(report.models)
    slices = [["slice", *names]] + [
        [name, *(f"{report.models[model].slices[name]:.2%}" for model in names)]
        for name in report.models["int8"].slices
    ]
    confusion = [["label \\ answer", *map(str, range(10))]] + [
        [str(label), *(str(count) if count else "" for count in row)] for label, row in enumerate(report.confusion)
    ]
    wrong = np.flatnonzero(answered != test.labels)
    said = ", ".join(f"{test.labels[row]}&rarr;{answered[row]}" for row in wrong)
    body = [
        "<h2>Models</h2>",
        _table(models),
        "<h2>Accuracy by slice of the test digits</h2>",
        _table(slices),
        "<h2>Confusion of the INT8 student</h2>",
        _table(confusion),
        f"<h2>The {len(wrong)} digits that it misreads</h2>",
        sheet(test.images[wrong], SHEET_COLUMNS) if len(wrong) else "none",
        f"<p>{said}</p>",
    ]
    return PAGE.format(title="Evaluation", body="\n".join(body))
