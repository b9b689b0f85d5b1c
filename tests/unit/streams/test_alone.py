"""One child without a supervisor."""

from pathlib import Path

import psutil
import pytest

from streams.alone import STARTS, NotReady, running
from streams.child import alive
from streams.run_folder import RunFolder
from tests.integration.scripts import GOOD, Script

ONLY_THE_SECOND_TIME = f"""
import pathlib, sys
marker = pathlib.Path({{marker!r}})
if not marker.exists():
    marker.touch()
    sys.exit("not yet")
{GOOD}
"""


def test_a_child_that_ends_before_it_is_ready_is_started_again_and_cleared_away_at_the_end(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    child = Script("once", folder, ONLY_THE_SECOND_TIME.format(marker=str(tmp_path / "marker")))
    with running(child, folder) as (facts, spawned):
        assert facts == {}
        assert child.starts == 2
        assert spawned.code() is None
    assert spawned.code() is not None
    assert not child.laid_down.exists()


def test_one_that_never_gets_ready_is_given_up_with_what_it_said(tmp_path: Path) -> None:
    child = Script("never", RunFolder(tmp_path), "raise SystemExit('no port')")
    with pytest.raises(NotReady, match="no port"), running(child, RunFolder(tmp_path)):
        raise AssertionError("it is not ready")
    assert child.starts == STARTS
    assert not child.laid_down.exists()


def test_it_is_ended_where_the_program_fails(tmp_path: Path) -> None:
    started: list[psutil.Process] = []

    def fail() -> None:
        with running(Script("good", RunFolder(tmp_path)), RunFolder(tmp_path)) as (_, spawned):
            started.append(psutil.Process(spawned.pid))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not any(map(alive, started))
