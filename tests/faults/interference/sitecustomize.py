"""Interferes with the processes of a service under test; Python reads it at its start where PYTHONPATH leads here.

FAULTS_FOLDER: a process stops for good at a moment for which a file `at.MOMENT` lies there, and writes its number to
`reached.MOMENT`. What processes do is noted there, too: transactions in `wrote.PID`, evaluated steps in `evaluated`.
Where `dawdles.ENSEMBLE` lies there, its replica takes so many seconds over each batch.
FAULTS_WITHOUT: the guards that can be taken out, with commas between; one is out while `without.GUARD` lies there.
"""

import asyncio
import importlib.abc
import importlib.machinery
import inspect
import os
import sys
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(os.environ.get("FAULTS_FOLDER", "."))
WITHOUT = frozenset(os.environ.get("FAULTS_WITHOUT", "").split(","))
Change = Callable[[Any], None]
at_hand = ""
"""The guard whose changes are being made."""


def stop_at(moment: str) -> None:
    """Stand still until killed, if somebody asked for this moment; the next one who comes goes on."""
    asked = FOLDER / f"at.{moment}"
    try:
        asked.rename(FOLDER / f"{asked.name}.{os.getpid()}")
    except FileNotFoundError:
        return
    (FOLDER / f"reached.{moment}").write_text(str(os.getpid()))
    while True:
        time.sleep(60)


def note(name: str, line: str) -> None:
    """Append a line in one write."""
    with (FOLDER / name).open("a") as notes:
        notes.write(f"{line}\n")


def put(owner: Any, name: str, changed: Any) -> None:
    """Put something in the place of what must be there, or nothing would be changed."""
    getattr(owner, name)
    setattr(owner, name, changed)


def instead(owner: Any, name: str, changed: Any) -> None:
    """Have something called instead of a function while the guard at hand is out."""
    whole, mark = getattr(owner, name), FOLDER / f"without.{at_hand}"

    def either(*arguments: Any, **named: Any) -> Any:
        return (changed if mark.exists() else whole)(*arguments, **named)

    async def awaited(*arguments: Any, **named: Any) -> Any:
        return await either(*arguments, **named)

    # Ray Serve treats them otherwise.
    setattr(owner, name, awaited if inspect.iscoroutinefunction(whole) else either)


def requests_stop(module: Any) -> None:
    """Moments: before a batch of requests is in the database, and after that, before its offset is committed."""
    take = module.Intake.take

    async def stopping(self: Any, records: Any) -> None:
        stop_at("before-database")
        await take(self, records)
        stop_at("before-commit")

    put(module.Intake, "take", stopping)


def writes_are_noted(module: Any) -> None:
    """Who has committed what it wrote."""
    transaction = module.Database.transaction

    @asynccontextmanager
    async def noted(self: Any) -> Any:
        async with transaction(self) as tx:
            yield tx
        note(f"wrote.{os.getpid()}", "")

    put(module.Database, "transaction", noted)


def evaluations_are_noted(module: Any) -> None:
    """Which steps are trained."""
    evaluate = module.evaluate

    def noted(job: Any, bench: Any) -> Any:
        for step in job.steps:
            note("evaluated", f"{step.trial.trial} {step.number}")
        return evaluate(job, bench)

    put(module, "evaluate", noted)


def triggers_stop(module: Any) -> None:
    """Moments: amid the transaction of a trigger, and after it."""
    fire, written = module.fire, module.Retraining._fire

    async def firing(*what: Any) -> Any:
        trigger = await fire(*what)
        stop_at("amid-trigger")
        return trigger

    async def fired(self: Any, *what: Any) -> None:
        await written(self, *what)
        stop_at("after-trigger")

    put(module, "fire", firing)
    put(module.Retraining, "_fire", fired)


def orders_stop(module: Any) -> None:
    """Moments: amid the transaction that orders what a rule says, and after it."""
    order, ordered = module.outbox.order, module.Promoting._order

    async def ordering(*what: Any) -> None:
        await order(*what)
        stop_at("amid-order")

    async def done(self: Any, *what: Any) -> None:
        await ordered(self, *what)
        stop_at("after-order")

    class Ordering:
        pass

    Ordering.order = staticmethod(ordering)  # type: ignore[attr-defined]
    put(module, "outbox", Ordering)
    put(module.Promoting, "_order", done)


def trials_stop(module: Any) -> None:
    """Moments: amid the transactions that put a challenger on trial, and that promote it."""
    for name, moment in (("mark_shadowing", "amid-shadowing"), ("promote", "amid-promotion")):
        put(module, name, _then(getattr(module, name), moment))


def _then(act: Any, moment: str) -> Any:
    async def stopping(*what: Any, **named: Any) -> Any:
        found = await act(*what, **named)
        stop_at(moment)
        return found

    return stopping


