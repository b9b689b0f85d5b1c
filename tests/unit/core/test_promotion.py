from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from orchestrator.core.arrays import Floats
from orchestrator.core.performance import Account, Bar, Following, Line
from orchestrator.core.promotion import Promote, Retire, Wait, better, demotion, judge, judge_canary, paired
from schemas.policies import PerformanceRule, PromotionRule
from tests.unit.core.test_bands import verdict

FIRST = datetime(2026, 1, 5, 21, tzinfo=UTC)
NOISE = np.random.default_rng(4).normal(0.0, 0.01, 60)
NOISE -= NOISE.mean()
RULE = PromotionRule()
FOLLOWING = Following(cost=0.0, delay=1, share=1.0)


def session(number: int) -> datetime:
    return FIRST + timedelta(days=number)


def account(profit: dict[int, float], **under_way: tuple[int, ...]) -> Account:
    lines = {
        name: Line(
            newest=(session(numbers[-1]), 0),
            held=1,
            bars=tuple(Bar(session(number), 1, 10.0, session(number), FOLLOWING) for number in numbers),
        )
        for name, numbers in under_way.items()
    }
    return Account(lines=lines, profit={session(number): each for number, each in profit.items()})


def test_sessions_are_paired_that_both_have_settled_whole() -> None:
    champion = account(dict.fromkeys(range(12), 1.0), aapl=(12, 13, 14))
    challenger = account({number: 1.0 + number for number in range(5, 12) if number != 8}, aapl=(11, 12, 13))
    # Of 5 it may have seen a part only, 8 it has not seen, and of 11 not all is settled.
    assert paired(champion, challenger).tolist() == [6.0, 7.0, 9.0, 10.0]
    assert paired(champion, Account()).tolist() == []


def test_an_instrument_that_has_stopped_is_not_waited_for() -> None:
    champion = account(dict.fromkeys(range(12), 1.0), gone=(1, 2, 3), aapl=(12, 13, 14))
    assert len(paired(champion, champion)) == 11
    halted = account(dict.fromkeys(range(12), 1.0), gone=(7, 8, 9), aapl=(12, 13, 14))
    assert len(paired(halted, halted)) == 6


@pytest.mark.parametrize("difference", [np.zeros(60), np.full(60, 0.001), NOISE[:1], NOISE[:0]])
def test_differences_that_do_not_vary_say_nothing(difference: Floats) -> None:
    assert better(difference) is None


def test_the_probability_is_students_where_nothing_goes_on() -> None:
    difference = np.tile([0.03, -0.01], 20)
    expected = 1 - ttest_1samp(difference, 0.0, alternative="greater").pvalue
    assert better(difference) == pytest.approx(expected, rel=1e-9)
    assert better(-difference) == pytest.approx(1 - expected, rel=1e-6)


def test_one_that_is_better_is_promoted_at_the_first_look_that_shows_it() -> None:
    found = judge(NOISE + 0.02, RULE, passed=True)
    assert isinstance(found, Promote)
    assert (found.look, found.reasons[0].code) == (1, "better")
    late = judge(np.concatenate([NOISE[:20] - NOISE[:20].mean(), NOISE[20:] + 0.02]), RULE, passed=True)
    assert isinstance(late, Promote)
    assert late.look == 2


def test_one_that_is_worse_is_retired_at_once_and_one_that_is_not_better_in_the_end() -> None:
    worse = judge(NOISE - 0.02, RULE, passed=True)
    assert isinstance(worse, Retire)
    assert (worse.look, worse.reasons[0].code) == (1, "worse")
    equal = judge(NOISE, RULE, passed=True)
    assert isinstance(equal, Retire)
    assert (equal.look, equal.reasons[0].code) == (3, "not_better")
    same = judge(np.zeros(60), RULE, passed=True)
    assert isinstance(same, Retire)
    assert same.look == 3


@pytest.mark.parametrize(("seen", "due"), [(0, 20), (19, 20), (20, 40), (59, 60)])
def test_between_looks_nothing_is_decided(seen: int, due: int) -> None:
    found = judge(NOISE[:seen], RULE, passed=True)
    assert isinstance(found, Wait)
    assert found.sessions == due


def test_who_looks_late_finds_what_was_found_in_time() -> None:
    early = np.concatenate([NOISE[:20] + 0.02, NOISE[20:] - 0.2])
    assert judge(early, RULE, passed=True) == judge(early[:20], RULE, passed=True)
    assert judge(early[:47], RULE, passed=True) == judge(early[:20], RULE, passed=True)


def test_no_rule_promotes_what_the_gate_has_refused() -> None:
    found = judge(NOISE + 0.02, RULE, passed=False)
    assert isinstance(found, Retire)
    assert [reason.code for reason in found.reasons] == ["gate_refused", "looked"]


def test_a_canary_is_promoted_as_long_as_it_is_better() -> None:
    good, fallen = NOISE + 0.02, np.concatenate([NOISE[:20] + 0.02, NOISE[20:] - 0.2])
    assert isinstance(judge_canary(good[:24], 20, RULE), Wait)
    assert isinstance(judge_canary(good[:25], 20, RULE), Promote)
    assert isinstance(judge_canary(fallen[:25], 20, RULE), Retire)


def test_a_version_below_its_band_is_taken_back() -> None:
    rule = PerformanceRule(sessions=60)
    band, reasons = demotion(NOISE - 0.006, verdict(), rule, 252)
    assert [reason.code for reason in reasons] == ["below_band"]
    assert band is not None
    assert band.figure < band.low
    assert demotion(NOISE + 0.001, verdict(), rule, 252)[1] == ()
    assert demotion(NOISE[:59], verdict(), rule, 252) == (None, ())
