"""The learning components, one after another on a few hundred real digits, as the pipeline chains them."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from kfp import dsl

from components.augment import augment
from components.distill import distill
from components.evaluate import evaluate
from components.gate import gate
from components.prune import prune
from components.quantize import quantize
from components.train import train
from components.tune import tune
from infra import registry, warm_start
from infra.storage import open_store
from inkloop import artifacts, checkpoint, digits
from inkloop.distillation import read_soft_labels
from inkloop.errors import UserError
from inkloop.evaluation import Report
from inkloop.gate import Decision
from inkloop.training import TrainingSettings

READING = {"kind": "rows", "size": 4}
MODEL = {"readings": [READING], "hidden_size": 12, "attention_size": 8, "fc_size": 16, "dropout": 0.0}
TEACHER = {"model": MODEL | {"hidden_size": 16.0}, "training": {"epochs": 3.0, "batch_size": 64.0}, "workers": 1.0}
QUICK = {"epochs": 1.0, "batch_size": 64.0}
CONFIGS = {
    "tune": {"trials": 2.0, "epochs": 1.0, "images": 300.0, "validation_images": 100.0},
    "distill": {"model": MODEL, "training": {"epochs": 3.0, "batch_size": 64.0, "learning_rate": 0.01}, "workers": 1.0},
    "prune": {"share": 0.25, "sparsifying": QUICK, "recovering": QUICK},
    "quantize": {"training": QUICK},
    "evaluate": {"latency_calls": 50.0},
    "gate": {"accuracy_floor": 0.2},
}
HARDWARE = {"name": "cpu", "latency_limit_ms": 100.0}
SEED = 3


@dataclass
class Chain:
    """What the steps hand on, each artifact at a path of its own, as kfp names them."""

    folder: Path
    known: dict[str, dsl.Artifact] = field(default_factory=dict)

    def out(self, kind: type[dsl.Artifact], step: str, *names: str) -> dict[str, dsl.Artifact]:
        made = {name: kind(name=name, uri=str(self.folder / step / name)) for name in names}
        (self.folder / step).mkdir(exist_ok=True)
        self.known |= {f"{step}.{name}": artifact for name, artifact in made.items()}
        return made

    def take(self, **sources: str) -> dict[str, dsl.Artifact]:
        return {name: self.known[source] for name, source in sources.items()}

    def path(self, name: str) -> Path:
        return Path(self.known[name].path)

    def metrics(self, step: str) -> dict[str, float]:
        return self.known[f"{step}.metrics"].metadata


@pytest.fixture(scope="module")
def chain(few_digits, ray_head, tmp_path_factory) -> Chain:
    """All steps from `augment` to `gate`, run once."""
    chain = Chain(tmp_path_factory.mktemp("chain"))
    chain.known["validated"] = dsl.Dataset(name="validated", uri=str(few_digits))
    out, take, data = chain.out, chain.take, {"validated": "validated"}
    learn = data | {"recipe": "augment.recipe"}
    taught = learn | {"soft_labels": "train.soft_labels"}
    models = {"teacher": "train.teacher", "student": "distill.student", "pruned": "prune.pruned"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", ray_head[1])
        augment.python_func(
            **take(**data),
            **out(dsl.Artifact, "augment", "recipe"),
            **out(dsl.Dataset, "augment", "deformed"),
            **out(dsl.HTML, "augment", "preview"),
            **out(dsl.Metrics, "augment", "metrics"),
            config={"rotation_deg": 10.0},
            seed=SEED,
        )
        tune.python_func(
            **take(**learn),
            **out(dsl.Artifact, "tune", "best"),
            **out(dsl.HTML, "tune", "trials"),
            **out(dsl.Metrics, "tune", "metrics"),
            config=CONFIGS["tune"],
            teacher=TEACHER,
            seed=SEED,
            store=str(chain.folder / "store"),
        )
        train.python_func(
            **take(**learn, best="tune.best"),
            **out(dsl.Model, "train", "teacher"),
            **out(dsl.Artifact, "train", "soft_labels"),
            **out(dsl.Artifact, "train", "logs"),
            **out(dsl.Metrics, "train", "metrics"),
            config=TEACHER,
            seed=SEED,
            store=str(chain.folder / "store"),
            warm_start="",
        )
        distill.python_func(
            **take(**taught, teacher="train.teacher"),
            **out(dsl.Model, "distill", "student"),
            **out(dsl.Artifact, "distill", "logs"),
            **out(dsl.Metrics, "distill", "metrics"),
            config=CONFIGS["distill"],
            seed=SEED,
            store=str(chain.folder / "store"),
            warm_start="",
        )
    prune.python_func(
        **take(**taught, student="distill.student"),
        **out(dsl.Model, "prune", "pruned"),
        **out(dsl.Artifact, "prune", "logs"),
        **out(dsl.Metrics, "prune", "metrics"),
        config=CONFIGS["prune"],
        seed=SEED,
    )
    quantize.python_func(
        **take(**taught, teacher="train.teacher", pruned="prune.pruned"),
        **out(dsl.Model, "quantize", "int8"),
        **out(dsl.Artifact, "quantize", "logs"),
        **out(dsl.Metrics, "quantize", "metrics"),
        config=CONFIGS["quantize"],
        seed=SEED,
    )
    evaluate.python_func(
        **take(**data, **models, int8="quantize.int8", deformed="augment.deformed"),
        **out(dsl.Artifact, "evaluate", "report"),
        **out(dsl.Metrics, "evaluate", "metrics"),
        **out(dsl.ClassificationMetrics, "evaluate", "confusion"),
        **out(dsl.HTML, "evaluate", "table"),
        **out(dsl.Model, "evaluate", "challenger"),
        config=CONFIGS["evaluate"],
        hardware=HARDWARE,
    )
    decide(chain, "gate")
    return chain


def decide(
    chain: Chain, step: str, store: str | None = None, validated: str = "validated", **changes: float
) -> Decision:
    """Run the gate on what the chain has made, against the champion in the chain's store or another."""
    gate.python_func(
        **chain.take(validated=validated, challenger="evaluate.challenger"),
        **chain.out(dsl.Artifact, step, "decision"),
        **chain.out(dsl.Metrics, step, "metrics"),
        config=CONFIGS["gate"] | changes,
        hardware=HARDWARE,
        store=store or str(chain.folder / "store"),
        store_id="unused",
    )
    return Decision.model_validate_json(chain.path(f"{step}.decision").read_text())


