import pytest

from schemas.base import Mode
from streams.routes import Route, Routes, heard_on

ALPHA = Route("alpha", frozenset({"AAPL", "MSFT"}), "1d", "live")
BETA = Route("beta", frozenset({"AAPL"}), "1d", "paper")


def test_a_tick_goes_to_every_ensemble_that_covers_it_by_name() -> None:
    routes = Routes()
    routes.replace([BETA, ALPHA])
    assert routes.covering("AAPL", "1d") == (ALPHA, BETA)
    assert routes.covering("MSFT", "1d") == (ALPHA,)
    assert routes.covering("AAPL", "1h") == ()
    assert routes.covering("IBM", "1d") == ()


def test_routes_are_replaced_as_a_whole() -> None:
    routes = Routes()
    routes.replace([ALPHA])
    routes.replace([BETA])
    assert routes.covering("MSFT", "1d") == ()
    assert routes.covering("AAPL", "1d") == (BETA,)


@pytest.mark.parametrize(
    ("ensemble", "tick", "heard"),
    [("live", "live", "live"), ("paper", "live", "paper"), ("live", "replay", "replay"), ("paper", "replay", "replay")],
)
def test_a_live_tick_is_heard_as_the_ensemble_is_and_any_other_as_itself(
    ensemble: Mode, tick: Mode, heard: Mode
) -> None:
    assert heard_on(ensemble, tick) == heard
