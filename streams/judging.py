"""What a decoded search request amounts to here: admission against what is installed and what there is to read."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.algorithms.base import Trainer, registered
from orchestrator.core.admission import STRATEGY_FIELDS, Defaults, Limits, admit, trials_of
from orchestrator.core.canonical import EXACT, search_key
from orchestrator.core.errors import Refused
from orchestrator.features.sources import source_at
from schemas.search import SearchRequest
from streams.settings import Settings


@dataclass(frozen=True)
class Admissible:
    """A request that can be searched: how many trials it plans, and what makes another request the same work."""

    request: SearchRequest
    trials: int
    search_key: str


@dataclass(frozen=True)
class Judge:
    """Judges requests.

    Attributes:
        tickers: those with bars of a timeframe, at the moment of asking.
        algorithms: what is installed, by name.
        limits: of the service, and what holds where a request is silent.
    """

    tickers: Callable[[str], Collection[str]]
    algorithms: Mapping[str, Trainer]
    limits: Limits

    def __call__(self, request: SearchRequest, now: datetime) -> Admissible:
        """What the request amounts to.

        Raises:
            Refused: with every reason at once.
        """
        reasons = admit(
            request,
            tickers_available=self.tickers(request.timeframe),
            algorithms=self.algorithms,
            limits=self.limits,
            now=now,
        )
        if reasons:
            raise Refused(reasons)
        algorithm = self.algorithms[request.algorithm]
        return Admissible(
            request=request,
            trials=trials_of(request, algorithm, self.limits),
            search_key=search_key(
                request,
                algorithm_version=algorithm.version,
                defaults=self._defaults(request),
                digits=self.limits.digits,
            ),
        )

    def _defaults(self, request: SearchRequest) -> Mapping[str, object]:
        """What holds where the request is silent: spelling it out is the same work."""
        read = STRATEGY_FIELDS[request.strategy]
        amounts = {name: value for name, value in vars(self.limits.defaults).items() if name in read}
        return {"metric": self.limits.metric, "mode": self.limits.mode, **amounts}


def judge(settings: Settings) -> Judge:
    """Who judges search requests."""
    return Judge(
        tickers=source_at(settings.features_folder, settings.features_db).tickers,
        algorithms=registered(),
        limits=Limits(
            defaults=defaults(settings),
            metric=settings.tune_metric,
            mode=settings.tune_mode,
            threshold=settings.serve_threshold,
            digits=settings.tune_float_precision if settings.tune_skip_duplicate else EXACT,
        ),
    )


def defaults(settings: Settings) -> Defaults:
    """How much is searched where a request is silent."""
    return Defaults(population_size=settings.tune_pbt_population_size, grace=settings.tune_asha_grace_period)
