"""A whole course without Ray: trials are evaluated where they are told of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.algorithms.base import Trainer
from orchestrator.core.canonical import lineage_key
from orchestrator.core.dataset import Terms
from orchestrator.core.lifecycle import State
from orchestrator.search.campaign import Campaign
from orchestrator.search.course import Course
from orchestrator.search.evaluation import Ground, Rules
from orchestrator.search.inline import InlineSearch
from orchestrator.search.outcomes import Failed, Outcome, Scored, Started
from orchestrator.store import ensembles, experiments, ledger, requests, retention, trials
from orchestrator.store.database import Database
from orchestrator.store.experiments import Experiment
from orchestrator.store.tables import TrialStatus
from schemas.search import Deploy, SearchRequest
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from tests.contracts.store.makers import digest, events
from tests.unit.search.studies import driver_settings, search_request, write_market


class Clock:
    """Moves on by a second each time it is looked at."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 15, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@dataclass
class Inline:
    """Runs campaigns in the calling thread; with `breaks_after`, only so many steps, and then it raises."""

    evaluated: list[str] = field(default_factory=list)
    breaks_after: int | None = None

    def __call__(
        self,
        experiment: str,
        campaign: Campaign,
        trainer: Trainer,
        grounds: Mapping[str, Ground],
        rules: Rules,
        tell: Callable[[Outcome], None],
    ) -> None:
        def telling(outcome: Outcome) -> None:
            if isinstance(outcome, Started) and len(self.evaluated) == self.breaks_after:
                raise ConnectionError("Ray went away")
            tell(outcome)
            if isinstance(outcome, Scored):
                self.evaluated.append(outcome.trial)

        InlineSearch(batch=1)(experiment, campaign, trainer, grounds, rules, telling)


@dataclass
class Line:
    """One database, and the experiments in it."""

    directory: Path
    db: Database
    clock: Clock = field(default_factory=Clock)
    settings: dict[str, Any] = field(default_factory=dict)

    async def admit(self, request: SearchRequest, work: int = 1) -> str:
        """Admit a request and have its experiment wait for a driver; the experiment's id."""
        for ticker in request.tickers:
            if ticker != "ZZZ" and not (self.directory / "features" / ticker).exists():
                write_market(self.directory / "features", ticker)
        now = self.clock()
        async with self.db.transaction() as tx:
            raw = request.model_dump_json().encode()
            admission = await requests.admit(tx, request, raw=raw, trials=4, search_key=digest(work), now=now)
            if isinstance(admission, requests.Accepted):
                await experiments.advance(tx, admission.experiment, State.WAITING, None, now)
        assert isinstance(admission, requests.Accepted | requests.Duplicate)
        return admission.experiment

    async def lead(self, experiment: str, search: Inline | None = None) -> Experiment:
        """Lead the experiment on, and say where it is then."""
        settings = driver_settings(self.directory, **self.settings)
        assembler = EnsembleAssembler(Artifacts(self.directory / "artifacts"))
        await Course(experiment, settings, search or Inline(), assembler, self.db, self.clock).lead()
        return await self.found(experiment)

    async def found(self, experiment: str) -> Experiment:
        async with self.db.snapshot() as tx:
            return await experiments.get(tx, experiment)

    async def said(self, experiment: str) -> list[str]:
        """The kinds of its events, progress left out."""
        told = await events(self.db, "experiment-events", experiment)
        return [event.event for event in told if event.event != "progress"]


@pytest.fixture
async def line(tmp_path: Path) -> Any:
    db = Database.open(driver_settings(tmp_path).database_url)
    await db.upgrade()
    yield Line(tmp_path, db)
    await db.close()


SEARCHED = ["accepted", "started", "completed", "survivors_selected"]


async def test_what_passes_the_gate_is_proposed(line: Line) -> None:
    name = await line.admit(search_request(("AAA", "BBB"), holdout=100, deploy=Deploy(auto=True, ensemble_name="bot")))
    found = await line.lead(name)
    assert found.state is State.DEPLOYING
    assert await line.said(name) == [*SEARCHED, "gate_passed"]
    assert found.verdict is not None
    assert found.verdict.looks == 1
    assert found.verdict.holdout_psr is not None
    assert found.verdict.trials == 8
    async with line.db.snapshot() as tx:
        (version,) = await ensembles.wanted(tx)
    assert (version.ensemble, version.experiment, version.mode) == ("bot", name, "live")
    assert version.tickers == ("AAA", "BBB")
    assert version.members == len(version.manifest["members"])


