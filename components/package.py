"""Package the challenger as a Bento, publish it and, if the gate said so, make it champion."""

from kfp.dsl import Artifact, Dataset, Input, Markdown, Model, Output

from components.component import component


@component
def package(
    validated: Input[Dataset],
    teacher: Input[Model],
    challenger: Input[Model],
    report: Input[Artifact],
    decision: Input[Artifact],
    bento: Output[Artifact],
    card: Output[Markdown],
    config: dict,
    store: str,
    store_id: str,
) -> None:
    """Write card, SBOM and Bento, upload the model with reference and SBOM; swap the champion if it was promoted."""
    from pathlib import Path

    from infra import bento as bentos
    from infra import challenger as trial
    from infra import reference, registry, sbom, signing
    from infra.storage import open_store
    from inkloop import artifacts, digits
    from inkloop.card import PackagingSettings, model_card
    from inkloop.evaluation import Report
    from inkloop.gate import Decision
    from inkloop.runtime import Recognizer

    settings = PackagingSettings.model_validate(config)
    decided = Decision.model_validate_json(Path(decision.path).read_text())
    figures = Report.model_validate_json(Path(report.path).read_text())
    model, home = Path(challenger.path), open_store(store)
    info, digest = artifacts.info(model), registry.publish(home, model)
    registry.publish(home, Path(teacher.path))  # for a retraining to start from
    reference.publish(home, Recognizer(model), digits.read_table(Path(validated.path)))
    version = registry.version_of(digest)
    text = model_card(info, version, figures, decided, settings)
    Path(card.path).write_text(text)
    bill = sbom.build(model, digest, (*bentos.PACKAGES, "bentoml"))
    sbom.publish(home, digest, bill)
    labels, beside = {"model": digest, **info.lineage}, {**signing.signatures(home, digest), bentos.SBOM: bill}
    bentos.build(model, settings.bento_name, version, text, labels, beside, Path(bento.path))
    if decided.promoted and decided.champion is not None and settings.promotion != "at once":
        canary = settings.canary_share if settings.promotion == "canary" else None
        trial.challenge(home, digest, canary, by="pipeline")
    elif decided.promoted:
        registry.promote(home, digest, decided.model_dump(mode="json"), expected=decided.champion)
