"""Ensembles: immutable versions, one of which serves at most."""

import asyncio
from collections import Counter

import pytest

from orchestrator.core.lifecycle import IllegalTransition, State
from orchestrator.core.versions import VersionState
from orchestrator.store import ensembles, experiments
from orchestrator.store.database import Database
from orchestrator.store.errors import NotWanted
from schemas.base import Mode
from tests.contracts.store.makers import (
    NOW,
    REASON,
    VERDICT,
    digest,
    events,
    everything,
    founded,
    later,
    proposal,
)

_EVENTS = "ensemble-events"


async def _proposed(db: Database, number: int, ensemble: str = "bot") -> tuple[str, int]:
    experiment = await founded(db, number, State.SELECTED)
    async with db.transaction() as tx:
        return experiment, await ensembles.propose(tx, proposal(experiment, ensemble), NOW)


async def _deployed(db: Database, number: int, ensemble: str = "bot") -> tuple[str, int]:
    experiment, version = await _proposed(db, number, ensemble)
    async with db.transaction() as tx:
        await ensembles.mark_deployed(tx, ensemble, version, later(number))
    return experiment, version


async def _state(db: Database, experiment: str) -> State:
    async with db.snapshot() as tx:
        return (await experiments.get(tx, experiment)).state


async def test_a_proposed_version_is_wanted_and_its_experiment_is_deploying(db: Database) -> None:
    experiment, version = await _proposed(db, 1)
    async with db.snapshot() as tx:
        (wanted,) = await ensembles.wanted(tx)
        assert await ensembles.deployed(tx) == []
    assert (wanted.ensemble, wanted.version, wanted.state) == ("bot", version, VersionState.WANTED)
    assert (version, wanted.experiment, wanted.verdict, wanted.proposed_at) == (1, experiment, VERDICT, NOW)
    assert vars(wanted).items() >= vars(proposal(experiment)).items()
    assert await _state(db, experiment) is State.DEPLOYING
    (event,) = await events(db, _EVENTS, "bot")
    assert (event.event, event.version, event.serving_version, event.experiment) == ("deploying", 1, None, experiment)


async def test_the_next_version_supersedes_the_one_that_served(db: Database) -> None:
    first, _ = await _deployed(db, 1)
    second, _ = await _deployed(db, 2)
    async with db.snapshot() as tx:
        old, new = await ensembles.versions(tx, "bot")
        assert await ensembles.deployed(tx) == [new]
        assert await ensembles.wanted(tx) == []
    assert (old.state, old.deployed_at, old.ended_at) == (VersionState.SUPERSEDED, later(1), later(2))
    assert (new.state, new.deployed_at, new.ended_at) == (VersionState.DEPLOYED, later(2), None)
    assert (old.manifest, old.digest) == (new.manifest, new.digest)
    assert await _state(db, first) is await _state(db, second) is State.DEPLOYED
    said = await events(db, _EVENTS, "bot")
    assert [(event.event, event.version, event.serving_version, event.sequence) for event in said] == [
        ("deploying", 1, None, 1),
        ("deployed", 1, 1, 2),
        ("deploying", 2, 1, 3),
        ("deployed", 2, 2, 4),
    ]
    assert (said[3].tickers, said[3].mode, said[3].members) == (("AAPL",), "paper", 1)
    assert (said[3].timeframe, said[3].manifest_digest, said[3].experiment) == ("1d", digest(9), second)


async def test_a_version_that_failed_leaves_the_one_that_serves(db: Database) -> None:
    await _deployed(db, 1)
    experiment, version = await _proposed(db, 2)
    async with db.transaction() as tx:
        await ensembles.mark_failed(tx, "bot", version, (REASON,), later(5))
    async with db.snapshot() as tx:
        serving, failed = await ensembles.versions(tx, "bot")
        ended = await experiments.get(tx, experiment)
    assert serving.state is VersionState.DEPLOYED
    assert (failed.state, failed.reasons, failed.ended_at) == (VersionState.FAILED, (REASON,), later(5))
    assert (ended.state, ended.reasons) == (State.FAILED, (REASON,))
    event = (await events(db, _EVENTS, "bot"))[-1]
    assert (event.event, event.version, event.serving_version, event.reasons) == ("failed", 2, 1, (REASON,))
    assert (await events(db, "experiment-events", experiment))[-1].event == "failed"


async def test_an_experiment_lives_on_with_another_of_its_versions(db: Database) -> None:
    experiment, version = await _proposed(db, 1)
    async with db.transaction() as tx:
        assert await ensembles.propose(tx, proposal(experiment, "other"), NOW) == 1
        await ensembles.mark_failed(tx, "bot", version, (REASON,), NOW)
    assert await _state(db, experiment) is State.DEPLOYING
    async with db.transaction() as tx:
        await ensembles.mark_deployed(tx, "other", 1, NOW)
        assert await ensembles.propose(tx, proposal(experiment, "third"), NOW) == 1
        await ensembles.mark_failed(tx, "third", 1, (REASON,), NOW)
    assert await _state(db, experiment) is State.DEPLOYED


