"""Interferes with the processes of a service under test; Python reads it at its start where PYTHONPATH leads here.

FAULTS_FOLDER: a process stops for good at a moment for which a file `at.MOMENT` lies there, and writes its number to
`reached.MOMENT`. What processes do is noted there, too: transactions in `wrote.PID`, evaluated steps in `evaluated`.
FAULTS_WITHOUT: the guards that are taken out, with commas between.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(os.environ.get("FAULTS_FOLDER", "."))
WITHOUT = frozenset(os.environ.get("FAULTS_WITHOUT", "").split(","))
Change = Callable[[Any], None]


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


def commits_first(module: Any) -> None:
    """Without: an offset is committed only after the effect of its record is durable."""
    poll = module.KafkaSource._poll

    def committing(self: Any) -> Any:
        messages = poll(self)
        if messages:
            self._store({message.partition(): message.offset() for message in messages})
            self._consumer.commit(asynchronous=False)
        return messages

    put(module.KafkaSource, "_poll", committing)


def delivered_or_not(module: Any) -> None:
    """Without: what the broker did not acknowledge is not done."""
    publish = module.Publisher._publish

    def careless(self: Any, records: Any) -> None:
        try:
            publish(self, records)
        except module.NotDelivered:
            return

    put(module.Publisher, "_publish", careless)


def written_or_not(module: Any) -> None:
    """Without: what the database did not take is not done."""
    from orchestrator.store.errors import DatabaseAway

    take = module.Intake.take

    async def careless(self: Any, records: Any) -> None:
        try:
            await take(self, records)
        except DatabaseAway:
            return

    put(module.Intake, "take", careless)


def starts_again(module: Any) -> None:
    """Without: a child that ended is started again."""

    async def given_up(self: Any, post: Any) -> None:
        await self._live(post)

    async def live(self: Any, post: Any) -> None:
        try:
            await original(self, post)
        except module._Ended:
            while True:
                await module.asyncio.sleep(60)

    original = module.Supervisor._live
    put(module.Supervisor, "_live", live)


def remembers(module: Any) -> None:
    """Without: what has been trained is known."""

    async def nothing(tx: Any, experiment: str) -> dict[str, Any]:
        return {}

    put(module.trials, "steps", nothing)
    put(module.Course, "_memory", lambda self, experiment: None)


def fences(module: Any) -> None:
    """Without: who has lost its lease writes nothing."""

    async def held(tx: Any, lease: Any) -> None:
        return None

    put(module, "held", held)


def keeps(module: Any) -> None:
    """Without: who may have lost its lease stops what it does."""

    keep = module.Term.keep

    async def carelessly(self: Any) -> None:
        while True:
            try:
                await keep(self)
            except module.LeaseLost:
                await module.asyncio.sleep(1)

    put(module.Term, "keep", carelessly)


def ends(module: Any) -> None:
    """Without: a driver that is not heard of is ended."""
    put(module.Launcher, "_end", lambda self, lease: None)


def recognises(module: Any) -> None:
    """Without: the same work is recognised."""
    judge = module.Judge.__call__

    def forgetful(self: Any, request: Any, now: Any) -> Any:
        from dataclasses import replace
        from hashlib import sha256

        found = judge(self, request, now)
        return replace(found, search_key=sha256(request.request_id.encode()).hexdigest())

    put(module.Judge, "__call__", forgetful)


def verifies(module: Any) -> None:
    """Without: a file is looked through before it is used."""

    async def trusting(url: Any) -> None:
        return None

    put(module, "verify", trusting)


def limits(module: Any) -> None:
    """Without: a trial has limits."""
    put(module.Guard, "_broken", lambda self, job, now: None)


ALWAYS: dict[str, Change] = {
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
}


class _Changing(importlib.abc.MetaPathFinder):
    """Changes modules when they have been imported."""

    def __init__(self, changes: dict[str, list[Change]]) -> None:
        self._changes = changes

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        if name not in self._changes:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute, changes = spec.loader.exec_module, self._changes[name]

        def changed(module: ModuleType) -> None:
            execute(module)
            for change in changes:
                change(module)

        spec.loader.exec_module = changed  # type: ignore[method-assign]
        return spec


if "FAULTS_FOLDER" in os.environ:
    wanted: dict[str, list[Change]] = {name: [change] for name, change in ALWAYS.items()}
    for guard in WITHOUT & GUARDS.keys():
        for name, change in GUARDS[guard].items():
            wanted.setdefault(name, []).append(change)
    sys.meta_path.insert(0, _Changing(wanted))
