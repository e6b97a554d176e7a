"""Train the teacher on Ray Train."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from components.component import component


@component
def train(
    validated: Input[Dataset],
    recipe: Input[Artifact],
    best: Input[Artifact],
    teacher: Output[Model],
    logs: Output[Artifact],
    metrics: Output[Metrics],
    config: dict,
    seed: int,
) -> None:
    """Train the teacher data-parallel with the settings that tuning found; keep what was best on validation."""
    import tempfile
    from pathlib import Path

    from infra.ray_train import Job, fit_on_ray
    from inkloop import checkpoint, digits
    from inkloop.augmentation import AugmentationSettings
    from inkloop.lineage import lineage_of
    from inkloop.search import TeacherSettings
    from inkloop.training import TrainingSettings

    settings = TeacherSettings.model_validate(config)
    training = TrainingSettings.model_validate_json(Path(best.path).read_text())
    augmentation = AugmentationSettings.model_validate_json(Path(recipe.path).read_text())
    source = Path(validated.path)
    with tempfile.TemporaryDirectory() as storage:
        model, state = fit_on_ray(
            Job(settings.model, training, augmentation, seed),
            digits.read(source, "train"),
            digits.read(source, "validation"),
            Path(storage),
            Path(logs.path),
            settings.workers,
        )
    figures = {"validation_accuracy": state.best_accuracy, "epochs": state.epoch}
    checkpoint.save(model, Path(teacher.path), "teacher", figures, lineage_of(source, seed))
    for name, value in figures.items():
        metrics.log_metric(name, value)
