"""The one pipeline: the order of the steps and what each hands to the next, the same on a laptop and a cluster."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.augment import augment
from components.conclude import conclude
from components.distill import distill
from components.evaluate import evaluate
from components.gate import gate as decide
from components.ingest import ingest
from components.package import package
from components.prune import prune
from components.quantize import quantize
from components.record import record
from components.train import train
from components.tune import tune
from components.validate import validate
from infra import registry
from infra.storage import open_store
from inkloop import mnist, sources
from inkloop.errors import UserError
from inkloop.lineage import CODE_VARIABLE
from pipeline.cache import LOOK_AROUND
from pipeline.cluster_settings import ClusterSettings
from pipeline.placement import place
from pipeline.profile import Profile

TITLES = {
    "ingest": "Ingest digits",
    "validate": "Validate data",
    "augment": "Fix augmentation",
    "tune": "Tune training",
    "train": "Train teacher",
    "distill": "Distill student",
    "prune": "Prune student",
    "quantize": "Quantize to INT8",
    "evaluate": "Evaluate models",
    "gate": "Judge challenger",
    "package": "Package and promote",
}
ON_RAY = ("tune", "train", "distill")  # in the graph's order
ROOMS = ("components", "serving", "infra", "inkloop")
# The modules that a step's code starts from. The Bento is a copy of whole rooms, which no import shows.
CODE: dict[str, tuple[str, ...]] = {name: (f"components.{name}",) for name in TITLES}
CODE["package"] = ("components.package", "serving", "infra", "inkloop")
# On a cluster alone: what the runner does on a laptop, where it sees more than a step can.
RECORD_TITLE, CONCLUDE_TITLE = "Keep the record", "Conclude"


def arguments_here(
    profile: Profile, source: str, store: str, data_dir: Path, production: str = "", warm_start: str = ""
) -> dict[str, Any]:
    """What the graph is called with on this machine. Raises UserError if there is no such source or store.

    production: a version of production's digits in the store; warm_start: the digest of a published model to train on.
    """
    home = open_store(store)
    store = store if "://" in store else str(Path(store).absolute())
    return {
        **_configurations(profile),
        "source": source if source == mnist.NAME else str(Path(source).absolute()),
        "source_digest": sources.digest(source),
        "data_dir": str(data_dir.absolute()),
        "store": store,
        "store_id": registry.store_id(home),
        "production": production,
        "warm_start": warm_start,
    }


def arguments_on_cluster(
    profile: Profile, source: str, store: str, production: str = "", warm_start: str = ""
) -> dict[str, Any]:
    """What the graph is called with on a cluster, which sees no folder of this machine: UserError if one is given.

    For the last two see `arguments_here`.
    """
    if source != mnist.NAME:
        raise UserError(f"SOURCE {source}: a cluster does not see it. Give a data set by name: {mnist.NAME}.")
    if not store:
        raise UserError("STORE: not set. Say where the cluster keeps its models: STORE=s3://bucket/prefix.")
    if not store.startswith("s3://"):
        raise UserError(f"STORE {store!r}: a cluster does not see it. Give one it reaches: STORE=s3://bucket/prefix.")
    return {
        **_configurations(profile),
        "source": source,
        "source_digest": sources.digest(source),
        "data_dir": "/tmp/inkloop-data",
        "store": store,
        "production": production,
        "warm_start": warm_start,
    }


def _configurations(profile: Profile) -> dict[str, Any]:
    # kfp carries no null: a setting that may be None has None for its default in code.
    return profile.model_dump(mode="json", exclude={"cluster", "expected_s"}, exclude_none=True)


def build(code: Mapping[str, str] | None = None, cluster: ClusterSettings | None = None) -> BaseComponent:
    """The graph for a cluster of these settings; with the steps' code digests, for the local runner.

    On a cluster the image's tag stands for the code, steps are tried again when a node fails, and a step at the end
    keeps the run's record and tells people of a failure. On a laptop the digest becomes a part of the cache key, a
    mistake is not tried again, and the runner keeps the record: it knows what was cached, and outlives killed steps.
    """
    cluster = cluster or ClusterSettings()

    @dsl.pipeline(  # type: ignore[untyped-decorator]
        name="inkloop",
        display_name="Inkloop: handwritten digits",
        description="From digits to a served INT8 reader: the best model so far stays champion.",
    )
    def inkloop(
        source: str,
        source_digest: str,
        data_dir: str,
        data: dict[str, Any],
        validation: dict[str, Any],
        augmentation: dict[str, Any],
        tuning: dict[str, Any],
        teacher: dict[str, Any],
        student: dict[str, Any],
        pruning: dict[str, Any],
        quantization: dict[str, Any],
        evaluation: dict[str, Any],
        hardware: dict[str, Any],
        gate: dict[str, Any],
        packaging: dict[str, Any],
        seed: int,
        store: str,
        store_id: str = "",
        production: str = "",
        warm_start: str = "",
        profile: str = "",
        cause: str = "asked for",
    ) -> None:
        run = {
            "store": store,
            "run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            "started": dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER,
            "profile": profile,
            "cause": cause,
        }
        with _concluded(run, cluster) if code is None else contextlib.nullcontext():
            read = ingest(
                source=source,
                source_digest=source_digest,
                data_dir=data_dir,
                config=data,
                store=store,
                production=production,
            )
            checked = validate(digits=read.outputs["digits"], config=validation)
            validated = checked.outputs["validated"]
            fixed = augment(validated=validated, config=augmentation, seed=seed)
            recipe = fixed.outputs["recipe"]
            tuned = tune(validated=validated, recipe=recipe, config=tuning, teacher=teacher, seed=seed, store=store)
            start = {"store": store, "warm_start": warm_start}
            trained = train(
                validated=validated, recipe=recipe, best=tuned.outputs["best"], config=teacher, seed=seed, **start
            )
            soft_labels = trained.outputs["soft_labels"]
            lessons = {"validated": validated, "recipe": recipe, "soft_labels": soft_labels, "seed": seed}
            taught_by = {"teacher": trained.outputs["teacher"]}
            distilled = distill(**lessons, **taught_by, config=student, **start)
            cut = prune(**lessons, student=distilled.outputs["student"], config=pruning)
            rounded = quantize(**lessons, **taught_by, pruned=cut.outputs["pruned"], config=quantization)
            measured = evaluate(
                validated=validated,
                deformed=fixed.outputs["deformed"],
                teacher=trained.outputs["teacher"],
                student=distilled.outputs["student"],
                pruned=cut.outputs["pruned"],
                int8=rounded.outputs["int8"],
                config=evaluation,
                hardware=hardware,
            )
            home = {"store": store, "store_id": store_id}
            challenger = measured.outputs["challenger"]
            decided = decide(validated=validated, challenger=challenger, config=gate, hardware=hardware, **home)
            came_to = {"report": measured.outputs["report"], "decision": decided.outputs["decision"]}
            packed = package(
                validated=validated,
                teacher=trained.outputs["teacher"],
                challenger=challenger,
                config=packaging,
                **came_to,
                **home,
            )
            if code is None:
                kept = record(**came_to, **run).after(packed)
                kept.set_display_name(RECORD_TITLE).set_caching_options(enable_caching=False)
                place(kept, cluster)

            tasks = (read, checked, fixed, tuned, trained, distilled, cut, rounded, measured, decided, packed)
            for (name, title), task in zip(TITLES.items(), tasks, strict=True):
                task.set_display_name(title)
                if code is not None:
                    task.set_env_variable(CODE_VARIABLE, code[name])
                    continue
                task.set_caching_options(enable_caching=name not in LOOK_AROUND)
                place(task, cluster, on_ray=name in ON_RAY)

    return inkloop


def _concluded(run: Mapping[str, Any], cluster: ClusterSettings) -> dsl.ExitHandler:
    """What is built inside ends, however it does, with the step `conclude`."""
    last = conclude(titles={**TITLES, "record": RECORD_TITLE}, api=cluster.api, **run)
    last.set_display_name(CONCLUDE_TITLE).set_caching_options(enable_caching=False)
    place(last, cluster, tells=True)
    return dsl.ExitHandler(last, name="Pipeline")
