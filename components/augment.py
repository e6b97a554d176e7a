"""Fix the augmentation recipe; show it, measure it, and make the deformed test set."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Output

from components.component import component


@component
def augment(
    validated: Input[Dataset],
    recipe: Output[Artifact],
    deformed: Output[Dataset],
    preview: Output[HTML],
    metrics: Output[Metrics],
    config: dict,
    seed: int,
) -> None:
    """Check the recipe that training deforms its batches by; deform the test digits once, by seed; draw a preview."""
    from pathlib import Path

    from inkloop import preview as previews
    from inkloop.augmentation import AugmentationSettings
    from inkloop.deformed import deform_split, throughput

    settings = AugmentationSettings.model_validate(config)
    Path(recipe.path).write_text(settings.model_dump_json(indent=2))
    deform_split(Path(validated.path), Path(deformed.path), "test", settings, seed)
    Path(preview.path).write_text(previews.augmentation_page(Path(validated.path), settings, seed))
    metrics.log_metric("digits_per_second", throughput(Path(validated.path), settings, seed))
