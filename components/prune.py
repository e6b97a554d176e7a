"""Prune whole units of the student."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from components.component import component


@component
def prune(
    validated: Input[Dataset],
    recipe: Input[Artifact],
    soft_labels: Input[Artifact],
    student: Input[Model],
    pruned: Output[Model],
    logs: Output[Artifact],
    metrics: Output[Metrics],
    config: dict,
    seed: int,
) -> None:
    """Push LSTM units to nothing, cut them, and recover with the teacher's help; the result is a smaller dense LSTM."""
    from pathlib import Path

    from inkloop import checkpoint, digits, distillation, pruning
    from inkloop.augmentation import AugmentationSettings
    from inkloop.lineage import lineage_of
    from inkloop.logs import TrainingLog

    source = Path(validated.path)
    validation = digits.read(source, "validation")
    model, state = pruning.prune(
        distillation.read_soft_labels(Path(soft_labels.path)),
        checkpoint.load(Path(student.path)),
        digits.read(source, "train"),
        validation,
        AugmentationSettings.model_validate_json(Path(recipe.path).read_text()),
        pruning.PruningSettings.model_validate(config),
        seed,
        TrainingLog(Path(logs.path), validation).write,
    )
    figures = {"validation_accuracy": state.best_accuracy, "hidden_size": float(model.settings.hidden_size)}
    checkpoint.save(model, Path(pruned.path), "pruned", figures, lineage_of(source, seed, student=Path(student.path)))
    for name, value in figures.items():
        metrics.log_metric(name, value)