def signals_stop(module: Any) -> None:
    """Moments: before signals are published, before their states are, and before the offsets are committed."""
    published, finish, produce = module.Lane._published, module.AtLeastOnce.finish, module.ExactlyOnce._produce

    def stop(topic: str) -> None:
        stop_at("before-states" if topic == "signal-state" else "before-signals")

    async def publishing(self: Any, records: Any) -> None:
        if records:
            stop(records[0].topic)
        await published(self, records)

    async def finishing(self: Any, records: Any) -> None:
        await finish(self, records)
        stop_at("before-offsets")

    def producing(self: Any, topic: str, *what: Any) -> None:
        stop(topic)
        produce(self, topic, *what)

    put(module.Lane, "_published", publishing)
    put(module.AtLeastOnce, "finish", finishing)
    put(module.ExactlyOnce, "_produce", producing)


def replicas_dawdle(module: Any) -> None:
    """An ensemble's replica takes as long as it is told."""
    answer = module.EnsembleReplica.answer

    async def dawdling(self: Any, batch: Any) -> Any:
        if self._succession is not None:
            asked = FOLDER / f"dawdles.{self._succession.served.ensemble}"
            if asked.exists():
                await asyncio.sleep(float(asked.read_text()))
        return await answer(self, batch)

    put(module.EnsembleReplica, "answer", dawdling)


def commits_first(module: Any) -> None:
    """Without: an offset is committed only after the effect of its record is durable."""
    poll = module.KafkaSource._poll

    def committing(self: Any) -> Any:
        messages = poll(self)
        if messages:
            self._store({message.partition(): message.offset() for message in messages})
            self._consumer.commit(asynchronous=False)
        return messages

    instead(module.KafkaSource, "_poll", committing)


def delivered_or_not(module: Any) -> None:
    """Without: what the broker did not acknowledge is not done."""
    publish = module.Publisher._publish

    def careless(self: Any, records: Any) -> None:
        try:
            publish(self, records)
        except module.NotDelivered:
            return

    instead(module.Publisher, "_publish", careless)


def written_or_not(module: Any) -> None:
    """Without: what the database did not take is not done."""
    from orchestrator.store.errors import DatabaseAway

    take = module.Intake.take

    async def careless(self: Any, records: Any) -> None:
        try:
            await take(self, records)
        except DatabaseAway:
            return

    instead(module.Intake, "take", careless)


def starts_again(module: Any) -> None:
    """Without: a child that ended is started again, soon."""
    instead(module.Backoff, "wait", lambda self, failed_at, now: 3600.0)


def remembers(module: Any) -> None:
    """Without: what has been trained is known."""

    async def nothing(tx: Any, experiment: str) -> dict[str, Any]:
        return {}

    instead(module.trials, "steps", nothing)
    instead(module.Course, "_memory", lambda self, experiment: None)


def fences(module: Any) -> None:
    """Without: who has lost its lease writes nothing."""

    async def held(tx: Any, lease: Any) -> None:
        return None

    instead(module, "held", held)


def keeps(module: Any) -> None:
    """Without: who may have lost its lease stops what it does."""

    keep = module.Term.keep

    async def carelessly(self: Any) -> None:
        while True:
            try:
                await keep(self)
            except module.LeaseLost:
                await module.asyncio.sleep(1)

    instead(module.Term, "keep", carelessly)


def ends(module: Any) -> None:
    """Without: a driver that is not heard of is ended."""
    instead(module.Launcher, "_end", lambda self, lease: None)


def recognises(module: Any) -> None:
    """Without: the same work is recognised."""
    judge = module.Judge.__call__

    def forgetful(self: Any, request: Any, now: Any) -> Any:
        from dataclasses import replace
        from hashlib import sha256

        found = judge(self, request, now)
        return replace(found, search_key=sha256(request.request_id.encode()).hexdigest())

    instead(module.Judge, "__call__", forgetful)


def verifies(module: Any) -> None:
    """Without: a file is looked through before it is used."""

    async def trusting(url: Any) -> None:
        return None

    instead(module, "verify", trusting)


def triggers_in_one(module: Any) -> None:
    """Without: a trigger and its request become true together."""
    written = module.Retraining._fire

    async def apart(self: Any, case: Any, ask: Any, causes: Any, now: Any) -> None:
        from orchestrator.store import outbox
        from schemas.topics import SEARCH_REQUESTS

        name = f"apart.{time.time_ns()}"
        request = ask.request.model_copy(update={"request_id": name, "cause": causes[0]})

        async def ordered(tx: Any) -> None:
            await outbox.order(tx, SEARCH_REQUESTS, name, name, request, now)

        await self._database.commit(ordered)
        await written(self, case, ask, causes, now)

    instead(module.Retraining, "_fire", apart)


def names_what_is_ordered(module: Any) -> None:
    """Without: the id of an order says what is decided by."""
    ordered = module.Promoting._order

    async def anew(self: Any, database: Any, order: Any, now: Any) -> None:
        await ordered(
            self, database, order.model_copy(update={"command_id": f"{order.command_id}.{time.time_ns()}"}), now
        )

    instead(module.Promoting, "_order", anew)


def limits(module: Any) -> None:
    """Without: a trial has limits."""
    instead(module.Guard, "_broken", lambda self, job, now: None)


