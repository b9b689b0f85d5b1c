"""`orchestrator experiments` on a real store."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner, Result

from orchestrator.core.lifecycle import State
from orchestrator.store import experiments, trials
from orchestrator.store.database import Database
from schemas.experiments import GatePassed
from streams.cli import app
from tests.contracts.store.makers import NOW, REASON, VERDICT, completed, founded, planned
from tests.unit.streams.test_cli_fingerprints import on, url

__all__ = ["url"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["experiments", *arguments], env={"COLUMNS": "300"})


async def searched(db: Database) -> None:
    """Two experiments: `mine`, judged, whose second of three trials is the best, and `yours`, which has only begun."""
    name = await founded(db, 1, State.SELECTED, name="mine")
    scores = [completed(each.trial) for each in planned(3)]
    values = (0.5, 1.5, 1.0)
    async with db.transaction() as tx:
        await trials.plan(tx, name, planned(3), NOW)
        for value, score in zip(values, scores, strict=True):
            scored = replace(score, metrics={"sharpe_ratio": value, "sortino_ratio": None})
            await trials.finish(tx, name, [scored], NOW)
        verdict = VERDICT.model_copy(update={"passed": False, "overridden": True})
        event = GatePassed(experiment=name, request_id="request-1", sequence=0, emitted_at=NOW, verdict=verdict)
        await experiments.note(tx, name, event, NOW)
    await founded(db, 2, State.RUNNING, name="yours")
    async with db.transaction() as tx:
        await trials.plan(tx, "yours", planned(1), NOW)
        await trials.finish(tx, "yours", [trials.Failed("t00000", (REASON,), 0.1)], NOW)


def test_it_lists_the_newest_and_those_in_a_state(url: str) -> None:
    on(url, searched)
    lines = run("list").stdout.splitlines()
    assert {line.split()[0] for line in lines[1:]} == {"mine", "yours"}
    assert [line.split()[:2] for line in run("list", "--state", "running").stdout.splitlines()[1:]] == [
        ["yours", "running"]
    ]
    assert "and 1 more" in run("list", "--limit", "1").stdout
    [document] = run("list", "--json").stdout.splitlines()
    assert json.loads(document)["total"] == 2
    refused = run("list", "--state", "asleep")
    assert (refused.exit_code, "running" in refused.stderr) == (2, True)


def test_it_says_what_to_do_where_there_is_none(url: str) -> None:
    async def nothing(db: Database) -> None: ...

    on(url, nothing)
    assert "orchestrator request" in run("list").stdout


def test_it_shows_how_far_one_is_and_with_json_every_trial(url: str) -> None:
    on(url, searched)
    shown = run("show", "mine").stdout
    assert "overridden" in shown
    assert "3 completed" in shown
    assert "0 failed" not in shown
    assert "t00000 failed: " in run("show", "yours").stdout
    document = json.loads(run("show", "mine", "--json").stdout)
    assert [trial["trial"] for trial in document["all_trials"]] == ["t00000", "t00001", "t00002"]


def test_the_best_come_first(url: str) -> None:
    on(url, searched)
    assert [line.split()[0] for line in run("top", "mine", "2").stdout.splitlines()] == ["trial", "t00001", "t00002"]
    first = json.loads(run("top", "mine", "--json").stdout.splitlines()[0])
    assert (first["trial"], first["metrics"]["sharpe_ratio"]) == ("t00001", 1.5)
    assert "no trial of yours" in run("top", "yours").stdout


@pytest.mark.parametrize("verb", ["show", "top"])
def test_a_name_that_nothing_goes_by_is_told(url: str, verb: str) -> None:
    on(url, searched)
    result = run(verb, "nobody")
    assert (result.exit_code, "there is no experiment nobody" in result.stderr) == (1, True)


def test_cancel_and_resume_are_the_same_as_without_the_word_before() -> None:
    for verb in ("cancel", "resume"):
        outer, inner = (CliRunner().invoke(app, [*words, "--help"]).stdout for words in ([verb], ["experiments", verb]))
        assert outer.split()[3:] == inner.replace(" experiments", "", 1).split()[3:]
