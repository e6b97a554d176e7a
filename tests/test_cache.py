"""The cache by itself: what it calls the same, what it takes for whole, and what it forgets."""

import os
from pathlib import Path

import pytest
from kfp import dsl

from pipeline.cache import KEPT_PER_STEP, ContentCache, Values, sweep
from pipeline.local import always_stands


class Told:
    """An observer that notes what it hears."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def started(self, step: str) -> None:
        self.events.append(f"{step} runs")

    def finished(self, step: str, seconds: float, cached: bool, inputs: Values, outputs: Values) -> None:
        self.events.append(f"{step} {'cached' if cached else 'done'}")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def cache(tmp_path: Path, told: Told) -> ContentCache:
    return ContentCache(tmp_path / "cache", told, always_stands)


def artifact(folder: Path, **files: str) -> dsl.Artifact:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return dsl.Dataset(name=folder.name, uri=str(folder))


def key(cache: ContentCache, step: str = "train", command: str = "code", code: str = "1", **inputs: object) -> str:
    return cache.compute_key(f"comp-{step}", "image", [command], inputs, {"INKLOOP_CODE": code})


def test_the_same_bytes_elsewhere_are_the_same_input(cache: ContentCache, tmp_path: Path):
    here, there = artifact(tmp_path / "run1" / "digits", a="1"), artifact(tmp_path / "run2" / "digits", a="1")
    assert key(cache, digits=here) == key(cache, digits=there)


def test_other_bytes_names_parameters_and_code_are_other_keys(cache: ContentCache, tmp_path: Path):
    digits = artifact(tmp_path / "1" / "digits", a="1")
    keys = {
        key(cache, digits=digits, seed=1),
        key(cache, digits=digits, seed=2),
        key(cache, digits=digits, seed=1, code="2"),
        key(cache, digits=digits, seed=1, command="changed"),
        key(cache, digits=digits, seed=1, step="distill"),
        key(cache, test=digits, seed=1),
        key(cache, digits=artifact(tmp_path / "2" / "digits", a="2"), seed=1),
        key(cache, digits=artifact(tmp_path / "3" / "digits", b="1"), seed=1),
        key(cache, digits=artifact(tmp_path / "4" / "digits", a="1", b=""), seed=1),
    }
    assert len(keys) == 9


def test_another_store_trains_nothing_again_but_is_judged_anew(cache: ContentCache):
    assert key(cache, "train", store="one", warm_start="") == key(cache, "train", store="other", warm_start="")
    assert key(cache, "train", store="one", warm_start="1") != key(cache, "train", store="one", warm_start="2")
    assert key(cache, "gate", store="one") != key(cache, "gate", store="other")


def test_a_list_of_artifacts_counts_by_content_too(cache: ContentCache, tmp_path: Path):
    one, same = artifact(tmp_path / "1" / "m", a="1"), artifact(tmp_path / "2" / "m", a="1")
    other = artifact(tmp_path / "3" / "m", a="2")
    assert key(cache, models=[one, other]) == key(cache, models=[same, other])
    assert key(cache, models=[one, other]) != key(cache, models=[other, one])


def test_an_artifact_without_a_file_is_kept_with_its_metadata(cache: ContentCache, told: Told, tmp_path: Path):
    at = key(cache)
    assert cache.get(at) is None
    cache.put(at, {"metrics": dsl.Metrics(name="metrics", uri=str(tmp_path / "metrics"), metadata={"rows": 3.0})})
    outputs = cache.get(at)
    assert outputs is not None
    assert outputs["metrics"].metadata == {"rows": 3.0}
    assert told.events == ["train runs", "train done", "train cached"]


@pytest.mark.parametrize("harm", ["changed", "added", "removed", "gone"])
def test_an_output_that_is_not_as_it_was_put_is_a_miss(cache: ContentCache, tmp_path: Path, told: Told, harm: str):
    at, model = key(cache), artifact(tmp_path / "model", weights="1", card="good")
    cache.put(at, {"model": model})
    match harm:
        case "changed":
            (tmp_path / "model" / "weights").write_text("2")
            os.utime(tmp_path / "model" / "weights", ns=(1, 1))
        case "added":
            (tmp_path / "model" / "half").write_text("")
        case "removed":
            (tmp_path / "model" / "card").unlink()
        case "gone":
            (tmp_path / "model").rename(tmp_path / "elsewhere")
    assert cache.get(at) is None
    assert told.events[-1] == "train runs"


def test_an_entry_cut_short_is_a_miss(cache: ContentCache, tmp_path: Path):
    at = key(cache)
    cache.put(at, {"model": artifact(tmp_path / "model", weights="1")})
    entry = next((tmp_path / "cache").glob("*.json"))
    entry.write_text(entry.read_text()[:-20])
    assert cache.get(at) is None
    sweep(tmp_path / "cache", tmp_path / "runs")
    assert not entry.exists()


def test_a_result_that_the_world_has_overtaken_is_a_miss(told: Told, tmp_path: Path):
    champion = "one"

    def stands(step: str, inputs: Values, outputs: Values) -> bool:
        return bool(outputs["champion"] == champion)

    cache = ContentCache(tmp_path / "cache", told, stands)
    at = key(cache, step="gate")
    cache.put(at, {"champion": "one"})
    assert cache.get(at) == {"champion": "one"}
    champion = "two"
    assert cache.get(at) is None


def test_a_result_overtaken_while_its_step_ran_is_not_kept(told: Told, tmp_path: Path):
    standing = False
    cache = ContentCache(tmp_path / "cache", told, lambda *_: standing)
    at = key(cache)
    cache.put(at, {"model": artifact(tmp_path / "model", weights="1")})
    standing = True
    assert cache.get(at) is None


def test_only_the_latest_used_results_of_a_step_keep_their_files(cache: ContentCache, tmp_path: Path):
    runs, keys = tmp_path / "runs", []
    for number in range(KEPT_PER_STEP + 3):
        at = key(cache, seed=number)
        cache.put(at, {"model": artifact(runs / f"run{number:02}" / "train" / "model", weights=str(number))})
        os.utime(cache._entry_path(at), (number, number))
        keys.append(at)
    assert cache.get(keys[0]) is not None  # used just now
    artifact(runs / "killed" / "train" / "model", weights="half")
    artifact(runs / "run00" / "distill" / "student", weights="half")
    sweep(tmp_path / "cache", runs)
    left = {path.relative_to(runs).as_posix() for path in runs.glob("*/*")}
    assert left == {"run00/train", *(f"run{number:02}/train" for number in range(4, KEPT_PER_STEP + 3))}
    assert cache.get(keys[0]) is not None
    assert cache.get(keys[1]) is None
    assert cache.get(keys[-1]) is not None
