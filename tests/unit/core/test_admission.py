import json
from collections.abc import Mapping
from datetime import UTC, datetime

from orchestrator.core.admission import MOST_REASONS, Defaults, Limits, admit
from schemas.base import Reason, Scalar
from schemas.search import Dimension, SearchRequest, Uniform

NOW = datetime(2026, 1, 15, tzinfo=UTC)


class Shrinker:
    """An algorithm with one parameter, `alpha`, at most 1."""

    def __init__(self) -> None:
        self.asked = 0
        self.default_grid: Mapping[str, tuple[Scalar, ...]] = {"alpha": (0.1, 0.2)}
        self.space: Mapping[str, Dimension] = {"alpha": Uniform(kind="uniform", low=0.0, high=1.0)}

    def refuse(self, configuration: Mapping[str, Scalar]) -> tuple[Reason, ...]:
        self.asked += 1
        faults = [
            Reason(code="unknown_parameter", where=name, message="it has: alpha")
            for name in configuration
            if name != "alpha"
        ]
        if float(configuration.get("alpha", 0)) > 1:
            faults.append(Reason(code="out_of_range", where="alpha", message=f"{configuration['alpha']} is above 1"))
        return tuple(faults)


def faults(*, limits: Limits | None = None, installed: Shrinker | None = None, **changed: object) -> list[Reason]:
    fields = {
        "request_id": "r1",
        "strategy": "grid",
        "algorithm": "shrinker",
        "tickers": ["AAPL", "MSFT"],
        "param_grid": {"alpha": [0.1, 0.2]},
        **changed,
    }
    found = admit(
        SearchRequest.model_validate_json(json.dumps(fields)),
        tickers_available={"AAPL", "MSFT"},
        algorithms={"shrinker": installed or Shrinker()},
        limits=limits or Limits(),
        now=NOW,
    )
    return list(found)


def codes(**changed: object) -> list[str]:
    return [reason.code for reason in faults(**changed)]  # type: ignore[arg-type]


def test_a_sound_request_has_no_faults() -> None:
    assert faults() == []
    assert faults(param_grid=None, expires_at="2026-01-15T00:00:01Z", metric="max_drawdown", mode="min") == []


def test_all_faults_are_found_at_once() -> None:
    found = codes(
        strategy="pbt",
        algorithm="nothing",
        tickers=["AAPL", "XYZ"],
        expires_at="2026-01-15T00:00:00Z",
        data_start="2020-01-01T00:00:00Z",
        data_end="2020-01-01T00:00:00Z",
        session_policy="flat_at_close",
        exit_threshold=0.9,
        metric="sharpe_ratio",
        mode="min",
    )
    assert found == [
        "expired",
        "empty_span",
        "unknown_algorithm",
        "unknown_ticker",
        "wrong_direction",
        "flat_at_close_needs_intraday",
        "exit_above_entry",
        "not_for_strategy",
    ]


def test_what_the_algorithm_refuses_is_said_once_for_all_configurations() -> None:
    found = faults(param_grid={"alpha": [0.1, 2, 3], "beta": [1, 2, 3]})
    assert [(reason.code, reason.where, reason.message) for reason in found] == [
        ("unknown_parameter", "param_grid/beta", "it has: alpha"),
        ("out_of_range", "param_grid/alpha", "2 is above 1"),
        ("out_of_range", "param_grid/alpha", "3 is above 1"),
    ]


def test_too_many_trials_are_refused_without_expanding_them() -> None:
    shrinker = Shrinker()
    absurd = {name: [value / 100 for value in range(1, 100)] for name in "abcdefgh"}
    found = faults(installed=shrinker, param_grid={**absurd, "alpha": [0.5, 2]})
    assert found[0].code == "too_many_trials"
    assert ("out_of_range", "param_grid/alpha") in {(reason.code, reason.where) for reason in found}
    assert shrinker.asked < 1000


