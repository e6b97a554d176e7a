"""The evaluation report as a page: the models side by side, slices, confusion, and the digits misread."""

import io

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from inkloop.digits import Digits
from inkloop.evaluation import FIGURES, Report, figures_as_text, offer_of
from inkloop.hardware import front
from inkloop.preview import PAGE, sheet, table

SHEET_COLUMNS = 20
DISK_A_MS = 600.0  # square points


def front_picture(report: Report) -> str:
    """Size against accuracy as SVG: the models that no other beats are joined; the larger the disk, the slower."""
    offers = {name: offer_of(figures) for name, figures in report.models.items()}
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", xlabel="KB", ylabel="validation accuracy, %")
    best = [offers[name] for name in front(offers)]
    axes.plot([offer.size_kb for offer in best], [100 * offer.accuracy for offer in best], color="0.7", zorder=0)
    for name, offer in offers.items():
        place, color = (offer.size_kb, 100 * offer.accuracy), "C3" if name == report.chosen else "C0"
        axes.scatter(*place, s=DISK_A_MS * offer.latency_ms, color=color, alpha=0.7)
        axes.annotate(f"{name}, {1000 * offer.latency_ms:.0f} us", place, (6, 6), textcoords="offset points")
    axes.margins(0.3, 0.2)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()[drawn.getvalue().index("<svg") :]


def report_page(report: Report, test: Digits, answered: NDArray[np.int64]) -> str:
    """A self-contained HTML page. answered: the chosen model's answers to the test digits, (n,)."""
    names = list(report.models)
    slices = [
        [name, *(f"{report.models[model].slices[name]:.2%}" for model in names)]
        for name in report.models[report.chosen].slices
    ]
    confusion = [
        [str(label), *(str(count) if count else "" for count in row)] for label, row in enumerate(report.confusion)
    ]
    wrong = np.flatnonzero(answered != test.labels)
    said = ", ".join(f"{test.labels[row]}&rarr;{answered[row]}" for row in wrong)
    body = [
        "<h2>Models</h2>",
        table(FIGURES, figures_as_text(report)),
        f"<p>Chosen for {report.hardware}: {report.chosen}, which of those that fit reads most validation digits.</p>",
        front_picture(report),
        "<h2>Accuracy by slice of the test digits</h2>",
        table(["slice", *names], slices),
        "<h2>Confusion of the chosen model</h2>",
        table(["label \\ answer", *map(str, range(10))], confusion),
        f"<h2>The {len(wrong)} digits that it misreads</h2>",
        sheet(test.images[wrong], SHEET_COLUMNS) if len(wrong) else "none",
        f"<p>{said}</p>",
    ]
    return PAGE.format(title="Evaluation", body="\n".join(body))
