"""What the benchmarks must show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.searching import Ran, apart

Figures = dict[str, Any]


class Disagreement(Exception):
    """Contenders came to other scores, or to another number of them, than they were to."""


@dataclass(frozen=True)
class Target:
    """A figure, by its path through the JSON, and the least or the most that it may be."""

    path: str
    at_least: float | None = None
    at_most: float | None = None

    def met(self, table: Mapping[str, Any]) -> bool:
        """Whether a table of figures meets it; one without the figure does not."""
        value: Any = table
        for name in self.path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is None:
            return False
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


TARGETS: Mapping[str, Sequence[Target]] = {
    "linear_grid": (
        Target("linear_grid.over_gridsearchcv", at_least=10.0),
        Target("linear_grid.over_tune_tuned", at_least=10.0),
    ),
    "trees": (Target("trees.over_ideal", at_least=0.85), Target("trees.over_gridsearchcv", at_least=1.0)),
    "pbt": (Target("pbt.share", at_least=0.8),),
    "streamed": (Target("streamed.peak_gib", at_most=4.0),),
    "throughput": (
        Target("throughput.over_quix_streams", at_least=1.5),
        Target("throughput.over_faust_plain", at_least=20.0),
    ),
    "latency": (Target("latency.over_floor", at_most=3.0),),
    "under_search": (Target("under_search.over_idle", at_most=3.0),),
    "xgboost_regressor": (Target("xgboost_regressor.over_quix_streams", at_least=1.5),),
    "lightgbm_regressor": (Target("lightgbm_regressor.over_quix_streams", at_least=1.5),),
    "detectors": (Target("detectors.lost", at_most=0.1),),
    "again": (
        Target("again.fits", at_most=0),
        Target("again.drivers", at_most=0),
        Target("again.seconds", at_most=2.0),
        Target("again.fitted_twice", at_most=0),
    ),
}


def agree(name: str, ran: Ran, ours: Ran, count: int, tolerance: float) -> None:
    """Whether a contender has so many results, of configurations that are ours, too, and the same scores.

    Raises:
        Disagreement: it has not.
    """
    if len(ran.scores) != count or ran.scores.keys() - ours.scores.keys():
        raise Disagreement(f"{name} came to {len(ran.scores)} results, not to the {count} that it was asked for")
    difference = apart(ran.scores, ours.scores)
    if not difference <= tolerance:
        raise Disagreement(f"the out-of-fold R^2 of {name} is {difference:.2g} from ours; {tolerance:g} is allowed")


def missed(table: Mapping[str, Any]) -> list[str]:
    """The targets that the parts of a table miss, by their paths."""
    return [target.path for part in table if part in TARGETS for target in TARGETS[part] if not target.met(table)]
