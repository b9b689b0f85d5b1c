"""How often do BUY, SELL and HOLD come of five members that vote?

    python -m benchmarks.voting

Five elastic nets are trained on each share of the sample prices, walk-forward, as a search does it, and vote out of
fold: soft with calibration, each fold calibrated on those before it; soft by the literal rule (`calibration: none`),
where the weighted mean of the strengths is the score itself; and hard. Counted are scores beyond the threshold, before
costs and where the expected return also pays for going in and out. The last line is one JSON object of shares.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from orchestrator.algorithms.elasticnet import ElasticNetTrainer
from orchestrator.core.arrays import Floats, Integers
from orchestrator.core.bars import Bars
from orchestrator.core.calendar import calendar_named
from orchestrator.core.dataset import Terms, prepare
from orchestrator.core.splits import FoldPlan
from orchestrator.features.parquet import ParquetFeatures
from orchestrator.features.samples import SAMPLE_TICKERS, SAMPLE_TIMEFRAME, write_samples
from schemas.search import Costs
from serving.decision import Rules, causal_scores
from serving.voting import BPS

MEMBERS: tuple[dict[str, float], ...] = (
    {"alpha": 0.001, "l1_ratio": 0.1},
    {"alpha": 0.003, "l1_ratio": 0.9},
    {"alpha": 0.01, "l1_ratio": 0.5},
    {"alpha": 0.02, "l1_ratio": 0.1},
    {"alpha": 0.03, "l1_ratio": 0.9},
)
THRESHOLD = 0.7
VOTES = {"BUY": 1, "SELL": -1, "HOLD": 0}
Shares = Mapping[str, Mapping[str, float]]
"""Of BUY, SELL and HOLD, before and after costs."""


@dataclass(frozen=True, eq=False)
class Record:
    """What the members predicted out of fold: `prediction` (n, m), beside `target` (n,) and `fold` (n,)."""

    prediction: Floats
    target: Floats
    fold: Integers

    @property
    def likeness(self) -> float:
        """The mean correlation of two members' predictions."""
        correlation: Floats = np.atleast_2d(np.corrcoef(self.prediction, rowvar=False))
        return float(np.mean(correlation[np.triu_indices(len(correlation), 1)]))


def trained(bars: Bars, terms: Terms) -> Record:
    """Train the members on a share's bars, and have them predict each fold by what came before it."""
    dataset = prepare(bars, terms, calendar_named())
    folds, trainer = FoldPlan().split(dataset.label_end), ElasticNetTrainer()
    predictions = []
    for fold in folds:
        features, target = dataset.features[fold.train], dataset.target[fold.train]
        members = trainer.prepare(features, target, dataset.feature_names, seed=0, threads=1).fit(MEMBERS)
        predictions.append(np.column_stack([member.predict(dataset.features[fold.test]) for member in members]))
    return Record(
        prediction=np.concatenate(predictions),
        target=dataset.target[np.concatenate([fold.test for fold in folds])],
        fold=np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds]),
    )


def rules() -> dict[str, Rules]:
    """The ways to vote."""
    calibrated = Rules(
        voting="soft",
        threshold=THRESHOLD,
        cost=Costs().default_bps / BPS,
        min_edge_bps=0.0,
        weight=np.ones(len(MEMBERS)),
    )
    return {
        "calibrated": calibrated,
        "literal": replace(calibrated, calibration="none"),
        # A majority needs no margin.
        "hard": replace(calibrated, voting="hard", threshold=0.0),
    }


def counted(records: Sequence[Record], by: Rules, terms: Terms) -> Shares:
    """How often each answer comes on all records together, without their first folds, which only calibrate."""
    reach = terms.delay + terms.horizon
    found = [causal_scores(each.prediction, each.target, each.fold, by, reach=reach) for each in records]
    sides = {
        name: np.concatenate([_sides(scores[place], by.threshold) for scores in found])
        for place, name in enumerate(("before_costs", "after_costs"))
    }
    return {name: {vote: float(np.mean(side == sign)) for vote, sign in VOTES.items()} for name, side in sides.items()}


def _sides(score: Floats, threshold: float) -> Floats:
    known = score[np.isfinite(score)]
    return np.where(np.abs(known) > threshold, np.sign(known), 0.0)


def main() -> None:
    """Train, count and print."""
    terms = Terms()
    with TemporaryDirectory(prefix="voting-") as name:
        write_samples(Path(name))
        source = ParquetFeatures(Path(name))
        records = {ticker: trained(source.load(ticker, SAMPLE_TIMEFRAME), terms) for ticker in SAMPLE_TICKERS}
    print(f"{len(MEMBERS)} elastic nets on daily bars, out of fold; score beyond {THRESHOLD}, before and after costs")
    print(f"{'share':<7}{'alike':>6}  {'vote':<11}" + f"{'BUY':>7}{'SELL':>7}{'HOLD':>7}" * 2)
    for ticker, record in records.items():
        for vote, by in rules().items():
            _show(ticker, record.likeness, vote, counted([record], by, terms))
    table = {vote: counted([*records.values()], by, terms) for vote, by in rules().items()}
    alike = float(np.mean([record.likeness for record in records.values()]))
    for vote, shares in table.items():
        _show("all", alike, vote, shares)
    print(json.dumps({"threshold": THRESHOLD, "members": len(MEMBERS), "alike": alike, **table}))


def _show(ticker: str, alike: float, vote: str, shares: Shares) -> None:
    figures = "".join(f"{share:>7.1%}" for each in shares.values() for share in each.values())
    print(f"{ticker:<7}{alike:>6.2f}  {vote:<11}{figures}", flush=True)


if __name__ == "__main__":
    main()
