"""Decide whether the INT8 student replaces the champion."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from components.component import component


@component
def gate(
    validated: Input[Dataset],
    int8: Input[Model],
    report: Input[Artifact],
    decision: Output[Artifact],
    metrics: Output[Metrics],
    config: dict,
    store: str,
    store_id: str,
) -> None:
    """Compare challenger and champion on the same test digits, slice by slice, within budget; record why."""
    import tempfile
    from pathlib import Path

    from infra import registry
    from infra.storage import open_store
    from inkloop import digits
    from inkloop.evaluation import Report, answers
    from inkloop.gate import Candidate, GateSettings, decide
    from inkloop.runtime import Recognizer
    from inkloop.slices import slices_of

    test = digits.read(Path(validated.path), "test")
    model = Recognizer(Path(int8.path))
    champion, home = None, open_store(store)
    current = registry.champion(home)
    barred = current.bars(model.digest) if current else None
    challenger = Candidate(model.digest, answers(model, test) == test.labels, barred)
    if current is not None:
        with tempfile.TemporaryDirectory() as folder:
            registry.fetch(home, current.digest, Path(folder) / "champion")
            incumbent = Recognizer(Path(folder) / "champion")
        champion = Candidate(current.digest, answers(incumbent, test) == test.labels)
    figures = Report.model_validate_json(Path(report.path).read_text()).models["int8"]
    settings = GateSettings.model_validate(config)
    latency_ms = figures.latency_p50_us / 1000
    decided = decide(challenger, champion, slices_of(test), figures.size_bytes, latency_ms, settings)
    Path(decision.path).write_text(decided.model_dump_json(indent=2))
    metrics.log_metric("promoted", int(decided.promoted))
    metrics.log_metric("challenger_accuracy", decided.challenger_accuracy)
    if decided.champion_accuracy is not None:
        metrics.log_metric("champion_accuracy", decided.champion_accuracy)
