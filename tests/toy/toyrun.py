"""Runs the toy the way `python -m pipeline run` runs the product, and prints what came from the cache as JSON."""

import argparse
import hashlib
import json
import sys
from pathlib import Path

from kfp import dsl
from rich.console import Console

from inkloop.errors import UserError
from pipeline import local
from pipeline.code_digest import code_digests

STEPS = ("ingest", "train", "evaluate")


def graph(code: dict[str, str]):
    from toysteps.evaluate import evaluate
    from toysteps.ingest import ingest
    from toysteps.train import train

    @dsl.pipeline(name="toy")
    def toy(source: str, source_digest: str, training: dict, seed: int):
        read = ingest(source=source, source_digest=source_digest).set_display_name("Read the digits")
        taught = train(digits=read.outputs["digits"], config=training, seed=seed)
        judged = evaluate(digits=read.outputs["digits"], model=taught.outputs["model"])
        for name, task in zip(STEPS, (read, taught, judged), strict=True):
            task.set_env_variable("INKLOOP_CODE", code[name])

    return toy


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--factor", type=float, default=1.0)
    parser.add_argument("--failure", default="")
    parser.add_argument("--lock", type=Path, default=Path("requirements.lock"))
    asked = parser.parse_args()
    packages = ("toysteps", "toydomain")
    code = code_digests({step: [f"toysteps.{step}"] for step in STEPS}, packages, asked.lock)
    arguments = {
        "source": str(asked.source.absolute()),
        "source_digest": hashlib.sha256(asked.source.read_bytes()).hexdigest(),
        "training": {"factor": asked.factor, "failure": asked.failure},
        "seed": 1,
    }
    try:
        run = local.run(graph(code), arguments, asked.artifacts, Console(stderr=True))
    except UserError as error:
        print(error)
        return 2
    except local.StepFailed as error:
        print(error)
        return 1
    print(json.dumps({"cached": [step.name for step in run.steps if step.cached], "seconds": run.wall_s}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
