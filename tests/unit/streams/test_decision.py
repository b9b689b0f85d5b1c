"""What a signal says beside the position."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from orchestrator.core.calendar import calendar_named
from streams.decision import Moment, must_be_flat
from streams.memory import Answered
from tests.unit.streams.fakes import MEMBERS, MISSING, NOW, bar, batch_answer, decided, tick

MOMENT = Moment(now=NOW, valid_until=NOW + timedelta(hours=1), must_be_flat=False)
FLAT = Moment(now=NOW, valid_until=NOW + timedelta(hours=1), must_be_flat=True)
LONG = Answered(bar(0), 0, "0" * 32, 1, 0)
NAN = float("nan")


def says(score: float, newest: Answered | None = None, moment: Moment = MOMENT, **answer: Any) -> Any:
    """The signal of the second bar."""
    signal, _ = decided(tick(1), batch_answer(np.array([score]), ["AAPL"], **answer), 0, newest, moment)
    return signal


def test_a_signal_carries_what_the_ensemble_says_of_its_row() -> None:
    answer = batch_answer(np.array([0.1, -0.8]), ["AAPL", "AAPL"])
    signal, _ = decided(tick(1), answer, 1, None, MOMENT)
    assert (signal.score, signal.confidence, signal.p_correct, signal.edge_bps) == (-0.8, 0.8, 0.55, -8.0)
    assert [(vote.member, vote.vote, vote.predicted_return) for vote in signal.votes] == [
        (member, "SELL", -0.0008) for member in MEMBERS
    ]
    assert (signal.num_models, signal.voting_method, signal.version, signal.gate) == (2, "soft", 1, "passed")
    assert (signal.emitted_at, signal.valid_until) == (MOMENT.now, MOMENT.valid_until)
    assert (signal.experiment, signal.calibration_id) == (answer.experiment, "2026-01-14")


def test_a_signal_carries_the_price_of_its_tick() -> None:
    answer = batch_answer(np.array([0.9]), ["AAPL"])
    priced, _ = decided(tick(1).model_copy(update={"price": 101.25}), answer, 0, None, MOMENT)
    assert (priced.price, says(0.9).price) == (101.25, None)


def test_the_age_of_the_model_is_the_time_from_its_training_to_the_bar_and_never_negative() -> None:
    assert says(0.9).model_age == timedelta(hours=25).total_seconds()
    answer = batch_answer(np.array([0.9]), ["AAPL"])
    signal, _ = decided(tick(-30), answer, 0, None, MOMENT)
    assert signal.model_age == 0


def test_an_abstention_has_no_opinion_no_votes_and_says_why() -> None:
    signal = says(NAN, LONG)
    assert (signal.signal, signal.target_position, signal.score, signal.votes) == ("HOLD", None, None, ())
    assert (signal.confidence, signal.num_models) == (0, 0)
    assert signal.reasons == MISSING


def test_where_the_position_must_be_flat_even_an_abstention_closes_it() -> None:
    signal = says(NAN, LONG, FLAT)
    assert (signal.signal, signal.target_position) == ("SELL", 0)
    assert [reason.code for reason in signal.reasons] == ["missing_feature", "flat_at_close"]


@pytest.mark.parametrize(("newest", "said"), [(LONG, "SELL"), (None, "HOLD")])
def test_of_an_instrument_that_the_version_does_not_cover_nothing_is_held(newest: Answered | None, said: str) -> None:
    signal = says(NAN, newest, covered=[False])
    assert (signal.signal, signal.target_position) == (said, 0)
    assert signal.reasons[-1].code == "not_covered"


def test_while_trading_is_halted_it_abstains_and_says_why() -> None:
    halted = tick(1).model_copy(update={"trading_status": "halted"})
    signal, answered = decided(halted, batch_answer(np.array([-0.9]), ["AAPL"]), 0, LONG, MOMENT)
    assert (signal.signal, signal.target_position, answered.position) == ("HOLD", None, 1)
    assert [reason.code for reason in signal.reasons] == ["trading_halted"]
    signal, _ = decided(halted, batch_answer(np.array([-0.9]), ["AAPL"]), 0, LONG, FLAT)
    assert (signal.signal, signal.target_position) == ("SELL", 0)


@pytest.mark.parametrize(
    ("score", "said"), [(0.9, "HOLD"), (0.5, "HOLD"), (0.2, "SELL"), (-0.5, "SELL"), (-0.9, "SELL")]
)
def test_from_a_long_position(score: float, said: str) -> None:
    assert says(score, LONG).signal == said


def test_a_revision_that_abstains_leaves_what_the_revision_before_has_said() -> None:
    answer = batch_answer(np.array([NAN]), ["AAPL"])
    signal, answered = decided(tick(0, None, revision=1), answer, 0, LONG, MOMENT)
    assert (signal.signal, signal.target_position, signal.supersedes) == ("HOLD", None, LONG.signal_id)
    assert (answered.position, answered.position_before) == (1, 0)


def test_a_new_bar_supersedes_nothing() -> None:
    assert says(0.9, LONG).supersedes is None


@pytest.mark.parametrize(
    ("policy", "minutes", "flat"),
    [
        ("hold", 0, False),
        ("flat_at_close", 15, False),
        ("flat_at_close", 10, False),
        ("flat_at_close", 5, True),
        ("flat_at_close", 0, True),
    ],
)
def test_flat_at_close_forbids_what_would_be_held_over_the_close(policy: Any, minutes: int, flat: bool) -> None:
    """A position decided at a bar's close is taken a bar later and held for one. `minutes` are left to the close."""
    close = datetime(2026, 1, 15, 21, tzinfo=UTC)
    on = tick(event_time=close - timedelta(minutes=minutes)).model_copy(update={"timeframe": "5m"})
    answer = batch_answer(np.array([0.9]), ["AAPL"], session_policy=policy)
    assert must_be_flat(on, answer, calendar_named("XNYS")) == flat
