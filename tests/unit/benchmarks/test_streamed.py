import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.streamed import COLUMNS, CORRELATION, DEVIATION, MARK, Memory, write
from orchestrator.core.calendar import ALWAYS_OPEN, calendar_named
from orchestrator.core.dataset import Terms, prepare
from orchestrator.features.parquet import ParquetFeatures

pytestmark = pytest.mark.slow

_MIB = 2**20


def test_the_market_is_usable_and_half_of_its_features_tell_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.streamed.FILE_ROWS", 15_000)
    write(tmp_path, 40_000)
    bars = ParquetFeatures(tmp_path).load("BENCH", "1m")
    rows = prepare(bars, Terms(), calendar_named(ALWAYS_OPEN))
    known = np.isfinite(rows.target)
    assert (len(rows), len(rows.feature_names)) == (40_000, COLUMNS)
    assert np.std(rows.target[known]) == pytest.approx(DEVIATION, rel=0.05)
    told = rows.features[:, : COLUMNS // 2].sum(axis=1)
    assert np.corrcoef(told[known], rows.target[known])[0, 1] == pytest.approx(CORRELATION * 10**0.5, abs=0.02)
    rest = np.corrcoef(rows.features[known, COLUMNS // 2 :].sum(axis=1), rows.target[known])[0, 1]
    assert abs(rest) < 0.03


def test_memory_is_that_of_this_process_and_of_those_that_inherit_its_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, "test")
    memory = Memory()
    memory.ask()
    before = memory.now
    held = np.ones(8 * _MIB)
    hold = "held = bytes(range(256)) * (32 << 12); print(flush=True); input()"
    environment = {**os.environ, MARK: "test"}
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        memory.ask()
        grown = memory.now - before
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
    assert 90 * _MIB < grown < 160 * _MIB
    assert memory.peak >= before + grown
    del held
    memory.ask()
    assert memory.now < before + grown
