"""What has led to a version, as the store tells it."""

from dataclasses import replace

from orchestrator.core.gate import Span
from orchestrator.core.lifecycle import State
from orchestrator.core.versions import VersionState
from orchestrator.store import commands, ensembles, fingerprints, ledger, lineage, retraining, trials
from orchestrator.store.database import Database
from orchestrator.store.ensembles import Version
from orchestrator.store.fingerprints import Fingerprint
from schemas.base import JsonObject
from tests.contracts.store.makers import NOW, admit, completed, digest, founded, later, planned, proposal, search

CAUSE: JsonObject = {"kind": "drift", "feature": "rsi_14", "figure": 0.4}
MANIFEST: JsonObject = {"members": [{"trial": "t00000"}, {"trial": "t00001"}]}


async def a_version(db: Database, experiment: str, command_id: str) -> int:
    async with db.transaction() as tx:
        await commands.claim(tx, command_id, b'{"command": "deploy", "actor": "somebody"}', NOW)
        asked = proposal(experiment, manifest=MANIFEST, command_id=command_id)
        return await ensembles.propose(tx, asked, NOW)


async def test_a_version_goes_back_to_its_trials_its_request_its_cause_and_its_trigger(db: Database) -> None:
    first = await founded(db, 1, State.RUNNING, name="first")
    second = await founded(db, 2, State.RUNNING, name="second", cause=CAUSE, parent="first", requested_by="policy")
    again = search("request-3", tickers=("AAPL",), requested_by="somebody")
    await admit(db, again, digest(2), now=later(1))
    async with db.transaction() as tx:
        await trials.plan(tx, first, planned(1), NOW)
        await trials.finish(tx, first, [completed("t00000")], NOW)
        await fingerprints.record(tx, [Fingerprint(digest(0), first, "t00000", 1, True)], NOW)
        await trials.plan(tx, second, planned(2), NOW)
        known = trials.Cached("t00000", {"sharpe_ratio": 1.0}, True, (), 1, None, first, "t00000")
        await trials.finish(tx, second, [known, replace(completed("t00001"))], NOW)
        await ledger.record_looks(tx, {"line": Span(NOW, later(60))}, second, later(2))
        fired = retraining.Trigger("request-2", "bot", 1, "drift", CAUSE, 2, [], NOW)
        await retraining.fire(tx, fired, None, 1, NOW)
    version = await a_version(db, second, "deploy-1")
    async with db.snapshot() as tx:
        found = await lineage.of(tx, "bot", version)
        assert await lineage.of(tx, "bot", version + 1) is None
    assert found is not None
    assert found.experiment is not None
    assert (found.experiment.id, found.version.version) == ("second", version)
    assert [(each.request.request_id, each.outcome.value) for each in found.requests] == [
        ("request-2", "accepted"),
        ("request-3", "duplicate"),
    ]
    assert found.requests[0].request.cause == CAUSE
    assert found.trigger is not None
    assert found.trigger.request_id == "request-2"
    assert found.command is not None
    assert found.command.document["actor"] == "somebody"
    assert [(each.number, each.span_end) for each in found.looks] == [(1, later(60))]
    assert found.trials.keys() == {"t00000", "t00001"}
    assert found.trained_by == {"t00000": "first"}
    assert found.champions == ()


async def test_the_champions_before_it_come_in_the_order_in_which_they_served_last(db: Database) -> None:
    experiment = await founded(db, 1, State.SELECTED)
    for number in (1, 2):
        version = await a_version(db, experiment, f"deploy-{number}")
        async with db.transaction() as tx:
            await ensembles.mark_deployed(tx, "bot", version, later(number))
    async with db.transaction() as tx:
        assert await ensembles.roll_back(tx, "bot", None, "back", later(3)) == ()
        await ensembles.mark_deployed(tx, "bot", 1, later(4))
    version = await a_version(db, experiment, "deploy-3")
    async with db.transaction() as tx:
        await ensembles.mark_deployed(tx, "bot", version, later(5))
    async with db.snapshot() as tx:
        newest, second = await lineage.of(tx, "bot", 3), await lineage.of(tx, "bot", 2)
    assert newest is not None
    assert second is not None
    assert [(each.version, each.state) for each in newest.champions] == [
        (1, VersionState.SUPERSEDED),
        (2, VersionState.ROLLED_BACK),
    ]
    assert second.champions == ()


def test_one_that_never_served_comes_after_those_that_did_until_it_ended() -> None:
    known = {number: one(number) for number in (1, 2, 3)}
    retired = replace(one(4), deployed_at=None, ended_at=later(2.5))
    assert [each.version for each in lineage.before(retired, [*known.values(), retired])] == [2, 1]
    on_trial = replace(retired, ended_at=None)
    assert [each.version for each in lineage.before(on_trial, [*known.values(), on_trial])] == [3, 2, 1]


def one(number: int) -> Version:
    """A version that served from so many seconds after NOW on."""
    return Version(
        **vars(proposal("experiment")),
        version=number,
        state=VersionState.SUPERSEDED,
        reasons=(),
        proposed_at=NOW,
        deployed_at=later(number),
        ended_at=None,
    )
