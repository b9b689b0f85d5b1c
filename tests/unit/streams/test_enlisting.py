"""What commands wish for of registered models, on a real store, with real bars and models: made once, or refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import ElasticNet

from orchestrator.core.gate import Override
from orchestrator.features.parquet import ParquetFeatures
from orchestrator.features.samples import write_samples
from orchestrator.store import ensembles, models
from orchestrator.store.database import Database
from orchestrator.store.ensembles import Version
from schemas.base import Reason
from serving.artifacts import Artifacts
from serving.version import load_version
from streams.enlisting import Enlisted, Enlistment, ModelWishes, NotNow, Places, enlisted
from streams.leading import Leadership
from streams.registering import Declaration, registered
from streams.served import served
from tests.contracts.store.makers import NOW, REASON, events, everything, later
from tests.unit.algorithms.test_pickles import dumped
from tests.unit.streams.fakes import Clock
from tests.unit.streams.test_commanding import Desk, command


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    write_samples(folder, ["AAPL", "IBM"])
    return folder


class InProcess:
    """Makes versions here; what is listed in `troubles` comes first."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.troubles: list[Any] = []
        self.orders: list[Enlistment] = []

    async def make(self, order: Enlistment) -> Enlisted | tuple[Reason, ...]:
        self.orders.append(order)
        if self.troubles:
            trouble = self.troubles.pop(0)
            await trouble()
        return enlisted(order, self.places)


class House:
    """A store, registered models, and whoever sees to what is wished for."""

    def __init__(self, db: Database, leadership: Leadership, features: Path, folder: Path) -> None:
        self.db, self.desk, self.folder = db, Desk(db), folder
        self.leadership = leadership
        self.artifacts = Artifacts(folder / "artifacts")
        self.bars = ParquetFeatures(features).load("AAPL", "1d")
        self.enlisting = InProcess(Places(features, None, self.artifacts.directory, "XNYS"))

    async def fulfil(self, override: Override = "paper") -> None:
        """One pass of a worker with this GATE_OVERRIDE."""
        wishes = ModelWishes(
            leadership=self.leadership,
            enlisting=self.enlisting,
            voting="soft",
            threshold=0.1,
            override=override,
            clock=Clock(),
            on_failure=lambda error: None,
        )
        await wishes.fulfil()

    async def register(self, name: str, alpha: float, held_back: int = 300, *tickers: str) -> str:
        trained = slice(len(self.bars) - held_back)
        returns = (self.bars.close[1:] / self.bars.close[:-1] - 1)[trained]
        (self.folder / name).write_bytes(dumped(ElasticNet(alpha=alpha).fit(self.bars.features[trained], returns)))
        said = Declaration(
            algorithm="elasticnet",
            timeframe="1d",
            tickers=tickers or ("AAPL",),
            trained_through=self.bars.event_time[trained][-1].item().replace(tzinfo=NOW.tzinfo),
            feature_names=self.bars.feature_names,
            trusts_pickle=True,
        )
        model = await registered(self.db, self.artifacts, self.folder, name, said, limit=2**20, now=NOW)
        return model.digest

    async def deploy(self, digests: Sequence[str], command_id: str = "one", **fields: Any) -> None:
        base = {"ensemble": "bot", "models": list(digests), "gate": False}
        await self.desk.take(command("deploy", command_id, **(base | fields)))

    async def add(self, digest: str, command_id: str = "two", **fields: Any) -> None:
        await self.desk.take(command("add_member", command_id, **({"ensemble": "bot", "model": digest} | fields)))

    async def versions(self) -> list[Version]:
        async with self.db.snapshot() as tx:
            return await ensembles.versions(tx, "bot")

    async def serve(self) -> Version:
        """The newest version is loaded, and serves."""
        newest = (await self.versions())[-1]
        load_version(served(newest), self.artifacts)
        async with self.db.transaction() as tx:
            await ensembles.mark_deployed(tx, "bot", newest.version, NOW)
        return (await self.versions())[-1]

    async def rejected(self) -> dict[str, list[str]]:
        told = await events(self.db, "experiment-events")
        return {each.request_id: [reason.code for reason in each.reasons] for each in told}


@pytest.fixture
def house(db: Database, leadership: Leadership, features: Path, tmp_path: Path) -> House:
    return House(db, leadership, features, tmp_path)


