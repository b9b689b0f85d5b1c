"""`orchestrator policies` and `lineage` on a real store."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from orchestrator.api.ports import FoundSignal, Looked, Sought
from orchestrator.store.database import Database
from schemas.policies import Policy
from streams import cli_lineage, finding
from streams.cli import app
from tests.contracts.store.makers import NOW, digest
from tests.support.market import ENSEMBLE, POLICY, SEARCHED, fill
from tests.support.signals import signal
from tests.unit.streams.test_cli_fingerprints import on, url

__all__ = ["url"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments], env={"COLUMNS": "300"})


def test_policies_are_listed_and_one_is_shown_with_what_it_has_triggered(url: str) -> None:
    on(url, fill)
    _, line = run("policies", "list").stdout.splitlines()
    assert line.split()[0] == ENSEMBLE
    assert "schedule 30 18 * * 5, age above 90 d, drift, outliers" in line
    shown = run("policies", "show", ENSEMBLE).stdout
    assert "drift of rsi_14 on AAPL" in shown
    assert Policy.model_validate_json(run("policies", "show", ENSEMBLE, "--json").stdout) == POLICY
    result = run("policies", "show", "nobody")
    assert (result.exit_code, "nobody has no policy" in result.stderr) == (1, True)


def test_it_says_what_to_do_where_there_is_none(url: str) -> None:
    async def nothing(db: Database) -> None: ...

    on(url, nothing)
    assert "orchestrator policies set" in run("policies", "list").stdout


def test_what_is_no_policy_is_told_before_anything_is_sent(url: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    for text, said in (("{", "is not JSON"), ('{"drift": {"windows": 0}}', "/policy/drift/windows")):
        file.write_text(text)
        result = run("policies", "set", ENSEMBLE, str(file))
        assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_a_signal_goes_back_to_its_search_and_one_that_is_nowhere_says_how_far_was_looked(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(url, fill)
    said = signal(ensemble=ENSEMBLE)
    looked = (Looked("signals", 12, NOW, whole=False),)

    def find(config: Any, signal_id: str, *others: Any) -> Sought:
        known = FoundSignal("signals", 3, 7, NOW, said) if signal_id == said.id else None
        return Sought(known, looked)

    monkeypatch.setattr(finding, "find", find)
    monkeypatch.setattr(cli_lineage, "connection", lambda settings: {})
    told = run("lineage", said.id).stdout
    for part in ("BUY of AAPL", "signals, partition 3, offset 7", f"version 2 of {ENSEMBLE}", SEARCHED, "request-1"):
        assert part in told
    assert "not luck with probability 0.97" in told
    assert digest(1)[:12] in told
    document = json.loads(run("lineage", said.id, "--json").stdout)
    assert [each["version"] for each in document["champions"]] == [1]
    result = run("lineage", "0" * 32)
    assert result.exit_code == 1
    assert "signals back to 2026-01-15" in result.stderr
    assert "--limit looks further" in result.stderr
