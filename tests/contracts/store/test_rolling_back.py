"""Ensembles by command: an earlier version is served again, all of them are given up, and searches that are over are
made into new ones."""

import pytest

from orchestrator.core.lifecycle import State
from orchestrator.store import ensembles, experiments, wishes
from orchestrator.store.database import Database
from orchestrator.store.ensembles import Reasons
from schemas.base import Mode
from schemas.experiments import GatePassed
from schemas.search import Deploy
from tests.contracts.store.makers import NOW, REASON, VERDICT, events, everything, founded, later, proposal

_EVENTS = "ensemble-events"
DEPLOY = Deploy(auto=True, ensemble_name="bot")


async def propose(db: Database, number: int, mode: Mode = "paper", command_id: str | None = None) -> int:
    """Another experiment's version of `bot`."""
    experiment = await founded(db, number, State.SELECTED, name=f"experiment-{number}")
    async with db.transaction() as tx:
        wanted = proposal(experiment, mode=mode, command_id=command_id)
        return await ensembles.propose(tx, wanted, NOW)


async def deploy(db: Database, version: int) -> None:
    async with db.transaction() as tx:
        await ensembles.mark_deployed(tx, "bot", version, later(version))


async def three(db: Database) -> None:
    """Versions 1, 2 and 3 of `bot`, of which the last serves."""
    for number in (1, 2, 3):
        await deploy(db, await propose(db, number))


async def roll_back(db: Database, named: int | None = None, ensemble: str = "bot") -> Reasons:
    async with db.transaction() as tx:
        return await ensembles.roll_back(tx, ensemble, named, "command-1", later(10))


async def delete(db: Database, ensemble: str = "bot") -> Reasons:
    async with db.transaction() as tx:
        return await ensembles.delete(tx, ensemble, "command-2", later(20))


async def states(db: Database) -> dict[int, str]:
    async with db.snapshot() as tx:
        return {each.version: each.state.value for each in await ensembles.versions(tx, "bot")}


async def told(db: Database, since: int = 0) -> list[tuple[str, int, int | None, str | None]]:
    said = (await events(db, _EVENTS, "bot"))[since:]
    return [(event.event, event.version, event.serving_version, event.command_id) for event in said]


async def test_the_version_before_is_wanted_again_and_takes_the_place_of_the_one_that_serves(db: Database) -> None:
    await three(db)
    assert await roll_back(db) == ()
    assert await states(db) == {1: "superseded", 2: "wanted", 3: "deployed"}
    async with db.snapshot() as tx:
        (wanted,) = await ensembles.wanted(tx)
    assert (wanted.version, wanted.command_id, wanted.ended_at) == (2, "command-1", None)
    await deploy(db, 2)
    assert await states(db) == {1: "superseded", 2: "deployed", 3: "rolled_back"}
    assert await told(db, since=6) == [
        ("deploying", 2, 3, "command-1"),
        ("rolled_back", 3, 2, "command-1"),
        ("deployed", 2, 2, "command-1"),
    ]
    async with db.snapshot() as tx:
        assert {each.ensemble for each in await ensembles.covered(tx)} == {"bot"}
        assert len(await ensembles.covered(tx)) == 3
        assert await ensembles.left(tx) == []


async def test_rolled_back_twice_it_gets_further_back_and_a_new_version_has_a_new_number(db: Database) -> None:
    await three(db)
    for version in (2, 1):
        assert await roll_back(db) == ()
        await deploy(db, version)
    assert [reason.code for reason in await roll_back(db)] == ["no_earlier_version"]
    await deploy(db, await propose(db, 4))
    assert await states(db) == {1: "superseded", 2: "rolled_back", 3: "rolled_back", 4: "deployed"}
    assert await roll_back(db) == ()
    async with db.snapshot() as tx:
        assert [each.version for each in await ensembles.wanted(tx)] == [1]


