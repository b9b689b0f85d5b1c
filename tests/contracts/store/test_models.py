"""The registry of models, and what commands wish for of them."""

from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.lifecycle import State
from orchestrator.core.models import RegisteredModel
from orchestrator.store import ensembles, models, retention, tables, wishes
from orchestrator.store.database import Database
from schemas.base import Reason
from schemas.commands import AddMember, DeployEnsemble
from schemas.search import Deploy
from tests.contracts.store.makers import NOW, REASON, digest, events, everything, founded, later, proposal


def model(number: int = 1, **fields: Any) -> RegisteredModel:
    """A model to register."""
    base: dict[str, Any] = {
        "digest": digest(number),
        "name": f"model-{number}",
        "format": "joblib",
        "algorithm": "elasticnet",
        "feature_names": ("rsi_14", "momentum"),
        "tickers": ("AAPL", "MSFT"),
        "timeframe": "1d",
        "target_transform": "log_return",
        "horizon": 1,
        "trained_through": NOW - timedelta(days=100),
        "registered_at": NOW,
    }
    return RegisteredModel(**(base | fields))


async def register(db: Database, *those: RegisteredModel) -> list[Reason]:
    async with db.transaction() as tx:
        return [reason for each in those for reason in await models.register(tx, each)]


async def order(db: Database, ensemble: str, number: int, seconds: float = 0) -> AddMember:
    command = AddMember(command_id=f"command-{number}", issued_at=NOW, ensemble=ensemble, model=digest(1))
    async with db.transaction() as tx:
        await models.wish(tx, command, later(seconds))
    return command


async def ready(db: Database) -> list[str]:
    async with db.snapshot() as tx:
        return [each.command.command_id for each in await models.ready(tx)]


async def test_a_model_is_found_by_its_digest_and_its_name_as_it_was_registered(db: Database) -> None:
    assert await register(db, model(2), model(1)) == []
    async with db.snapshot() as tx:
        assert await models.every(tx) == [model(1), model(2)]
        assert await models.named(tx, digest(2)) == await models.named(tx, "model-2") == model(2)
        assert await models.named(tx, "nobody") is None
        assert await models.of_digests(tx, [digest(1), digest(9)]) == {digest(1): model(1)}


async def test_what_is_registered_does_not_change(db: Database) -> None:
    await register(db, model())
    before = await everything(db)
    assert await register(db, model(registered_at=later(9))) == []
    other = await register(db, model(horizon=5, name="other"), model(2, name="model-1"))
    assert [(reason.code, reason.where) for reason in other] == [
        ("registered_otherwise", "other"),
        ("name_taken", "model-1"),
    ]
    assert "name model-1, horizon 1" in other[0].message
    assert await everything(db) == before


async def test_wishes_keep_their_commands_whole(db: Database) -> None:
    deploy = DeployEnsemble(
        command_id="c", issued_at=NOW, ensemble="bot", models=(digest(1),), gate=False, threshold=0.2
    )
    async with db.transaction() as tx:
        await models.wish(tx, deploy, NOW)
    add = await order(db, "other", 1)
    async with db.snapshot() as tx:
        assert [each.command for each in await models.ready(tx)] == [deploy, add]


async def test_of_each_ensemble_the_oldest_wish_comes_first_after_all_that_was_ordered_before(db: Database) -> None:
    name = await founded(db, 1, State.SELECTED)
    await order(db, "bot", 2, 20)
    await order(db, "bot", 1, 10)
    await order(db, "other", 3, 30)
    assert await ready(db) == ["command-1", "command-3"]
    async with db.transaction() as tx:
        row = {"command_id": "deploy", "experiment": name, "ensemble": "bot", "deploy": Deploy(), "wished_at": later(5)}
        await tx.execute(tables.wishes.insert(), [row])
    assert await ready(db) == ["command-3"]
    async with db.transaction() as tx:
        await wishes.settle(tx, ["deploy"])
        version = await ensembles.propose(tx, proposal(name), NOW)
    assert await ready(db) == ["command-3"]
    async with db.transaction() as tx:
        await ensembles.mark_deployed(tx, "bot", version, NOW)
    assert await ready(db) == ["command-1", "command-3"]


async def test_a_wish_is_settled_once_or_refused_and_told_so(db: Database) -> None:
    await order(db, "bot", 1)
    await order(db, "bot", 2, 1)
    async with db.transaction() as tx:
        assert await models.settle(tx, "command-1")
        assert not await models.settle(tx, "command-1")
        await models.refuse_one(tx, "command-1", (REASON,), NOW)
        await models.refuse_one(tx, "command-2", (REASON,), NOW)
    assert await ready(db) == []
    (told,) = await events(db, "experiment-events")
    assert (told.request_id, told.event, told.reasons) == ("command-2", "rejected", (REASON,))


async def test_a_later_command_withdraws_what_is_wished_for(db: Database) -> None:
    name = await founded(db, 1, State.SELECTED)
    async with db.transaction() as tx:
        await ensembles.mark_deployed(tx, "bot", await ensembles.propose(tx, proposal(name), NOW), NOW)
    await order(db, "bot", 1)
    async with db.transaction() as tx:
        assert await ensembles.delete(tx, "bot", "later", NOW) == ()
    assert await ready(db) == []
    assert [each.request_id for each in await events(db, "experiment-events", "command-1")] == ["command-1"]


async def test_a_version_of_no_experiment_is_deployed_fails_and_serves_again(db: Database) -> None:
    for number in (1, 2, 3):
        async with db.transaction() as tx:
            wanted = proposal(None, command_id=f"command-{number}")
            assert await ensembles.propose(tx, wanted, NOW) == number
            if number < 3:
                await ensembles.mark_deployed(tx, "bot", number, NOW)
            else:
                await ensembles.mark_failed(tx, "bot", number, (REASON,), NOW)
    async with db.transaction() as tx:
        assert await ensembles.roll_back(tx, "bot", None, "back", NOW) == ()
        assert (await ensembles.standing(tx, "bot"))[1]
        await ensembles.mark_deployed(tx, "bot", 1, NOW)
        serving, waits = await ensembles.standing(tx, "bot")
    assert serving is not None
    assert (serving.version, serving.experiment, waits) == (1, None, False)
    assert {each.experiment for each in await events(db, "ensemble-events") if hasattr(each, "experiment")} == {None}


async def test_files_that_are_registered_are_not_pruned(db: Database) -> None:
    await register(db, model(1))
    async with db.transaction() as tx:
        await retention.note_artifacts(tx, [digest(1), digest(2)], NOW)
        assert list(await retention.noted_artifacts(tx, later(1))) == [digest(2)]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../a", "a" * 65, "ä"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(ValueError):
        model(name=name)
