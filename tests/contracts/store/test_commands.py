"""What has become of a command, wherever it is written down."""

from orchestrator.core.lifecycle import State
from orchestrator.core.versions import VersionState
from orchestrator.store import commands, ensembles, experiments, wishes
from orchestrator.store.commands import Standing
from orchestrator.store.database import Database
from schemas.experiments import GateRefused
from schemas.search import Deploy
from tests.contracts.store.makers import NOW, REASON, VERDICT, founded, later, proposal


async def _standing(db: Database, command_id: str = "deploy-1") -> Standing | None:
    async with db.snapshot() as tx:
        return await commands.standing(tx, command_id)


async def _wished(db: Database) -> str:
    """A command has asked for an ensemble of an experiment that the gate has judged; the experiment."""
    experiment = await founded(db, state=State.SELECTED)
    verdict = GateRefused(experiment=experiment, request_id="request-1", sequence=0, emitted_at=NOW, verdict=VERDICT)
    async with db.transaction() as tx:
        await experiments.note(tx, experiment, verdict, NOW)
        await commands.claim(tx, "deploy-1", b"{}", NOW)
        assert await wishes.wish(tx, "deploy-1", experiment, "bot", Deploy(auto=True), NOW) == ()
    return experiment


async def test_a_command_is_open_until_what_it_asks_for_is_made(db: Database) -> None:
    assert await _standing(db) is None
    experiment = await _wished(db)
    assert await _standing(db) == Standing(NOW, (), True, None)
    async with db.transaction() as tx:
        await wishes.settle(tx, ["deploy-1"])
        version = await ensembles.propose(tx, proposal(experiment, command_id="deploy-1"), later(1))
    found = await _standing(db)
    assert found is not None
    assert found.made is not None
    assert (found.open, found.made.version, found.made.state) == (False, version, VersionState.WANTED)


async def test_a_command_whose_ensemble_cannot_be_made_tells_why(db: Database) -> None:
    experiment = await _wished(db)
    async with db.transaction() as tx:
        await wishes.refuse(tx, experiment, (REASON,), later(1))
    assert await _standing(db) == Standing(NOW, (REASON,), False, None)


async def test_a_command_that_could_not_be_carried_out_tells_why(db: Database) -> None:
    async with db.transaction() as tx:
        await commands.claim(tx, "deploy-1", b"{}", NOW)
        await commands.refuse(tx, "deploy-1", (REASON,))
    assert await _standing(db) == Standing(NOW, (REASON,), False, None)
