"""Train the teacher on Ray Train."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from components.component import component


@component
def train(
    validated: Input[Dataset],
    recipe: Input[Artifact],
    best: Input[Artifact],
    teacher: Output[Model],
    soft_labels: Output[Artifact],
    logs: Output[Artifact],
    metrics: Output[Metrics],
    config: dict,
    seed: int,
    store: str,
    warm_start: str,
) -> None:
    """Train the teacher data-parallel with the settings that tuning found; keep what was best on validation.

    Of an ensemble, each from a seed of its own, the best is the teacher.

    soft_labels: what it or the ensemble says of the training digits, once and for all that is taught.

    warm_start: digest of a published model whose teacher is trained on; empty: from nothing.
    """
    from pathlib import Path

    from infra import ray_checkpoints
    from infra import warm_start as published
    from infra.ray_train import Job, fit_on_ray
    from infra.storage import open_store
    from inkloop import checkpoint, digits, distillation
    from inkloop.augmentation import AugmentationSettings
    from inkloop.lineage import lineage_of
    from inkloop.search import TeacherSettings
    from inkloop.training import TrainingSettings

    settings = TeacherSettings.model_validate(config)
    training = TrainingSettings.model_validate_json(Path(best.path).read_text())
    augmentation = AugmentationSettings.model_validate_json(Path(recipe.path).read_text())
    source = Path(validated.path)
    initial = published.teacher(open_store(store), warm_start) if warm_start else None
    shape = initial.settings if initial else settings.model
    train_digits = digits.read_or_stream(source, "train", settings.in_memory_images)
    validation_digits = digits.read(source, "validation")
    lineage = lineage_of(source, seed, warm_start=warm_start)
    work = (str(lineage), settings.model_dump_json(), training.model_dump_json(), augmentation.model_dump_json())
    with ray_checkpoints.kept(store, "train", *work) as storage:
        members = [
            fit_on_ray(
                Job(shape, training, augmentation, own_seed, initial=initial.state_dict() if initial else None),
                train_digits,
                validation_digits,
                f"{storage}/{own_seed}",
                Path(logs.path) / f"seed-{own_seed}",
                settings.workers,
                settings.least_workers,
            )
            for own_seed in range(seed, seed + settings.ensemble)
        ]
        best_member = max(range(settings.ensemble), key=lambda member: members[member][1].best_accuracy)
        model, state = members[best_member]
        figures = {"validation_accuracy": state.best_accuracy, "epochs": state.epoch}
        lineage["seed"] = str(seed + best_member)
        checkpoint.save(model, Path(teacher.path), "teacher", figures, lineage)
        said = distillation.soft_labels([member for member, _ in members], train_digits)
        distillation.write_soft_labels(said, Path(soft_labels.path))
    interruptions = sum(len(each.interruptions) for _, each in members)
    for name, value in {**figures, "interruptions": interruptions}.items():
        metrics.log_metric(name, value)