MODELS = {
    "train.teacher": "teacher",
    "distill.student": "student",
    "prune.pruned": "pruned",
    "quantize.int8": "int8",
}


@pytest.mark.parametrize(("name", "kind"), MODELS.items())
def test_every_learning_step_hands_on_a_whole_model(chain, name, kind):
    assert artifacts.info(chain.path(name)).kind == kind


def test_models_get_smaller_from_step_to_step(chain):
    sizes = [artifacts.info(chain.path(name)).size_bytes for name in MODELS]
    assert sizes == sorted(sizes, reverse=True)
    assert artifacts.info(chain.path("prune.pruned")).architecture["hidden_size"] == 9


def test_a_model_knows_where_it_comes_from(chain):
    data = artifacts.digest(chain.path("validated"))
    parents = {
        "train.teacher": {},
        "distill.student": {"teacher": "train.teacher"},
        "prune.pruned": {"student": "distill.student"},
        "quantize.int8": {"pruned": "prune.pruned", "teacher": "train.teacher"},
    }
    for name, came_from in parents.items():
        lineage = artifacts.info(chain.path(name)).lineage
        assert (lineage["digits"], lineage["seed"]) == (data, str(SEED))
        for parent, source in came_from.items():
            assert lineage[parent] == artifacts.digest(chain.path(source))


def test_tuning_hands_on_whole_training_settings(chain):
    best = TrainingSettings.model_validate_json(chain.path("tune.best").read_text())
    assert best.epochs == 3  # the teacher's own, not a trial's
    assert chain.metrics("tune")["trials"] == 2
    assert "Trials, best first" in chain.path("tune.trials").read_text()


def test_the_recipe_is_whole_and_the_deformed_set_is_of_the_test_digits(chain):
    assert json.loads(chain.path("augment.recipe").read_text())["rotation_deg"] == 10
    deformed = digits.read(chain.path("augment.deformed"))
    assert (deformed.labels == digits.read(chain.path("validated"), "test").labels).all()
    assert chain.metrics("augment")["digits_per_second"] > 100


@pytest.mark.parametrize("step", ["train", "distill", "prune", "quantize"])
def test_learning_steps_log_for_tensorboard_and_tell_how_well_they_did(chain, step):
    assert list(chain.path(f"{step}.logs").rglob("*tfevents*"))
    assert 0.1 < chain.metrics(step)["validation_accuracy"] <= 1


def test_the_report_is_of_all_four_models_on_the_test_digits(chain):
    report = Report.model_validate_json(chain.path("evaluate.report").read_text())
    assert set(report.models) == {*MODELS.values(), "teacher_int8", "student_int8"}
    assert np.sum(report.confusion) == 300
    right = np.trace(report.confusion) / 300
    assert report.models[report.chosen].test_accuracy == pytest.approx(right)
    assert chain.metrics("evaluate")[f"{report.chosen}_test_accuracy"] == pytest.approx(right)
    assert "Confusion of the chosen model" in chain.path("evaluate.table").read_text()


