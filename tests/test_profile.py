"""Profiles: what a user writes is checked, and what they leave out is as in code."""

from pathlib import Path

import pytest

from inkloop.errors import UserError
from pipeline import profile


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_what_a_profile_leaves_out_is_as_in_code(written):
    assert profile.load(written("")) == profile.Profile()


def test_a_change_deep_down_leaves_its_neighbors_alone(written):
    chosen = profile.load(written("student: {training: {epochs: 77}}"))
    usual = profile.Profile().student
    assert chosen.student.training.epochs == 77
    assert chosen.student.training.learning_rate == usual.training.learning_rate
    assert chosen.student.model == usual.model


def test_a_profile_may_start_from_a_shipped_one(written):
    chosen, smoke = profile.load(written("{base: smoke, data: {limit_train: 500}}")), profile.load("smoke")
    assert chosen.data.limit_train == 500
    assert chosen.data.limit_test == smoke.data.limit_test
    assert chosen.student == smoke.student


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("studnet: {}", "studnet: no such key"),
        ("student: {training: {epoch: 3}}", r"student\.training\.epoch: no such key"),
        ("student: {training: {epochs: many}}", r"student\.training\.epochs: .*integer"),
        ("student: 3", "student: .*Distill"),
        ("pruning: {share: 1.5}", r"pruning\.share: .*less than 1"),
        ("teacher: {model: {hidden_size: 0}}", r"hidden_size: .*greater than 0"),
        ("base: smoek", "base: 'smoek' is no profile to start from. There are default, full, smoke"),
        ("seed: [1, 2]", "seed: .*integer"),
        ("- student", "must be a mapping"),
        ("student: {", "not YAML"),
    ],
)
def test_a_mistake_is_named_by_file_and_key(written, text: str, said: str):
    with pytest.raises(UserError, match=rf"mine\.yaml: .*{said}"):
        profile.load(written(text))


def test_an_unknown_profile_is_answered_with_those_there_are():
    with pytest.raises(UserError, match="default, full, smoke"):
        profile.load("smoek")