async def test_what_the_gate_refuses_is_not_proposed(line: Line) -> None:
    write_market(line.directory / "features", "AAA", edge=0.0)
    name = await line.admit(search_request(deploy=Deploy(auto=True)))
    found = await line.lead(name)
    assert found.state is State.REFUSED
    assert await line.said(name) == [*SEARCHED, "gate_refused"]
    async with line.db.snapshot() as tx:
        assert await ensembles.wanted(tx) == []


@pytest.mark.parametrize(("override", "mode"), [("paper", "paper"), ("live", "live"), ("forbid", None)])
async def test_the_override_says_what_a_request_without_the_gate_may_do(
    line: Line, override: str, mode: str | None
) -> None:
    line.settings["gate_override"] = override
    write_market(line.directory / "features", "AAA", edge=0.0)
    name = await line.admit(search_request(deploy=Deploy(auto=True, gate=False)))
    found = await line.lead(name)
    assert await line.said(name) == [*SEARCHED, "gate_refused"]
    assert found.verdict is not None
    assert found.verdict.overridden is (mode is not None)
    async with line.db.snapshot() as tx:
        assert [version.mode for version in await ensembles.wanted(tx)] == ([mode] if mode else [])


async def test_what_is_not_to_be_deployed_stays_selected_and_leaves_the_hold_out_alone(line: Line) -> None:
    name = await line.admit(search_request(holdout=100))
    found = await line.lead(name)
    assert found.state is State.SELECTED
    assert found.verdict is not None
    assert (found.verdict.passed, found.verdict.looks, found.verdict.holdout_psr) == (True, 0, None)
    await line.lead(name)
    assert await line.said(name) == [*SEARCHED, "gate_passed"]


async def test_where_nothing_survives_the_gate_refuses_and_says_why(line: Line) -> None:
    grid = {"alpha": (90.0, 95.0), "l1_ratio": (1.0,)}
    name = await line.admit(search_request(param_grid=grid, deploy=Deploy(auto=True)))
    found = await line.lead(name)
    assert found.state is State.REFUSED
    assert found.verdict is not None
    assert [reason.code for reason in found.verdict.reasons] == ["no_survivors"]
    assert found.verdict.trials == 2
    assert found.summary is not None
    assert (found.summary["finished"], found.summary["best"]) == (2, None)


async def test_whatever_an_ensemble_was_assembled_of_is_noted_also_where_it_is_refused(line: Line) -> None:
    write_market(line.directory / "features", "AAA", edge=0.0)
    await line.lead(await line.admit(search_request(deploy=Deploy(auto=True))))
    async with line.db.snapshot() as tx:
        assert await ensembles.wanted(tx) == []
        noted = await retention.noted_artifacts(tx, line.clock() + timedelta(days=1))
    files = {path.name for path in (line.directory / "artifacts").iterdir()}
    assert files
    assert files <= {*noted}


async def test_each_request_that_attached_gets_its_own_ensemble(line: Line) -> None:
    name = await line.admit(search_request(request_id="a", deploy=Deploy(auto=True, ensemble_name="one", top_n=1)))
    for request_id, ensemble in (("b", "two"), ("c", "two")):
        deploy = Deploy(auto=True, ensemble_name=ensemble, top_n=2)
        assert await line.admit(search_request(request_id=request_id, deploy=deploy)) == name
    await line.lead(name)
    async with line.db.snapshot() as tx:
        found = [(version.ensemble, version.version) for version in await ensembles.wanted(tx)]
    assert found == [("one", 1), ("two", 1)]


async def test_features_that_cannot_be_read_fail_the_experiment_with_the_reasons(line: Line) -> None:
    name = await line.admit(search_request(("ZZZ",)))
    found = await line.lead(name)
    assert found.state is State.FAILED
    assert await line.said(name) == ["accepted", "failed"]
    assert "ZZZ" in found.reasons[0].where


async def test_what_an_earlier_driver_left_is_swept(line: Line) -> None:
    name = await line.admit(search_request())
    left = line.directory / "tune" / "streamed" / name / "predictions"
    left.parent.mkdir(parents=True)
    left.touch()
    beside = left.parent.with_name("another")
    beside.mkdir()
    await line.lead(name)
    assert list(beside.parent.iterdir()) == [beside]


