"""Drift tests on windows, as Evidently and alibi-detect do them, each as a number that grows with the drift."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from evidently.legacy.calculations.stattests import get_stattest
from evidently.legacy.core import ColumnType
from evidently.legacy.metrics.data_drift.embedding_drift_methods import model
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Floats = NDArray[np.float32]
Statistic = Callable[[Floats], float]


def evidently_columns(name: str, reference: Floats) -> Statistic:
    """The most drifted column by one of Evidently's tests: "ks" (a p) or "wasserstein" (a distance)."""
    columns = [pd.Series(column) for column in reference.T]
    test: Any = get_stattest(columns[0], columns[0], ColumnType.Numerical, name)
    sign = -1 if name == "ks" else 1

    def most_drifted(window: Floats) -> float:
        pairs = zip(columns, window.T, strict=True)
        return max(sign * test(old, pd.Series(new), ColumnType.Numerical, 0.1).drift_score for old, new in pairs)

    return most_drifted


def evidently_embedding(reference: Floats) -> Statistic:
    """Evidently's default for embeddings: how well a linear classifier tells the window from the reference."""
    classifier: Any = model()

    def area_under_roc(window: Floats) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(classifier(pd.DataFrame(window), pd.DataFrame(reference))[0])

    return area_under_roc


def mmd(reference: Floats) -> Statistic:
    """Maximum mean discrepancy, Gaussian kernel of the median distance (Gretton 2012), as alibi-detect's MMDDrift."""
    width = np.median(cdist(reference[:500], reference[:500], "sqeuclidean"))

    def kernel(left: Floats, right: Floats) -> float:
        return float(np.exp(-cdist(left, right, "sqeuclidean") / width).mean())

    among_reference = kernel(reference, reference)

    def discrepancy(window: Floats) -> float:
        return among_reference + kernel(window, window) - 2 * kernel(reference, window)

    return discrepancy
