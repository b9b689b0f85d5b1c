"""A search over features that are larger than the memory it takes: an elastic-net grid, from parquet files.

    python -m benchmarks.streamed

Prints how far it is, and as its last line one JSON object. Memory is the proportional set size, summed over all
processes of the run (of Ray's too), with every page of the object store counted.
"""

import json
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from benchmarks.searching import environment, searched, service
from orchestrator.algorithms.base import trainer
from orchestrator.core.calendar import ALWAYS_OPEN
from orchestrator.features.parquet import ParquetFeatures
from orchestrator.search.reading import read
from orchestrator.search.streamed import shared
from orchestrator.search.study import study_of
from schemas.search import Costs, SearchRequest

ROWS, COLUMNS, SEED = 20_000_000, 20, 1
FILE_ROWS, GROUP_ROWS = 2_000_000, 250_000
GRID = {"alpha": (0.0005, 0.001, 0.002, 0.005), "l1_ratio": (0.1, 0.5, 0.9)}
TICKER, TIMEFRAME = "BENCH", "1m"
FIRST, BAR = np.datetime64("1990-01-01T00:01", "us"), np.timedelta64(60_000_000, "us")
DEVIATION, CORRELATION = 0.0005, 0.03
"""Of a bar's return; of it with each feature of the first half."""
COST_BPS = 0.1
ROW_MEMORY = 64
"""Bytes of the object store that a row takes without its features, rounded up."""
ASKED_SECONDS = 0.2
MARK = "STREAMED_BENCHMARK"
_KIB, _MIB, _GIB = 2**10, 2**20, 2**30


def run(rows: int = ROWS) -> dict[str, Any]:
    """Write the bars, search over them, and say how long that took and how much memory."""
    with tempfile.TemporaryDirectory(prefix="streamed-") as name, environment(**{MARK: secrets.token_hex(8)}):
        folder = Path(name)
        began = time.perf_counter()
        size = write(folder / "features", rows)
        say(f"{rows:,} rows x {COLUMNS} features in {size / _GIB:.2f} GiB of parquet: {_since(began)}")
        store = 256 + rows * ROW_MEMORY // _MIB
        with service(folder, say, RAY_OBJECT_STORE_MB=str(store)) as settings, watched() as memory:
            return _searched(folder, rows, replace(settings, calendar=ALWAYS_OPEN), memory)


def _searched(folder: Path, rows: int, settings: Any, memory: "Memory") -> dict[str, Any]:
    # Ray reads its environment when it is imported.
    from orchestrator.search.tuner import TuneSearch

    began = time.perf_counter()
    request = SearchRequest(
        request_id="streamed", strategy="grid", algorithm="elasticnet", tickers=(TICKER,), timeframe=TIMEFRAME,
        param_grid=dict(GRID), costs=Costs(default_bps=COST_BPS),
    )  # fmt: skip
    family, source = trainer(request.algorithm), ParquetFeatures(folder / "features")
    bars, streams = read(source, request, family, memory=16 * _GIB, stream_above=rows * COLUMNS * 4)
    if not streams:
        raise RuntimeError("the rows are not streamed")
    loaded = time.perf_counter()
    say(f"times and prices loaded, features judged: {_since(began)}, {memory}")
    kept = settings.tune_dir / "streamed"
    kept.mkdir(parents=True)
    study = study_of(request, bars, family, settings, streams, kept)
    ground = shared(study.grounds[TICKER])
    del bars, study
    say(f"folds and targets made: {_since(loaded)}, {memory}")
    found = searched(TuneSearch(settings), request, family, ground, settings)
    if len(found.scored) != len(GRID["alpha"]) * len(GRID["l1_ratio"]):
        raise RuntimeError(f"{len(found.scored)} configurations were scored")
    best = max(each.metrics["sharpe_ratio"] or 0.0 for each in found.scored)
    say(f"{len(found.scored)} configurations scored: {found.seconds:.1f} s, {found.training:.1f} s of it streaming and "
        f"training, best Sharpe ratio {best:.2f}, {memory}")  # fmt: skip
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "search_seconds": round(found.seconds, 1),
        "peak_gib": round(memory.peak / _GIB, 3),
        "rows": rows,
        "columns": COLUMNS,
        "configurations": len(found.scored),
    }


