"""Search requests: settled once, whoever else is at it."""

import asyncio
import json
import subprocess
import sys
from collections import Counter

import pytest
from sqlalchemy import select

from orchestrator.core.lifecycle import State
from orchestrator.store import experiments, requests
from orchestrator.store.database import Database
from orchestrator.store.requests import Accepted, Duplicate, Known, NameTaken, Rejected
from orchestrator.store.tables import requests as requests_table
from schemas.search import Deploy
from tests.contracts.store.makers import NOW, REASON, TRACE, admit, digest, events, everything, founded, later, search

_EVENTS = "experiment-events"


async def test_a_request_founds_an_experiment_and_says_so(db: Database) -> None:
    request = search(priority=3, deploy=Deploy(auto=True, ensemble_name="bot", threshold=0.6))
    admission = await admit(db, request, digest(5), trials=12)

    assert isinstance(admission, Accepted)
    async with db.snapshot() as tx:
        experiment = await experiments.get(tx, admission.experiment)
    assert experiment.state is State.ACCEPTED
    assert (experiment.request, experiment.request_id, experiment.priority) == (request, "request-1", 3)
    assert (experiment.search_key, experiment.trials) == (digest(5), 12)
    assert experiment.created_at == experiment.updated_at == NOW
    assert (experiment.started_at, experiment.finished_at, experiment.traceparent) == (None, None, TRACE)
    (event,) = await events(db, _EVENTS)
    assert (event.event, event.experiment, event.sequence) == ("accepted", experiment.id, 1)
    assert (event.trials, event.search_key, event.emitted_at) == (12, digest(5), NOW)


async def test_a_request_keeps_its_bytes(db: Database) -> None:
    request = search()
    await admit(db, request)
    async with db.snapshot() as tx:
        row = (await tx.execute(select(requests_table))).one()
    assert row.raw == request.model_dump_json().encode()
    assert (row.received_at, row.traceparent, row.outcome) == (NOW, TRACE, "accepted")


async def test_an_unnamed_experiment_is_called_by_its_strategy_algorithm_time_and_digest(db: Database) -> None:
    assert (await founded(db)).startswith("grid_elasticnet_20260115_210000_")


async def test_a_long_algorithm_leaves_a_valid_name(db: Database) -> None:
    name = await founded(db, strategy="multi_ticker_pbt", algorithm="a" * 64)
    assert len(name) == 64
    assert name.startswith("multi_ticker_pbt_aaaa")


async def test_a_redelivered_request_changes_nothing(db: Database) -> None:
    first = await admit(db, search(name="mine"))
    before = await everything(db)
    assert await admit(db, search(name="mine"), now=later(60)) == Known(first.experiment)
    assert await admit(db, search(name="other", priority=9), digest(2), now=later(60)) == Known(first.experiment)
    assert await everything(db) == before


async def test_identical_work_under_way_attaches_and_keeps_its_own_deploy_clause(db: Database) -> None:
    first, second = Deploy(auto=True, ensemble_name="one"), Deploy(auto=True, ensemble_name="two", top_n=2)
    experiment = await founded(db, 1, deploy=first)
    assert await admit(db, search("b", deploy=second), digest(1), now=later(1)) == Duplicate(experiment)

    async with db.snapshot() as tx:
        assert await requests.deploy_clauses(tx, experiment) == {"request-1": first, "b": second}
    event = (await events(db, _EVENTS, experiment))[-1]
    assert (event.event, event.request_id, event.sequence) == ("duplicate", "b", 2)


async def test_an_experiment_is_as_urgent_and_as_patient_as_any_of_its_requests(db: Database) -> None:
    async def wanted() -> tuple[int, object]:
        async with db.snapshot() as tx:
            (found,) = await experiments.waiting(tx)
        return found.priority, found.expires_at

    await admit(db, search("a", priority=3, expires_at=later(60)))
    assert await wanted() == (3, later(60))
    await admit(db, search("b", priority=-1, expires_at=later(90)))
    assert await wanted() == (3, later(90))
    await admit(db, search("c", priority=5, expires_at=later(30)))
    assert await wanted() == (5, later(90))
    await admit(db, search("d"))
    await admit(db, search("e", expires_at=later(30)))
    assert await wanted() == (5, None)


