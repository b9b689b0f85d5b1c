"""Faults on a running service, and a table of what held.

    python -m tests.faults [NUMBER ...] [--guarded]

Each fault is brought about twice, in services of their own: as they are, where its invariant must hold; and with one
guard taken out, where the check must fail, or it would prove nothing. The exit status is 1 where either is not so.
`--guarded` leaves the second out. What a service left behind that went wrong stays, and is named.
"""

import argparse
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.fault import Fault
from tests.faults.listed import FAULTS
from tests.faults.stage import Skipped, Violated, staged
from tests.faults.storage import small_disk


@dataclass(frozen=True)
class Outcome:
    """What came of a fault: how many facts were looked at, and what was violated."""

    tried: int
    violation: str | None


def brought_about(fault: Fault, folder: Path, without: str | None) -> Outcome:
    """One fault on a service of its own.

    Raises:
        Skipped: it cannot be brought about here.
    """
    with ExitStack() as stack:
        for disk, mebibytes in fault.disks.items():
            stack.enter_context(small_disk(folder / "data" / disk, mebibytes))
        try:
            with staged(folder, without, fault.variables(folder)) as stage:
                return Outcome(fault.strike(stage), None)
        except Violated as violated:
            return Outcome(0, str(violated))


def told(console: Console, fault: Fault, folder: Path, without: str | None) -> Outcome:
    """`brought_about`, with a line before and after it; a folder that nobody needs to look at is removed."""
    how = f"without: {without}" if without else "as it is"
    console.print(f"{fault.number:>2}  {fault.name}, {how} ...", highlight=False)
    began = time.monotonic()
    outcome = brought_about(fault, folder, without)
    said = outcome.violation or f"held, {outcome.tried} facts"
    console.print(f"      {said} ({time.monotonic() - began:.0f} s)", highlight=False, markup=False)
    if outcome.violation and without is None:
        console.print(f"      what is left of it: {folder}", highlight=False)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def main() -> int:
    """Bring faults about, and print the table."""
    parser = argparse.ArgumentParser(description="What holds when things break?")
    parser.add_argument("numbers", nargs="*", type=int, choices=[fault.number for fault in FAULTS], metavar="NUMBER")
    parser.add_argument("--guarded", action="store_true", help="not with guards taken out")
    asked = parser.parse_args()
    console = Console(width=160)
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    table = Table("no.", "fault", "invariant", "tried", "held", "guard", "without it the check")
    good = True
    for fault in FAULTS:
        if asked.numbers and fault.number not in asked.numbers:
            continue
        try:
            whole = told(console, fault, root / f"{fault.number}", None)
            broken = None if asked.guarded else told(console, fault, root / f"{fault.number}.without", fault.guard)
        except Skipped as skipped:
            console.print(f"      skipped: {skipped}")
            table.add_row(str(fault.number), fault.name, fault.invariant, "-", f"skipped: {skipped}", fault.guard, "-")
            continue
        good &= whole.violation is None and (broken is None or broken.violation is not None)
        table.add_row(
            str(fault.number),
            fault.name,
            fault.invariant,
            str(whole.tried),
            "yes" if whole.violation is None else "NO",
            fault.guard,
            "-" if broken is None else "fails" if broken.violation else "STILL HOLDS",
        )
    console.print(table)
    if not any(root.iterdir()):
        root.rmdir()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
