"""From a request to the populations that search for it."""

from zlib import crc32

from orchestrator.algorithms.base import Trainer
from orchestrator.core import grid
from orchestrator.core.admission import grid_of, space_of
from orchestrator.core.canonical import EXACT
from orchestrator.core.metrics import is_together
from orchestrator.search.campaign import Population
from orchestrator.search.settings import DriverSettings
from orchestrator.search.strategies.choice import SearchPlan, strategy_for
from schemas.search import SearchRequest


def populations_of(request: SearchRequest, trainer: Trainer, settings: DriverSettings) -> tuple[Population, ...]:
    """A population for each ticker, or one for all of them; each begins with nothing tried."""
    groups = [request.tickers] if is_together(request) else [(ticker,) for ticker in request.tickers]
    defaults = settings.defaults
    digits = settings.float_digits if settings.skip_duplicate else EXACT
    populations: list[Population] = []
    first = 1
    for tickers in groups:
        plan = SearchPlan(
            strategy=request.strategy,
            budget=trainer.budget,
            # By name, so that a ticker's draws do not depend on which others are searched beside it.
            seed=(request.seed, crc32(" ".join(tickers).encode())),
            configurations=(
                grid.expand(grid_of(request, trainer), digits=digits) if request.strategy == "grid" else ()
            ),
            space=space_of(request, trainer),
            population=request.population_size or defaults.population_size,
            generations=request.num_generations or defaults.num_generations,
            num_samples=request.num_samples or defaults.num_samples,
            search_alg=request.search_alg,
            grace=defaults.grace,
            digits=digits,
        )
        strategy = strategy_for(plan)
        populations.append(Population(tickers, strategy, first))
        first += strategy.most
    return tuple(populations)
