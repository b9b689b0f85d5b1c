"""Effective votes are the participation ratio of the eigenvalues that LAPACK finds of NumPy's correlation matrix."""

import numpy as np
import pytest

from orchestrator.core.diversity import effective_votes


@pytest.mark.parametrize("members", [2, 3, 10])
@pytest.mark.parametrize("alike", [0.0, 0.5, 3.0])
def test_participation_ratio(members: int, alike: float) -> None:
    random = np.random.default_rng(members)
    predictions = random.normal(size=(members, 200)) + alike * random.normal(size=200)
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(predictions))
    assert effective_votes(list(predictions)) == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())
