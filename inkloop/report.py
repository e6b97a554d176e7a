"""The evaluation report as a page: the models side by side, slices, confusion, and the digits misread."""

import numpy as np
from numpy.typing import NDArray

from inkloop.digits import Digits
from inkloop.evaluation import Report, figures_as_text
from inkloop.preview import PAGE, sheet, table

SHEET_COLUMNS = 20


def report_page(report: Report, test: Digits, answered: NDArray[np.int64]) -> str:
    """A self-contained HTML page. answered: the INT8 student's answers to the test digits, (n,)."""
    head = ["model", "test", "deformed test", "parameters", "size", "p50", "p99"]
    names = list(report.models)
    slices = [
        [name, *(f"{report.models[model].slices[name]:.2%}" for model in names)]
        for name in report.models["int8"].slices
    ]
    confusion = [
        [str(label), *(str(count) if count else "" for count in row)] for label, row in enumerate(report.confusion)
    ]
    wrong = np.flatnonzero(answered != test.labels)
    said = ", ".join(f"{test.labels[row]}&rarr;{answered[row]}" for row in wrong)
    body = [
        "<h2>Models</h2>",
        table(head, figures_as_text(report)),
        "<h2>Accuracy by slice of the test digits</h2>",
        table(["slice", *names], slices),
        "<h2>Confusion of the INT8 student</h2>",
        table(["label \\ answer", *map(str, range(10))], confusion),
        f"<h2>The {len(wrong)} digits that it misreads</h2>",
        sheet(test.images[wrong], SHEET_COLUMNS) if len(wrong) else "none",
        f"<p>{said}</p>",
    ]
    return PAGE.format(title="Evaluation", body="\n".join(body))
