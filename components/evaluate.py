"""Measure teacher, student, pruned and INT8 side by side, and choose the best that fits the hardware."""

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
    challenger: Output[Model],
    report: Output[Artifact],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    table: Output[HTML],
    config: dict,
    hardware: dict,
) -> None:
    """Accuracy on validation, test and deformed digits, slices, size and latency; the best that fits is chosen."""
    import shutil
    import tempfile
    from pathlib import Path

    from inkloop import checkpoint, digits
    from inkloop.evaluation import (
        EvaluationDigits,
        EvaluationSettings,
        Report,
        confusion_matrix,
        measure,
        offer_of,
        roc,
    )
    from inkloop.hardware import HardwareSettings, choose, described
    from inkloop.report import report_page
    from inkloop.runtime import Recognizer, probabilities_of

    settings, source = EvaluationSettings.model_validate(config), Path(validated.path)
    on = EvaluationDigits(
        digits.read(source, "validation"),
        digits.read(source, "test", from_production=False),
        digits.read(Path(deformed.path), "test"),
        digits.read(source, "test", from_production=True),
    )
    with tempfile.TemporaryDirectory() as scratch:
        exact = {"teacher": Path(teacher.path), "student": Path(student.path)}
        rounded = {f"{name}_int8": Path(scratch) / name for name in exact}
        for origin, target in zip(exact.values(), rounded.values(), strict=True):
            checkpoint.save_rounded(origin, target)
        folders = {**exact, **rounded, "pruned": Path(pruned.path), "int8": Path(int8.path)}
        models = {name: Recognizer(folder) for name, folder in folders.items()}
        measured = {name: measure(model, on, settings) for name, model in models.items()}
        offers = {name: offer_of(figures) for name, figures in measured.items()}
        wanted = HardwareSettings.model_validate(hardware)
        chosen = choose(offers, wanted)
        shutil.copytree(folders[chosen], challenger.path, dirs_exist_ok=True)
    told = probabilities_of(models[chosen].probabilities, on.test.images)
    answered, curve = told.argmax(1), roc(told, on.test.labels)
    counts = confusion_matrix(on.test.labels, answered).tolist()
    result = Report.model_validate(
        {"models": measured, "chosen": chosen, "hardware": described(wanted), "confusion": counts}
    )
    Path(report.path).write_text(result.model_dump_json(indent=2))
    Path(table.path).write_text(report_page(result, on.test, answered))
    confusion.log_confusion_matrix([str(label) for label in range(10)], counts)
    confusion.log_roc_curve(
        curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist(), curve.threshold.tolist()
    )
    for name, figures in measured.items():
        metrics.log_metric(f"{name}_test_accuracy", figures.test_accuracy)
        if figures.production_accuracy is not None:
            metrics.log_metric(f"{name}_production_accuracy", figures.production_accuracy)
        metrics.log_metric(f"{name}_size_bytes", figures.size_bytes)
        metrics.log_metric(f"{name}_latency_p50_us", figures.latency_p50_us)
