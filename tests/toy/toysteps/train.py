"""The second step."""

from kfp.dsl import Dataset, Input, Model, Output

from components.component import component


@component
def train(digits: Input[Dataset], config: dict, seed: int, model: Output[Model], logs: Output[Model]):
    import os
    from pathlib import Path

    from toydomain.learning import learn
    from toydomain.mishaps import perhaps_fail, perhaps_hang
    from toydomain.reading import read

    print("training on", Path.cwd(), "threads", os.environ["OMP_NUM_THREADS"], "secret", os.environ.get("MY_SECRET"))
    print("epoch 1 of 1", flush=True)
    Path(model.path).write_text("unfinished")
    perhaps_hang("train")
    perhaps_fail(config.get("failure", ""), model.path)
    Path(model.path).write_text(str(learn(read((Path(digits.path) / "numbers.txt").read_text()), config["factor"])))
    Path(logs.path).write_text(str(config))
