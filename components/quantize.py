"""Quantize the pruned student to INT8."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from components.component import component


@component
def quantize(
    validated: Input[Dataset],
    recipe: Input[Artifact],
    teacher: Input[Model],
    soft_labels: Input[Artifact],
    pruned: Input[Model],
    int8: Output[Model],
    logs: Output[Artifact],
    metrics: Output[Metrics],
    config: dict,
    seed: int,
) -> None:
    """Train the last epochs in rounded weights, then export to ONNX Runtime's INT8 LSTM."""
    from pathlib import Path

    from inkloop import checkpoint, digits, distillation, qat
    from inkloop.augmentation import AugmentationSettings
    from inkloop.lineage import lineage_of
    from inkloop.logs import TrainingLog

    source = Path(validated.path)
    validation = digits.read(source, "validation")
    model = checkpoint.load(Path(pruned.path))
    state = qat.train_quantized(
        distillation.read_soft_labels(Path(soft_labels.path)),
        model,
        digits.read(source, "train"),
        validation,
        AugmentationSettings.model_validate_json(Path(recipe.path).read_text()),
        qat.QuantizationSettings.model_validate(config),
        seed,
        TrainingLog(Path(logs.path), validation).write,
    )
    lineage = lineage_of(source, seed, pruned=Path(pruned.path), teacher=Path(teacher.path))
    figures = {"validation_accuracy": state.best_accuracy}
    checkpoint.save(model, Path(int8.path), "int8", figures, lineage)
    metrics.log_metric("validation_accuracy", state.best_accuracy)