def test_kubeflow_gets_the_roc(chain):
    points = chain.known["evaluate.confusion"].metadata["confidenceMetrics"]
    assert 10 < len(points) <= 50
    assert (points[0]["falsePositiveRate"], points[0]["recall"]) == (0, 0)
    assert (points[-1]["falsePositiveRate"], points[-1]["recall"]) == (1, 1)


def test_kubeflow_gets_the_confusion_matrix(chain):
    drawn = chain.known["evaluate.confusion"].metadata["confusionMatrix"]
    assert [row["displayName"] for row in drawn["annotationSpecs"]] == [str(label) for label in range(10)]
    assert sum(sum(row["row"]) for row in drawn["rows"]) == 300


def test_the_gate_lets_a_first_champion_in(chain):
    decision = Decision.model_validate_json(chain.path("gate.decision").read_text())
    assert decision.promoted, decision.reason
    assert decision.challenger == artifacts.digest(chain.path("evaluate.challenger"))
    assert chain.metrics("gate")["promoted"] == 1


def test_the_gate_measures_against_the_champion_in_the_store(chain):
    home = open_store(str(chain.folder / "store"))
    digest = registry.publish(home, chain.path("evaluate.challenger"))
    registry.promote(home, digest, {}, expected=None)
    decision = decide(chain, "again")
    assert not decision.promoted
    assert decision.reason == "it is the champion already"
    assert decision.champion == digest
    assert chain.metrics("again")["champion_accuracy"] == pytest.approx(decision.challenger_accuracy)


def test_the_gate_refuses_a_model_that_was_rolled_back(chain, other_model_directory, tmp_path):
    home, challenger = open_store(str(tmp_path / "store")), chain.path("evaluate.challenger")
    for folder in (other_model_directory, challenger):
        now = registry.champion(home)
        registry.promote(home, registry.publish(home, folder), {}, expected=now.digest if now else None)
    registry.rollback(home, "misreads sevens", "ada")
    decision = decide(chain, "rolled back", store=str(home))
    assert not decision.promoted
    assert decision.reason.startswith("was rolled back on ")
    assert decision.reason.endswith(": misreads sevens")


def test_the_best_that_fits_goes_before_the_gate(chain):
    report = Report.model_validate_json(chain.path("evaluate.report").read_text())
    best = max(report.models.values(), key=lambda figures: figures.validation_accuracy)
    assert report.models[report.chosen].validation_accuracy == best.validation_accuracy
    assert artifacts.info(chain.path("evaluate.challenger")).size_bytes == report.models[report.chosen].size_bytes


def test_hardware_that_no_model_fits_ends_the_step_with_the_nearest(chain):
    with pytest.raises(UserError, match=r"hardware edge \(1 KB, 0\.1 ms\): no model fits; the nearest is .*int8 with"):
        evaluate.python_func(
            **chain.take(validated="validated", deformed="augment.deformed", teacher="train.teacher"),
            **chain.take(student="distill.student", pruned="prune.pruned", int8="quantize.int8"),
            **chain.out(dsl.Artifact, "nothing fits", "report"),
            **chain.out(dsl.Metrics, "nothing fits", "metrics"),
            **chain.out(dsl.ClassificationMetrics, "nothing fits", "confusion"),
            **chain.out(dsl.HTML, "nothing fits", "table"),
            **chain.out(dsl.Model, "nothing fits", "challenger"),
            config=CONFIGS["evaluate"],
            hardware={"name": "edge", "size_limit_kb": 1.0},
        )


def test_a_retraining_goes_on_from_the_champion_and_its_teacher(chain, ray_head, monkeypatch, tmp_path):
    """With steps of no length the models that come out are those that went in."""
    monkeypatch.setenv("RAY_ADDRESS", ray_head[1])
    home = open_store(str(tmp_path / "store"))
    registry.publish(home, chain.path("train.teacher"))
    champion = registry.publish(home, chain.path("quantize.int8"))
    still = {"epochs": 1.0, "batch_size": 600.0, "learning_rate": 1e-12}
    best = tmp_path / "best"
    best.write_text(TrainingSettings.model_validate(still).model_dump_json())
    chain.known["still.best"] = dsl.Artifact(uri=str(best))
    start = {"store": str(home), "warm_start": champion, "seed": SEED}
    train.python_func(
        **chain.take(validated="validated", recipe="augment.recipe", best="still.best"),
        **chain.out(dsl.Model, "retrain", "teacher"),
        **chain.out(dsl.Artifact, "retrain", "soft_labels"),
        **chain.out(dsl.Artifact, "retrain", "logs"),
        **chain.out(dsl.Metrics, "retrain", "metrics"),
        config={"workers": 1.0},
        **start,
    )
    distill.python_func(
        **chain.take(
            validated="validated", recipe="augment.recipe", teacher="retrain.teacher", soft_labels="retrain.soft_labels"
        ),
        **chain.out(dsl.Model, "teach again", "student"),
        **chain.out(dsl.Artifact, "teach again", "logs"),
        **chain.out(dsl.Metrics, "teach again", "metrics"),
        config={"training": still, "workers": 1.0},
        **start,
    )
    for name, origin in (("retrain.teacher", "train.teacher"), ("teach again.student", "quantize.int8")):
        again, before = (checkpoint.load(chain.path(each)).state_dict() for each in (name, origin))
        assert all(torch.allclose(again[key], before[key], atol=1e-6) for key in before)


