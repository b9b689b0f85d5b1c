"""Ticks while a challenger is on trial: of each, one signal is heard, of one version; what the other says is apart."""

from collections.abc import Iterable
from datetime import timedelta

import pytest

from orchestrator.core.versions import VersionState
from orchestrator.store.ensembles import Coverage, Version
from schemas.base import Mode
from schemas.signals import Signal, TickSkipped
from schemas.topics import SIGNALS, SIGNALS_PAPER, SIGNALS_REPLAY, SIGNALS_SHADOW
from serving.version import ServedVersion
from streams import asking
from streams.deploying import routes_of
from streams.routes import Route
from streams.served import beside
from tests.contracts.store.makers import proposal
from tests.unit.streams.fakes import NOW, FakeAnswerer, record, served, tick
from tests.unit.streams.test_ticking import Line

PAIR = ("AAPL", "MSFT")
SLOT = "alpha@2"


def version(number: int, mode: Mode = "live", tickers: tuple[str, ...] = PAIR, canary: tuple[str, ...] = ()) -> Version:
    proposed = vars(proposal(f"experiment-{number}", "alpha", mode=mode, tickers=tickers, timeframe="1h"))
    state = VersionState.SHADOWING if mode == "shadow" else VersionState.DEPLOYED
    return Version(
        **proposed,
        version=number,
        state=state,
        reasons=(),
        proposed_at=NOW,
        deployed_at=None,
        ended_at=None,
        canary=canary,
    )


class Trial(Line):
    """A tick path on which version 2 of `alpha` is on trial beside version 1."""

    def __init__(self) -> None:
        super().__init__()
        self.answerer = FakeAnswerer({"alpha": served("alpha"), SLOT: beside(version(2, "shadow"))})
        self.path = self.path_to(self.publisher)
        self.hear()

    def hear(self, *canary: str, tickers: tuple[str, ...] = PAIR, mode: Mode = "live") -> None:
        """Have the challenger heard on these instruments."""
        challenger = version(2, "shadow", tickers, canary)
        self.replace({"alpha": version(1, mode)}, {"alpha": challenger})

    def replace(self, current: dict[str, Version], challengers: dict[str, Version]) -> None:
        covered = [Coverage("alpha", PAIR, "1h")]
        self.routes.replace(routes_of(current, {}, covered, challengers))

    def promoted(self) -> None:
        """Version 2 serves."""
        self.answerer.versions["alpha"] = served("alpha", 2)
        self.replace({"alpha": version(2)}, {})

    def heard(self, topic: str = SIGNALS.name) -> list[tuple[str, int, int | None]]:
        """Instrument, version and target of the signals there."""
        return [
            (each.ticker, each.version, each.target_position) for each in self.said(topic) if isinstance(each, Signal)
        ]

    async def take(self, hours: int, *scores: float | None, mode: Mode = "live") -> None:
        ticks = [tick(hours, score, ticker=ticker, mode=mode) for ticker, score in zip(PAIR, scores, strict=False)]
        await self.path.take([record(each, 10 * hours + number) for number, each in enumerate(ticks)])


@pytest.fixture
def trial() -> Trial:
    return Trial()


def of_each(found: Iterable[tuple[str, int, int | None]]) -> list[tuple[str, int]]:
    return sorted((ticker, number) for ticker, number, _ in found)


async def test_a_challenger_answers_the_same_ticks_in_shadow(trial: Trial) -> None:
    await trial.take(0, 0.9, -0.9)
    assert trial.heard() == [("AAPL", 1, 1), ("MSFT", 1, -1)]
    assert trial.heard(SIGNALS_SHADOW.name) == [("AAPL", 2, 1), ("MSFT", 2, -1)]
    await trial.path.take([record(tick(0, 0.9), 0)])
    assert len(trial.said()) == len(trial.said(SIGNALS_SHADOW.name)) == 2


async def test_where_a_canary_is_heard_the_two_change_places_and_the_position_goes_over(trial: Trial) -> None:
    await trial.take(0, 0.9, 0.9)
    trial.hear("MSFT")
    # Not strong enough to enter, nor weak enough to leave: what is held is held on, by whoever is heard.
    await trial.take(1, 0.5, 0.5)
    assert sorted(trial.heard()[2:]) == [("AAPL", 1, 1), ("MSFT", 2, 1)]
    assert sorted(trial.heard(SIGNALS_SHADOW.name)[2:]) == [("AAPL", 2, 1), ("MSFT", 1, 0)]
    trial.hear()
    await trial.take(2, 0.5, 0.5)
    assert sorted(trial.heard()[4:]) == [("AAPL", 1, 1), ("MSFT", 1, 1)]
    await trial.take(3, -0.9, -0.9)
    trial.promoted()
    await trial.take(4, -0.5, -0.5)
    assert trial.heard()[8:] == [("AAPL", 2, -1), ("MSFT", 2, -1)]
    heard = [(each.ticker, each.event_time) for each in trial.signals]
    assert len(heard) == len(set(heard)) == 10


async def test_a_version_that_takes_the_place_while_it_is_a_canary_is_heard_once(trial: Trial) -> None:
    trial.hear("MSFT")
    # Its replica serves it already, and the routes do not say so yet.
    trial.answerer.versions["alpha"] = served("alpha", 2)
    await trial.take(0, 0.9, 0.9)
    assert of_each(trial.heard()) == [("AAPL", 2), ("MSFT", 2)]
    trial.promoted()
    await trial.take(1, 0.9, 0.9)
    assert of_each(trial.heard()[2:]) == [("AAPL", 2), ("MSFT", 2)]


