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
        ("student: 3", "student: Input should be a mapping"),
        ("pruning: {share: 1.5}", r"pruning\.share: .*less than 1"),
        ("teacher: {model: {hidden_size: 0}}", r"hidden_size: .*greater than 0"),
        ("base: smoek", "base: 'smoek' is no profile to start from. There are default, edge, full, retrain, smoke"),
        ("seed: [1, 2]", "seed: .*integer"),
        ("seed: yes", "seed: yes and no have no meaning here"),
        ("seed: -1", "seed: .*greater than or equal to 0"),
        ("seed: 99999999999", "seed: .*less than"),
        ("data: {validation_share: 0.6, test_share: 0.5}", "data: validation_share and test_share leave no training"),
        ("validation: {min_ink_share: 0.7}", "validation: min_ink_share is above max_ink_share"),
        ("validation: {min_highest: 300}", r"validation\.min_highest: .*less than or equal to 255"),
        ("validation: {height: 20}", "the profile: .*must be the same"),
        ("augmentation: {rotation_deg: 999}", r"augmentation\.rotation_deg: .*less than or equal to 180"),
        ("tuning: {learning_rate: {low: 1, high: 0.1}}", r"tuning\.learning_rate: low 1 is above high 0\.1"),
        (
            "tuning: {learning_rate: {low: 0, high: 0.1}}",
            r"tuning\.learning_rate: a logarithmic range cannot begin at 0",
        ),
        ("tuning: {batch_size: []}", r"tuning\.batch_size: .*at least 1 item"),
        ("tuning: {grace_epochs: 9}", "tuning: grace_epochs 9 are more than"),
        ("teacher: {model: {readings: []}}", r"teacher\.model\.readings: .*at least 1 item"),
        (
            "teacher: {model: {readings: [{kind: rows}, {kind: rows}]}}",
            r"teacher\.model: readings rows2, rows2 are not all",
        ),
        ("teacher: {training: {learning_rate: .inf}}", r"teacher\.training\.learning_rate: .*finite"),
        ("teacher: {training: {warmup_share: 1}}", r"teacher\.training\.warmup_share: .*less than 1"),
        ("student: {training: {loss: {class_weights: [1, 2]}}}", r"loss\.class_weights: .*at least 10"),
        ("student: {model: {frame: 20}}", "the profile: .*must be the same"),
        ("student: {model: {highway: true}}", r"the profile: student\.model\.highway: .* cannot be cut"),
        ("teacher: {model: {cell: transformer}}", r"teacher\.model\.cell: .*'lstm', 'gru' or 'rnn'"),
        ("packaging: {bento_name: a b}", r"packaging\.bento_name: 'a b' is not a name such as digits-2"),
        ("cluster: {memory: much}", r"cluster\.memory: 'much' is not bytes, such as 4Gi or 500M"),
        ("expected_s: {trian: 3}", r"expected_s\.trian: .*'train'"),
        ("expected_s: {train: -3}", r"expected_s\.train: .*greater than or equal to 0"),
        ("seed: 1\nseed: 2", "seed: stands there twice, again in line 2"),
        ("student:\n  training: {epochs: 3, epochs: 4}", "epochs: stands there twice, again in line 2"),
        ("- student", "must be a mapping"),
        ("student: {", "not YAML"),
    ],
)
def test_a_mistake_is_named_by_file_and_key(written, text: str, said: str):
    with pytest.raises(UserError, match=rf"mine\.yaml: .*{said}"):
        profile.load(written(text))


def test_a_teacher_may_be_what_a_student_may_not_and_an_unpruned_student_may_have_highways(written):
    chosen = profile.load(
        written(
            "{teacher: {model: {cell: gru, highway: true}}, student: {model: {highway: true}}, pruning: {share: 0}}"
        )
    )
    assert chosen.teacher.model.cell == "gru"
    assert chosen.student.model.highway


def test_a_profile_that_is_not_text_is_refused(tmp_path: Path):
    (tmp_path / "mine.yaml").write_bytes(b"seed: \xff")
    with pytest.raises(UserError, match=r"mine\.yaml: cannot be read as UTF-8 text"):
        profile.load(str(tmp_path / "mine.yaml"))


def test_an_unknown_profile_is_answered_with_those_there_are():
    with pytest.raises(UserError, match="default, edge, full, retrain, smoke"):
        profile.load("smoek")


def test_an_item_that_is_refused_is_no_second_mistake_of_its_list(written):
    text = "student: {model: {readings: [{kind: rows, margin: 1}]}}"
    with pytest.raises(UserError, match=r"readings\.0: rows have no margin[^;]*\.$"):
        profile.load(written(text))


def test_the_hardware_asked_for_is_not_the_profiles():
    assert profile.load("smoke").hardware.name == "cpu"
    assert profile.load("smoke", "edge").hardware.name == "edge"
    with pytest.raises(UserError, match=r"HARDWARE 'phone': not known\. Give edge, cpu, gpu"):
        profile.load("smoke", "phone")
