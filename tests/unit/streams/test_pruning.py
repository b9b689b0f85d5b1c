"""What is pruned of a store with everything in it, and what is not."""

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import select

from orchestrator.core.lifecycle import State
from orchestrator.core.retention import Keeping, digests_in
from orchestrator.store import ensembles, experiments, fingerprints, leases, outbox, retention, trials
from orchestrator.store.database import Database
from orchestrator.store.fingerprints import Fingerprint
from orchestrator.store.tables import trial_histories
from schemas.experiments import GatePassed
from serving.artifacts import Artifacts
from streams import pruning
from streams.leading import Leadership
from streams.pruning import Pruned, Pruning
from tests.contracts.store.makers import NOW, VERDICT, completed, events, everything, founded, planned, proposal

DAY = timedelta(days=1)
KEEPING = Keeping(unreferred=30 * DAY, versions=1)


@dataclass
class House:
    """A store, the files that go with it, and who prunes them. Everything in it is of NOW unless told."""

    db: Database
    leadership: Leadership
    folder: Path
    now: datetime = NOW
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.artifacts = Artifacts(self.folder / "artifacts")
        self.working = self.folder / "streamed"
        self.working.mkdir()
        self.pruning = Pruning(
            leadership=self.leadership,
            artifacts=self.artifacts,
            working=self.working,
            keeping=KEEPING,
            clock=lambda: self.now,
            on_failure=self.failures.append,
        )

    async def prune(self, after: timedelta) -> Pruned:
        self.now = NOW + after
        return await self.pruning.prune()

    async def experiment(self, number: int, state: State = State.SELECTED, *, judged: bool = True) -> str:
        """One with three trials that are completed, and whose results are known."""
        name = await founded(self.db, number, state)
        rows = [completed(each.trial) for each in planned(3)]
        async with self.db.transaction() as tx:
            await trials.plan(tx, name, planned(3), NOW)
            await trials.finish(tx, name, rows, NOW)
            known = [Fingerprint(f"{name}-{each.trial}", name, each.trial, 1, True) for each in rows]
            await fingerprints.record(tx, known, NOW)
            if judged:
                event = GatePassed(experiment=name, request_id="r", sequence=0, emitted_at=NOW, verdict=VERDICT)
                await experiments.note(tx, name, event, NOW)
        return name

    async def forgotten(self, experiment: str) -> None:
        async with self.db.transaction() as tx:
            await fingerprints.clear(tx, experiment)

    async def predictions(self) -> set[tuple[str, str]]:
        """By experiment and trial, those that are there."""
        async with self.db.snapshot() as tx:
            columns = trial_histories.c["experiment", "trial"]
            return {(row.experiment, row.trial) for row in await tx.execute(select(*columns))}

    async def assembled(self, experiment: str, *contents: str, trial: str = "t00000") -> ensembles.Proposal:
        """An ensemble of such a member, whose artifacts are there, put at NOW; it may be proposed."""
        digests = [self.artifacts.put(content.encode()) for content in contents]
        for digest in digests:
            os.utime(self.artifacts.directory / digest, (NOW.timestamp(), NOW.timestamp()))
        manifest = {"experiment": experiment, "members": [{"trial": trial, "artifact": digests[0]}], "other": digests}
        async with self.db.transaction() as tx:
            await retention.note_artifacts(tx, digests_in(manifest), NOW)
        return proposal(experiment, manifest=manifest, digest=digests[-1])

    async def deployed(self, proposed: ensembles.Proposal) -> None:
        async with self.db.transaction() as tx:
            version = await ensembles.propose(tx, proposed, NOW)
            await ensembles.mark_deployed(tx, proposed.ensemble, version, NOW)

    def contents(self) -> set[str]:
        return {path.read_text() for path in self.artifacts.directory.iterdir()}


@pytest.fixture
def house(db: Database, leadership: Leadership, tmp_path: Path) -> House:
    return House(db, leadership, tmp_path)


async def test_events_go_a_day_after_they_were_published_and_not_before_they_were(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "AT_ONCE", 2)
    for number in range(1, 6):
        await founded(house.db, number)
    async with house.db.transaction() as tx:
        pending = await outbox.pending(tx, 3)
        await outbox.mark_published(tx, [row.id for row in pending], NOW)
    assert (await house.prune(DAY)).events == 0
    assert (await house.prune(DAY + timedelta(seconds=1))).events == 3
    assert len(await events(house.db, "experiment-events")) == len((await everything(house.db))["outbox"]) == 2


