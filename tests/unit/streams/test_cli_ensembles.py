"""`orchestrator ensembles`: what it shows of a real store, and the commands that it gives."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from orchestrator.core.lifecycle import State
from orchestrator.core.performance import Account, Following, Said
from orchestrator.store import ensembles, performance
from orchestrator.store.database import Database
from schemas.base import Mode, Reason
from schemas.commands import Delete, DeployEnsemble, RollBack
from schemas.ensembles import EnsembleDeleted, EnsembleDeployed
from schemas.topics import COMMANDS
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from streams import ordering
from streams.cli import app
from streams.requesting import Answer, Order
from streams.run_folder import RunFolder
from streams.serve_port import serve_address
from streams.settings import Settings
from tests.contracts.store.makers import NOW, REASON, VERDICT, digest, founded, proposal
from tests.unit.serving.drafts import candidate, draft
from tests.unit.streams.test_cli_fingerprints import on, url

__all__ = ["url"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["ensembles", *arguments])


def cells(line: str) -> list[str]:
    return re.split(r" {2,}", line.strip())


def two_ensembles(artifacts: Path) -> Any:
    """Fills a store: versions 1 and 2 of `bot`, of which the second serves, and version 1 of `lost`, which failed."""
    members = (candidate("t1"), candidate("t2", "MSFT"))
    assembled = EnsembleAssembler(Artifacts(artifacts)).assemble(draft(*members))
    refused = VERDICT.model_copy(update={"passed": False, "overridden": True, "reasons": (REASON,)})
    versions: list[tuple[str, Mode, Any]] = [
        ("bot", "paper", refused),
        ("bot", "live", VERDICT),
        ("lost", "live", VERDICT),
    ]

    async def fill(db: Database) -> None:
        for number, (name, mode, verdict) in enumerate(versions, 1):
            experiment = await founded(db, number, State.SELECTED, name=f"experiment-{number}")
            made = {"manifest": assembled.manifest, "digest": assembled.digest, "members": 2}
            async with db.transaction() as tx:
                version = await ensembles.propose(
                    tx, proposal(experiment, name, mode=mode, verdict=verdict, **made), NOW
                )
                if name == "bot":
                    await ensembles.mark_deployed(tx, name, version, NOW)
                else:
                    await ensembles.mark_failed(tx, name, version, (REASON,), NOW)

    return fill


def test_it_lists_every_ensemble_and_which_version_serves(url: str, tmp_path: Path) -> None:
    on(url, two_ensembles(tmp_path))
    _, bot, lost = (cells(line) for line in run("list").stdout.splitlines())
    assert bot[:8] == ["bot", "2", "2 deployed", "live", "2", "1d", "passed", "0.97"]
    assert bot[8].endswith(" d")
    assert lost == ["lost", "-", "1 failed", *["-"] * 6]


def test_it_shows_an_ensemble_s_versions_and_who_votes_in_the_one_that_serves(url: str, tmp_path: Path) -> None:
    on(url, two_ensembles(tmp_path))
    said = run("show", "bot").stdout
    first, second = (cells(line) for line in said.splitlines()[1:3])
    assert (first[:2], second[:2]) == (["1", "superseded"], ["2", "deployed"])
    assert (first[5], second[5]) == ("overridden", "passed")
    assert (first[-2], second[-2]) == ("experiment-1", "experiment-2")
    assert re.fullmatch("[0-9a-f]{64}", second[-1])
    assert "version 2: elasticnet, soft voting" in said
    one, other = (cells(line) for line in said.splitlines()[-2:])
    assert (one[:3], other[:3]) == (["t1", "AAPL", "1"], ["t2", "MSFT", "1"])
    assert "alpha=" in one[4]
    assert re.fullmatch("[0-9a-f]{64}", one[5])


def test_it_shows_where_predictions_are_answered(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on(url, two_ensembles(tmp_path))
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with serve_address(Settings.read({"DATA_DIR": str(tmp_path), "SERVE_PORT": "0"}), RunFolder(tmp_path)) as (_, port):
        pass
    assert run("show", "bot").stdout.splitlines()[-1] == f"predictions: POST http://127.0.0.1:{port}/bot"
    assert "predictions" not in run("show", "lost").stdout


def test_it_shows_what_following_the_signals_has_earned_in_each_mode(url: str, tmp_path: Path) -> None:
    async def fill(db: Database) -> None:
        await two_ensembles(tmp_path)(db)
        accounts: dict[tuple[str, Mode], Account] = {("bot", "live"): Account(), ("bot", "paper"): Account()}
        for day, price in enumerate((100.0, 110.0, 121.0, 121.0)):
            moment = NOW + day * timedelta(days=1)
            said = Said(moment, 0, 1, price, moment, Following(cost=0.01, delay=0, share=0.5))
            accounts["bot", "live"].follow("AAPL 1d", 2, said)
        async with db.transaction() as tx:
            await performance.save(tx, accounts)

    on(url, fill)
    (line,) = (line for line in run("show", "bot").stdout.splitlines() if line.startswith(("live", "paper")))
    assert line.startswith("live since 2026-01-15T21:00:00.123456Z: hit rate 100.0%, net Sharpe ")
    assert line.endswith("net return 9.50% in 3 sessions and 4 signals, each followed at the next close")


def test_of_an_ensemble_that_does_not_serve_it_shows_the_newest_version_and_why(url: str, tmp_path: Path) -> None:
    on(url, two_ensembles(tmp_path))
    said = run("show", "lost").stdout
    assert cells(said.splitlines()[1])[:2] == ["1", "failed"]
    assert said.rstrip().endswith(REASON.message)


def test_what_there_is_not_is_said(url: str) -> None:
    assert "orchestrator up" in run("list").stderr
    on(url, nothing)
    assert run("list").stdout == "there is no ensemble yet\n"
    missing = run("show", "bot")
    assert (missing.exit_code, missing.stderr) == (1, "there is no ensemble bot\n")


async def nothing(db: Database) -> None:
    """An empty store."""


class Desk:
    """Whoever takes commands, and what becomes of them."""

    def __init__(self) -> None:
        self.given: list[Order] = []
        self.answer: Answer | None = None

    def produce(self, config: object, command: Order) -> None:
        self.given.append(command)

    def answer_to(self, config: object, command: Order, *, patience: float) -> Answer | None:
        return self.answer


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk()
    monkeypatch.setattr(ordering, "produce_command", desk.produce)
    monkeypatch.setattr(ordering, "answer_to", desk.answer_to)
    monkeypatch.setattr(ordering, "connection", lambda settings: {})
    return desk


TOLD: dict[str, Any] = {"ensemble": "bot", "sequence": 7, "version": 2, "emitted_at": NOW}
DEPLOYED = EnsembleDeployed(
    **TOLD,
    serving_version=2,
    experiment="mine",
    tickers=("AAPL",),
    timeframe="1d",
    mode="paper",
    members=3,
    manifest_digest=digest(1),
)


def test_a_deployment_says_what_is_to_be_deployed_and_then_what_serves(desk: Desk) -> None:
    desk.answer = Answer(DEPLOYED)
    result = run("deploy", "mine", "--name", "bot", "--top", "3", "--voting", "hard", "--no-gate")
    assert result.stdout == "version 2 of bot answers live ticks on signals.paper with 3 members\n"
    (given,) = desk.given
    assert isinstance(given, DeployEnsemble)
    assert (given.experiment, given.ensemble, given.top_n, given.voting) == ("mine", "bot", 3, "hard")
    assert (given.mode, given.gate, given.threshold, given.models) == ("live", False, None, ())


@pytest.mark.parametrize(("arguments", "version"), [(["bot"], None), (["bot", "--version", "4"], 4)])
def test_a_roll_back_names_the_version_or_none(desk: Desk, arguments: list[str], version: int | None) -> None:
    desk.answer = Answer(DEPLOYED)
    assert run("roll-back", *arguments).exit_code == 0
    (given,) = desk.given
    assert isinstance(given, RollBack)
    assert (given.ensemble, given.version) == ("bot", version)


def test_a_deleted_ensemble_is_said_to_be(desk: Desk) -> None:
    desk.answer = Answer(EnsembleDeleted(**TOLD, serving_version=None))
    assert run("delete", "bot").stdout == "bot is deleted\n"
    assert isinstance(desk.given[0], Delete)


def test_what_cannot_be_done_ends_with_the_reasons_and_what_nobody_answers_says_so(desk: Desk) -> None:
    desk.answer = Answer(reasons=(REASON, Reason(code="other", message="and it is late")))
    refused = run("delete", "bot")
    assert (refused.exit_code, refused.stderr) == (1, f"{REASON.message}\nand it is late\n")
    desk.answer = None
    silent = run("delete", "bot")
    assert silent.exit_code == 1
    assert COMMANDS.name in silent.stderr
    assert desk.given[0].command_id != desk.given[1].command_id


def test_a_name_that_is_none_is_refused_before_anything_is_produced(desk: Desk) -> None:
    refused = run("delete", "no name")
    assert refused.exit_code == 2
    assert "/ensemble" in refused.stderr
    assert desk.given == []
