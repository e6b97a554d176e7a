"""The search: it starts from the teacher's own settings, and says so when it cannot."""

from inkloop.search import Trial, TuningSettings, own_choice, trials_page, with_choice
from inkloop.training import TrainingSettings


def test_the_first_trial_is_the_settings_as_they_are():
    training = TrainingSettings(learning_rate=2e-3, batch_size=64)
    assert with_choice(training, own_choice(training)) == training


def test_the_teachers_own_batch_size_is_always_in_the_space():
    space = TuningSettings(batch_size=(64,)).space(TrainingSettings(batch_size=128))
    assert space["batch_size"] == (64, 128)


def test_a_person_sees_every_trial_best_first():
    trials = [Trial({"learning_rate": 0.004}, 2, 0.97), Trial({"learning_rate": 0.001}, 1, 0.91)]
    page = trials_page(trials)
    assert page.index("97.00%") < page.index("91.00%")