@pytest.mark.parametrize("state", [State.WAITING, State.RUNNING, State.SEARCHED])
async def test_work_is_under_way_until_survivors_are_selected(db: Database, state: State) -> None:
    experiment = await founded(db, 1, state)
    assert await admit(db, search("again"), digest(1)) == Duplicate(experiment)


async def test_work_that_is_over_can_be_searched_again(db: Database) -> None:
    experiment = await founded(db, 1, State.SELECTED)
    again = await admit(db, search("again"), digest(1))
    assert isinstance(again, Accepted)
    assert again.experiment != experiment


async def test_the_name_of_an_attached_request_is_an_alias(db: Database) -> None:
    holder = await admit(db, search("a", name="first"))
    await admit(db, search("b", name="second"))
    await admit(db, search("c", name="second"))
    async with db.snapshot() as tx:
        found = await experiments.by_name(tx, "second")
        assert found is not None
        assert found.id == holder.experiment == "first"
        assert await experiments.by_name(tx, "third") is None


@pytest.mark.parametrize("taken", ["own", "alias"])
async def test_a_name_of_other_work_is_refused(db: Database, taken: str) -> None:
    await admit(db, search("a", name="own"))
    await admit(db, search("b", name="alias"))

    refused = await admit(db, search("c", name=taken), digest(2))

    assert isinstance(refused, NameTaken)
    assert refused.experiment == "own"
    (event,) = await events(db, _EVENTS, "c")
    assert (event.event, event.experiment, event.reasons) == ("rejected", None, refused.reasons)
    assert event.reasons[0].code == "name_taken"
    assert await admit(db, search("c", name="free"), digest(2)) == Accepted("free")
    async with db.snapshot() as tx:
        assert {found.id for found in await experiments.in_states(tx, *State)} == {"own", "free"}


async def test_an_alias_of_other_work_is_refused_to_identical_work_too(db: Database) -> None:
    await admit(db, search("a", name="one"), digest(1))
    await admit(db, search("b", name="two"), digest(2))
    refused = await admit(db, search("c", name="two"), digest(1))
    assert isinstance(refused, NameTaken)
    assert refused.experiment == "two"


async def test_the_name_of_finished_work_stays_taken_since_nobody_would_act_on_a_deploy_clause(db: Database) -> None:
    await founded(db, 1, State.SELECTED, name="mine")
    assert isinstance(await admit(db, search("again", name="mine"), digest(1)), NameTaken)


async def test_the_name_of_failed_work_stays_taken(db: Database) -> None:
    await founded(db, 1, name="mine")
    async with db.transaction() as tx:
        await experiments.advance(tx, "mine", State.FAILED, None, NOW)
    assert isinstance(await admit(db, search("again", name="mine"), digest(1)), NameTaken)


async def test_a_made_name_that_is_taken_gives_way_to_the_next(db: Database) -> None:
    taken = await founded(db, 1, State.SELECTED)
    async with db.transaction() as tx:
        same_bytes = search("request-1").model_dump_json().encode()
        again = await requests.admit(tx, search("request-2"), raw=same_bytes, trials=1, search_key=digest(2), now=NOW)
    assert isinstance(again, Accepted)
    assert again.experiment != taken
    assert again.experiment[:-6] == taken[:-6]


