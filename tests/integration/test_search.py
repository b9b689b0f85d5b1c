"""Experiments from request to verdict, each on Ray Tune and each with something else the matter."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from orchestrator.core.lifecycle import State
from orchestrator.core.scoring import evaluate_history
from orchestrator.store import experiments, trials
from orchestrator.store.database import Database
from orchestrator.store.tables import TrialStatus
from schemas.search import Deploy
from streams.child import Facts
from tests.integration.searching import Ended, lead
from tests.ray_cluster import connected
from tests.unit.search.studies import TRAINER, search_request, study, write_market

pytestmark = pytest.mark.slow

DEADLY = 0.013
PLUGIN = f'''
import os

from orchestrator.algorithms.elasticnet import ElasticNetTrainer


class DeadlyTrainer(ElasticNetTrainer):
    """Takes its worker down with it at one value of alpha, as a fault in a compiled library does."""

    name = "deadly"

    def evaluate(self, configurations, features, target, folds, seed):
        if any(configuration["alpha"] == {DEADLY} for configuration in configurations):
            os._exit(1)
        return super().evaluate(configurations, features, target, folds, seed)
'''
REQUESTS = {
    "whole": search_request(
        ("AAA", "BBB"),
        holdout=60,
        deploy=Deploy(auto=True, ensemble_name="bot", top_n=2, gate=False),
    ),
    "faulty": search_request(param_grid={"alpha": (0.01, 1000.0), "l1_ratio": (0.5,)}, request_id="faulty"),
    "deadly": search_request(
        algorithm="deadly", param_grid={"alpha": (0.01, DEADLY), "l1_ratio": (0.5, 0.9)}, request_id="deadly"
    ),
    "resumed": search_request(request_id="resumed"),
}


def install(plugin: Path) -> dict[str, str]:
    """Lay an algorithm's package out as an installer does; the environment in which it is found."""
    distribution = plugin / "deadly-1.0.dist-info"
    distribution.mkdir(parents=True)
    (plugin / "deadly.py").write_text(PLUGIN)
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text("[ray_orchestrator.algorithms]\ndeadly = deadly:DeadlyTrainer\n")
    return {"PYTHONPATH": str(plugin)}


async def half_done(db: Database, directory: Path) -> None:
    """What a driver leaves behind that dies while its second trial is under way."""
    work = study(directory, REQUESTS["resumed"])
    now = datetime.now(UTC)
    rows = [
        trials.PlannedTrial(
            trial.trial, (trial.ticker,), dict(trial.configuration), trial.fingerprint, work.data_hash[trial.ticker]
        )
        for trial in work.trials
    ]
    history = trials.History(np.zeros(300), np.zeros(250))
    async with db.transaction() as tx:
        await experiments.advance(tx, "resumed", State.RUNNING, None, now)
        await trials.plan(tx, "resumed", rows, now)
        await trials.start(tx, "resumed", ["t00001", "t00002"], now)
        kept = trials.Completed("t00001", {"sharpe_ratio": -99.0}, True, 0.5, history)
        await trials.finish(tx, "resumed", [kept], now)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def ended(directory: Path, ray_head: Facts) -> Iterator[dict[str, Ended]]:
    for ticker in ("AAA", "BBB"):
        write_market(directory / "features", ticker)
    with connected(ray_head, install(directory / "plugin")):
        begun = partial(half_done, directory=directory)
        yield asyncio.run(lead(directory, REQUESTS, begun=begun, gate_override="live"))


def test_the_whole_way_ends_in_a_proposed_version(ended: dict[str, Ended]) -> None:
    whole = ended["whole"]
    assert whole.experiment.state is State.DEPLOYING
    assert whole.said[:4] == ["accepted", "started", "completed", "survivors_selected"]
    assert whole.said[4] in ("gate_passed", "gate_refused")
    (version,) = whole.versions
    assert (version.ensemble, version.version, version.mode) == ("bot", 1, "live")
    assert version.tickers == ("AAA", "BBB")
    assert whole.experiment.verdict is not None
    assert (whole.experiment.verdict.trials, whole.experiment.verdict.looks) == (8, 1)
    assert len(whole.ledger) == 8


def test_every_trial_is_created_started_and_completed(ended: dict[str, Ended]) -> None:
    whole = ended["whole"]
    assert [trial.trial for trial in whole.trials] == [f"t{number:05d}" for number in range(1, 9)]
    for trial in whole.trials:
        assert whole.trial_events_of(trial.trial) == ["created", "started", "completed"]
    assert [event.sequence for event in whole.trial_events] == list(range(1, 25))


def test_scores_are_those_of_a_direct_call_of_the_trainer(ended: dict[str, Ended], directory: Path) -> None:
    work = study(directory, REQUESTS["whole"])
    for ticker, ground in work.grounds.items():
        planned = [trial for trial in work.trials if trial.ticker == ticker]
        dataset = ground.dataset
        # Blocks of two, as two slots make of eight trials: the solver's last digits depend on who shares the call.
        for block in (planned[:2], planned[2:]):
            predictions = TRAINER.evaluate(
                [trial.configuration for trial in block], dataset.features, dataset.target, ground.folds, 42
            )
            for trial, prediction in zip(block, predictions, strict=True):
                expected = evaluate_history(dataset, ground.folds, prediction, threshold=0.7, cost=ground.cost)
                found = next(each for each in ended["whole"].trials if each.trial == trial.trial)
                np.testing.assert_array_equal(ended["whole"].histories[trial.trial].prediction, prediction)
                np.testing.assert_array_equal(ended["whole"].histories[trial.trial].profit, expected.session_profit)
                assert found.metrics == expected.metrics


def test_a_configuration_that_cannot_be_trained_fails_alone(ended: dict[str, Ended]) -> None:
    faulty = ended["faulty"]
    assert [trial.status for trial in faulty.trials] == [TrialStatus.COMPLETED, TrialStatus.FAILED]
    assert [reason.code for reason in faulty.trials[1].reasons] == ["parameter_out_of_range"]
    assert faulty.experiment.summary is not None
    assert (faulty.experiment.summary["finished"], faulty.experiment.summary["failed"]) == (1, 1)
    assert faulty.experiment.state is State.SELECTED


def test_a_configuration_that_kills_its_worker_fails_alone(ended: dict[str, Ended]) -> None:
    deadly = ended["deadly"]
    lost = [trial for trial in deadly.trials if trial.status is TrialStatus.FAILED]
    assert [trial.configuration["alpha"] for trial in lost] == [DEADLY, DEADLY]
    assert [[reason.code for reason in trial.reasons] for trial in lost] == [["worker_failed"], ["worker_failed"]]
    assert "worker process has died" in lost[0].reasons[0].message
    assert deadly.experiment.summary is not None
    assert deadly.experiment.summary["finished"] == 2


def test_begun_again_finished_trials_keep_their_results(ended: dict[str, Ended]) -> None:
    resumed = ended["resumed"]
    assert resumed.experiment.state is State.SELECTED
    assert resumed.trials[0].metrics == {"sharpe_ratio": -99.0}
    assert resumed.trial_events_of("t00001") == ["created", "started", "completed"]
    assert resumed.trial_events_of("t00002") == ["created", "started", "started", "completed"]
    assert all(trial.status is TrialStatus.COMPLETED for trial in resumed.trials)
