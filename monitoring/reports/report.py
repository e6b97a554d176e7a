"""Evidently's reports on a sketch of production beside one of the reference: data, quality, strangest inputs."""

import base64
import json
import os
from collections.abc import Mapping
from datetime import datetime
from io import BytesIO
from typing import Any

# Evidently reports home unless this is set before it is imported.
os.environ["DO_NOT_TRACK"] = "1"

import pandas as pd
import plotly.graph_objects as go
from evidently import DataDefinition, Dataset, MulticlassClassification, Report
from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric
from evidently.core.report import Context, Snapshot
from evidently.legacy.renderers.html_widgets import plotly_figure
from evidently.legacy.utils import NumpyEncoder
from evidently.metrics import MeanValue
from evidently.presets import ClassificationPreset, DataDriftPreset, DataSummaryPreset
from PIL import Image

from monitoring.reports.sketch import Sketch

# By name, so that they stay the same however few rows there are; both are distances, and these Evidently's own limits.
NUMERIC_TEST, NUMERIC_LIMIT = "wasserstein", 0.1  # in standard deviations of the reference
CATEGORY_TEST, CATEGORY_LIMIT = "jensenshannon", 0.1
ENOUGH_ROWS = 300  # fewer lie more than a limit from the reference by chance alone
ENOUGH_LABELS = 20
TALLIES = "tallies"


class Tally(SingleValueMetric):  # type: ignore[misc]
    """A number that was counted before Evidently saw anything, exact however many rows there were."""

    name: str


class TallyCalculation(SingleValueCalculation[Tally]):  # type: ignore[misc]
    """Reads a tally from the additional data."""

    def calculate(self, context: Context, current_data: Dataset, reference_data: Dataset | None) -> SingleValue:
        """The number of this name."""
        counted = context.additional_data[TALLIES].as_dataframe()
        return self.result(float(counted[self.metric.name].iloc[0]))

    def display_name(self) -> str:
        """How the report calls it."""
        return str(self.metric.name)


class ContactSheet(SingleValueMetric):  # type: ignore[misc]
    """How sure the model was of the input it was least sure of, with a picture of the strangest inputs."""


class ContactSheetCalculation(SingleValueCalculation[ContactSheet]):  # type: ignore[misc]
    """Shows the picture in the report."""

    def calculate(self, context: Context, current_data: Dataset, reference_data: Dataset | None) -> SingleValue:
        """The least confidence, with the picture as the widget."""
        sheet = context.additional_data[TALLIES].as_dataframe().iloc[0]
        width, height = int(sheet["width"]), int(sheet["height"])
        figure = go.Figure()
        figure.add_layout_image(
            source=sheet["picture"], xref="x", yref="y", x=0, y=0, sizex=width, sizey=height, layer="below"
        )
        figure.update_xaxes(visible=False, range=[0, width], constrain="domain")
        figure.update_yaxes(visible=False, range=[height, 0], scaleanchor="x")
        figure.update_layout(height=height, margin={"l": 0, "r": 0, "t": 0, "b": 0}, plot_bgcolor="white")
        found = self.result(float(sheet["least confidence"]))
        found.widget = [plotly_figure(title="The strangest inputs", figure=figure)]
        return found

    def display_name(self) -> str:
        """How the report calls it."""
        return "least confidence"


def data_report(sketch: Sketch, reference: Sketch, when: datetime, name: str, metadata: Mapping[str, str]) -> Snapshot:
    """How many there were, if there are enough which columns have drifted, and of all a summary of each column."""
    metrics: list[Any] = [Tally(name="answers"), Tally(name="labels")]
    metrics.append(DataSummaryPreset() if metadata["part"] == "all" else MeanValue(column="confidence"))
    if sketch.rows >= ENOUGH_ROWS:
        metrics.append(drift_preset())
    current, before = _as_data(sketch), _as_data(reference)
    return _run(metrics, current, before, {"answers": sketch.rows, "labels": sketch.labeled}, when, name, metadata)


def drift_preset() -> DataDriftPreset:
    """Evidently's drift of all columns, by the tests and limits above."""
    return DataDriftPreset(
        num_method=NUMERIC_TEST,
        num_threshold=NUMERIC_LIMIT,
        cat_method=CATEGORY_TEST,
        cat_threshold=CATEGORY_LIMIT,
    )


def quality_report(
    sketch: Sketch, reference: Sketch, when: datetime, name: str, metadata: Mapping[str, str]
) -> Snapshot:
    """How well the labeled answers are, beside the reference's."""
    definition = DataDefinition(
        categorical_columns=["label", "answer"],
        classification=[MulticlassClassification(target="label", prediction_labels="answer")],
    )
    current, before = (Dataset.from_pandas(each.labels(), data_definition=definition) for each in (sketch, reference))
    accuracy = sketch.right / sketch.labeled
    tallies = {"live accuracy": accuracy, "labeled": sketch.labeled}
    metrics = [Tally(name="live accuracy"), Tally(name="labeled"), ClassificationPreset()]
    return _run(metrics, current, before, tallies, when, name, metadata)


def strangest_report(
    sheet: Image.Image, least_confidence: float, when: datetime, name: str, metadata: Mapping[str, str]
) -> Snapshot:
    """A picture of the strangest inputs."""
    png = BytesIO()
    sheet.save(png, "PNG")
    picture = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
    nothing = Dataset.from_pandas(pd.DataFrame({"": [0]}))
    shown: dict[str, float | str] = {
        "least confidence": least_confidence,
        "picture": picture,
        "width": sheet.width,
        "height": sheet.height,
    }
    return _run([ContactSheet()], nothing, None, shown, when, name, metadata)


def to_json(snapshot: Snapshot) -> bytes:
    """The snapshot as Evidently's UI reads it from a file."""
    model = snapshot.to_snapshot_model()
    for result in model.metric_results.values():
        result.widget = None  # once more what `model.widgets` holds already: two thirds of the file
    return json.dumps(model.dict(), cls=NumpyEncoder).encode()


def _as_data(sketch: Sketch) -> Dataset:
    definition = DataDefinition(numerical_columns=list(sketch.values), categorical_columns=["answer"])
    return Dataset.from_pandas(sketch.columns(), data_definition=definition)


def _run(
    metrics: list[Any],
    current: Dataset,
    reference: Dataset | None,
    tallies: Mapping[str, float | str],
    when: datetime,
    name: str,
    metadata: Mapping[str, str],
) -> Snapshot:
    counted = Dataset.from_pandas(pd.DataFrame([dict(tallies)]))
    return Report(metrics).run(
        current,
        reference,
        additional_data={TALLIES: counted},
        timestamp=when,
        metadata=dict(metadata),
        tags=sorted(set(metadata.values())),
        name=name,
    )