async def test_what_was_rolled_back_from_serves_again_when_it_is_named(db: Database) -> None:
    await three(db)
    await roll_back(db)
    await deploy(db, 2)
    assert await roll_back(db, 3) == ()
    await deploy(db, 3)
    assert await states(db) == {1: "superseded", 2: "superseded", 3: "deployed"}
    assert [event for event, *_ in await told(db, since=9)] == ["deploying", "deployed"]


async def test_a_version_that_cannot_serve_again_leaves_the_one_that_serves(db: Database) -> None:
    await three(db)
    await roll_back(db)
    async with db.transaction() as tx:
        await ensembles.mark_failed(tx, "bot", 2, (REASON,), later(11))
    assert await states(db) == {1: "superseded", 2: "failed", 3: "deployed"}
    assert (await told(db))[-1] == ("failed", 2, 3, "command-1")
    async with db.snapshot() as tx:
        assert (await experiments.get(tx, "experiment-2")).state is State.DEPLOYED
    assert await roll_back(db) == ()
    assert (await states(db))[1] == "wanted"
    assert await roll_back(db, 2) == ()
    assert await states(db) == {1: "failed", 2: "wanted", 3: "deployed"}


async def test_a_version_that_waits_to_be_served_is_overtaken(db: Database) -> None:
    await three(db)
    await propose(db, 4)
    assert await roll_back(db) == ()
    assert await states(db) == {1: "superseded", 2: "wanted", 3: "deployed", 4: "failed"}
    async with db.snapshot() as tx:
        assert (await experiments.get(tx, "experiment-4")).state is State.FAILED


@pytest.mark.parametrize(
    ("ensemble", "named", "code"),
    [
        ("nobody", None, "unknown_ensemble"),
        ("bot", 9, "unknown_version"),
        ("bot", 3, "serves_already"),
        ("bot", 4, "never_served"),
    ],
)
async def test_what_cannot_be_gone_back_to_is_refused_and_nothing_is_written(
    db: Database, ensemble: str, named: int | None, code: str
) -> None:
    await three(db)
    failed = await propose(db, 4)
    async with db.transaction() as tx:
        await ensembles.mark_failed(tx, "bot", failed, (REASON,), NOW)
    before = await everything(db)
    assert [reason.code for reason in await roll_back(db, named, ensemble)] == [code]
    assert await everything(db) == before


async def test_a_live_version_is_not_rolled_back_to_one_on_paper(db: Database) -> None:
    await deploy(db, await propose(db, 1))
    await deploy(db, await propose(db, 2, mode="live"))
    assert [reason.code for reason in await roll_back(db)] == ["live_version_serves"]


async def test_a_deleted_ensemble_is_wanted_by_nobody_and_can_serve_again(db: Database) -> None:
    await three(db)
    await propose(db, 4)
    assert await delete(db) == ()
    assert await states(db) == {1: "superseded", 2: "superseded", 3: "superseded", 4: "failed"}
    assert await told(db, since=7) == [("failed", 4, 3, None), ("deleted", 3, None, "command-2")]
    async with db.snapshot() as tx:
        assert await ensembles.given_up(tx) == {"bot"}
        assert await ensembles.deployed(tx) == []
        assert [each.version for each in await ensembles.left(tx)] == [3]
    assert [reason.code for reason in await delete(db)] == ["nothing_serves"]
    assert [reason.code for reason in await roll_back(db)] == ["nothing_serves"]
    assert await roll_back(db, 3) == ()
    await deploy(db, 3)
    assert (await told(db))[-1] == ("deployed", 3, 3, "command-1")


async def test_deleting_what_there_is_not_writes_nothing(db: Database) -> None:
    before = await everything(db)
    assert [reason.code for reason in await delete(db, "nobody")] == ["unknown_ensemble"]
    assert await everything(db) == before


async def judged(db: Database, number: int = 1, state: State = State.SELECTED) -> str:
    """An experiment that the gate has judged."""
    experiment = await founded(db, number, state, name=f"experiment-{number}")
    event = GatePassed(experiment=experiment, request_id="r", sequence=0, emitted_at=NOW, verdict=VERDICT)
    async with db.transaction() as tx:
        await experiments.note(tx, experiment, event, NOW)
    return experiment


