"""Search the teacher's training settings on Ray Tune."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Output

from components.component import component


@component
def tune(
    validated: Input[Dataset],
    recipe: Input[Artifact],
    best: Output[Artifact],
    trials: Output[HTML],
    metrics: Output[Metrics],
    config: dict,
    teacher: dict,
    seed: int,
    store: str,
) -> None:
    """Try training settings on a part of the digits (Optuna proposes, halving or ASHA stops); hand on the best."""
    from pathlib import Path

    from infra import ray_checkpoints
    from infra.ray_tune import Base, search
    from inkloop import digits
    from inkloop.augmentation import AugmentationSettings
    from inkloop.lineage import lineage_of
    from inkloop.search import TeacherSettings, TuningSettings, trials_page, with_choice

    settings, start = TuningSettings.model_validate(config), TeacherSettings.model_validate(teacher)
    augmentation = AugmentationSettings.model_validate_json(Path(recipe.path).read_text())
    base = Base(start.model, start.training, augmentation, seed)
    train = digits.read(Path(validated.path), "train").take(slice(0, settings.images))
    validation = digits.read(Path(validated.path), "validation").take(slice(0, settings.validation_images))
    work = (str(lineage_of(Path(validated.path), seed)), settings.model_dump_json(), start.model_dump_json())
    with ray_checkpoints.kept(store, "tune", *work, augmentation.model_dump_json()) as storage:
        found = search(base, train, validation, settings, storage)
        chosen = with_choice(start.training, found[0].choice)
        Path(best.path).write_text(chosen.model_dump_json(indent=2))
        Path(trials.path).write_text(trials_page(found))
    metrics.log_metric("trials", len(found))
    metrics.log_metric("epochs", sum(trial.epochs for trial in found))
    metrics.log_metric("best_validation_accuracy", found[0].validation_accuracy)
