"""Measure teacher, student, pruned and INT8 side by side."""

from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from components.component import component


@component
def evaluate(
    validated: Input[Dataset],
    deformed: Input[Dataset],
    teacher: Input[Model],
    student: Input[Model],
    pruned: Input[Model],
    int8: Input[Model],
    report: Output[Artifact],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    table: Output[HTML],
    config: dict,
) -> None:
    """Accuracy on the test digits and their deformed copies, slices, size and latency of all four models."""
    from pathlib import Path

    from inkloop import digits
    from inkloop.evaluation import EvaluationSettings, Report, answers, confusion_matrix, measure
    from inkloop.report import report_page
    from inkloop.runtime import Recognizer

    settings = EvaluationSettings.model_validate(config)
    test = digits.read(Path(validated.path), "test", from_production=False)
    production = digits.read(Path(validated.path), "test", from_production=True)
    deformed_test = digits.read(Path(deformed.path), "test")
    artifacts = {"teacher": teacher, "student": student, "pruned": pruned, "int8": int8}
    models = {name: Recognizer(Path(artifact.path)) for name, artifact in artifacts.items()}
    measured = {name: measure(model, test, deformed_test, production, settings) for name, model in models.items()}
    answered = answers(models["int8"], test)
    counts = confusion_matrix(test.labels, answered).tolist()
    result = Report.model_validate({"models": measured, "confusion": counts})
    Path(report.path).write_text(result.model_dump_json(indent=2))
    Path(table.path).write_text(report_page(result, test, answered))
    confusion.log_confusion_matrix([str(label) for label in range(10)], counts)
    for name, figures in measured.items():
        metrics.log_metric(f"{name}_test_accuracy", figures.test_accuracy)
        if figures.production_accuracy is not None:
            metrics.log_metric(f"{name}_production_accuracy", figures.production_accuracy)
        metrics.log_metric(f"{name}_size_bytes", figures.size_bytes)
        metrics.log_metric(f"{name}_latency_p50_us", figures.latency_p50_us)
