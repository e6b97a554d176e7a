"""Distill the teacher into a small student."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from components.component import component


@component
def distill(
    validated: Input[Dataset],
    recipe: Input[Artifact],
    teacher: Input[Model],
    student: Output[Model],
    logs: Output[Artifact],
    metrics: Output[Metrics],
    config: dict,
    seed: int,
) -> None:
    """Teach the small student with the teacher's soft answers (Hinton 2015)."""
    from pathlib import Path

    from inkloop import checkpoint, digits, distillation
    from inkloop.augmentation import AugmentationSettings
    from inkloop.lineage import lineage_of
    from inkloop.logs import TrainingLog

    source = Path(validated.path)
    validation = digits.read(source, "validation")
    model, state = distillation.distill(
        checkpoint.load(Path(teacher.path)),
        digits.read(source, "train"),
        validation,
        AugmentationSettings.model_validate_json(Path(recipe.path).read_text()),
        distillation.DistillationSettings.model_validate(config),
        seed,
        TrainingLog(Path(logs.path), validation).write,
    )
    figures = {"validation_accuracy": state.best_accuracy, "epochs": state.epoch}
    checkpoint.save(model, Path(student.path), "student", figures, lineage_of(source, seed, teacher=Path(teacher.path)))
    for name, value in figures.items():
        metrics.log_metric(name, value)
