"""The laboratory: variants that differ in one thing, trials that are kept, verdicts that follow from figures."""

import numpy as np
import pytest
import torch

from benchmarks.lab import claims, trial, variants
from benchmarks.lab.claims import Claim, Finding, verdict
from benchmarks.lab.trial import Scale
from inkloop.control import Control, ControlSettings
from inkloop.model import Recognizer, normalize

GAIN = Claim("augmentation", "+3.7 points", "gain", 3.7, "augmented", "attention Bi-LSTM")
TINY = Scale("quick", images=100, epochs=1)


@pytest.fixture(scope="module")
def declared():
    return {variant.name: variant for variant in variants.declared()}


def test_every_variant_differs_from_the_base_and_reads_a_digit(declared, test_digits):
    images = normalize(torch.from_numpy(test_digits.images[:2]))
    for name, variant in declared.items():
        assert (variant == variants.BASE) == (name == variants.BASE.name)
        model = Control(variant.model) if isinstance(variant.model, ControlSettings) else Recognizer(variant.model)
        assert model.eval()(images).logits.shape == (2, 10)


def test_every_claim_compares_variants_that_there_are(declared):
    for claim in (*claims.CLAIMS, *claims.QUESTIONS):
        assert {claim.variant, claim.against or claim.variant} <= set(declared), claim.text


@pytest.mark.parametrize(
    ("claim", "low", "high", "expected"),
    [
        (GAIN, 1.9, 5.0, "reproduced"),
        (GAIN, 1.0, 5.0, "not decidable here"),
        (GAIN, -0.2, 1.8, "refuted"),
        (Claim("LSTM", "97.3%", "accuracy", 97.3, "described LSTM"), 98.9, 99.0, "reproduced"),
        (Claim("LSTM", "97.3%", "accuracy", 97.3, "described LSTM"), 90.0, 91.0, "refuted"),
        (Claim("slower", "1.8 times", "time", 1.8, "batches of 64", "attention Bi-LSTM"), 1.65, 1.95, "reproduced"),
        (Claim("slower", "1.8 times", "time", 1.8, "batches of 64", "attention Bi-LSTM"), 1.1, 1.3, "refuted"),
    ],
)
def test_a_verdict_follows_from_the_interval(claim, low, high, expected):
    assert verdict(claim, Finding((low + high) / 2, low, high, ()), is_full=True) == expected


def test_short_training_refutes_no_accuracy():
    claim = Claim("LSTM", "97.3%", "accuracy", 97.3, "described LSTM")
    assert verdict(claim, Finding(90, 89, 91, (90,)), is_full=False) == "not decidable here"


def test_the_interval_over_seeds_is_students():
    found = claims.over_seeds([1.0, 2.0, 3.0])
    assert (found.mean, round(found.high - found.mean, 3)) == (2.0, 2.484)


def test_a_trial_is_kept_and_says_again_which_digits_it_read(declared, train_digits, test_digits, tmp_path):
    done = trial.run(declared["one-way RNN"], 0, TINY, train_digits, test_digits, {"test": test_digits})
    trial.keep(done, tmp_path)
    (kept,) = trial.kept(tmp_path).values()
    assert kept == done
    right = kept.is_right("test", len(test_digits))
    assert right.sum() == np.trace(np.array(kept.confusion))
    assert trial.digest_of(declared["one-way RNN"], 1, TINY) != kept.digest


def test_a_trial_repeats_bit_for_bit(declared, train_digits, test_digits):
    once, again = (
        trial.run(declared["augmented"], 3, TINY, train_digits, test_digits, {"test": test_digits}) for _ in range(2)
    )
    assert (once.right, once.validation_accuracy) == (again.right, again.validation_accuracy)