async def test_models_are_deployed_and_another_is_added(house: House) -> None:
    first, second = await house.register("first", 1e-5, 300, "AAPL", "IBM"), await house.register("second", 1e-4)
    third = await house.register("third", 1e-6, 400, "AAPL", "IBM")
    await house.deploy([first, second])
    await house.fulfil()
    version = await house.serve()
    assert (version.version, version.experiment, version.mode, version.members) == (1, None, "paper", 2)
    assert (version.tickers, version.verdict.passed, version.verdict.overridden) == (("AAPL", "IBM"), False, True)
    assert [reason.code for reason in version.verdict.reasons] == ["no_verdict"]
    assert version.manifest["threshold"] == 0.1
    await house.add(third, ticker="IBM")
    await house.fulfil()
    version = await house.serve()
    assert [(each["member"], sorted(each["records"])) for each in version.manifest["members"]] == [
        ("first", ["AAPL", "IBM"]),
        ("second", ["AAPL"]),
        ("third", ["IBM"]),
    ]
    assert [each.command_id for each in await events(house.db, "ensemble-events")] == ["one", "one", "two", "two"]
    assert (house.desk.buried, await house.rejected()) == ([], {})


async def test_what_can_be_told_at_once_is_buried(house: House) -> None:
    first, nobody = await house.register("first", 1e-5), "0" * 64
    weekly = await house.register("weekly", 1e-4)
    await house.deploy([first], "gated", gate=True)
    await house.deploy([first, nobody], "unknown")
    await house.deploy([first, first], "twice")
    await house.deploy([first, weekly], "both", experiment="mine")
    await house.add(nobody, "unknown-member")
    await house.add(first, "no-ensemble")
    await house.add(first, "no-ticker", ticker="IBM")
    assert house.desk.buried == [
        ["no_verdict"],
        ["unknown_model"],
        ["repeated_model"],
        ["experiment_and_models"],
        ["unknown_model"],
        ["unknown_ensemble"],
        ["ticker_not_covered"],
    ]
    async with house.db.snapshot() as tx:
        assert await models.ready(tx) == []


async def test_what_turns_out_to_be_impossible_is_told_under_the_command_s_id(house: House) -> None:
    late, good = await house.register("late", 1e-5, 30), await house.register("good", 1e-4)
    await house.deploy([late], "late")
    await house.deploy([good], "good", ensemble="other")
    (house.artifacts.directory / good).write_bytes(b"damaged")
    await house.fulfil()
    assert await house.rejected() == {"late": ["too_few_bars"], "good": ["artifact_damaged"]}
    await house.fulfil()
    assert len(house.enlisting.orders) == 2


@pytest.mark.parametrize(("override", "code"), [("forbid", "no_verdict"), ("paper", "live_version_serves")])
async def test_the_operator_says_what_unjudged_models_may_do(house: House, override: Override, code: str) -> None:
    first, second = await house.register("first", 1e-5), await house.register("second", 1e-4)
    await house.deploy([first])
    await house.fulfil("live")
    assert (await house.serve()).mode == "live"
    await house.add(second)
    await house.fulfil(override)
    assert await house.rejected() == {"two": [code]}
    assert len(await house.versions()) == 1


async def test_a_wish_is_made_again_after_trouble_and_once_in_all(house: House) -> None:
    first, second = await house.register("first", 1e-5), await house.register("second", 1e-4)

    async def away() -> None:
        raise NotNow("Ray is away")

    house.enlisting.troubles = [away]
    await house.deploy([first])
    await house.fulfil()
    assert await house.versions() == []
    await house.fulfil()
    await house.serve()

    async def another_serves() -> None:
        await house.deploy([second], "three", ensemble="bot")
        async with house.db.transaction() as tx:
            again = (await ensembles.versions(tx, "bot"))[0]
            number = await ensembles.propose(
                tx,
                ensembles.Proposal(**{name: getattr(again, name) for name in ensembles.Proposal.__dataclass_fields__}),
                NOW,
            )
            await ensembles.mark_deployed(tx, "bot", number, later(1))

    house.enlisting.troubles = [another_serves]
    await house.add(second)
    await house.fulfil()
    # Version 2 serves by now: what was made of version 1 would take its place.
    assert len(await house.versions()) == 2
    await house.fulfil()
    assert [each.version for each in await house.versions()] == [1, 2, 3]
    assert (await house.serve()).members == 2
    await house.fulfil()
    before = await everything(house.db)
    await house.fulfil()
    assert await everything(house.db) == before


async def test_a_wish_that_was_withdrawn_meanwhile_makes_nothing(house: House) -> None:
    first = await house.register("first", 1e-5)

    async def withdrawn() -> None:
        async with house.db.transaction() as tx:
            await models.refuse_one(tx, "one", (REASON,), NOW)

    house.enlisting.troubles = [withdrawn]
    await house.deploy([first])
    await house.fulfil()
    assert (await house.versions(), await house.rejected()) == ([], {"one": ["broken"]})
