"""The policies' work on a real store: one trigger, one request, whatever repeats, breaks off or comes meanwhile."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import update

from orchestrator.core.admission import Limits
from orchestrator.core.lifecycle import State
from orchestrator.core.performance import Account
from orchestrator.store import outbox, performance, requests, retraining
from orchestrator.store.database import Database
from orchestrator.store.retraining import Trigger
from orchestrator.store.tables import experiments
from schemas.commands import Retrain
from schemas.dead_letter import read_dead_letter
from schemas.policies import DriftRule, Hours, Policy
from schemas.retraining import DetectorsRead, RetrainingTriggered
from schemas.search import SearchRequest
from schemas.topics import RETRAINING_EVENTS, SEARCH_REQUESTS
from serving.artifacts import Artifacts
from streams import triggering
from streams.judging import Judge
from streams.leading import Leadership
from streams.profiles import Profiles
from streams.retraining import Retraining
from streams.watching import Detectors
from tests.contracts.store.makers import admit, digest, events
from tests.unit.streams.fakes import HOUR, NOW, Clock, bar
from tests.unit.streams.test_commanding import Desk as CommandDesk
from tests.unit.streams.test_intake import DLQ, document
from tests.unit.streams.test_intake import Desk as RequestDesk
from tests.unit.streams.test_judging import JUDGE
from tests.unit.streams.test_watching import read
from tests.unit.streams.watched import WINDOW, has_policy, rows, serves, ticks

HOURS = Judge(tickers=lambda timeframe: {"AAPL", "MSFT"}, algorithms=JUDGE.algorithms, limits=Limits(digits=6))
DAY = timedelta(days=1)
DRIFTING = Policy(drift=DriftRule())


class Bench:
    """An ensemble with a policy, the ticks that it gets, and whoever sees to it."""

    def __init__(self, db: Database, leadership: Leadership, folder: Path) -> None:
        self.db = db
        self.clock = Clock(NOW + 1000 * HOUR)
        self.failures: list[BaseException] = []
        self._kept = Profiles(Artifacts(folder / "artifacts"))
        self._leadership = leadership
        self._told = 0
        self.engine = self.another()

    def another(self) -> Retraining:
        """Another worker, that knows nothing but the database."""
        return Retraining(self._leadership, HOURS, self._kept, self.clock, self.failures.append)

    async def tick(self, count: int, shift: float = 0.0) -> None:
        """So many bars more, shifted so far from training."""
        detectors = await Detectors.open(self.db, self._kept)
        told = ticks(rows(count, shift, seed=self._told), first=self._told)
        await detectors.take(read(told, first=self._told), self.clock())
        self._told += count

    async def turn(self) -> None:
        """See to every policy once."""
        await self.engine.see_to_all()

    async def asked_for(self) -> list[SearchRequest]:
        """The requests that are on their way."""
        return [each for each in await events(self.db, SEARCH_REQUESTS.name) if isinstance(each, SearchRequest)]

    async def triggered(self) -> list[RetrainingTriggered]:
        """What was told of triggers."""
        told = await events(self.db, RETRAINING_EVENTS.name)
        return [each for each in told if isinstance(each, RetrainingTriggered)]

    async def read(self) -> list[DetectorsRead]:
        """What was told of detectors."""
        return [each for each in await events(self.db, RETRAINING_EVENTS.name) if isinstance(each, DetectorsRead)]

    async def triggers(self) -> list[Trigger]:
        """What was triggered, newest first."""
        async with self.db.snapshot() as tx:
            return await retraining.triggered(tx, "alpha")

    async def settle(self, request: SearchRequest, state: State) -> None:
        """Have a request admitted, and its search end so."""
        found = await admit(self.db, request, digest(99), now=self.clock())
        assert isinstance(found, requests.Accepted)
        async with self.db.transaction() as tx:
            this = experiments.c.id == found.experiment
            await tx.execute(update(experiments).where(this).values(state=state))


@pytest_asyncio.fixture
async def bench(db: Database, leadership: Leadership, tmp_path: Path) -> Bench:
    """Version 1 of `alpha` serves, with a policy on drift."""
    await serves(db, tmp_path, 1)
    await has_policy(db, DRIFTING)
    return Bench(db, leadership, tmp_path)


async def test_a_shift_asks_for_one_search_with_its_cause_and_repeats_join_it(bench: Bench) -> None:
    await bench.tick(2 * WINDOW)
    await bench.turn()
    assert await bench.asked_for() == []
    await bench.tick(2 * WINDOW, 1.5)
    await bench.turn()
    (request,) = await bench.asked_for()
    (event,) = await bench.triggered()
    assert request.request_id == event.request_id == "retrain.alpha.1"
    assert request.cause == event.cause
    assert request.cause is not None
    assert (request.cause["kind"], request.cause["ticker"], request.cause["version"]) == ("drift", "AAPL", 1)
    # What was known then, and nothing later.
    assert request.data_end == bar(4 * WINDOW - 1) + timedelta(microseconds=1)
    assert (request.deploy.ensemble_name, request.deploy.mode, request.deploy.auto) == ("alpha", "shadow", True)
    assert request.parent is not None
    for _ in range(10):
        await bench.tick(WINDOW, 1.5)
        await bench.turn()
        bench.engine = bench.another()
    assert len(await bench.asked_for()) == len(await bench.triggered()) == 1
    (trigger,) = await bench.triggers()
    assert len(trigger.joined) >= 10
    assert {cause["trigger"] for cause in trigger.joined} == {trigger.request_id}


async def test_another_shift_after_the_cool_down_asks_again_and_the_same_window_does_not(bench: Bench) -> None:
    await bench.tick(2 * WINDOW, 1.5)
    await bench.turn()
    (request,) = await bench.asked_for()
    bench.clock.advance(2 * DAY)
    # The search is under way, however long that takes.
    await bench.tick(WINDOW, 1.5)
    await bench.turn()
    await bench.settle(request, State.REFUSED)
    await bench.turn()
    assert len(await bench.asked_for()) == 1
    await bench.tick(2 * WINDOW, 1.5)
    await bench.turn()
    assert [each.request_id for each in await bench.asked_for()] == ["retrain.alpha.1", "retrain.alpha.2"]


async def test_what_breaks_off_while_it_triggers_has_triggered_nothing_and_whoever_goes_on_triggers_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.tick(2 * WINDOW, 1.5)
    order = outbox.order

    async def killed(*what: Any) -> None:
        await order(*what)
        raise KeyboardInterrupt

    monkeypatch.setattr(outbox, "order", killed)
    with pytest.raises(KeyboardInterrupt):
        await bench.turn()
    assert (await bench.triggers(), await bench.triggered()) == ([], [])
    monkeypatch.setattr(outbox, "order", order)
    bench.engine = bench.another()
    await bench.turn()
    await bench.turn()
    assert [each.request_id for each in await bench.asked_for()] == ["retrain.alpha.1"]


async def test_nothing_is_triggered_where_what_was_decided_by_has_changed_meanwhile(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.tick(2 * WINDOW, 1.5)
    ask = triggering.asked

    async def overtaken(*what: Any) -> object:
        found = await ask(*what)
        await serves(bench.db, tmp_path, 2)
        return found

    monkeypatch.setattr("streams.retraining.asked", overtaken)
    await bench.turn()
    assert (await bench.triggers(), await bench.asked_for()) == ([], [])


async def test_quiet_hours_and_the_budget_are_waited_for(bench: Bench) -> None:
    await bench.tick(2 * WINDOW, 1.5)
    all_day = (Hours(start="00:00", end="12:00"), Hours(start="12:00", end="00:00"))
    for waits in (DRIFTING.model_copy(update={"quiet": all_day}), DRIFTING.model_copy(update={"trials_per_day": 1})):
        await has_policy(bench.db, waits)
        await bench.turn()
        assert await bench.triggers() == []
    await has_policy(bench.db, DRIFTING)
    await bench.turn()
    assert len(await bench.triggers()) == 1


async def test_it_tells_what_detectors_read_when_a_window_is_whole_and_not_again(bench: Bench) -> None:
    await bench.turn()
    await bench.tick(WINDOW // 2)
    await bench.turn()
    assert len(await bench.read()) == 1
    await bench.tick(WINDOW)
    await bench.turn()
    await bench.turn()
    await bench.tick(1)
    bench.clock.advance(DAY)
    await bench.turn()
    told = await bench.read()
    assert len(told) == 2
    known = [each for each in told[-1].readings if each.figure is not None]
    assert {each.ticker for each in known} == {"AAPL"}
    assert {each.window_end for each in known} == {bar(WINDOW - 1)}


async def test_a_command_triggers_at_once_and_joins_inside_the_cool_down(bench: Bench) -> None:
    desk = CommandDesk(bench.db)
    desk.commands._judge = HOURS
    await answered(bench.db)
    await desk.take(retrain("first"), retrain("first"), retrain("second"))
    (request,) = await bench.asked_for()
    (trigger,) = await bench.triggers()
    assert (trigger.kind, trigger.request_id) == ("hand", request.request_id)
    assert request.cause is not None
    assert request.cause["said"] == {"why": "the index was rebalanced", "command_id": "first", "actor": None}
    assert [cause["said"]["command_id"] for cause in trigger.joined] == ["second"]
    (event,) = await bench.triggered()
    assert event.command_id == "first"


@pytest.mark.parametrize(("ensemble", "code"), [("another", "no_policy"), ("alpha", "no_live_bar")])
async def test_a_command_that_cannot_trigger_is_buried(bench: Bench, ensemble: str, code: str) -> None:
    desk = CommandDesk(bench.db)
    desk.commands._judge = HOURS
    await desk.take(retrain("first", ensemble=ensemble))
    assert (desk.buried, await bench.triggers()) == ([[code]], [])


async def test_requests_from_outside_are_triggers_and_ten_repeats_are_answered_by_the_first_ones_search(
    bench: Bench,
) -> None:
    desk = RequestDesk(bench.db)
    await desk.take(*(news(number) for number in range(11)))
    (trigger,) = await bench.triggers()
    assert (trigger.kind, trigger.request_id) == ("outside", "news-0")
    assert [cause["said"]["headline"] for cause in trigger.joined] == [str(number) for number in range(1, 11)]
    (event,) = await bench.triggered()
    assert event.request_id == "news-0"
    # Read again, each is what it was.
    await desk.take(*(news(number) for number in range(11)))
    (again,) = await bench.triggers()
    assert again == trigger
    async with bench.db.snapshot() as tx:
        (experiment,) = (await tx.execute(experiments.select().where(experiments.c.request_id == "news-0"))).all()
        clauses = await requests.deploy_clauses(tx, experiment.id)
    assert len(clauses) == 11
    assert [name for name, clause in clauses.items() if clause.auto] == ["news-0"]


async def test_a_request_from_outside_that_comes_before_the_search_it_would_join_is_to_be_sent_again(
    bench: Bench,
) -> None:
    await bench.tick(2 * WINDOW, 1.5)
    await bench.turn()
    desk = RequestDesk(bench.db)
    await desk.take(news(1))
    (letter,) = desk.publisher.on(DLQ)
    assert [reason.code for reason in read_dead_letter(letter.headers).reasons] == ["trigger_pending"]
    (request,) = await bench.asked_for()
    await bench.settle(request, State.RUNNING)
    await desk.take(news(1))
    (trigger,) = await bench.triggers()
    assert trigger.joined[-1]["said"]["request_id"] == "news-1"


async def test_without_a_policy_a_cause_is_only_told(bench: Bench) -> None:
    async with bench.db.transaction() as tx:
        await retraining.remove_policy(tx, "alpha")
    await RequestDesk(bench.db).take(news(1))
    assert await bench.triggers() == []


def retrain(command_id: str, **fields: Any) -> bytes:
    base: dict[str, Any] = {"command_id": command_id, "issued_at": NOW, "ensemble": "alpha"}
    command = Retrain(**(base | {"cause": {"why": "the index was rebalanced"}} | fields))
    return command.model_dump_json().encode()


def news(number: int) -> dict[str, Any]:
    deploy = {"auto": True, "ensemble_name": "alpha", "mode": "shadow", "gate": False}
    return document(f"news-{number}", cause={"headline": str(number)}, deploy=deploy)


async def answered(db: Database, through: datetime | None = None) -> None:
    """Have a live tick have been answered."""
    async with db.transaction() as tx:
        await performance.save(tx, {("alpha", "live"): Account(through=through or bar(0))})
