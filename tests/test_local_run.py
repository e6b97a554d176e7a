"""The local runner, on a toy of three steps: what a change reruns, and what a killed run leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

STEPS = ["ingest", "train", "evaluate"]
TOY = Path(__file__).parent / "toy"
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Toy:
    """The toy's sources and artifacts in a folder of their own."""

    folder: Path

    def command(self, **options: object) -> list[str]:
        given = {"artifacts": self.folder / "artifacts", "source": self.folder / "digits.txt", **options}
        return [sys.executable, "toyrun.py", *(f"--{name}={value}" for name, value in given.items())]

    def start(self, environment: dict[str, str] | None = None, **options: object) -> "subprocess.Popen[str]":
        temporary = self.folder.parent / "tmp"
        temporary.mkdir(exist_ok=True)
        everything = {
            **os.environ,
            "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}",
            "TMPDIR": str(temporary),
            **(environment or {}),
        }
        return subprocess.Popen(
            self.command(**options),
            cwd=self.folder,
            env=everything,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, environment: dict[str, str] | None = None, **options: object) -> tuple[int, str, str]:
        """The exit code, stdout and stderr of a run."""
        process = self.start(environment, **options)
        said, shown = process.communicate(timeout=120)
        return process.returncode, said, shown

    def cached(self, **options: object) -> list[str]:
        """Run to the end; the steps taken from the cache."""
        code, said, shown = self.run(**options)
        assert code == 0, said + shown
        names: list[str] = json.loads(said)["cached"]
        return names

    def output(self, step: str, name: str) -> Path:
        return self.folder / "artifacts" / "latest" / step / name

    def edit(self, module: str, old: str, new: str) -> None:
        path = self.folder / "toydomain" / f"{module}.py"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    shutil.copytree(TOY, tmp_path / "toy", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "toy" / "digits.txt").write_text("1 2 3")
    (tmp_path / "toy" / "requirements.lock").write_text("numpy==2.4.6")
    return Toy(tmp_path / "toy")


def test_an_unchanged_run_is_wholly_taken_from_the_cache(toy: Toy):
    assert toy.cached() == []
    assert toy.cached() == STEPS


def test_a_changed_parameter_reruns_only_what_depends_on_it(toy: Toy):
    toy.cached()
    assert toy.cached(factor=2) == ["ingest"]
    assert toy.output("evaluate", "report").read_text() == "2.0"


def test_a_changed_input_file_reruns_everything_that_reads_it(toy: Toy):
    toy.cached()
    (toy.folder / "digits.txt").write_text("1 2 9")
    assert toy.cached() == []
    assert toy.output("train", "model").read_text() == "4.0"


@pytest.mark.parametrize(
    ("module", "old", "new", "still_cached"),
    [
        ("learning", "factor * mean", "1 + factor * mean", ["ingest"]),
        ("judging", "abs(", "2 * abs(", ["ingest", "train"]),
        ("arithmetic", "sum(numbers) / len(numbers)", "sum(numbers) / 2", ["ingest"]),  # reached through others
        ("reading", "int(word)", "1 + int(word)", []),
    ],
)
def test_a_changed_line_of_domain_code_reruns_only_the_steps_that_run_it(
    toy: Toy, module: str, old: str, new: str, still_cached: list[str]
):
    toy.cached()
    toy.edit(module, old, new)
    assert toy.cached() == still_cached


def test_what_follows_a_step_that_made_the_same_bytes_again_is_still_cached(toy: Toy):
    toy.cached()
    toy.edit("learning", "factor * mean(numbers)", "mean(numbers) * factor")
    assert toy.cached() == ["ingest", "evaluate"]


def test_a_changed_component_reruns_it(toy: Toy):
    toy.cached()
    component = toy.folder / "toysteps" / "evaluate.py"
    component.write_text(component.read_text().replace("unfinished", "not finished"))
    assert toy.cached() == ["ingest", "train"]


def test_other_library_versions_rerun_everything(toy: Toy):
    toy.cached()
    (toy.folder / "requirements.lock").write_text("numpy==2.4.7")
    assert toy.cached() == []


