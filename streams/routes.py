"""Which ensembles answer which ticks."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from orchestrator.store.ensembles import Version
from schemas.base import Mode
from serving.version import ServedVersion, slot_beside


@dataclass(frozen=True)
class Route:
    """One ensemble, or its challenger: what it covers, and how it is heard."""

    ensemble: str
    tickers: frozenset[str]
    timeframe: str
    mode: Mode
    left: Version | None = None
    """Where it was deleted, the version that served last: it only says that nothing is held any more."""
    challenger: int | None = None
    """The version that is on trial, where that is asked; None: the one that serves."""
    canary: bool = False
    """The challenger is heard here instead of the one that serves: each as `mode` says, whatever version answers."""

    @cached_property
    def slot(self) -> str:
        """Where it is asked."""
        return self.ensemble if self.challenger is None else slot_beside(self.ensemble, self.challenger)

    @cached_property
    def aside(self) -> bool:
        """It is compared with what is heard, and is not heard itself."""
        return self.mode == "shadow" and self.on_trial

    @property
    def on_trial(self) -> bool:
        """Another is asked about the same ticks."""
        return self.canary or self.challenger is not None

    def heard(self, served: ServedVersion) -> Mode:
        """How an answer is heard: as the version is that gave it, but for the two that have changed places."""
        changed = self.canary and (self.mode == "shadow" or served.version == self.challenger)
        return self.mode if changed else served.mode

    def answers(self, tick_mode: Mode) -> bool:
        """Whether it is asked about ticks of this mode: a challenger about live ones alone, since what is said to
        others is heard in one place, whoever says it."""
        return self.challenger is None or tick_mode == "live"


@dataclass
class Routes:
    """The serving ensembles, by instrument and timeframe. The reconciler replaces them as a whole."""

    _covering: dict[tuple[str, str], tuple[Route, ...]] = field(default_factory=dict)

    def replace(self, routes: Iterable[Route]) -> None:
        """Make these, and no others, the serving ensembles."""
        covering: dict[tuple[str, str], list[Route]] = defaultdict(list)
        for route in sorted(routes, key=lambda each: (each.ensemble, each.challenger or 0)):
            for ticker in route.tickers:
                covering[ticker, route.timeframe].append(route)
        self._covering = {place: tuple(found) for place, found in covering.items()}

    def covering(self, ticker: str, timeframe: str) -> tuple[Route, ...]:
        """The ensembles that answer a tick, in order of name, each before its challenger; empty when none covers it."""
        return self._covering.get((ticker, timeframe), ())


def heard_on(ensemble_mode: Mode, tick_mode: Mode) -> Mode:
    """A replayed tick is answered as a replay whatever the ensemble is; a live tick as the ensemble is."""
    return ensemble_mode if tick_mode == "live" else tick_mode
