"""Registered models become members: calibrated on bars that none of a vote's members was trained on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet

from orchestrator.algorithms.formats import read_model
from orchestrator.core.arrays import Floats
from orchestrator.core.models import RegisteredModel
from serving.answer import answer
from serving.artifacts import ArtifactDamaged, Artifacts
from serving.assemble import EnsembleAssembler
from serving.enlisting import CannotEnlist, Newcomer, Rows, enlist
from serving.manifest import EnsembleManifest, Outline, read_manifest
from serving.version import LoadedVersion, ServedVersion, load_version
from tests.unit.algorithms.test_pickles import dumped
from tests.unit.serving.drafts import NAMES, batch, candidate, draft

BEGIN = datetime(2020, 1, 1, 21, tzinfo=UTC)
REACH = 2


def market(ticker: str, bars: int = 600) -> Rows:
    rng = np.random.default_rng([7, *ticker.encode()])
    features = rng.normal(size=(bars, 4))
    target = 0.004 * features[:, 1] + 0.01 * rng.normal(size=bars)
    target[-REACH:] = np.nan
    event_time = np.datetime64(BEGIN.replace(tzinfo=None), "us") + np.arange(bars) * np.timedelta64(1, "D")
    return Rows(event_time, target, features, ("more", *NAMES), "d" * 64, 0.0002)


ROWS = {ticker: market(ticker) for ticker in ("AAPL", "MSFT")}


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path)


def newcomer(artifacts: Artifacts, name: str, trained: int = 300, *tickers: str, alpha: float = 1e-4) -> Newcomer:
    """An elastic net of scikit-learn, trained on so many bars of AAPL."""
    rows = ROWS["AAPL"]
    content = dumped(ElasticNet(alpha=alpha).fit(rows.features[:trained, 1:], rows.target[:trained]))
    model = RegisteredModel(
        digest=artifacts.put(content),
        name=name,
        format="joblib",
        algorithm="elasticnet",
        feature_names=NAMES,
        tickers=("AAPL", "MSFT"),
        timeframe="1d",
        target_transform="log_return",
        horizon=1,
        trained_through=BEGIN + timedelta(days=trained - 1),
        registered_at=BEGIN,
    )
    return Newcomer(model, read_model("joblib", content, "elasticnet", NAMES), tickers or ("AAPL",))


def outline(artifacts: Artifacts, **changes: Any) -> Outline:
    assembled = EnsembleAssembler(artifacts).assemble(draft(candidate("t1")))
    fields = {name: assembled.manifest[name] for name in Outline.model_fields}
    return Outline(**(fields | {"experiment": None} | changes))


def made(
    artifacts: Artifacts, *newcomers: Newcomer, base: EnsembleManifest | None = None, **changes: Any
) -> EnsembleManifest:
    return enlist(base or outline(artifacts, **changes), base, newcomers, ROWS, artifacts, reach=REACH)


def loaded(manifest: EnsembleManifest, artifacts: Artifacts) -> LoadedVersion:
    """The version, as a replica has it."""
    return load_version(ServedVersion("bot", 1, artifacts.put(manifest.content()), "paper", "overridden"), artifacts)


def voices(version: LoadedVersion, ticker: str) -> Floats:
    rows = ROWS[ticker]
    return answer(version, batch((ticker,) * 100, rows.features[-100:], rows.feature_names)).score


def refusals(artifacts: Artifacts, *newcomers: Newcomer, base: EnsembleManifest | None = None) -> list[tuple[str, str]]:
    with pytest.raises(CannotEnlist) as refused:
        made(artifacts, *newcomers, base=base)
    return [(reason.code, reason.where) for reason in refused.value.reasons]


@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_members_per_ticker_and_members_of_several_vote_in_one_version(artifacts: Artifacts, voting: str) -> None:
    everywhere, one = (
        newcomer(artifacts, "everywhere", 300, "AAPL", "MSFT"),
        newcomer(artifacts, "one", 350, alpha=1e-3),
    )
    manifest = made(artifacts, everywhere, one, voting=voting)
    assert [(each.member, sorted(each.records)) for each in manifest.members] == [
        ("everywhere", ["AAPL", "MSFT"]),
        ("one", ["AAPL"]),
    ]
    assert (manifest.experiment, manifest.trained_through) == (None, one.model.trained_through)
    assert read_manifest(manifest.content()) == manifest
    version = loaded(manifest, artifacts)
    for ticker, members in (("AAPL", 2), ("MSFT", 1)):
        assert len(version.panels[ticker].voters) == members
        assert np.isfinite(voices(version, ticker)).all()
    # It was trained to tell what comes next, and does.
    assert np.corrcoef(voices(version, "AAPL")[:-REACH], ROWS["AAPL"].target[-100:-REACH])[0, 1] > 0.1


def test_what_a_model_was_trained_on_tells_nothing_of_it(artifacts: Artifacts) -> None:
    model = newcomer(artifacts, "one", 300)
    (member,) = made(artifacts, model).members
    reference = artifacts.get_array(member.records["AAPL"].reference)
    unseen = ROWS["AAPL"].features[300 + REACH :, 1:]
    assert np.array_equal(reference, np.sort(np.abs(model.predictor.predict(unseen))))


def test_a_member_is_added_and_the_others_keep_what_they_have(artifacts: Artifacts) -> None:
    base = made(artifacts, newcomer(artifacts, "first", 300, "AAPL", "MSFT"))
    more = made(artifacts, newcomer(artifacts, "second", 400, alpha=1e-3), base=base)
    assert more.members[0] == base.members[0]
    assert [each.member for each in more.members_on("AAPL")] == ["first", "second"]
    # A ticker without the newcomer is as it was; the other's votes are counted anew.
    assert more.tickers["MSFT"] == base.tickers["MSFT"]
    assert more.tickers["AAPL"].reference != base.tickers["AAPL"].reference
    (counted, before) = (artifacts.get_array(each.tickers["AAPL"].reference or "") for each in (more, base))
    assert (len(counted), len(before)) == (600 - 400 - REACH, 600 - 300 - REACH)
    assert np.isfinite(voices(loaded(more, artifacts), "AAPL")).all()
    assert voices(loaded(more, artifacts), "MSFT").tobytes() == voices(loaded(base, artifacts), "MSFT").tobytes()
    # On another ticker, it is the same member.
    both = made(artifacts, newcomer(artifacts, "second", 400, "MSFT", alpha=1e-3), base=more)
    assert [(each.member, sorted(each.records)) for each in both.members] == [
        ("first", ["AAPL", "MSFT"]),
        ("second", ["AAPL", "MSFT"]),
    ]


def test_a_member_is_added_to_a_search_s_ensemble(artifacts: Artifacts) -> None:
    found = EnsembleAssembler(artifacts).assemble(
        replace(draft(candidate("t1"), candidate("t2", seed=1)), trained_through=BEGIN + timedelta(days=399))
    )
    base = read_manifest(artifacts.get(found.digest))
    more = made(artifacts, newcomer(artifacts, "added", 300), base=base)
    assert [(each.member, each.format) for each in more.members] == [
        ("t1", "sealed"),
        ("t2", "sealed"),
        ("added", "joblib"),
    ]
    assert (more.experiment, more.trained_through) == (base.experiment, base.trained_through)
    assert len(artifacts.get_array(more.members[2].records["AAPL"].reference)) == 600 - 300 - REACH
    assert len(artifacts.get_array(more.tickers["AAPL"].reference or "")) == 600 - 400 - REACH
    assert np.isfinite(voices(loaded(more, artifacts), "AAPL")).all()


def test_what_cannot_be_calibrated_or_is_there_already_is_refused(artifacts: Artifacts) -> None:
    base = made(artifacts, newcomer(artifacts, "one", 300))
    enough = 600 - 60 - 2 * REACH
    assert made(artifacts, newcomer(artifacts, "late", enough))
    assert refusals(artifacts, newcomer(artifacts, "late", enough + 1)) == [("too_few_bars", "AAPL")]
    assert refusals(artifacts, newcomer(artifacts, "late", enough + 1), base=base) == [("too_few_bars", "AAPL")]
    assert refusals(artifacts, newcomer(artifacts, "one", 300), base=base) == [("already_member", "one")]
    assert refusals(artifacts, newcomer(artifacts, "one", 310), base=base) == [("name_taken", "one")]
    other = newcomer(artifacts, "other")
    missing = replace(other, model=other.model.model_copy(update={"feature_names": ("beta", *NAMES[1:])}))
    assert refusals(artifacts, missing) == [("missing_feature", "other")]


def test_a_model_file_that_was_damaged_since_is_not_loaded(artifacts: Artifacts) -> None:
    manifest = made(artifacts, newcomer(artifacts, "one"))
    (artifacts.directory / manifest.members[0].artifact).write_bytes(b"something else")
    with pytest.raises(ArtifactDamaged, match="does not hold what its name says"):
        loaded(manifest, artifacts)
