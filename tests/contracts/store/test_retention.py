"""What could be pruned is found, and pruning takes that and nothing else."""

from datetime import datetime

import pytest

from orchestrator.core.lifecycle import State
from orchestrator.core.retention import Predicted, Served
from orchestrator.store import ensembles, experiments, fingerprints, retention, trials
from orchestrator.store.database import Database
from orchestrator.store.fingerprints import Fingerprint
from schemas.experiments import GatePassed
from tests.contracts.store.makers import (
    NOW,
    REASON,
    VERDICT,
    completed,
    digest,
    everything,
    founded,
    later,
    planned,
    proposal,
)


async def searched(db: Database, number: int, *, judged_at: datetime | None) -> str:
    """An experiment with two trials that are completed; the result of the first one is known."""
    name = await founded(db, number, State.SELECTED)
    async with db.transaction() as tx:
        await trials.plan(tx, name, planned(2), NOW)
        await trials.finish(tx, name, [completed(each.trial) for each in planned(2)], NOW)
        whole = [Fingerprint(f"{number}-{each.trial}", name, each.trial, 1, not n) for n, each in enumerate(planned(2))]
        await fingerprints.record(tx, whole, NOW)
        if judged_at is not None:
            event = GatePassed(experiment=name, request_id="r", sequence=0, emitted_at=NOW, verdict=VERDICT)
            await experiments.note(tx, name, event, judged_at)
    return name


async def test_predictions_are_found_with_what_refers_to_them_and_forgotten_alone(db: Database) -> None:
    old, new, open_ = [await searched(db, n, judged_at=at) for n, at in enumerate((NOW, later(60), None))]
    await founded(db, 7)
    async with db.snapshot() as tx:
        assert await retention.judged(tx, later(30)) == [old]
        assert await retention.judged(tx, later(61)) == sorted([old, new])
        found = {name: await retention.predicted(tx, name) for name in (old, open_)}
    assert found[old] == [
        Predicted(old, "t00000", judged=True, changed_at=NOW, known=True),
        Predicted(old, "t00001", judged=True, changed_at=NOW, known=False),
    ]
    assert {each.judged for each in found[open_]} == {False}

    before = await everything(db)
    async with db.transaction() as tx:
        await retention.forget_predictions(tx, found[old][1:])
    async with db.snapshot() as tx:
        assert await retention.predicted(tx, old) == found[old][:1]
    after = await everything(db)
    changed = [table for table in after if after[table] != before[table]]
    assert changed == ["trial_histories"]
    assert len(before["trial_histories"]) - len(after["trial_histories"]) == 1


async def test_versions_are_told_by_whether_they_serve_and_manifests_with_their_digests(db: Database) -> None:
    name = await founded(db, 1, State.SELECTED)
    async with db.transaction() as tx:
        for number in range(1, 5):
            manifest = {"number": number}
            assert await ensembles.propose(tx, proposal(name, manifest=manifest, digest=digest(number)), NOW) == number
        await ensembles.mark_deployed(tx, "bot", 1, NOW)
        await ensembles.mark_failed(tx, "bot", 2, (REASON,), later(1))
        await ensembles.mark_deployed(tx, "bot", 3, later(2))
    async with db.snapshot() as tx:
        found = sorted(await retention.versions(tx), key=lambda each: each.version)
        assert found == [
            Served("bot", 1, wanted=False, served=True, ended_at=later(2)),
            Served("bot", 2, wanted=False, served=False, ended_at=later(1)),
            Served("bot", 3, wanted=True, served=False, ended_at=None),
            Served("bot", 4, wanted=True, served=False, ended_at=None),
        ]
        kept = await retention.manifests(tx, {("bot", 1), ("bot", 4), ("other", 1)})
        assert kept == [{"number": 1, "digest": digest(1)}, {"number": 4, "digest": digest(4)}]
        assert await retention.manifests(tx, ()) == []


async def test_artifacts_are_noted_when_they_were_last_assembled(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_AT_ONCE", 2)
    one, two, three, four = map(digest, range(4))
    async with db.transaction() as tx:
        await retention.note_artifacts(tx, [one, two, three, four], NOW)
        await retention.note_artifacts(tx, [four, three, two], later(5))
    async with db.snapshot() as tx:
        assert await retention.noted_artifacts(tx, later(5)) == {one: NOW}
        assert await retention.noted_artifacts(tx, later(6)) == {one: NOW} | dict.fromkeys((two, three, four), later(5))
    async with db.transaction() as tx:
        await retention.forget_artifacts(tx, [one, two, digest(9)])
    async with db.snapshot() as tx:
        assert set(await retention.noted_artifacts(tx, later(6))) == {three, four}
