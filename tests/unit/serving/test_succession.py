"""Which version answers which bar, and who stands in for one that goes wrong: with real versions."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.core.arrays import Floats
from schemas.base import Mode
from serving.answer import FeatureBatch, Part
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from serving.succession import PREDECESSORS, Succession
from serving.version import LoadedVersion, Panel, ServedVersion, load_version
from tests.unit.serving.drafts import NAMES, batch, candidate, draft

RETENTION = 60.0


@dataclass(frozen=True)
class Wrong:
    """A model that goes wrong where its first feature is above `limit`: it raises, or has no opinion."""

    raises: bool
    limit: float = -np.inf
    feature_names: tuple[str, ...] = NAMES

    def predict(self, features: Floats) -> Floats:
        beyond = features[:, 0] > self.limit
        if self.raises and beyond.any():
            raise ValueError("a model's own error")
        return np.where(beyond, np.nan, 0.001)

    def dump(self) -> bytes:
        return b""


def version(directory: Path, number: int, *tickers: str, mode: Mode = "live") -> LoadedVersion:
    artifacts = Artifacts(directory)
    members = [candidate(f"t{number}", ticker, seed=number) for ticker in tickers or ("AAPL", "MSFT")]
    digest = EnsembleAssembler(artifacts).assemble(draft(*members, cost=0.0)).digest
    return load_version(ServedVersion("bot", number, digest, mode, "passed"), artifacts)


def wrong(loaded: LoadedVersion, model: Wrong) -> LoadedVersion:
    """The version with a model in it that goes wrong once it serves."""

    def spoilt(panel: Panel) -> Panel:
        return replace(panel, voters=(replace(panel.voters[0], predictor=model), *panel.voters[1:]))

    return replace(loaded, panels={ticker: spoilt(panel) for ticker, panel in loaded.panels.items()})


def by(parts: tuple[Part, ...], rows: int) -> list[int]:
    """The number of the version that answers each row; every row is answered once."""
    found = [0] * rows
    for part in parts:
        assert len(part.answer.score) == len(part.rows)
        for row in part.rows.tolist():
            assert not found[row]
            found[row] = part.answer.served.version
    return found


def ask(succession: Succession, hour: int, now: float = 0.0, ticker: str = "AAPL", *, bound: bool = True) -> int:
    (number,) = by(succession.answer(batch((ticker,), hour=hour, bound=bound), now), 1)
    return number


@pytest.fixture
def succession(tmp_path: Path) -> Succession:
    return Succession(version(tmp_path, 1), RETENTION)


def test_bars_that_were_begun_and_those_before_stay_the_old_version_s(succession: Succession, tmp_path: Path) -> None:
    assert ask(succession, 5) == 1
    succession.succeed(version(tmp_path, 2))
    assert [ask(succession, hour, ticker="MSFT") for hour in (5, 4, 6, 5)] == [1, 1, 2, 1]


def test_one_batch_is_answered_in_parts_and_each_row_as_if_it_were_alone(
    succession: Succession, tmp_path: Path
) -> None:
    ask(succession, 5)
    succession.succeed(version(tmp_path, 2))
    rng = np.random.default_rng(0)
    bars = (("AAPL", 5), ("MSFT", 6), ("AAPL", 7), ("MSFT", 4))
    batches = [batch((ticker,), rng.normal(size=(1, 3)), hour=hour) for ticker, hour in bars]
    whole = FeatureBatch(
        "1d",
        tuple(each.tickers[0] for each in batches),
        NAMES,
        np.concatenate([each.matrix for each in batches]),
        np.concatenate([each.event_time for each in batches]),
        np.ones(4, dtype=np.bool_),
    )
    parts = succession.answer(whole, 0.0)
    assert by(parts, 4) == [1, 2, 2, 1]
    scores = {row: score for part in parts for row, score in zip(part.rows.tolist(), part.answer.score, strict=True)}
    assert [scores[row] for row in range(4)] == [succession.answer(each, 0.0)[0].answer.score[0] for each in batches]


def test_rows_that_are_bound_to_no_bar_are_the_newest_version_s_and_bind_nothing(
    succession: Succession, tmp_path: Path
) -> None:
    ask(succession, 5)
    ask(succession, 50, bound=False)
    succession.succeed(version(tmp_path, 2))
    assert ask(succession, 4, bound=False) == 2
    assert ask(succession, 6) == 2


def test_before_the_first_bar_the_newest_version_answers_everything(succession: Succession, tmp_path: Path) -> None:
    succession.succeed(version(tmp_path, 2))
    assert ask(succession, 0) == 2


def test_the_old_version_is_let_go_some_time_after_the_new_one_was_first_asked(
    succession: Succession, tmp_path: Path
) -> None:
    ask(succession, 5)
    succession.succeed(version(tmp_path, 2))
    assert ask(succession, 5, now=1000.0) == 1
    assert ask(succession, 6, now=1000.0) == 2
    assert ask(succession, 5, now=1059.0) == 1
    assert ask(succession, 5, now=1060.0) == 2


def test_each_version_of_several_keeps_its_bars_and_so_many_are_kept(succession: Succession, tmp_path: Path) -> None:
    ask(succession, 1)
    for number in range(2, PREDECESSORS + 3):
        succession.succeed(version(tmp_path, number))
        ask(succession, number)
    kept = range(2, PREDECESSORS + 2)
    assert [ask(succession, hour) for hour in kept] == [*kept]
    assert ask(succession, 1) == kept[0]


def test_a_version_that_no_bar_was_asked_of_leaves_no_trace(succession: Succession, tmp_path: Path) -> None:
    ask(succession, 5)
    second = version(tmp_path, 2)
    succession.succeed(second)
    succession.succeed(wrong(version(tmp_path, 3), Wrong(raises=True)))
    assert succession.kept(second.served) is None
    assert ask(succession, 6) == 1


def test_a_version_that_is_gone_back_to_answers_again_from_the_next_bar_on(
    succession: Succession, tmp_path: Path
) -> None:
    first = version(tmp_path, 1)
    ask(succession, 5)
    succession.succeed(version(tmp_path, 2))
    ask(succession, 6)
    kept = succession.kept(first.served)
    assert kept is not None
    succession.succeed(kept)
    assert [ask(succession, hour) for hour in (5, 6, 7)] == [1, 2, 1]


@pytest.mark.parametrize("raises", [True, False])
def test_what_the_new_version_gets_wrong_the_old_one_answers_and_in_the_end_everything(
    succession: Succession, tmp_path: Path, raises: bool
) -> None:
    ask(succession, 5)
    succession.succeed(wrong(version(tmp_path, 2), Wrong(raises)))
    tickers = ("AAPL", "MSFT") * 5
    for hour in (6, 7):
        parts = succession.answer(batch(tickers, hour=hour), 0.0)
        assert by(parts, 10) == [1] * 10
        assert all(np.isfinite(part.answer.score).all() for part in parts)
    assert bool(succession.objections(0.0)) is (not raises)
    assert ask(succession, 8) == 1
    (reason,) = succession.objections(0.0)
    assert reason.code == ("version_raises" if raises else "version_loses_members")
    # Nobody has rolled it back yet: the old one stays, however long that takes.
    assert ask(succession, 9, now=9e9) == 1
    assert ask(succession, 9, now=9e9, bound=False) == 1
    assert succession.served.version == 2


def test_a_bar_that_the_old_version_answered_once_stays_with_it(succession: Succession, tmp_path: Path) -> None:
    ask(succession, 5)
    succession.succeed(wrong(version(tmp_path, 2), Wrong(raises=True, limit=0.5)))
    high = batch(("AAPL",), np.ones((1, 3)), hour=6)
    assert by(succession.answer(high, 0.0), 1) == [1]
    assert [ask(succession, hour, ticker="MSFT") for hour in (6, 7)] == [1, 2]
    assert succession.objections(0.0) == ()


def test_faults_are_counted_when_probation_is_over_and_nobody_stands_in_from_then_on(
    succession: Succession, tmp_path: Path
) -> None:
    ask(succession, 5)
    succession.succeed(wrong(version(tmp_path, 2), Wrong(raises=True)))
    assert ask(succession, 6) == 1
    assert succession.objections(59.0) == ()
    assert [reason.code for reason in succession.objections(60.0)] == ["version_raises"]
    assert ask(succession, 7, now=61.0) == 1

    good = version(tmp_path, 3)
    succession.succeed(good)
    assert succession.objections(61.0) == ()
    assert ask(succession, 8, now=61.0) == 3
    succession.objections(121.0)
    succession.succeed(wrong(version(tmp_path, 4), Wrong(raises=True, limit=0.5)))
    for hour in range(10, 30):
        assert ask(succession, hour, now=130.0) == 4
    assert ask(succession, 30, now=190.0) == 4
    with pytest.raises(ValueError, match="a model's own error"):
        succession.answer(batch(("AAPL",), np.ones((1, 3)), hour=31), 190.0)


def test_rows_that_are_bound_to_no_bar_are_made_good_but_not_counted(succession: Succession, tmp_path: Path) -> None:
    ask(succession, 5)
    succession.succeed(wrong(version(tmp_path, 2), Wrong(raises=True)))
    for _ in range(10):
        assert ask(succession, 6, bound=False) == 1
    assert succession.objections(0.0) == ()


def test_what_the_old_version_cannot_answer_either_is_nobody_s_fault(tmp_path: Path) -> None:
    succession = Succession(wrong(version(tmp_path, 1), Wrong(raises=False)), RETENTION)
    ask(succession, 5)
    succession.succeed(wrong(version(tmp_path, 2), Wrong(raises=False)))
    for hour in range(6, 40):
        assert ask(succession, hour) == 2
    assert succession.objections(99.0) == ()


def test_an_instrument_that_only_the_new_version_covers_stays_with_it(tmp_path: Path) -> None:
    succession = Succession(version(tmp_path, 1, "AAPL"), RETENTION)
    ask(succession, 5)
    succession.succeed(wrong(version(tmp_path, 2), Wrong(raises=False)))
    assert by(succession.answer(batch(("AAPL", "MSFT"), hour=6), 0.0), 2) == [1, 2]


def test_a_version_that_is_heard_elsewhere_does_not_stand_in(tmp_path: Path) -> None:
    succession = Succession(version(tmp_path, 1, mode="paper"), RETENTION)
    ask(succession, 5)
    succession.succeed(wrong(version(tmp_path, 2), Wrong(raises=True)))
    with pytest.raises(ValueError, match="a model's own error"):
        ask(succession, 6)
