"""Experiments from request to verdict, each on Ray Tune and each with something else the matter."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from orchestrator.core.lifecycle import State
from orchestrator.search.evaluation import evaluate
from orchestrator.search.outcomes import Scored
from orchestrator.search.plan import Job
from orchestrator.search.recorder import row_of
from orchestrator.store import experiments, trials
from orchestrator.store.database import Database
from orchestrator.store.tables import TrialStatus
from schemas.search import Deploy
from streams.child import Facts
from tests.integration.searching import Ended, lead
from tests.ray_cluster import connected
from tests.unit.search.studies import bench, search_request, steps_of, study, write_market

pytestmark = pytest.mark.slow

DEADLY, SLOW, LARGE = 0.013, 0.017, 0.019
PLUGIN = f'''
import os
import time

import numpy as np

from orchestrator.algorithms.elasticnet import ElasticNetTrainer


class MisbehavingTrainer(ElasticNetTrainer):
    """Misbehaves at some values of alpha as a compiled library may: its process cannot be asked to stop."""

    name = "misbehaving"

    def prepare(self, *args, **fields):
        return Misbehaving(super().prepare(*args, **fields))


class Misbehaving:
    def __init__(self, training):
        self.training = training

    def fit(self, configurations, **fields):
        alphas = [configuration["alpha"] for configuration in configurations]
        if {DEADLY} in alphas:
            os._exit(1)
        if {SLOW} in alphas:
            time.sleep(3600)
        if {LARGE} in alphas:
            self.held = np.ones(60 << 20)
            time.sleep(3600)
        return self.training.fit(configurations, **fields)
'''
REQUESTS = {
    "whole": search_request(
        ("AAA", "BBB"),
        holdout=60,
        deploy=Deploy(auto=True, ensemble_name="bot", top_n=2, gate=False),
    ),
    "faulty": search_request(param_grid={"alpha": (0.01, 1000.0), "l1_ratio": (0.5,)}, request_id="faulty"),
    "misbehaving": search_request(
        algorithm="misbehaving",
        param_grid={"alpha": (0.01, DEADLY, SLOW, LARGE), "l1_ratio": (0.5, 0.9)},
        request_id="misbehaving",
    ),
    "resumed": search_request(request_id="resumed"),
}


def install(plugin: Path) -> dict[str, str]:
    """Lay an algorithm's package out as an installer does; the environment in which it is found."""
    distribution = plugin / "misbehaving-1.0.dist-info"
    distribution.mkdir(parents=True)
    (plugin / "misbehaving.py").write_text(PLUGIN)
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n")
    offer = "[ray_orchestrator.algorithms]\nmisbehaving = misbehaving:MisbehavingTrainer\n"
    (distribution / "entry_points.txt").write_text(offer)
    return {"PYTHONPATH": str(plugin)}


async def half_done(db: Database, directory: Path) -> None:
    """What a driver leaves behind that dies while its second trial is under way."""
    work = study(directory, REQUESTS["resumed"])
    now = datetime.now(UTC)
    rows = [row_of(step.trial, work.data_hash) for step in steps_of(directory, work)]
    rows_oof = sum(len(fold.test) for fold in work.grounds["AAA"].folds)
    history = trials.History(np.zeros(rows_oof), np.zeros(250))
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
        yield asyncio.run(
            lead(directory, REQUESTS, begun=begun, gate_override="live", trial_seconds=6.0, trial_memory_mb=256)
        )


def test_the_whole_way_ends_in_a_proposed_version(ended: dict[str, Ended]) -> None:
    whole = ended["whole"]
    assert whole.experiment.state is State.DEPLOYING
    assert whole.said[:4] == ["accepted", "started", "completed", "survivors_selected"]
    assert whole.said[4] in ("gate_passed", "gate_refused")
    (version,) = whole.versions
    assert (version.ensemble, version.version, version.mode) == ("bot", 1, "live")
    assert version.tickers == ("AAA", "BBB")
    assert whole.experiment.verdict is not None
    # Other experiments on the same tickers count, as far as they had got.
    assert whole.experiment.verdict.trials >= 8
    assert whole.experiment.verdict.looks == 1
    assert len(whole.ledger) == 8


def test_every_trial_is_created_started_and_completed(ended: dict[str, Ended]) -> None:
    whole = ended["whole"]
    assert [trial.trial for trial in whole.trials] == [f"t{number:05d}" for number in range(1, 9)]
    for trial in whole.trials:
        assert whole.trial_events_of(trial.trial) == ["created", "started", "completed"]
    assert [event.sequence for event in whole.trial_events] == list(range(1, 25))


def test_scores_are_those_of_a_direct_call_of_the_family(ended: dict[str, Ended], directory: Path) -> None:
    work = study(directory, REQUESTS["whole"])
    for outcome in (each for step in steps_of(directory, work) for each in evaluate(Job(0, (step,)), bench(work))):
        assert isinstance(outcome, Scored)
        found = next(each for each in ended["whole"].trials if each.trial == outcome.trial)
        history = ended["whole"].histories[outcome.trial]
        # The solver's last digits depend on who shares the call.
        np.testing.assert_allclose(history.prediction, outcome.prediction, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(history.profit, outcome.earned[0].profit, rtol=1e-6, atol=1e-9)
        assert found.metrics == pytest.approx(outcome.metrics, rel=1e-6)


def test_a_configuration_that_cannot_be_trained_fails_alone(ended: dict[str, Ended]) -> None:
    faulty = ended["faulty"]
    assert [trial.status for trial in faulty.trials] == [TrialStatus.COMPLETED, TrialStatus.FAILED]
    assert [reason.code for reason in faulty.trials[1].reasons] == ["parameter_out_of_range"]
    assert faulty.experiment.summary is not None
    assert (faulty.experiment.summary["finished"], faulty.experiment.summary["failed"]) == (1, 1)
    assert faulty.experiment.state is State.SELECTED


def test_configurations_that_misbehave_fail_alone_each_with_its_reason(ended: dict[str, Ended]) -> None:
    found = {
        trial.configuration["alpha"]: [reason.code for reason in trial.reasons]
        for trial in ended["misbehaving"].trials
        if trial.status is TrialStatus.FAILED
    }
    assert found == {DEADLY: ["worker_failed"], SLOW: ["out_of_time"], LARGE: ["out_of_memory"]}
    assert ended["misbehaving"].experiment.summary is not None
    assert ended["misbehaving"].experiment.summary["finished"] == 2
    assert ended["misbehaving"].experiment.summary["failed"] == 6


def test_begun_again_finished_trials_keep_their_results(ended: dict[str, Ended]) -> None:
    resumed = ended["resumed"]
    assert resumed.experiment.state is State.SELECTED
    assert resumed.trials[0].metrics == {"sharpe_ratio": -99.0}
    assert resumed.trial_events_of("t00001") == ["created", "started", "completed"]
    assert resumed.trial_events_of("t00002") == ["created", "started", "started", "completed"]
    assert all(trial.status is TrialStatus.COMPLETED for trial in resumed.trials)
