from itertools import pairwise

import numpy as np
import pytest

from inkloop.corruptions import corrupt
from monitoring.drift.features import NAMES, basis_of, features


@pytest.fixture(scope="module")
def pictures(mnist):
    return mnist["validation"].images[:500]


@pytest.fixture(scope="module")
def basis(pictures):
    return basis_of(pictures)


@pytest.fixture(scope="module")
def answers(pictures):
    drawn = np.random.default_rng(0).dirichlet(np.full(10, 0.1), len(pictures))
    return drawn.astype(np.float32)


def columns(images, answers, basis):
    return dict(zip(NAMES, features(images, answers, basis).T, strict=True))


def test_a_pictures_features_do_not_depend_on_what_stands_beside_it(pictures, answers, basis):
    together = features(pictures, answers, basis)
    cuts = [0, 1, 2, 9, 140, 141, 500]
    parts = [features(pictures[start:end], answers[start:end], basis) for start, end in pairwise(cuts)]
    assert np.array_equal(together, np.concatenate(parts))


def test_moments_are_those_of_the_ink(pictures, answers, basis):
    found = columns(pictures[:1], answers[:1], basis)
    ink = pictures[0] / pictures[0].sum()
    down, across = np.mgrid[:28, :28] - 13.5
    center, middle = (ink * down).sum(), (ink * across).sum()
    assert found["vertical center"][0] == pytest.approx(center, abs=1e-3)
    assert found["height"][0] == pytest.approx((ink * (down - center) ** 2).sum(), rel=1e-3)
    assert found["slant"][0] == pytest.approx((ink * (down - center) * (across - middle)).sum(), abs=1e-2)


def test_novelty_is_what_the_principal_components_leave(pictures, answers, basis):
    pixels = pictures.reshape(len(pictures), -1) - basis.mean
    rest = pixels - pixels @ basis.components @ basis.components.T
    assert columns(pictures, answers, basis)["novelty"] == pytest.approx((rest**2).sum(1), rel=1e-3)


def test_each_corruption_moves_the_feature_a_person_would_name(pictures, answers, basis):
    before = columns(pictures, answers, basis)
    expected = {
        "brightness": "border ink",
        "stripe": "novelty",
        "impulse noise": "border ink",
        "glass blur": "gray",
    }
    for corruption, feature in expected.items():
        after = columns(corrupt(pictures, corruption, seed=0), answers, basis)
        assert np.median(after[feature]) > np.quantile(before[feature], 0.99), corruption
    scaled = columns(corrupt(pictures, "scale", seed=0), answers, basis)
    assert np.median(scaled["height"]) < np.quantile(before["height"], 0.1)


def test_the_answer_and_its_doubt_are_features(pictures, basis):
    sure, unsure = np.eye(10, dtype=np.float32)[[3]], np.full((1, 10), 0.1, np.float32)
    certain, uncertain = (columns(pictures[:1], answer, basis) for answer in (sure, unsure))
    assert certain["answer 3"] == 1
    assert certain["answer 4"] == 0
    assert certain["margin"] > 10
    assert uncertain["margin"] == 0
    assert uncertain["entropy"] == pytest.approx(np.log(10), rel=1e-5)
    assert certain["entropy"] == 0


def test_an_empty_picture_has_finite_features(answers, basis):
    assert np.isfinite(features(np.zeros((1, 28, 28), np.uint8), answers[:1], basis)).all()