def one_transaction(module: Any) -> None:
    """Without: signals, their states and the offsets of their ticks become true together."""
    produce = module.ExactlyOnce._produce

    def apart(self: Any, topic: str, *what: Any) -> None:
        if topic == "signal-state":
            self._insist(self._producer.commit_transaction)
            self._producer.begin_transaction()
        produce(self, topic, *what)

    instead(module.ExactlyOnce, "_produce", apart)


def waits_for_it(module: Any) -> None:
    """Without: an ensemble that does not answer is asked again."""
    instead(module.Asking, "_patience", lambda self, ensemble, ticks: timedelta(seconds=1))


def not_for_ever(module: Any) -> None:
    """Without: an ensemble that does not answer is waited for only for a while."""
    instead(module.Asking, "_patience", lambda self, ensemble, ticks: timedelta(hours=1))


def loads_beside(module: Any) -> None:
    """Without: a version is loaded while the one before it answers; one that cannot be leaves things as they are."""

    async def unseen(self: Any, configuration: Any) -> Any:
        return ()

    async def at_once(self: Any, configuration: Any) -> None:
        self._succession = None
        self._succession = module.Succession(await self._loaded(configuration), self._retention)

    instead(module.EnsembleReplica, "stage", unseen)
    instead(module.EnsembleReplica, "reconfigure", at_once)


def knows_what_was_answered(module: Any) -> None:
    """Without: what was answered before is looked at."""
    triage = module.triage
    instead(module, "triage", lambda tick, newest, **what: triage(tick, None, **what))


def abstains(module: Any) -> None:
    """Without: a feature that is missing, and a forecast beyond belief, make an ensemble abstain."""
    import numpy as np

    pick, predict = module._pick, module._predict
    instead(module, "_pick", lambda *what: np.nan_to_num(pick(*what)))
    instead(module, "_predict", lambda panel, features, whole: predict(panel, np.clip(features, -9, 9), whole))


def buries(module: Any) -> None:
    """Without: what cannot be read is kept as a dead letter."""
    instead(module.TickPath, "_bury", lambda self, record, reasons, now, out: None)


def minds_the_clock(module: Any) -> None:
    """Without: times of ticks are held against the clock."""
    for name in {"has_expired", "fault_of_clock"} & vars(module).keys():
        instead(module, name, lambda *what: None)


ALWAYS: dict[str, Change] = {
    "streams.delivery": signals_stop,
    "streams.retraining": triggers_stop,
    "streams.promoting": orders_stop,
    "orchestrator.store.challengers": trials_stop,
    "serving.replica": replicas_dawdle,
    "streams.intake": requests_stop,
    "orchestrator.store.database": writes_are_noted,
    "orchestrator.search.trainable": evaluations_are_noted,
}
GUARDS: dict[str, dict[str, Change]] = {
    "commits after the effect": {"streams.source": commits_first},
    "waits for the database": {"streams.intake": written_or_not},
    "waits for acknowledgement": {"streams.publisher": delivered_or_not},
    "starts again": {"streams.supervisor": starts_again},
    "remembers": {"orchestrator.search.course": remembers},
    "fences": {
        "orchestrator.store.leases": fences,
        "orchestrator.store.terms": keeps,
        "orchestrator.search.launching": ends,
    },
    "recognises": {"streams.judging": recognises},
    "verifies": {"orchestrator.store.sqlite_file": verifies},
    "limits": {"orchestrator.search.guard": limits},
    "one transaction": {"streams.delivery": one_transaction},
    "triggers in one transaction": {"streams.retraining": triggers_in_one},
    "names what it orders": {"streams.promoting": names_what_is_ordered},
    "waits for it": {"streams.asking": waits_for_it},
    "waits not for ever": {"streams.asking": not_for_ever},
    "loads beside": {"serving.replica": loads_beside},
    "knows what was answered": {"streams.ticking": knows_what_was_answered},
    "abstains": {"serving.answer": abstains},
    "dead letters": {"streams.ticking": buries},
    "minds the clock": {"streams.ticking": minds_the_clock, "streams.triage": minds_the_clock},
}


class _Changing(importlib.abc.MetaPathFinder):
    """Changes modules when they have been imported."""

    def __init__(self, changes: dict[str, list[tuple[str, Change]]]) -> None:
        self._changes = changes

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        if name not in self._changes:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute, changes = spec.loader.exec_module, self._changes[name]

        def changed(module: ModuleType) -> None:
            global at_hand
            execute(module)
            for guard, change in changes:
                at_hand = guard
                change(module)

        spec.loader.exec_module = changed  # type: ignore[method-assign]
        return spec


if "FAULTS_FOLDER" in os.environ:
    wanted: dict[str, list[tuple[str, Change]]] = {name: [("", change)] for name, change in ALWAYS.items()}
    for guard in WITHOUT & GUARDS.keys():
        for name, change in GUARDS[guard].items():
            wanted.setdefault(name, []).append((guard, change))
    sys.meta_path.insert(0, _Changing(wanted))