def test_trials_are_configurations_times_tickers() -> None:
    assert codes(limits=Limits(trials=3)) == ["too_many_trials"]
    assert codes(limits=Limits(trials=4)) == []
    assert codes(limits=Limits(trials=3), param_grid=None) == ["too_many_trials"]


def test_a_grid_without_parameters_is_refused() -> None:
    assert codes(param_grid={}) == ["empty_grid"]


def test_options_of_other_strategies_are_not_silently_ignored() -> None:
    found = faults(population_size=20, space={"alpha": {"kind": "uniform", "low": 0, "high": 1}})
    assert [(reason.code, reason.where) for reason in found] == [
        ("not_for_strategy", "population_size"),
        ("not_for_strategy", "space"),
    ]
    assert codes(strategy="pbt", population_size=4) == ["not_for_strategy"]
    assert codes(strategy="bayesian", param_grid=None, search_alg="optuna") == ["not_for_strategy"]


def test_the_metric_of_the_service_is_judged_where_the_request_is_silent() -> None:
    assert codes(limits=Limits(metric="loss")) == ["unknown_metric"]
    assert codes(limits=Limits(metric="loss"), metric="psr") == []
    assert codes(metric="max_drawdown") == ["wrong_direction"]


def test_the_exit_threshold_is_held_to_the_lower_of_the_entry_thresholds() -> None:
    assert codes(exit_threshold=0.6, deploy={"threshold": 0.5}) == ["exit_above_entry"]
    assert codes(exit_threshold=0.5, deploy={"threshold": 0.5}) == []


SPACE: dict[str, object] = {"alpha": {"kind": "loguniform", "low": 0.001, "high": 1}}


def of_space(**changed: object) -> list[str]:
    return codes(**{"strategy": "random", "param_grid": None, "space": SPACE, **changed})


def test_a_space_is_judged_before_anything_is_drawn_from_it() -> None:
    assert of_space() == of_space(space=None) == []
    assert of_space(space={}) == ["empty_space"]
    assert of_space(space={"alpha": {"kind": "uniform", "low": 1, "high": 0}}) == ["low_above_high"]
    assert of_space(space={"alpha": {"kind": "uniform", "low": 0, "high": 2}}) == ["out_of_range"]
    assert of_space(space={**SPACE, "other": SPACE["alpha"]}) == ["unknown_parameter"]


def test_trials_are_counted_before_they_are_made() -> None:
    small = Limits(trials=25, defaults=Defaults(population_size=20, num_generations=2, num_samples=10))
    assert of_space(limits=small) == []
    assert of_space(limits=small, num_samples=13) == ["too_many_trials"]
    assert of_space(limits=small, strategy="pbt") == ["too_many_trials"]
    assert of_space(limits=small, strategy="multi_ticker_pbt") == []
    choice = {"alpha": {"kind": "choice", "values": [0.1, 0.2]}}
    assert of_space(limits=small, num_samples=1000, space=choice) == []


def test_an_absurd_number_of_names_is_refused_by_its_number() -> None:
    for fields in (
        {"param_grid": {f"a{number}": list(range(10)) for number in range(4400)}},
        {"strategy": "random", "param_grid": None, "space": {f"a{number}": SPACE["alpha"] for number in range(4400)}},
    ):
        installed = Shrinker()
        assert [reason.code for reason in faults(installed=installed, **fields)] == ["too_many_parameters"]
        assert installed.asked == 0
    installed = Shrinker()
    found = faults(installed=installed, param_grid={f"a{number}": list(range(1000)) for number in range(99)})
    assert found[0].code == "too_many_trials"
    # Who finds enough looks no further: others wait behind this request.
    assert installed.asked == 1


def test_a_rejection_stays_small() -> None:
    found = faults(tickers=[f"T{number}" for number in range(200)])
    assert len(found) == MOST_REASONS + 1
    assert found[-1].code == "more_faults"
    assert found[-1].message.startswith("150 ")