def write(directory: Path, rows: int) -> int:
    """Write one-minute bars of a market that never closes, a file at a time; their bytes.

    The first half of the features tell something of the return of the bar in which a position decided on them is held.
    """
    folder = directory / TICKER / TIMEFRAME
    folder.mkdir(parents=True)
    rng = np.random.default_rng(SEED)
    weights = np.where(np.arange(COLUMNS) < COLUMNS // 2, CORRELATION, 0.0).astype(np.float32)
    noise = np.sqrt(1 - weights @ weights)
    told, level = np.zeros(2, dtype=np.float32), 0.0
    for begin in range(0, rows, FILE_ROWS):
        count = min(FILE_ROWS, rows - begin)
        features = rng.standard_normal((COLUMNS, count), dtype=np.float32)
        told = np.concatenate([told, weights @ features])
        log_price = level + np.cumsum(DEVIATION * (told[:count] + noise * rng.standard_normal(count)))
        told, level = told[count:], float(log_price[-1])
        columns = {
            "event_time": pa.array(FIRST + BAR * np.arange(begin, begin + count), pa.timestamp("us", tz="UTC")),
            "open": 100 * np.exp(log_price),
            "close": 100 * np.exp(log_price + 0.0001 * rng.standard_normal(count)),
            **{f"f{number:02}": column for number, column in enumerate(features)},
        }
        path = folder / f"{begin:09}.parquet"
        pa.parquet.write_table(
            pa.table(columns), path, row_group_size=GROUP_ROWS, compression="none", use_dictionary=False
        )
    return sum(path.stat().st_size for path in folder.iterdir())


@dataclass
class Memory:
    """Of all processes that inherited this one's mark, and of this one."""

    peak: int = 0
    at_peak: dict[str, int] = field(default_factory=dict)
    now: int = 0

    def ask(self) -> None:
        """Look once."""
        mark = f"{MARK}={os.environ[MARK]}".encode()
        parts: dict[str, int] = {}
        stores: dict[tuple[int, int], int] = {}
        shared_pages = 0
        for process in Path("/proc").iterdir():
            if not process.name.isdecimal():
                continue
            # Processes come and go.
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if process.name != str(os.getpid()) and mark not in (process / "environ").read_bytes():
                    continue
                sizes = _sizes((process / "smaps_rollup").read_text())
                name = f"{process.name} {(process / 'comm').read_text().strip()}"
                parts[name] = sizes["Pss"] - sizes["Pss_Shmem"]
                shared_pages += sizes["Pss_Shmem"]
                if "raylet" in name:
                    stores |= dict(_shared_memory(process))
        # Pages of the store that no process has mapped any more are in no process's set.
        parts["shared memory"] = max(shared_pages, sum(stores.values()))
        self.now = sum(parts.values())
        if self.now > self.peak:
            self.peak, self.at_peak = self.now, parts

    def __str__(self) -> str:
        return f"memory {self.now / _GIB:.2f} GiB, peak {self.peak / _GIB:.2f} GiB"


@contextmanager
def watched() -> Iterator[Memory]:
    """Memory, asked about all the while."""
    memory, over = Memory(), threading.Event()
    memory.ask()

    def ask() -> None:
        while not over.wait(ASKED_SECONDS):
            memory.ask()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    try:
        yield memory
    finally:
        over.set()
        asking.join()
        largest = sorted(memory.at_peak.items(), key=lambda part: -part[1])[:8]
        say("at the peak: " + ", ".join(f"{name} {size / _MIB:.0f} MiB" for name, size in largest))


def _sizes(rollup: str) -> dict[str, int]:
    """Bytes by name."""
    lines = (line.split() for line in rollup.splitlines()[1:])
    return {line[0].rstrip(":"): int(line[1]) * _KIB for line in lines}


def _shared_memory(process: Path) -> Iterator[tuple[tuple[int, int], int]]:
    """The files in memory that a process has open, and the bytes that they take."""
    for descriptor in (process / "fd").iterdir():
        with suppress(FileNotFoundError):
            if os.readlink(descriptor).startswith("/dev/shm/"):
                status = descriptor.stat()
                yield (status.st_dev, status.st_ino), status.st_blocks * 512


def _since(began: float) -> str:
    return f"{time.perf_counter() - began:.1f} s"


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


if __name__ == "__main__":
    say(json.dumps(run(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)))