async def test_predictions_go_where_no_search_fingerprint_or_ensemble_refers_to_them(house: House) -> None:
    over, known, going_on = [await house.experiment(number, judged=number < 3) for number in (1, 2, 3)]
    broken_off = await house.experiment(4, State.RUNNING, judged=False)
    async with house.db.transaction() as tx:
        await experiments.advance(tx, broken_off, State.CANCELLED, None, NOW)
    await house.deployed(await house.assembled(over, "model", trial="t00002"))
    for name in (over, going_on, broken_off):
        await house.forgotten(name)
    assert (await house.prune(30 * DAY)).predictions == 0
    assert (await house.prune(31 * DAY)).predictions == 2
    all_of = {(name, f"t0000{number}") for name in (known, going_on, broken_off) for number in range(3)}
    assert await house.predictions() == {(over, "t00002"), *all_of}
    async with house.db.snapshot() as tx:
        assert {each.trial for each in await trials.of_experiment(tx, over)} == {"t00000", "t00001", "t00002"}


async def test_artifacts_go_where_no_version_that_may_serve_again_is_made_of_them(house: House) -> None:
    name = await house.experiment(1)
    for content in ("first", "second", "third"):
        await house.deployed(await house.assembled(name, content, "shared"))
    await house.assembled(name, "refused", "second")
    assert (await house.prune(30 * DAY)).artifacts == 0
    # The third serves, and the second did before it.
    assert (await house.prune(31 * DAY)).artifacts == 2
    assert house.contents() == {"second", "third", "shared"}
    assert (await house.prune(31 * DAY)).artifacts == 0


async def test_an_artifact_that_is_put_again_is_kept_before_anything_refers_to_it(house: House) -> None:
    await house.assembled(await house.experiment(1), "model")
    # Its time is the clock's, and that is long after NOW.
    house.artifacts.put(b"model")
    house.now = datetime.now(NOW.tzinfo)
    assert (await house.pruning.prune()).artifacts == 0
    assert house.contents() == {"model"}


async def test_files_that_no_ensemble_of_this_store_was_assembled_of_are_left_alone(house: House) -> None:
    digest = house.artifacts.put(b"another store's")
    os.utime(house.artifacts.directory / digest, (0, 0))
    await house.prune(1000 * DAY)
    assert house.contents() == {"another store's"}


async def test_folders_of_searches_go_that_nobody_leads_any_more(house: House) -> None:
    left, led, young = [await founded(house.db, number, State.RUNNING) for number in (1, 2, 3)]
    async with house.db.transaction() as tx:
        await leases.acquire(tx, leases.driver_of(led), "it", DAY)
    for name in (left, led, young, "unknown"):
        (house.working / name / "inside").mkdir(parents=True)
        touched = NOW + DAY if name == young else NOW
        os.utime(house.working / name, (touched.timestamp(), touched.timestamp()))
    assert (await house.prune(DAY + timedelta(seconds=1))).folders == 1
    assert {path.name for path in house.working.iterdir()} == {led, young, "unknown"}


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_there_is_everything_that_is_referred_to_stays(house: House, seed: int) -> None:
    draw = Random(seed)
    names = [
        await house.experiment(number, draw.choice([State.RUNNING, State.SELECTED]), judged=draw.random() < 0.7)
        for number in range(1, 7)
    ]
    selected = [name for name in names if (await _get(house.db, name)).state is State.SELECTED]
    for _ in range(8 if selected else 0):
        contents = [str(draw.randrange(6)) for _ in range(2)]
        trial = f"t0000{draw.randrange(3)}"
        proposed = await house.assembled(draw.choice(selected), *contents, trial=trial)
        if draw.random() < 0.6:
            await house.deployed(proposed)
    for name in names:
        if draw.random() < 0.6:
            await house.forgotten(name)
    await house.prune(40 * DAY)

    there = await house.predictions()
    for name in names:
        found = await _get(house.db, name)
        async with house.db.snapshot() as tx:
            known = {each.trial for each in await fingerprints.of_experiment(tx, name) if each.whole}
        expected = known if found.verdict else {"t00000", "t00001", "t00002"}
        assert {(name, trial) for trial in expected} <= there
    async with house.db.snapshot() as tx:
        serving = await ensembles.deployed(tx)
        before = [each for each in await ensembles.versions(tx, "bot") if each.state == "superseded"][-1:]
    for version in (*serving, *before):
        for digest in digests_in(version.manifest):
            assert house.artifacts.get(digest)
        assert (version.experiment, version.manifest["members"][0]["trial"]) in there


async def _get(db: Database, name: str) -> experiments.Experiment:
    async with db.snapshot() as tx:
        return await experiments.get(tx, name)


async def test_a_folder_that_cannot_be_written_to_ends_nobody(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **fields: object) -> bool:
        raise PermissionError(13, "no", "artifacts")

    await house.assembled(await house.experiment(1), "model")
    monkeypatch.setattr(Artifacts, "remove", refuse)
    monkeypatch.setattr(pruning, "PAUSE_SECONDS", 0)
    house.now = NOW + 31 * DAY
    await house.pruning.turn()
    assert house.failures == []
