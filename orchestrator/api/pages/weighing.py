"""Which hyper-parameters decide, by Optuna's estimate."""

from collections.abc import Sequence

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from orchestrator.api.views import Dot
from schemas.base import Scalar

optuna.logging.set_verbosity(optuna.logging.WARNING)

LEAST_TRIALS = 20
MOST_TRIALS = 2000


def shares(dots: Sequence[Dot], higher_is_better: bool) -> dict[str, float] | None:
    """By hyper-parameter, its share of what tells the best tenth of the trials from all of them.

    It is PED-ANOVA (Watanabe et al., 2023) as Optuna has it. A score counts relative to the mean of its tickers, since
    some are easier than others. Of more than 2,000 trials every so many are taken.

    Returns:
        None: fewer than 20 trials have a score, or they differ in no hyper-parameter.
    """
    scored = [each for each in dots if each.metric is not None]
    if len(scored) < LEAST_TRIALS:
        return None
    if len(scored) > MOST_TRIALS:
        scored = [scored[place] for place in np.linspace(0, len(scored) - 1, MOST_TRIALS).round().astype(int)]
    distributions = _distributions(scored)
    if not distributions:
        return None
    values = _relative(scored)
    study = optuna.create_study(direction="maximize" if higher_is_better else "minimize")
    study.add_trials(
        optuna.trial.create_trial(
            params={name: each.configuration[name] for name in distributions},
            distributions=distributions,
            value=value,
        )
        for each, value in zip(scored, values, strict=True)
    )
    found = optuna.importance.get_param_importances(study)
    return found if sum(found.values()) > 0 else None


def _relative(dots: Sequence[Dot]) -> list[float]:
    by_tickers: dict[tuple[str, ...], list[float]] = {}
    for each in dots:
        by_tickers.setdefault(tuple(each.tickers), []).append(each.metric or 0.0)
    means = {tickers: float(np.mean(values)) for tickers, values in by_tickers.items()}
    return [(each.metric or 0.0) - means[tuple(each.tickers)] for each in dots]


def _distributions(dots: Sequence[Dot]) -> dict[str, BaseDistribution]:
    """Of the hyper-parameters that every trial has and that are not the same in all."""
    names = set.intersection(*(set(each.configuration) for each in dots))
    found = {name: _distribution([each.configuration[name] for each in dots]) for name in sorted(names)}
    return {name: each for name, each in found.items() if each is not None}


def _distribution(values: Sequence[Scalar]) -> BaseDistribution | None:
    if len({(type(each) is bool, each) for each in values}) < 2:
        return None
    if any(isinstance(each, bool | str) for each in values):
        return CategoricalDistribution([*dict.fromkeys(values)])
    figures = [float(each) for each in values]
    low, high = min(figures), max(figures)
    logarithmic = low > 0 and high / low >= 50
    if all(isinstance(each, int) for each in values):
        return IntDistribution(int(low), int(high), log=logarithmic)
    return FloatDistribution(low, high, log=logarithmic)
