"""A few swaps under ticks, two of them broken; `make bench-swaps` has twenty."""

from pathlib import Path

import pytest

from benchmarks.swaps import measured

pytestmark = pytest.mark.slow


def test_versions_swap_without_a_gap_also_when_they_are_broken(tmp_path: Path) -> None:
    report = measured(tmp_path, ["gone", "raising", "good"])
    assert report.faults == dict.fromkeys(report.faults, 0)
    assert (report.refused, report.rolled_back) == (1, 1)
    assert report.signals == report.ticks > 0
    assert report.versions == 2
    assert report.predictions > 0
