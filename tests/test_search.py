"""The search: it starts from the teacher's own settings, and says so when it cannot."""

import pytest

from inkloop.errors import UserError
from inkloop.search import Trial, TuningSettings, own_choice, trials_page, with_choice
from inkloop.training import TrainingSettings


def test_the_first_trial_is_the_settings_as_they_are():
    training = TrainingSettings(learning_rate=2e-3, batch_size=64)
    assert with_choice(training, own_choice(training, TuningSettings())) == training


def test_a_space_without_the_teachers_batch_size_is_refused_by_name():
    with pytest.raises(UserError, match=r"tuning.batch_size: \[64\] lacks the teacher's own 128"):
        own_choice(TrainingSettings(batch_size=128), TuningSettings(batch_size=(64,)))


def test_a_person_sees_every_trial_best_first():
    trials = [Trial({"learning_rate": 0.004}, 2, 0.97), Trial({"learning_rate": 0.001}, 1, 0.91)]
    page = trials_page(trials)
    assert page.index("97.00%") < page.index("91.00%")
