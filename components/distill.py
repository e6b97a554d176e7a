"""Distill the teacher into a small student."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from components.component import component


@component
def distill(
    validated: Input[Dataset],
    recipe: Input[Artifact],
    teacher: Input[Model],
    soft_labels: Input[Artifact],
    student: Output[Model],
    logs: Output[Artifact],
    metrics: Output[Metrics],
    config: dict,
    seed: int,
    store: str,
    warm_start: str,
) -> None:
    """Teach the small student with the teacher's soft answers (Hinton 2015).

    warm_start: digest of a published model that is taught on; empty: a student from nothing.
    """
    from pathlib import Path

    from infra import ray_checkpoints
    from infra import warm_start as published
    from infra.ray_train import Job, fit_on_ray
    from infra.storage import open_store
    from inkloop import checkpoint, digits
    from inkloop.augmentation import AugmentationSettings
    from inkloop.distillation import DistillationSettings, Lessons, read_soft_labels
    from inkloop.lineage import lineage_of

    settings = DistillationSettings.model_validate(config)
    augmentation = AugmentationSettings.model_validate_json(Path(recipe.path).read_text())
    source = Path(validated.path)
    initial = published.student(open_store(store), warm_start) if warm_start else None
    shape = initial.settings if initial else settings.model
    lessons = Lessons(read_soft_labels(Path(soft_labels.path)), settings.teaching)
    lineage = lineage_of(source, seed, teacher=Path(teacher.path), warm_start=warm_start)
    work = (str(lineage), settings.model_dump_json(), augmentation.model_dump_json())
    with ray_checkpoints.kept(store, "distill", *work) as storage:
        model, state = fit_on_ray(
            Job(shape, settings.training, augmentation, seed, lessons, initial.state_dict() if initial else None),
            digits.read_or_stream(source, "train", settings.in_memory_images),
            digits.read(source, "validation"),
            storage,
            Path(logs.path),
            settings.workers,
            settings.least_workers,
        )
        figures = {"validation_accuracy": state.best_accuracy, "epochs": state.epoch}
        checkpoint.save(model, Path(student.path), "student", figures, lineage)
    for name, value in {**figures, "interruptions": len(state.interruptions)}.items():
        metrics.log_metric(name, value)
