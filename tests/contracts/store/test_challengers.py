"""Challengers: one version on trial beside the one that serves, and what becomes of it."""

from typing import Any

import pytest

from orchestrator.core.gate import Override
from orchestrator.core.lifecycle import State
from orchestrator.store import challengers, ensembles, experiments, retention
from orchestrator.store.database import Database
from orchestrator.store.ensembles import Reasons, Version
from orchestrator.store.errors import NotWanted
from schemas.base import Mode
from tests.contracts.store.makers import NOW, REASON, VERDICT, events, everything, founded, later, proposal

REFUSED = VERDICT.model_copy(update={"passed": False, "overridden": True})
CAUSE = {"kind": "drift", "feature": "rsi_14", "figure": 0.31}
PAIR = ("AAPL", "MSFT")


async def propose(db: Database, number: int, mode: Mode = "shadow", **fields: Any) -> int:
    """Another experiment's version of `bot`; those in shadow were searched for a cause."""
    cause = CAUSE if mode == "shadow" else None
    experiment = await founded(db, number, State.SELECTED, name=f"experiment-{number}", cause=cause)
    async with db.transaction() as tx:
        return await ensembles.propose(tx, proposal(experiment, mode=mode, tickers=PAIR, **fields), NOW)


async def deploy(db: Database, version: int) -> None:
    async with db.transaction() as tx:
        await ensembles.mark_deployed(tx, "bot", version, later(version))


async def shadow(db: Database, version: int) -> None:
    async with db.transaction() as tx:
        await challengers.mark_shadowing(tx, "bot", version, later(version))


async def on_trial(db: Database, mode: Mode = "live", **fields: Any) -> None:
    """Version 1 of `bot` serves, and 2 is its challenger."""
    await deploy(db, await propose(db, 1, mode))
    await shadow(db, await propose(db, 2, **fields))


async def promote(
    db: Database, version: int = 2, *tickers: str, ensemble: str = "bot", override: Override = "paper"
) -> Reasons:
    async with db.transaction() as tx:
        return await challengers.promote(tx, ensemble, version, tickers, override, "command-1", later(10), (REASON,))


async def retire(db: Database, version: int = 2) -> Reasons:
    async with db.transaction() as tx:
        return await challengers.retire(tx, "bot", version, "command-2", later(20), (REASON,))


async def known(db: Database) -> dict[int, Version]:
    async with db.snapshot() as tx:
        return {each.version: each for each in await ensembles.versions(tx, "bot")}


async def states(db: Database) -> dict[int, str]:
    return {number: each.state.value for number, each in (await known(db)).items()}


async def beside(db: Database) -> list[tuple[int, tuple[str, ...]]]:
    async with db.snapshot() as tx:
        return [(each.version, each.canary) for each in await ensembles.challengers(tx)]


async def told(db: Database, topic: str = "retraining-events") -> list[tuple[str, int, int | None]]:
    return [(each.event, each.version, each.serving_version) for each in await events(db, topic, "bot")]


async def test_a_version_in_shadow_is_the_challenger_of_one_that_is_heard(db: Database) -> None:
    await deploy(db, await propose(db, 1, "live"))
    await propose(db, 2)
    with pytest.raises(NotWanted):
        await deploy(db, 2)
    await shadow(db, 2)
    assert await states(db) == {1: "deployed", 2: "shadowing"}
    assert await beside(db) == [(2, ())]
    (event,) = await events(db, "retraining-events", "bot")
    assert (event.event, event.version, event.serving_version, event.cause) == ("shadowing", 2, 1, CAUSE)
    assert (event.experiment, event.tickers, event.command_id) == ("experiment-2", PAIR, None)
    async with db.snapshot() as tx:
        assert (await experiments.get(tx, "experiment-2")).state is State.DEPLOYED
        kept = {each.version: (each.wanted, each.served) for each in await retention.versions(tx)}
    async with db.transaction() as tx:
        _, waits = await ensembles.standing(tx, "bot")
    assert not waits
    assert kept == {1: (True, False), 2: (True, False)}


