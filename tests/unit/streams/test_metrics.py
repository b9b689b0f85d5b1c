"""What is counted in several processes is added up."""

import os
import subprocess
import sys
from pathlib import Path

from streams import metrics

COUNT = "from streams import metrics; metrics.TICKS.labels('covered').inc(2); metrics.LAG.labels('t', '0').set({lag})"
SHOW = "import sys; from streams import metrics; sys.stdout.buffer.write(metrics.exposition())"


def run(code: str, folder: Path) -> str:
    environment = dict(os.environ) | {metrics.FOLDER_VARIABLE: str(folder)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_counts_of_several_processes_are_added_up_and_the_newest_gauge_wins(tmp_path: Path) -> None:
    metrics.empty(tmp_path)
    run(COUNT.format(lag=9), tmp_path)
    run(COUNT.format(lag=5), tmp_path)
    exposed = run(SHOW, tmp_path)
    assert 'orchestrator_ticks_total{outcome="covered"} 4.0' in exposed
    assert 'orchestrator_lag_records{partition="0",topic="t"} 5.0' in exposed


def test_what_an_earlier_run_has_counted_is_dropped(tmp_path: Path) -> None:
    metrics.empty(tmp_path)
    run(COUNT.format(lag=9), tmp_path)
    metrics.empty(tmp_path)
    assert "covered" not in run(SHOW, tmp_path)


def test_outside_a_running_copy_a_process_shows_its_own() -> None:
    assert b"orchestrator_outbox_events" in metrics.exposition()