async def wish(db: Database, experiment: str, command_id: str = "wish-1") -> Reasons:
    async with db.transaction() as tx:
        return await wishes.wish(tx, command_id, experiment, "bot", DEPLOY, NOW)


async def open_wishes(db: Database, experiment: str) -> list[str]:
    async with db.snapshot() as tx:
        assert bool(await wishes.of_experiment(tx, experiment)) is (experiment in await _wished(db))
        return [each.command_id for each in await wishes.of_experiment(tx, experiment)]


async def _wished(db: Database) -> list[str]:
    async with db.snapshot() as tx:
        return [each.id for each in await wishes.wished_of(tx)]


async def test_a_wish_stays_open_until_it_is_settled_and_is_settled_once(db: Database) -> None:
    experiment = await judged(db)
    for command_id in ("wish-2", "wish-1"):
        assert await wish(db, experiment, command_id) == ()
    assert await open_wishes(db, experiment) == ["wish-1", "wish-2"]
    async with db.transaction() as tx:
        assert await wishes.settle(tx, ["wish-1", "wish-9"]) == {"wish-1"}
        assert await wishes.settle(tx, ["wish-1"]) == frozenset()
    assert await open_wishes(db, experiment) == ["wish-2"]


@pytest.mark.parametrize("state", [State.ACCEPTED, State.RUNNING, State.SELECTED, State.CANCELLED])
async def test_nothing_is_wished_for_of_a_search_that_is_not_over(db: Database, state: State) -> None:
    cancelled = state is State.CANCELLED
    experiment = await founded(db, 1, State.RUNNING if cancelled else state)
    if cancelled:
        async with db.transaction() as tx:
            await experiments.advance(tx, experiment, state, None, NOW)
    before = await everything(db)
    assert [reason.code for reason in await wish(db, experiment)] == ["not_searched"]
    assert [reason.code for reason in await wish(db, "nobody")] == ["unknown_experiment"]
    assert await everything(db) == before


async def test_a_wish_that_cannot_be_fulfilled_is_told_so_once_under_its_command(db: Database) -> None:
    experiment = await judged(db)
    await wish(db, experiment)
    for _ in range(2):
        async with db.transaction() as tx:
            await wishes.refuse(tx, experiment, (REASON,), NOW)
    assert await open_wishes(db, experiment) == []
    (event,) = await events(db, "experiment-events", "wish-1")
    assert (event.event, event.request_id, event.reasons) == ("rejected", "wish-1", (REASON,))


async def test_deleting_an_ensemble_withdraws_what_is_wished_for_under_its_name(db: Database) -> None:
    await three(db)
    experiment = await judged(db, 4)
    await wish(db, experiment)
    assert await delete(db) == ()
    assert await open_wishes(db, experiment) == []
    (event,) = await events(db, "experiment-events", "wish-1")
    assert [reason.code for reason in event.reasons] == ["deleted"]


@pytest.mark.parametrize("state", [State.SELECTED, State.DEPLOYED])
async def test_an_experiment_stays_where_it_is_while_a_command_s_versions_come_and_go(
    db: Database, state: State
) -> None:
    experiment = await judged(db, 1, state)
    for version in (1, 2):
        async with db.transaction() as tx:
            assert await ensembles.propose(tx, proposal(experiment, command_id="wish-1"), NOW) == version
    async with db.transaction() as tx:
        first, second = await ensembles.wanted(tx)
        await ensembles.mark_deployed(tx, "bot", 1, NOW)
        await ensembles.mark_failed(tx, "bot", 2, (REASON,), NOW)
    # Both are of one search: whoever commands knows that the first serves.
    assert ensembles.objection(second, first) is None
    async with db.snapshot() as tx:
        assert (await experiments.get(tx, experiment)).state is state
