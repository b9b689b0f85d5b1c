"""A version with a profile of its features in training, ticks that are like training or not, and a policy."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.core.arrays import Floats
from orchestrator.core.drift import Profile, profile_of
from orchestrator.core.lifecycle import State
from orchestrator.store import challengers, ensembles, retraining
from orchestrator.store.database import Database
from schemas.base import format_instant
from schemas.policies import DriftRule, OutlierRule, Policy
from schemas.ticks import FeatureTick
from serving.artifacts import Artifacts
from tests.contracts.store.makers import NOW, founded, proposal
from tests.unit.streams.fakes import bar, tick

NAMES = ("momentum", "volatility_20", "rsi_14")
WINDOW = 40
WATCHING = Policy(drift=DriftRule(), outliers=OutlierRule())


def profile() -> Profile:
    """Of features that are normally distributed."""
    found = profile_of(np.random.default_rng(0).normal(size=(WINDOW * 25, len(NAMES))), NAMES, WINDOW)
    assert found is not None
    return found


def rows(count: int, shift: float = 0.0, seed: int = 1) -> Floats:
    """Features (count, 3) as in training, but for how far they are shifted."""
    found: Floats = np.random.default_rng(seed).normal(size=(count, len(NAMES))) + shift
    return found


def ticks(features: Floats, first: int = 0, **fields: Any) -> list[FeatureTick]:
    """One tick for each row, hour after hour from the first on."""
    return [
        tick(first + number, features=dict(zip(NAMES, row, strict=True)), **fields)
        for number, row in enumerate(features.tolist())
    ]


def manifest(folder: Path, tickers: Iterable[str] = ("AAPL", "MSFT")) -> dict[str, Any]:
    """Of a version, as far as detectors and policies read it."""
    digest = Artifacts(folder / "artifacts").put(profile().dump())
    member = {"configuration": {"alpha": 0.01, "l1_ratio": 0.5}, "records": dict.fromkeys(tickers)}
    return {
        "timeframe": "1h",
        "calendar": "24/7",
        "trained_through": format_instant(bar(-1)),
        "voting": "soft",
        "threshold": 0.7,
        "members": [member],
        "tickers": {ticker: {"profile": digest} for ticker in tickers},
    }


async def serves(db: Database, folder: Path, version: int, ensemble: str = "alpha") -> None:
    """Have the ensemble's next version, which is of this number, serve."""
    await proposed(db, folder, version, ensemble, mode="live")
    async with db.transaction() as tx:
        await ensembles.mark_deployed(tx, ensemble, version, NOW)


async def shadows(db: Database, folder: Path, version: int, ensemble: str = "alpha", **fields: Any) -> None:
    """Have the ensemble's next version, which is of this number, be on trial."""
    await proposed(db, folder, version, ensemble, mode="shadow", **fields)
    async with db.transaction() as tx:
        await challengers.mark_shadowing(tx, ensemble, version, NOW)


async def proposed(db: Database, folder: Path, version: int, ensemble: str, **fields: Any) -> None:
    """Propose the ensemble's next version, which is of this number."""
    asked: dict[str, Any] = {
        "timeframe": "1h",
        "param_grid": {"alpha": (0.001, 0.01, 0.03), "l1_ratio": (0.1, 0.5, 0.9)},
    }
    experiment = await founded(db, version, State.SELECTED, **asked)
    made = manifest(folder)
    wanted = proposal(experiment, ensemble, manifest=made, tickers=tuple(made["tickers"]), timeframe="1h", **fields)
    async with db.transaction() as tx:
        assert await ensembles.propose(tx, wanted, NOW) == version


async def has_policy(db: Database, policy: Policy = WATCHING, ensemble: str = "alpha") -> None:
    """Give the ensemble a policy."""
    async with db.transaction() as tx:
        await retraining.set_policy(tx, ensemble, policy, "by-hand", NOW)
