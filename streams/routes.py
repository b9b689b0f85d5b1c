"""Which ensembles answer which ticks."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.store.ensembles import Version
from schemas.base import Mode


@dataclass(frozen=True)
class Route:
    """One ensemble: what it covers, and how it is heard."""

    ensemble: str
    tickers: frozenset[str]
    timeframe: str
    mode: Mode
    left: Version | None = None
    """Where it was deleted, the version that served last: it only says that nothing is held any more."""


@dataclass
class Routes:
    """The serving ensembles, by instrument and timeframe. The reconciler replaces them as a whole."""

    _covering: dict[tuple[str, str], tuple[Route, ...]] = field(default_factory=dict)

    def replace(self, routes: Iterable[Route]) -> None:
        """Make these, and no others, the serving ensembles."""
        covering: dict[tuple[str, str], list[Route]] = defaultdict(list)
        for route in sorted(routes, key=lambda each: each.ensemble):
            for ticker in route.tickers:
                covering[ticker, route.timeframe].append(route)
        self._covering = {place: tuple(found) for place, found in covering.items()}

    def covering(self, ticker: str, timeframe: str) -> tuple[Route, ...]:
        """The ensembles that answer a tick, in order of name; empty when none covers it."""
        return self._covering.get((ticker, timeframe), ())


def heard_on(ensemble_mode: Mode, tick_mode: Mode) -> Mode:
    """A replayed tick is answered as a replay whatever the ensemble is; a live tick as the ensemble is."""
    return ensemble_mode if tick_mode == "live" else tick_mode
