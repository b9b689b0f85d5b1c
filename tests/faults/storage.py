"""Disks that are full, and files that are garbled."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.stage import Skipped, Stage, Violated

DRIVER, LANES = "ray::ExperimentDriver", ("ray::LaneTrainable", "ray::ResourceTrainable")
"""What Ray calls their processes; a lane is called by either name."""


def database_disk_full(stage: Stage) -> int:
    """Loud and paused; what was acknowledged meanwhile is done when there is space again."""
    acknowledged = stage.send([stage.search("before")])
    stage.settle(acknowledged)
    with _full(Path(stage.service.settings.store_url.split("///", 1)[1]).parent):
        acknowledged += stage.send([stage.search(f"full-{number}", seed=number) for number in range(5)])
        log = stage.service.folder.log("worker")
        stage.until(lambda: "database_away" in log.read_text() or "ended_by_failure" in log.read_text(), "it is told")
        time.sleep(5)
    stage.settle(acknowledged)
    return stage.audit(acknowledged)


def broker_disk_full(stage: Stage) -> int:
    """Kafka's own disk: nothing that it has acknowledged is lost."""
    acknowledged = stage.send([stage.search("before")])
    stage.settle(acknowledged)
    requests = [stage.search(f"full-{number}", seed=number % 3) for number in range(60)]
    with stage.witness(requests, pause=0.1) as sent:
        stage.until(lambda: len(stage.query("SELECT 1 FROM requests")) > 5, "requests are taken")
        with _full(stage.service.folder.kafka):
            time.sleep(45)
        # It may have given its broker up, and said so.
        stage.start_again()
        acknowledged += sent()
    stage.settle(acknowledged)
    return stage.audit(acknowledged)


def store_damaged(stage: Stage) -> int:
    """SQLite's file and Tune's, cut off and garbled: the one is refused as it is, the others are of no account."""
    grid = {"learning_rate": [0.01 * number for number in range(1, 31)]}
    acknowledged = stage.send([stage.search("garbled", algorithm="lightgbm_regressor", param_grid=grid)])
    stage.until(lambda: len(stage.query("SELECT 1 FROM trial_histories")) > 3, "the experiment is under way")
    recorded = {f"{trial} 1" for (trial,) in stage.query("SELECT trial FROM trial_histories")}
    spoilt = _spoil(stage.service.settings.data_dir / "tune")
    stage.kill(*stage.processes(DRIVER), *stage.processes(*LANES))
    trained = len(stage.notes("evaluated"))
    stage.settle(acknowledged)
    if again := recorded & set(stage.notes("evaluated")[trained:]):
        raise Violated(f"{len(again)} recorded trials were trained again, such as {min(again)}")
    facts = stage.audit(acknowledged)
    stage.stop()
    path = Path(stage.service.settings.store_url.split("///", 1)[1])
    whole = path.read_bytes()
    damages = {
        "cut in half": whole[: len(whole) // 2],
        "garbled": whole[:8192] + b"\xa5" * 65536 + whole[73728:],
        "emptied": b"",
    }
    for how, damaged in damages.items():
        path.write_bytes(damaged)
        if (code := stage.try_start()) == 0:
            raise Violated(f"the service has started on a database that was {how}")
        if path.read_bytes() != damaged:
            raise Violated(f"a database that was {how} has been written to (exit code {code})")
    path.write_bytes(whole)
    return facts + spoilt + 3


@contextmanager
def _full(folder: Path) -> Iterator[None]:
    """No space left where the folder lies."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    try:
        yield
    finally:
        ballast.unlink()


def _spoil(folder: Path) -> int:
    """Cut off every other file below a folder, and garble the rest; how many."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for number, path in enumerate(files):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if number % 2 else bytes(byte ^ 0xA5 for byte in content))
    return len(files)


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[None]:
    """A disk of its own, so large, where the folder is.

    Raises:
        Skipped: this needs root.
    """
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise Skipped("a disk can be mounted by root only")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        shutil.rmtree(folder)
