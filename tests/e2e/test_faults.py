"""One of the faults of `make faults`, and that every guard can still be taken out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.listed import FAULTS
from tests.faults.stage import INTERFERENCE, staged

pytestmark = pytest.mark.slow

IN_TESTS = 4
GUARDS_OUT = """
import importlib, sitecustomize
for guard in sitecustomize.WITHOUT:
    for name in sitecustomize.GUARDS[guard]:
        importlib.import_module(name)
print(len(sitecustomize.WITHOUT))
"""


def test_a_driver_that_is_killed_amid_a_population_has_nothing_trained_twice(tmp_path: Path) -> None:
    (fault,) = (fault for fault in FAULTS if fault.number == IN_TESTS)
    with staged(tmp_path, (), fault.variables(tmp_path)) as stage:
        assert fault.strike(stage) > 0


def test_every_guard_is_where_it_is_taken_out(tmp_path: Path) -> None:
    guards = {fault.guard for fault in FAULTS}
    environment = {
        **os.environ,
        "PYTHONPATH": str(INTERFERENCE),
        "FAULTS_FOLDER": str(tmp_path),
        "FAULTS_WITHOUT": ",".join(guards),
    }
    said = subprocess.run(
        [sys.executable, "-c", GUARDS_OUT], env=environment, capture_output=True, text=True, check=False
    )
    assert said.stdout == f"{len(guards)}\n", said.stderr