@pytest.mark.parametrize("mode", ["shadow", None])
async def test_what_nobody_hears_has_no_challenger(db: Database, mode: Mode | None) -> None:
    if mode is not None:
        await deploy(db, await propose(db, 1, mode))
    version = await propose(db, 2)
    with pytest.raises(NotWanted):
        await shadow(db, version)
    await deploy(db, version)
    assert (await states(db))[version] == "deployed"


async def test_a_newer_challenger_takes_the_place_of_an_older_one(db: Database) -> None:
    await on_trial(db)
    assert await promote(db, 2, "AAPL") == ()
    await shadow(db, await propose(db, 3))
    assert await states(db) == {1: "deployed", 2: "superseded", 3: "shadowing"}
    assert await beside(db) == [(3, ())]
    assert await told(db) == [("shadowing", 2, 1), ("canary", 2, 1), ("retired", 2, 1), ("shadowing", 3, 1)]
    (reason,) = (await known(db))[2].reasons
    assert reason.code == "newer_challenger"


async def test_a_promoted_challenger_takes_the_place_of_the_champion_in_its_mode(db: Database) -> None:
    await on_trial(db)
    assert await promote(db) == ()
    wanted = (await known(db))[2]
    assert (wanted.state, wanted.mode, wanted.command_id, wanted.version) == ("wanted", "live", "command-1", 2)
    await deploy(db, 2)
    assert await states(db) == {1: "superseded", 2: "deployed"}
    assert await beside(db) == []
    assert (await events(db, "retraining-events", "bot"))[-1].reasons == (REASON,)
    assert await told(db) == [("shadowing", 2, 1), ("promoted", 2, 1)]
    assert (await told(db, "ensemble-events"))[3:] == [("deploying", 2, 1), ("deployed", 2, 2)]
    deployed = (await events(db, "ensemble-events", "bot"))[-1]
    assert (deployed.mode, deployed.cause, deployed.command_id) == ("live", CAUSE, "command-1")
    async with db.transaction() as tx:
        assert await ensembles.roll_back(tx, "bot", None, "command-3", later(30), (REASON,)) == ()
    await deploy(db, 1)
    taken_back = (await events(db, "ensemble-events", "bot"))[-2]
    assert (taken_back.event, taken_back.version, taken_back.reasons) == ("rolled_back", 2, (REASON,))
    assert taken_back.cause == CAUSE
    assert (await known(db))[1].reasons == ()


async def test_a_canary_is_heard_on_some_instruments_until_it_serves(db: Database) -> None:
    await on_trial(db)
    assert await promote(db, 2, "MSFT", "MSFT") == ()
    assert await states(db) == {1: "deployed", 2: "shadowing"}
    assert await beside(db) == [(2, ("MSFT",))]
    event = (await events(db, "retraining-events", "bot"))[-1]
    assert (event.event, event.tickers, event.reasons, event.command_id) == (
        "canary",
        ("MSFT",),
        (REASON,),
        "command-1",
    )
    assert await promote(db) == ()
    assert await beside(db) == [(2, ("MSFT",))]
    await deploy(db, 2)
    assert await beside(db) == []
    assert (await known(db))[2].canary == ()


async def test_a_promotion_that_cannot_be_served_leaves_the_champion_alone(db: Database) -> None:
    await on_trial(db)
    await promote(db, 2, "MSFT")
    await promote(db)
    async with db.transaction() as tx:
        await ensembles.mark_failed(tx, "bot", 2, (REASON,), later(30))
    assert (await states(db), await beside(db)) == ({1: "deployed", 2: "failed"}, [])
    async with db.snapshot() as tx:
        assert (await experiments.get(tx, "experiment-2")).state is State.DEPLOYED


