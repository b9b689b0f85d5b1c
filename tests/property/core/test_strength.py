import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.core.scoring import score_history
from orchestrator.core.strength import calibrated, signed_rank

number = st.integers(-50, 50).map(float)
past = st.lists(number, min_size=1, max_size=60)
present = st.lists(number, min_size=2, max_size=20)


@given(past, present)
def test_strength_and_score_are_within_one_and_never_fall_as_the_prediction_rises(
    reference: list[float], predicted: list[float]
) -> None:
    ascending = np.sort(np.array(predicted))
    for answer in (
        signed_rank(ascending, np.sort(np.abs(reference))),
        calibrated(ascending, np.sort(np.array(reference))),
    ):
        assert (np.abs(answer) <= 1).all()
        assert (np.diff(answer) >= 0).all()


@given(past, present)
def test_turning_every_sign_turns_the_answer(reference: list[float], predicted: list[float]) -> None:
    values, known = np.array(predicted), np.array(reference)
    assert (signed_rank(-values, np.sort(np.abs(known))) == -signed_rank(values, np.sort(np.abs(known)))).all()
    turned = calibrated(-values, np.sort(-known))
    np.testing.assert_allclose(turned, -calibrated(values, np.sort(known)), atol=1e-15)


@given(st.lists(st.integers(-50, 50).filter(bool), min_size=3, max_size=40, unique_by=abs))
def test_the_score_of_one_model_is_the_rank_of_its_strength(reference: list[int]) -> None:
    known = np.sort(np.array(reference, dtype=float))
    strength = signed_rank(known, np.sort(np.abs(known)))
    np.testing.assert_allclose(calibrated(strength, np.sort(strength)), calibrated(known, known), atol=1e-15)


@given(st.lists(st.integers(1, 8), min_size=2, max_size=5), st.integers(0, 2**32 - 1), st.floats(0.001, 1000))
def test_scores_are_causal_and_do_not_depend_on_the_scale(lengths: list[int], seed: int, scale: float) -> None:
    fold = np.repeat(np.arange(len(lengths)), lengths)
    prediction = np.random.default_rng(seed).normal(size=len(fold))
    scores = score_history(prediction, fold)
    assert np.isnan(scores[fold == 0]).all()
    assert np.isfinite(scores[fold > 0]).all()
    np.testing.assert_array_equal(score_history(prediction * scale, fold), scores)
    for start in np.flatnonzero(np.diff(fold)) + 1:
        np.testing.assert_array_equal(score_history(prediction[:start], fold[:start]), scores[:start])
    later = prediction + (fold == fold[-1])
    assume(len(lengths) > 1)
    before = fold < fold[-1]
    np.testing.assert_array_equal(score_history(later, fold)[before], scores[before])
