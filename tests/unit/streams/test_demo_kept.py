"""`make demo KEEP=1`: the service stays up until it is asked to end."""

import asyncio
import os
import signal
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console
from typer.testing import CliRunner

from streams.cli import app
from streams.demo import play, retrain
from streams.demo.copy import stay
from streams.display import Display
from streams.run_folder import RunFolder

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("given", "kept"), [([], False), (["KEEP=1"], True)])
def test_make_hands_on_that_it_is_to_stay(given: list[str], kept: bool) -> None:
    # A make that runs the tests must not be taken for one that this one was called by.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    planned = subprocess.run(
        ["make", "--dry-run", "demo", *given], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    ).stdout.splitlines()
    assert planned[-1].split()[1:] == ["demo", *(["--keep"] if kept else [])]


def test_no_password_is_among_the_trading_engine_s_arguments() -> None:
    trading = play._trading_engine({"bootstrap.servers": "127.0.0.1:1", "sasl.password": "a-secret"}, "bot", 1)
    trading.kill()
    trading.communicate()
    assert "a-secret" not in str(trading.args)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(("given", "demo"), [([], play), (["--retrain"], retrain)])
def test_the_command_does_as_well(given: list[str], demo: Any, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    async def played(display: Display, environ: Any, *, keep: bool) -> int:
        asked.append(keep)
        return 0

    monkeypatch.setattr(demo, "play", played)
    assert CliRunner().invoke(app, ["demo", *given, *(["--keep"] if kept else [])]).exit_code == 0
    assert asked == [kept]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_says_where_the_dashboard_is_and_ends_when_asked_to(tmp_path: Path, number: signal.Signals) -> None:
    folder, said = RunFolder(tmp_path), StringIO()
    folder.mark_ready("api", {"url": "http://127.0.0.1:8100"})

    class Watched:
        async def watch(self, until: asyncio.Event) -> None:
            os.kill(os.getpid(), number)
            await asyncio.wait_for(until.wait(), 10)

    loop = asyncio.get_running_loop()
    try:
        await stay(Display(Console(file=said)), cast(Any, Watched()), folder)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)
    assert "The dashboard: http://127.0.0.1:8100/\n" in said.getvalue()
    assert f"DATA_DIR={tmp_path}" in said.getvalue()
