"""The dashboard of the Evidently project: what is drawn over time, for all, by source and by version."""

import uuid
from collections.abc import Iterable, Mapping, Sequence

from evidently.sdk.models import DashboardModel, DashboardPanelPlot, DashboardTabModel, PanelMetric
from evidently.sdk.panels import bar_plot_panel, counter_panel, line_plot_panel, text_panel

from monitoring.reports.observed import OF_THE_ANSWER, OF_THE_IMAGE

NAMESPACE = uuid.UUID("1b0a3c7e-6c61-5d0e-8f0b-70616e656c73")
ALL = {"part": "all"}
SHOWN = ("pen width", "ink", "slant")


def dashboard(sources: Iterable[str], versions: Iterable[str]) -> DashboardModel:
    """The panels, with one for each of these sources and versions; the same names give the same dashboard."""
    shown = [
        text_panel("What production saw, beside the champion's reference"),
        *_overview(),
        text_panel("Drift by column"),
        *_by_column(),
        text_panel("By source"),
        *(_of_one("source", source) for source in sources),
        text_panel("By model version"),
        *(_of_one("version", version) for version in versions),
    ]
    for number, panel in enumerate(shown):
        panel.id = uuid.uuid5(NAMESPACE, f"{number} {panel.title}")
    tab = DashboardTabModel(id=NAMESPACE, title="General", panels=[panel.id for panel in shown])
    return DashboardModel(tabs=[tab], panels=shown)


def _overview() -> list[DashboardPanelPlot]:
    return [
        counter_panel("Answers", [_tally("answers", ALL)], "in all", size="half", aggregation="sum"),
        counter_panel("Accuracy", [_tally("live accuracy", ALL)], "of the newest labeled", size="half"),
        bar_plot_panel("Volume", [_tally("answers", ALL), _tally("labels", ALL)], size="half"),
        line_plot_panel("Share of columns that drifted", [_drift_share(ALL)], size="half"),
        line_plot_panel("Accuracy over time", [_tally("live accuracy", ALL)], "as labels arrive", size="half"),
        line_plot_panel("Confidence", [_mean("confidence", ALL)], "mean", size="half"),
        line_plot_panel(
            "The answer given with the least confidence",
            [_metric("ContactSheet", "confidence", ALL, {})],
            "The reports tagged strangest show it, and others.",
        ),
    ]


def _by_column() -> list[DashboardPanelPlot]:
    distance = "distance from the reference, in its standard deviations; 0.1 is drift"
    return [
        line_plot_panel("The picture", _drifts(OF_THE_IMAGE), distance),
        line_plot_panel("What the model says", _drifts(OF_THE_ANSWER), distance),
        line_plot_panel("Answers", _drifts(["answer"]), "Jensen-Shannon distance; 0.1 is drift"),
        *(line_plot_panel(name, [_mean(name, ALL)], "mean", size="half") for name in SHOWN),
    ]


def _of_one(part: str, name: str) -> DashboardPanelPlot:
    # Evidently tells the series of one panel apart by metric, not by metadata: so each part has a panel of its own.
    where = {part: name}
    values = [_tally("live accuracy", where), _drift_share(where), _mean("confidence", where)]
    return line_plot_panel(f"{part} {name}", values, "accuracy, share of columns that drifted, confidence", size="half")


def _drifts(columns: Sequence[str]) -> list[PanelMetric]:
    return [_metric("ValueDrift", column, ALL, {"column": column}) for column in columns]


def _drift_share(where: Mapping[str, str]) -> PanelMetric:
    return _metric("DriftedColumnsCount", "share drifted", where, {"value_type": "share"})


def _mean(column: str, where: Mapping[str, str]) -> PanelMetric:
    return _metric("MeanValue", column, where, {"column": column})


def _tally(name: str, where: Mapping[str, str]) -> PanelMetric:
    return _metric("Tally", name, where, {"name": name})


def _metric(kind: str, legend: str, where: Mapping[str, str], labels: Mapping[str, str]) -> PanelMetric:
    return PanelMetric(metric=kind, legend=legend, metadata=dict(where), metric_labels=dict(labels))