async def test_a_retired_challenger_never_served_and_is_not_gone_back_to(db: Database) -> None:
    await on_trial(db)
    assert await retire(db) == ()
    retired = (await known(db))[2]
    assert (retired.state, retired.reasons, retired.ended_at) == ("superseded", (REASON,), later(20))
    assert await told(db) == [("shadowing", 2, 1), ("retired", 2, 1)]
    assert (await events(db, "retraining-events", "bot"))[-1].command_id == "command-2"
    await deploy(db, await propose(db, 3, "live"))
    async with db.snapshot() as tx:
        serving = (await ensembles.deployed(tx))[0]
        assert [each.version for each in await ensembles.gone_back_to(tx, serving)] == [1]
        assert {each.version for each in await retention.versions(tx) if each.served} == {1}


async def test_another_champion_leaves_the_challenger_but_hears_it_nowhere(db: Database) -> None:
    await on_trial(db)
    await promote(db, 2, "AAPL")
    await deploy(db, await propose(db, 3, "live"))
    assert await states(db) == {1: "superseded", 2: "shadowing", 3: "deployed"}
    assert await beside(db) == [(2, ())]
    event = (await events(db, "retraining-events", "bot"))[-1]
    assert (event.event, event.tickers, event.serving_version) == ("canary", (), 3)
    assert [reason.code for reason in event.reasons] == ["champion_changed"]


async def test_a_champion_that_goes_back_does_not_wait_for_a_challenger(db: Database) -> None:
    for number in (1, 2):
        await deploy(db, await propose(db, number, "live"))
    await shadow(db, await propose(db, 3))
    await propose(db, 4)
    async with db.transaction() as tx:
        await ensembles.take_back(tx, "bot", 2, 1, (REASON,), later(5))
    assert await states(db) == {1: "deployed", 2: "rolled_back", 3: "shadowing", 4: "wanted"}


async def test_a_champion_that_is_about_to_change_gets_no_challenger_meanwhile(db: Database) -> None:
    await on_trial(db)
    await promote(db, 2, "AAPL")
    await promote(db)
    version = await propose(db, 3)
    with pytest.raises(NotWanted):
        await shadow(db, version)
    await deploy(db, 2)
    await shadow(db, version)
    assert await states(db) == {1: "superseded", 2: "deployed", 3: "shadowing"}


async def test_with_a_deleted_ensemble_its_challenger_ends(db: Database) -> None:
    await on_trial(db)
    await promote(db, 2, "AAPL")
    async with db.transaction() as tx:
        assert await ensembles.delete(tx, "bot", "command-4", later(20)) == ()
    assert await states(db) == {1: "superseded", 2: "superseded"}
    assert await beside(db) == []
    assert (await told(db))[-1] == ("retired", 2, None)


async def test_what_cannot_be_is_refused_and_changes_nothing(db: Database) -> None:
    await on_trial(db)
    before = await everything(db)
    for reasons, code in (
        (await promote(db, ensemble="nobody"), "unknown_ensemble"),
        (await promote(db, 7), "unknown_version"),
        (await promote(db, 1), "not_shadowing"),
        (await retire(db, 1), "not_shadowing"),
        (await promote(db, 2, "AAPL", "IBM"), "ticker_not_covered"),
    ):
        assert [reason.code for reason in reasons] == [code]
    assert await everything(db) == before


@pytest.mark.parametrize(
    ("mode", "champion", "override", "refused"),
    [
        ("live", REFUSED, "paper", True),
        ("live", VERDICT, "live", False),
        ("paper", VERDICT, "paper", True),
        ("paper", REFUSED, "paper", False),
    ],
)
async def test_what_the_gate_has_not_let_through_is_heard_where_the_operator_says_so(
    db: Database, mode: Mode, champion: Any, override: Override, refused: bool
) -> None:
    await deploy(db, await propose(db, 1, mode, verdict=champion))
    await shadow(db, await propose(db, 2, verdict=REFUSED))
    for tickers in ((), ("AAPL",)):
        async with db.transaction() as tx:
            found = await challengers.promote(tx, "bot", 2, tickers, override, "command-1", NOW)
        assert [reason.code for reason in found] == ["gate_not_passed"] * refused
        if not refused:
            break