@pytest.mark.parametrize("harm", ["changed", "shortened", "removed"])
def test_a_spoiled_artifact_is_made_anew_and_never_read(toy: Toy, harm: str):
    toy.cached()
    numbers = toy.output("ingest", "digits").resolve() / "numbers.txt"
    if harm == "removed":
        numbers.unlink()
    else:
        numbers.write_text("1 2 4" if harm == "changed" else "1 2")
    assert toy.cached() == ["train", "evaluate"]  # the same bytes again, so what follows still holds
    assert (toy.output("ingest", "digits") / "numbers.txt").read_text() == "1 2 3"


def hang(toy: Toy, step: str) -> tuple["subprocess.Popen[str]", int]:
    """A run that has come to the step, and the id of the step's process."""
    pid = toy.folder / "pid"
    process = toy.start({"INKLOOP_TOY_HANG": step, "INKLOOP_TOY_PID": str(pid)})
    deadline = time.monotonic() + 60
    while not pid.exists():
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process, int(pid.read_text())


def runs(pid: int) -> bool:
    """Whether the process does anything still: one that ended may stay listed until its parent asks how."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("step", STEPS)
def test_a_run_killed_in_any_step_goes_on_from_the_last_finished_one(toy: Toy, step: str):
    process, pid_of_step = hang(toy, step)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert toy.cached() == STEPS[: STEPS.index(step)]
    assert toy.output("evaluate", "report").read_text() == "0.0"
    assert not runs(pid_of_step), "the step outlived its run"


def test_a_second_run_on_the_same_artifacts_is_refused(toy: Toy):
    process, _ = hang(toy, "train")
    try:
        code, said, _ = toy.run()
        assert code == 2
        assert f"process {process.pid} runs a pipeline here" in said
    finally:
        process.kill()
        process.communicate()


def test_a_mistake_of_the_users_ends_with_its_sentence_alone(toy: Toy):
    code, said, shown = toy.run(failure="mendable")
    assert code == 2
    report = toy.output("train", "model")  # where it stays until the next run
    assert said == f"digits.txt: 'seven' is not a number.\n  row 3\n  row 9\nThe report: {report}\n"
    assert "Traceback" not in shown


def test_a_page_is_named_as_a_browser_opens_it(toy: Toy):
    toy_step = toy.folder / "toysteps" / "train.py"
    toy_step.write_text(toy_step.read_text().replace('"unfinished"', '"<!DOCTYPE html>"'))
    code, said, _ = toy.run(failure="mendable")
    assert code == 2
    page = toy.folder / "artifacts" / "latest" / "train-model.html"
    assert said.endswith(f"The report: {page}\n")
    assert page.read_text() == "<!DOCTYPE html>"


@pytest.mark.parametrize("failure", ["crash", "wrapped"])
def test_any_other_failure_names_the_step_its_last_lines_and_the_log(toy: Toy, failure: str):
    code, said, _ = toy.run(failure=failure)
    assert code == 1
    assert "The step train failed" in said
    assert "RuntimeError: the disk is on fire" in said
    log = said.strip().rpartition(" ")[2]
    assert "epoch 1 of 1" in Path(log).read_text()
    assert toy.output("train", "model").read_text() == "unfinished"


def test_a_step_sees_neither_the_callers_folder_nor_its_environment(toy: Toy):
    toy.run({"MY_SECRET": "told"})
    log = (toy.folder / "artifacts" / "latest" / "run.log").read_text()
    assert "secret None" in log
    assert "threads 1" in log
    assert f"training on {toy.folder}" not in log


def test_the_terminal_stays_quiet_and_the_log_has_everything(toy: Toy):
    _, said, shown = toy.run()
    assert "epoch 1 of 1" not in said + shown
    assert shown.count("Read the digits") == 2  # its start and its end
    assert "epoch 1 of 1" in (toy.folder / "artifacts" / "latest" / "run.log").read_text()


def test_step_times_are_remembered_for_the_next_estimate(toy: Toy):
    toy.cached()
    timings = json.loads((toy.folder / "artifacts" / "timings.json").read_text())
    assert timings["default"].keys() == set(STEPS)
    assert min(timings["default"].values()) > 0
