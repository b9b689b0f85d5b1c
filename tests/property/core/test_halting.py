"""The kill switch: what is in effect, and what it leaves of a position."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.core.halting import STRICTNESS, Order, effect, first_expiry, in_effect, restrained, standing
from schemas.control import Halt, HaltAction, Lift

NOW = datetime(2026, 1, 15, 21, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ACTIONS: tuple[HaltAction, ...] = ("halt_new", "reduce_only", "flatten")
SCOPES = ("all", "ensemble:alpha", "ticker:AAPL", "ensemble:beta", "ticker:MSFT")
HOLDING = SCOPES[:3]
"""Scopes that alpha's position in AAPL is in."""
sizes = st.integers(-3, 3)
actions = st.sampled_from(ACTIONS)
spans = st.none() | st.integers(-2, 2).map(lambda seconds: NOW + seconds * SECOND)


def halt(scope: str, action: HaltAction = "flatten", epoch: int = 1, expires_at: datetime | None = None) -> Halt:
    return Halt(
        scope=scope, epoch=epoch, actor="desk", issued_at=NOW, action=action, reason="a test", expires_at=expires_at
    )


def lift(scope: str, epoch: int) -> Lift:
    return Lift(scope=scope, epoch=epoch, actor="desk", issued_at=NOW)


halts = st.builds(halt, st.sampled_from(SCOPES), actions, st.integers(0, 5), spans)
orders = st.lists(halts | st.builds(lift, st.sampled_from(SCOPES), st.integers(0, 5)), max_size=8)


def strictness(given_orders: Sequence[Order]) -> int:
    """Of what alpha's position in AAPL is under; 0: nothing."""
    found = effect(in_effect(standing(given_orders), NOW), "alpha", "AAPL")
    return 0 if found is None else STRICTNESS[found.action]


@given(sizes, sizes, actions)
def test_a_halt_never_opens_enlarges_or_turns_round(held: int, wanted: int, action: HaltAction) -> None:
    after = restrained(held, wanted, action)
    assert abs(after) <= min(abs(held), abs(wanted))
    assert after * held >= 0
    assert after == 0 or action != "flatten"


@given(sizes, sizes)
def test_a_stricter_halt_never_leaves_more(held: int, wanted: int) -> None:
    left = [abs(restrained(held, wanted, action)) for action in ACTIONS]
    assert left == sorted(left, reverse=True)


@pytest.mark.parametrize(
    ("held", "wanted", "flatten", "otherwise"),
    [(0, 1, 0, 0), (1, 1, 0, 1), (1, 0, 0, 0), (1, -1, 0, 0), (-1, -1, 0, -1), (-1, 0, 0, 0), (0, 0, 0, 0)],
)
def test_what_is_left_of_a_target(held: int, wanted: int, flatten: int, otherwise: int) -> None:
    assert [restrained(held, wanted, action) for action in ACTIONS] == [otherwise, otherwise, flatten]


@given(st.dictionaries(st.sampled_from(SCOPES), actions))
def test_the_strictest_of_the_scopes_that_hold_a_position_is_in_effect(given_actions: dict[str, HaltAction]) -> None:
    found = effect({scope: halt(scope, action) for scope, action in given_actions.items()}, "alpha", "AAPL")
    applying = [given_actions[scope] for scope in HOLDING if scope in given_actions]
    assert (found and found.action) == max(applying, key=ACTIONS.index, default=None)
    assert found is None or (found.scope in HOLDING and given_actions[found.scope] == found.action)


@given(orders, halts)
def test_a_halt_that_has_expired_changes_nothing_but_that_it_ends_the_one_before_it(
    before: list[Order], late: Halt
) -> None:
    expired = late.model_copy(update={"epoch": 6, "expires_at": NOW})
    ended = [*before, lift(late.scope, 6)]
    assert in_effect(standing([*before, expired]), NOW) == in_effect(standing(ended), NOW)


@given(orders, st.sampled_from(SCOPES))
def test_a_lift_ends_the_halt_of_its_scope_and_no_other(before: list[Order], scope: str) -> None:
    kept = in_effect(standing(before), NOW)
    kept.pop(scope, None)
    assert in_effect(standing([*before, lift(scope, 6)]), NOW) == kept


@given(orders, st.randoms())
@example([halt("all"), halt("all", expires_at=NOW - SECOND)], Random(1))
def test_the_order_in_which_messages_come_does_not_matter(given_orders: list[Order], random: Random) -> None:
    shuffled = [*given_orders]
    random.shuffle(shuffled)
    assert strictness(shuffled) == strictness(given_orders)
    epochs = {scope: order.epoch for scope, order in standing(given_orders).items()}
    assert epochs == {scope: order.epoch for scope, order in standing(shuffled).items()}


@given(orders, halts)
def test_an_older_epoch_changes_nothing(given_orders: list[Order], old: Halt) -> None:
    newer = [order.model_copy(update={"epoch": order.epoch + 10}) for order in [*given_orders, halt(old.scope)]]
    assert standing([*newer, old]) == standing(newer)


def test_of_two_messages_with_one_epoch_the_stricter_stands_and_then_the_later() -> None:
    ended, weak, strict = lift("all", 3), halt("all", "halt_new", 3), halt("all", "flatten", 3)
    later = strict.model_copy(update={"issued_at": NOW + SECOND, "reason": "another"})
    for given_orders, stands in (((weak, ended), weak), ((strict, weak, ended), strict), ((later, strict), later)):
        assert standing(given_orders) == {"all": stands}


@given(st.lists(halts))
def test_nothing_changes_by_itself_before_the_first_expiry(given_halts: list[Halt]) -> None:
    known = standing(given_halts)
    now = in_effect(known, NOW)
    until = first_expiry(now)
    if until is None:
        assert in_effect(known, NOW + timedelta(days=9)) == now
    else:
        assert in_effect(known, until - timedelta(microseconds=1)) == now
        assert in_effect(known, until) != now