async def test_whose_turn_it_is_is_said_by_the_routes_of_when_the_tick_came(trial: Trial) -> None:
    trial.answerer.absent["alpha"] = 1
    trial.answerer.on_absence = lambda: trial.hear("AAPL", "MSFT")
    await trial.take(0, 0.9, 0.9)
    assert of_each(trial.heard()) == [("AAPL", 1), ("MSFT", 1)]
    assert of_each(trial.heard(SIGNALS_SHADOW.name)) == [("AAPL", 2), ("MSFT", 2)]
    await trial.take(1, 0.9, 0.9)
    assert of_each(trial.heard()[2:]) == [("AAPL", 2), ("MSFT", 2)]


async def test_a_challenger_does_not_answer_replays(trial: Trial) -> None:
    trial.hear("MSFT")
    await trial.take(0, 0.9, 0.9, mode="replay")
    assert of_each(trial.heard(SIGNALS_REPLAY.name)) == [("AAPL", 1), ("MSFT", 1)]
    assert trial.publisher.on(SIGNALS_SHADOW.name) == trial.publisher.on(SIGNALS.name) == []


async def test_a_new_trial_begins_with_nothing_held(trial: Trial) -> None:
    await trial.take(0, 0.9)
    trial.answerer.versions["alpha@3"] = ServedVersion("alpha", 3, f"{3:064x}", "shadow", "passed", beside=True)
    trial.replace({"alpha": version(1)}, {"alpha": version(3, "shadow")})
    await trial.take(1, 0.5)
    await trial.take(2, 0.9)
    await trial.take(3, 0.5)
    assert trial.heard(SIGNALS_SHADOW.name) == [("AAPL", 2, 1), ("AAPL", 3, 0), ("AAPL", 3, 1), ("AAPL", 3, 1)]


async def test_a_challenger_that_does_not_answer_holds_nobody_up_for_long(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "GLANCE", timedelta(seconds=0.01))
    monkeypatch.setattr(asking, "HARDLY", timedelta(seconds=0.01))
    del trial.answerer.versions[SLOT]
    await trial.take(0, 0.9, 0.9)
    assert of_each(trial.heard()) == [("AAPL", 1), ("MSFT", 1)]
    skipped = [each for each in trial.said(SIGNALS_SHADOW.name) if isinstance(each, TickSkipped)]
    assert [(each.ticker, each.reason) for each in skipped] == [("AAPL", "ttl"), ("MSFT", "ttl")]
    assert not trial.pulse.degraded


async def test_where_a_canary_does_not_answer_the_champion_is_heard(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "GLANCE", timedelta(seconds=0.01))
    monkeypatch.setattr(asking, "HARDLY", timedelta(seconds=0.01))
    trial.hear("MSFT")
    for hours in (0, 1):
        challenger = trial.answerer.versions.pop(SLOT)
        await trial.take(hours, 0.9, 0.9)
        assert of_each(trial.heard()[2 * hours :]) == [("AAPL", 1), ("MSFT", 1)]
        assert trial.pulse.degraded
        trial.answerer.versions[SLOT] = challenger
    await trial.take(2, 0.9, 0.9)
    assert of_each(trial.heard()[4:]) == [("AAPL", 1), ("MSFT", 2)]
    assert not trial.pulse.degraded


async def test_a_version_on_paper_is_not_heard_live_since_a_canary_is(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "GLANCE", timedelta(seconds=0.01))
    trial.hear("MSFT")
    del trial.answerer.versions[SLOT]
    trial.answerer.versions["alpha"] = served("alpha", 1, "paper")
    await trial.take(0, 0.9, 0.9)
    assert trial.heard() == []
    assert of_each(trial.heard(SIGNALS_PAPER.name)) == [("AAPL", 1), ("MSFT", 1)]


@pytest.mark.parametrize("mode", ["live", "paper"])
def test_every_instrument_is_heard_once_however_the_two_cover_it(mode: Mode) -> None:
    covered = [Coverage("alpha", ("AAPL", "MSFT", "IBM"), "1h"), Coverage("alpha", ("AAPL",), "1d")]
    challenger = version(2, "shadow", ("MSFT", "AAPL", "TSLA"), ("MSFT",))
    found = routes_of({"alpha": version(1, mode)}, {}, covered, {"alpha": challenger})
    assert {(route.challenger, route.mode, *sorted(route.tickers), route.timeframe) for route in found} == {
        (None, mode, "AAPL", "IBM", "1h"),
        (None, "shadow", "MSFT", "1h"),
        (2, "shadow", "AAPL", "TSLA", "1h"),
        (2, mode, "MSFT", "1h"),
        (None, mode, "AAPL", "1d"),
    }
    assert [route.slot for route in found if route.challenger] == [SLOT, SLOT]
    assert routes_of({}, {}, covered, {"alpha": challenger}) == []


def test_who_is_asked_aside_is_who_is_not_heard() -> None:
    everywhere = frozenset(PAIR)
    plain = Route("alpha", everywhere, "1h", "shadow")
    assert not plain.aside
    assert Route("alpha", everywhere, "1h", "shadow", canary=True).aside
    assert Route("alpha", everywhere, "1h", "shadow", challenger=2).aside
    assert not Route("alpha", everywhere, "1h", "live", challenger=2, canary=True).aside
