"""A store with one of everything that REST and the dashboard show."""

from dataclasses import replace
from typing import Any

from orchestrator.core.lifecycle import State
from orchestrator.core.models import RegisteredModel
from orchestrator.core.performance import Account
from orchestrator.store import (
    commands,
    ensembles,
    experiments,
    fingerprints,
    models,
    performance,
    requests,
    retraining,
    trials,
)
from orchestrator.store.database import Database
from orchestrator.store.fingerprints import Fingerprint
from schemas.base import JsonObject
from schemas.experiments import ExperimentCompleted, GateRefused, Survivor, SurvivorsSelected
from schemas.policies import DriftRule, OutlierRule, Policy
from tests.contracts.store.makers import (
    NOW,
    REASON,
    VERDICT,
    completed,
    digest,
    founded,
    later,
    planned,
    proposal,
    search,
)

POLICY = Policy(schedule="30 18 * * 5", drift=DriftRule(), outliers=OutlierRule(), max_age_days=90.0)
CAUSE: JsonObject = {"kind": "drift", "ensemble": "bot", "ticker": "AAPL", "feature": "rsi_14", "figure": 0.4}
SEARCHED, RUNNING, ENSEMBLE, MODEL = "my_search", "under_way", "bot", "champion"
REJECTED = "turned_down"
MANIFEST: dict[str, Any] = {
    "algorithm": "elasticnet",
    "voting": "soft",
    "threshold": 0.7,
    "trained_through": "2025-12-31T21:00:00.000000Z",
    "execution": "next_close",
    "calendar": "24/7",
    "members": [
        {
            "member": "m1",
            "trial": "t00001",
            "metric": 1.25,
            "weight": 1.0,
            "configuration": {"alpha": 0.1},
            "fingerprint": digest(1),
            "artifact": digest(5),
            "feature_names": ["rsi_14"],
            "records": {"AAPL": {}},
        }
    ],
}


async def fill(db: Database) -> None:
    """An experiment that has ended, one that runs, a request turned down, an ensemble of two versions, a model."""
    await _search(db)
    await founded(db, 2, State.RUNNING, name=RUNNING, strategy="random", tickers=("IBM",), now=later(1))
    async with db.transaction() as tx:
        await requests.reject(tx, REJECTED, (REASON,), raw=b"{", now=NOW)
    await _deployed(db, SEARCHED, "deploy-1")
    await _deployed(db, SEARCHED, "deploy-2")
    async with db.transaction() as tx:
        await retraining.set_policy(tx, ENSEMBLE, POLICY, "policy-1", NOW)
        request = search("retrain.bot.1", requested_by="policy", cause=CAUSE, parent=SEARCHED)
        request_id = await retraining.next_request_id(tx, ENSEMBLE)
        fired = retraining.Trigger(request_id, ENSEMBLE, 2, "drift", CAUSE, 4, [{**CAUSE, "ticker": "IBM"}], later(5))
        await retraining.fire(tx, fired, request, 2, later(5))
        await performance.save(tx, {(ENSEMBLE, "paper"): Account(version=2, since=NOW, through=later(60), signals=3)})
        await models.register(tx, _model())
        await commands.claim(tx, "deploy-2", b"{}", NOW)
        await commands.claim(tx, "nonsense", b"{}", NOW)
        await commands.refuse(tx, "nonsense", (REASON,))


async def _search(db: Database) -> None:
    """Four trials: three scored, of which the last was known, and one that failed."""
    name = await founded(db, 1, State.RUNNING, name=SEARCHED)
    async with db.transaction() as tx:
        await trials.plan(tx, name, planned(4), NOW)
        for number, sharpe in enumerate((1.0, 3.0)):
            ended = replace(completed(f"t{number:05d}"), metrics={"sharpe_ratio": sharpe})
            await trials.finish(tx, name, [ended], later(number))
        known = trials.Cached("t00002", {"sharpe_ratio": 2.0}, True, (), 1, None, name, "t00000")
        await trials.finish(tx, name, [known, trials.Failed("t00003", (REASON,), 0.1)], later(3))
        await fingerprints.record(tx, [Fingerprint(digest(1), name, "t00001", 1, True)], NOW)
    heading: dict[str, Any] = {"experiment": name, "request_id": "request-1", "sequence": 0, "emitted_at": later(4)}
    ended_well = ExperimentCompleted(
        **heading, finished=3, failed=1, best=3.0, deflated_sharpe=0.97, seconds=2.0, cached=1
    )
    survivor = Survivor(trial="t00001", tickers=("AAPL",), configuration={"alpha": 0.2}, rank=1, metric=3.0)
    async with db.transaction() as tx:
        await experiments.advance(tx, name, State.SEARCHED, ended_well, later(4))
        chosen = SurvivorsSelected(**heading, survivors=(survivor,), effective_votes={"AAPL": 1.0})
        await experiments.advance(tx, name, State.SELECTED, chosen, later(4))
        await experiments.note(tx, name, GateRefused(**heading, verdict=VERDICT), later(4))


async def _deployed(db: Database, experiment: str, command_id: str) -> None:
    asked = proposal(experiment, ENSEMBLE, manifest=MANIFEST, command_id=command_id)
    async with db.transaction() as tx:
        version = await ensembles.propose(tx, asked, NOW)
        await ensembles.mark_deployed(tx, ENSEMBLE, version, NOW)


def _model() -> RegisteredModel:
    return RegisteredModel(
        digest=digest(77),
        name=MODEL,
        format="xgboost",
        algorithm="xgboost_regressor",
        feature_names=("rsi_14",),
        tickers=("AAPL",),
        timeframe="1d",
        target_transform="log_return",
        horizon=1,
        trained_through=NOW,
        registered_at=NOW,
    )