def test_of_an_ensemble_all_teach_and_the_best_goes_on(chain, ray_head, monkeypatch, tmp_path):
    """It is what its members come to when they are trained one by one."""
    monkeypatch.setenv("RAY_ADDRESS", ray_head[1])

    def trained(name: str, seed: int, ensemble: float) -> None:
        train.python_func(
            **chain.take(validated="validated", recipe="augment.recipe", best="tune.best"),
            **chain.out(dsl.Model, name, "teacher"),
            **chain.out(dsl.Artifact, name, "soft_labels"),
            **chain.out(dsl.Artifact, name, "logs"),
            **chain.out(dsl.Metrics, name, "metrics"),
            config={**TEACHER, "ensemble": ensemble},
            seed=seed,
            store=str(tmp_path / "store"),
            warm_start="",
        )

    trained("other", SEED + 1, 1.0)
    trained("both", SEED, 2.0)
    said = [read_soft_labels(chain.path(f"{name}.soft_labels")) for name in ("train", "other", "both")]
    torch.testing.assert_close(said[2], (said[0] + said[1]) / 2)
    best = max(("train", "other"), key=lambda name: chain.metrics(name)["validation_accuracy"])
    assert artifacts.digest(chain.path("both.teacher")) == artifacts.digest(chain.path(f"{best}.teacher"))


def test_a_champion_published_without_its_teacher_cannot_be_retrained_from(model_directory, tmp_path):
    home = open_store(str(tmp_path / "store"))
    with pytest.raises(UserError, match=r"published without its teacher\. Run the whole pipeline once more"):
        warm_start.teacher(home, registry.publish(home, model_directory))


def test_production_is_judged_beside_the_fixed_test_digits(chain, mnist, other_model_directory, tmp_path):
    sent = digits.to_table(mnist["train"].images[1000:1080], mnist["train"].labels[1000:1080], "production", "test")
    at = sent.schema.get_field_index("seen_at")
    when = pa.array([datetime(2026, 11, 25, tzinfo=UTC)] * 80, sent.schema.field(at).type)
    sent = sent.set_column(at, sent.schema.field(at), when)
    digits.write(pa.concat_tables([digits.read_table(chain.path("validated")), sent]), tmp_path / "both")
    chain.known["both"] = dsl.Dataset(uri=str(tmp_path / "both"))
    home = open_store(str(tmp_path / "store"))
    registry.promote(home, registry.publish(home, other_model_directory), {}, expected=None)

    decision = decide(chain, "with production", store=str(home), validated="both")

    assert (decision.test.digits, decision.production.digits) == (300, 80)
    report = Report.model_validate_json(chain.path("evaluate.report").read_text())
    assert decision.challenger_accuracy == pytest.approx(report.models[report.chosen].test_accuracy)
    evaluate.python_func(
        **chain.take(validated="both", deformed="augment.deformed", teacher="train.teacher"),
        **chain.take(student="distill.student", pruned="prune.pruned", int8="quantize.int8"),
        **chain.out(dsl.Artifact, "both evaluated", "report"),
        **chain.out(dsl.Metrics, "both evaluated", "metrics"),
        **chain.out(dsl.ClassificationMetrics, "both evaluated", "confusion"),
        **chain.out(dsl.HTML, "both evaluated", "table"),
        **chain.out(dsl.Model, "both evaluated", "challenger"),
        config=CONFIGS["evaluate"],
        hardware=HARDWARE,
    )
    again = Report.model_validate_json(chain.path("both evaluated.report").read_text()).models[report.chosen]
    assert again.test_accuracy == pytest.approx(report.models[report.chosen].test_accuracy)
    assert again.production_accuracy == pytest.approx(decision.production.challenger_accuracy)
