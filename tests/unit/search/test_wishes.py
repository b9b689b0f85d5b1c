"""Ensembles that commands ask for of a search that is over: made, judged and proposed as its requests' own are."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from orchestrator.core.lifecycle import State
from orchestrator.store import ensembles, retention, trials, wishes
from orchestrator.store.ensembles import Version
from schemas.search import Deploy
from tests.contracts.store.makers import events
from tests.unit.search.studies import search_request, write_market
from tests.unit.search.test_course import Inline, Line, line

__all__ = ["line"]


async def wish(line: Line, experiment: str, command_id: str = "command-1", **deploy: Any) -> None:
    wanted = Deploy(**{"auto": True, "ensemble_name": "bot", **deploy})
    async with line.db.transaction() as tx:
        assert await wishes.wish(tx, command_id, experiment, "bot", wanted, line.clock()) == ()


async def wanted(line: Line) -> list[Version]:
    async with line.db.snapshot() as tx:
        return await ensembles.wanted(tx)


async def verdicts(line: Line, experiment: str) -> list[Any]:
    return [each for each in await events(line.db, "experiment-events", experiment) if each.event.startswith("gate_")]


async def rejected(line: Line, command_id: str = "command-1") -> list[str]:
    return [reason.code for each in await events(line.db, "experiment-events", command_id) for reason in each.reasons]


async def test_what_was_not_to_be_deployed_is_when_a_command_asks_and_nothing_is_trained_again(line: Line) -> None:
    name = await line.admit(search_request(holdout=100))
    await line.lead(name)
    await wish(line, name, top_n=1)
    search = Inline()
    found = await line.lead(name, search)
    assert search.evaluated == []
    assert found.state is State.SELECTED
    (version,) = await wanted(line)
    assert (version.ensemble, version.members, version.mode, version.command_id) == ("bot", 1, "live", "command-1")
    own, asked = await verdicts(line, name)
    assert (own.verdict.looks, own.request_id) == (0, "request-AAA")
    assert (asked.verdict.looks, asked.request_id, asked.verdict) == (1, "command-1", version.verdict)
    await line.lead(name)
    assert len(await wanted(line)) == 1


async def test_each_other_choice_is_another_look_at_the_hold_out_and_the_same_one_is_the_same_look(
    line: Line,
) -> None:
    name = await line.admit(search_request(holdout=100, deploy=Deploy(auto=True, ensemble_name="own", top_n=4)))
    await line.lead(name)
    for number, top_n in enumerate((1, 2, 1, 4), 1):
        await wish(line, name, f"command-{number}", top_n=top_n)
        await line.lead(name)
    assert [each.verdict.looks for each in await verdicts(line, name)] == [1, 2, 3, 2, 1]


@pytest.mark.parametrize(
    ("gate", "override", "mode"), [(True, "live", None), (False, "forbid", None), (False, "paper", "paper")]
)
async def test_a_command_passes_the_same_gate_as_a_request(
    line: Line, gate: bool, override: str, mode: str | None
) -> None:
    line.settings["gate_override"] = override
    write_market(line.directory / "features", "AAA", edge=0.0)
    name = await line.admit(search_request(deploy=Deploy(auto=True)))
    assert (await line.lead(name)).state is State.REFUSED
    await wish(line, name, gate=gate)
    assert (await line.lead(name)).state is State.REFUSED
    assert [version.mode for version in await wanted(line)] == ([mode] if mode else [])
    assert [each.request_id for each in await verdicts(line, name)] == ["request-AAA", "command-1"]


async def test_what_was_withdrawn_while_it_was_made_is_not_proposed(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await line.admit(search_request())
    await line.lead(name)
    await wish(line, name)
    steps = trials.steps

    async def overtaken(*arguments: Any) -> Any:
        async with line.db.transaction() as tx:
            await wishes.settle(tx, ["command-1"])
        return await steps(*arguments)

    monkeypatch.setattr(trials, "steps", overtaken)
    await line.lead(name)
    assert await wanted(line) == []
    assert len(await verdicts(line, name)) == 1


async def test_bars_that_came_after_the_search_change_nothing(line: Line, tmp_path: Path) -> None:
    write_market(tmp_path / "features", "AAA")
    (file,) = (tmp_path / "features").rglob("*.parquet")
    whole = pyarrow.parquet.read_table(file)
    pyarrow.parquet.write_table(whole.slice(0, 900), file)
    line.clock.now = whole["event_time"][900].as_py() - timedelta(hours=1)
    name = await line.admit(search_request())
    await line.lead(name)
    pyarrow.parquet.write_table(whole, file)
    line.clock.now += timedelta(days=30)
    await wish(line, name)
    await line.lead(name)
    assert await rejected(line) == []
    assert len(await wanted(line)) == 1


async def test_without_the_predictions_or_with_other_bars_the_command_is_told_so_and_the_experiment_stands(
    line: Line,
) -> None:
    name = await line.admit(search_request())
    before = await line.lead(name)
    write_market(line.directory / "features", "AAA", seed=2)
    await wish(line, name)
    await line.lead(name)
    assert await rejected(line) == ["changed_since_start"]

    write_market(line.directory / "features", "AAA")
    async with line.db.transaction() as tx:
        (first, *_) = await retention.predicted(tx, name)
        await retention.forget_predictions(tx, [first])
    await wish(line, name, "command-2")
    after = await line.lead(name)
    assert await rejected(line, "command-2") == ["predictions_forgotten"]
    assert (after.state, after.verdict, after.reasons) == (before.state, before.verdict, before.reasons)
    assert await wanted(line) == []
