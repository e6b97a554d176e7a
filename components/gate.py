"""Decide whether the challenger replaces the champion."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from components.component import component


@component
def gate(
    validated: Input[Dataset],
    challenger: Input[Model],
    decision: Output[Artifact],
    metrics: Output[Metrics],
    config: dict,
    hardware: dict,
    store: str,
    store_id: str,
) -> None:
    """Compare both on the test digits and on production's newest labeled, slice by slice; say why."""
    import tempfile
    from pathlib import Path

    import numpy as np

    from infra import registry
    from infra.storage import open_store
    from inkloop import digits
    from inkloop.evaluation import answers
    from inkloop.gate import Candidate, GateSettings, decide
    from inkloop.hardware import HardwareSettings, budget_of, described
    from inkloop.runtime import Recognizer
    from inkloop.slices import slices_of

    source, model, home = Path(validated.path), Recognizer(Path(challenger.path)), open_store(store)
    wanted = HardwareSettings.model_validate(hardware)
    test = digits.read(source, "test", from_production=False)
    production = digits.read(source, "test", from_production=True)

    def candidate(model: Recognizer, barred: str | None = None) -> Candidate:
        right, newest = (
            answers(model, each) == each.labels if len(each) else np.zeros(0, bool) for each in (test, production)
        )
        is_too_large = model.info.size_bytes / 1000 > budget_of(wanted).size_kb
        return Candidate(model.digest, right, newest, barred, described(wanted) if is_too_large else None)

    champion, current = None, registry.champion(home)
    if current is not None:
        with tempfile.TemporaryDirectory() as folder:
            registry.fetch(home, current.digest, Path(folder) / "champion")
            champion = candidate(Recognizer(Path(folder) / "champion"))
    decided = decide(
        candidate(model, current.bars(model.digest) if current else None),
        champion,
        slices_of(test),
        GateSettings.model_validate(config),
        slices_of(production) if len(production) else None,
    ).model_copy(update={"hardware": wanted.name})
    Path(decision.path).write_text(decided.model_dump_json(indent=2))
    metrics.log_metric("promoted", int(decided.promoted))
    metrics.log_metric("challenger_accuracy", decided.challenger_accuracy)
    for name, compared in (("", decided.test), ("_on_production", decided.production)):
        if compared is not None:
            metrics.log_metric(f"champion_accuracy{name}", compared.champion_accuracy)
    if decided.production is not None:
        metrics.log_metric("challenger_accuracy_on_production", decided.production.challenger_accuracy)