async def test_rows_that_are_larger_than_memory_fail_the_experiment_of_a_family_that_cannot_stream(line: Line) -> None:
    line.settings["stream_above_mb"] = 0
    grid = {"n_estimators": (5,)}
    name = await line.admit(search_request(algorithm="random_forest_regressor", param_grid=grid))
    found = await line.lead(name)
    assert await line.said(name) == ["accepted", "failed"]
    (reason,) = found.reasons
    assert (reason.code, reason.where) == ("larger_than_memory", "AAA/1d")
    assert "random_forest_regressor cannot stream them" in reason.message


async def test_a_search_that_breaks_off_fails_and_keeps_what_was_told(line: Line) -> None:
    name = await line.admit(search_request())
    found = await line.lead(name, Inline(breaks_after=3))
    assert found.state is State.FAILED
    assert found.reasons[0].message == "ConnectionError: Ray went away"
    async with line.db.snapshot() as tx:
        tally = await trials.tally(tx, name)
    assert (tally[TrialStatus.COMPLETED], tally[TrialStatus.CREATED]) == (3, 1)


class Unplugged(Inline):
    """Dies with its driver, so that not even the failure is written."""

    def __call__(self, *args: Any) -> None:
        try:
            super().__call__(*args)
        except ConnectionError as error:
            raise KeyboardInterrupt from error


async def test_begun_again_only_what_has_not_ended_is_evaluated(line: Line) -> None:
    name = await line.admit(search_request())
    with pytest.raises(KeyboardInterrupt):
        await line.lead(name, Unplugged(breaks_after=3))
    assert (await line.found(name)).state is State.RUNNING
    before = await events(line.db, "trial-events", name)
    search = Inline()
    found = await line.lead(name, search)
    assert found.state is State.SELECTED
    assert search.evaluated == ["t00004"]
    after = await events(line.db, "trial-events", name)
    assert after[: len(before)] == before
    assert [(event.trial, event.event) for event in after[len(before) :]] == [
        ("t00004", "started"),
        ("t00004", "completed"),
    ]
    assert found.summary is not None
    assert found.summary["finished"] == 4


class Muddled(Inline):
    """Tells of a trial that was never planned."""

    def __call__(self, *args: Any) -> None:
        args[-1](Failed("t99999", (), 0.0))
        super().__call__(*args)


async def test_an_outcome_that_cannot_be_written_fails_the_experiment(line: Line) -> None:
    name = await line.admit(search_request())
    found = await line.lead(name, Muddled())
    assert found.state is State.FAILED
    assert "t99999" in found.reasons[0].message


class Idle(Inline):
    """Leaves every trial alone."""

    def __call__(self, experiment: str, campaign: Campaign, *args: Any) -> None:
        for outcome in campaign.ask(100)[1]:
            args[-1](outcome)


async def test_a_search_that_leaves_trials_out_is_not_taken_for_complete(line: Line) -> None:
    name = await line.admit(search_request())
    found = await line.lead(name, Idle())
    assert found.state is State.FAILED
    assert [reason.code for reason in found.reasons] == ["trials_left"]


async def test_results_by_other_rules_are_not_gone_on_with(line: Line) -> None:
    name = await line.admit(search_request())
    with pytest.raises(KeyboardInterrupt):
        await line.lead(name, Unplugged(breaks_after=3))
    line.settings["threshold"] = 0.5
    found = await line.lead(name)
    assert found.state is State.FAILED
    assert [reason.code for reason in found.reasons] == ["changed_since_start"]


async def test_every_trial_that_was_scored_is_in_the_ledger_of_its_lineage(line: Line) -> None:
    first = await line.admit(search_request(request_id="a"), work=1)
    grid = {"alpha": (0.02, 0.03), "l1_ratio": (0.5,)}
    second = await line.admit(search_request(request_id="b", param_grid=grid), work=2)
    await line.lead(first)
    found = await line.lead(second)
    assert found.verdict is not None
    assert found.verdict.trials == 6
    async with line.db.snapshot() as tx:
        rows = await ledger.of_lineages(tx, [lineage_key("AAA", timeframe="1d", terms=Terms())])
    assert {row.experiment for row in rows} == {first, second}
    assert len({row.span_digest for row in rows}) == 1


async def test_progress_is_told_at_the_end_with_the_best_so_far(line: Line) -> None:
    name = await line.admit(search_request())
    found = await line.lead(name)
    progress = [event for event in await events(line.db, "experiment-events", name) if event.event == "progress"]
    assert (progress[-1].finished, progress[-1].failed, progress[-1].trials) == (4, 0, 4)
    assert found.summary is not None
    assert progress[-1].best == found.summary["best"]