async def test_only_a_wanted_version_is_deployed_or_given_up(db: Database) -> None:
    await _deployed(db, 1)
    before = await everything(db)
    for version, found in ((1, "deployed"), (2, None)):
        with pytest.raises(NotWanted) as refused:
            async with db.transaction() as tx:
                await ensembles.mark_deployed(tx, "bot", version, later(9))
        assert refused.value.state == found
        with pytest.raises(NotWanted):
            async with db.transaction() as tx:
                await ensembles.mark_failed(tx, "bot", version, (REASON,), later(9))
    assert await everything(db) == before


@pytest.mark.parametrize("state", [State.RUNNING, State.SEARCHED])
async def test_nothing_is_proposed_before_survivors_are_selected(db: Database, state: State) -> None:
    experiment = await founded(db, 1, state)
    before = await everything(db)
    with pytest.raises(IllegalTransition):
        async with db.transaction() as tx:
            await ensembles.propose(tx, proposal(experiment), NOW)
    assert await everything(db) == before


async def test_wanted_versions_come_in_the_order_of_their_numbers(db: Database) -> None:
    for number, ensemble in enumerate(("b", "a", "b"), 1):
        await _proposed(db, number, ensemble)
    async with db.snapshot() as tx:
        wanted = await ensembles.wanted(tx)
        assert await ensembles.versions(tx, "nobody") == []
    assert [(version.ensemble, version.version) for version in wanted] == [("a", 1), ("b", 1), ("b", 2)]


async def test_of_many_at_once_that_deploy_one_version_one_succeeds(db: Database) -> None:
    _, version = await _proposed(db, 1)

    async def deploy() -> None:
        async with db.transaction() as tx:
            await ensembles.mark_deployed(tx, "bot", version, NOW)

    ended = await asyncio.gather(*(deploy() for _ in range(8)), return_exceptions=True)
    assert Counter(type(end) for end in ended) == {type(None): 1, NotWanted: 7}
    assert len(await events(db, _EVENTS)) == 2


async def test_proposals_at_once_get_versions_of_their_own(db: Database) -> None:
    found = [await founded(db, number, State.SELECTED) for number in range(1, 6)]

    async def propose(experiment: str) -> int:
        async with db.transaction() as tx:
            return await ensembles.propose(tx, proposal(experiment), NOW)

    assert sorted(await asyncio.gather(*map(propose, found))) == [1, 2, 3, 4, 5]


async def test_what_served_and_serves_is_covered_and_what_failed_or_waits_is_not(db: Database) -> None:
    for number, tickers in enumerate([("AAPL", "MSFT"), ("AAPL",), ("IBM",), ("GOOG",)], 1):
        experiment = await founded(db, number, State.SELECTED)
        async with db.transaction() as tx:
            version = await ensembles.propose(tx, proposal(experiment, tickers=tickers, timeframe="1h"), NOW)
            if number <= 2:
                await ensembles.mark_deployed(tx, "bot", version, NOW)
            elif number == 3:
                await ensembles.mark_failed(tx, "bot", version, (REASON,), NOW)
    async with db.snapshot() as tx:
        found = await ensembles.covered(tx)
    assert {(each.ensemble, each.tickers, each.timeframe) for each in found} == {
        ("bot", ("AAPL", "MSFT"), "1h"),
        ("bot", ("AAPL",), "1h"),
    }


async def test_an_ensemble_is_given_up_when_nothing_serves_or_is_wanted(db: Database) -> None:
    await _deployed(db, 1, "serving")
    await _proposed(db, 2, "wanted")
    for number, ensemble in ((3, "failed"), (4, "serving")):
        _, version = await _proposed(db, number, ensemble)
        async with db.transaction() as tx:
            await ensembles.mark_failed(tx, ensemble, version, (REASON,), NOW)
    async with db.snapshot() as tx:
        assert await ensembles.given_up(tx) == {"failed"}


@pytest.mark.parametrize(
    ("serving", "wanted", "code"),
    [
        (("one", "paper"), ("two", "paper"), None),
        (("one", "paper"), ("two", "live"), None),
        (("one", "live"), ("two", "live"), None),
        (("one", "live"), ("two", "paper"), "live_version_serves"),
        (("one", "live"), ("two", "shadow"), None),
        (("one", "paper"), ("one", "live"), "ensemble_taken"),
        (("one", "live"), ("one", "live"), "ensemble_taken"),
    ],
)
async def test_a_live_version_is_replaced_by_a_live_one_of_another_search_only(
    db: Database, serving: tuple[str, Mode], wanted: tuple[str, Mode], code: str | None
) -> None:
    for number, name in enumerate(("one", "two"), 1):
        await founded(db, number, State.SELECTED, name=name)
    async with db.transaction() as tx:
        for experiment, mode in (serving, wanted):
            await ensembles.propose(tx, proposal(experiment, mode=mode), NOW)
    async with db.snapshot() as tx:
        old, new = await ensembles.versions(tx, "bot")
    found = ensembles.objection(new, old)
    assert (found.code if found else None) == code
    assert ensembles.objection(new, None) is None