async def test_a_rejected_request_is_kept_with_its_reasons_and_its_id_may_be_used_again(db: Database) -> None:
    async with db.transaction() as tx:
        assert await requests.reject(tx, "bad", (REASON,), raw=b"{", now=NOW) == Rejected((REASON,))
    (event,) = await events(db, _EVENTS, "bad")
    assert (event.event, event.request_id, event.reasons, event.sequence) == ("rejected", "bad", (REASON,), 1)
    async with db.transaction() as tx:
        assert await requests.reject(tx, "bad", (), raw=b"", now=later(9)) == Rejected(())
    assert [event.sequence for event in await events(db, _EVENTS, "bad")] == [1, 2]
    mended = await admit(db, search("bad"))
    assert isinstance(mended, Accepted)
    assert await admit(db, search("bad")) == Known(mended.experiment)


async def test_an_accepted_request_cannot_be_rejected_any_more(db: Database) -> None:
    experiment = await founded(db)
    before = await everything(db)
    async with db.transaction() as tx:
        assert await requests.reject(tx, "request-1", (REASON,), raw=b"", now=NOW) == Known(experiment)
    assert await everything(db) == before


async def test_an_admission_that_is_rolled_back_leaves_no_trace(db: Database) -> None:
    await founded(db, 1)
    before = await everything(db)

    async def fail(search_key: str) -> None:
        async with db.transaction() as tx:
            await requests.admit(tx, search("new"), raw=b"", trials=1, search_key=search_key, now=NOW)
            raise LookupError

    for search_key in (digest(1), digest(2)):
        with pytest.raises(LookupError):
            await fail(search_key)
    assert await everything(db) == before


async def test_of_many_at_once_with_one_request_id_one_is_accepted(db: Database) -> None:
    admissions = await asyncio.gather(*(admit(db, search(name=f"n{turn}"), digest(turn)) for turn in range(12)))
    assert Counter(map(type, admissions)) == {Accepted: 1, Known: 11}
    assert len({admission.experiment for admission in admissions}) == 1


async def test_of_many_at_once_with_one_search_key_one_is_accepted(db: Database) -> None:
    admissions = await asyncio.gather(*(admit(db, search(f"request-{turn}")) for turn in range(12)))
    assert Counter(map(type, admissions)) == {Accepted: 1, Duplicate: 11}
    assert len({admission.experiment for admission in admissions}) == 1
    assert [event.sequence for event in await events(db, _EVENTS)] == list(range(1, 13))


async def test_of_many_at_once_with_one_name_one_is_accepted(db: Database) -> None:
    admissions = await asyncio.gather(
        *(admit(db, search(f"request-{turn}", name="mine"), digest(turn)) for turn in range(10))
    )
    assert Counter(map(type, admissions)) == {Accepted: 1, NameTaken: 9}


async def test_two_processes_that_start_at_once_accept_each_request_and_each_work_once(url: str) -> None:
    own_work = [f"shared-{number}={number}" for number in range(10)]

    def rival(side: str) -> dict[str, str]:
        same_work = [f"{side}-{number}=99" for number in range(10)]
        command = [sys.executable, "-m", "tests.contracts.store.rival", url, *own_work, *same_work]
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
        outcomes: dict[str, str] = json.loads(ended.stdout)
        return outcomes

    left, right = await asyncio.gather(asyncio.to_thread(rival, "left"), asyncio.to_thread(rival, "right"))

    shared = left.keys() & right.keys()
    assert len(shared) == 10
    assert {tuple(sorted((left[name], right[name]))) for name in shared} == {("Accepted", "Known")}
    same_work = [outcome for name, outcome in (left | right).items() if name not in shared]
    assert Counter(same_work) == {"Accepted": 1, "Duplicate": 19}


async def test_of_requests_that_were_accepted_or_attached_the_bytes_are_known(db: Database) -> None:
    await admit(db, search("founder"))
    await admit(db, search("attached"))
    async with db.transaction() as tx:
        await requests.reject(tx, "rejected", (REASON,), raw=b"{}", now=NOW)
    async with db.snapshot() as tx:
        found = await requests.settled(tx, ["founder", "attached", "rejected", "nobody"])
        assert await requests.settled(tx, []) == {}
    assert found == {name: search(name).model_dump_json().encode() for name in ("founder", "attached")}
