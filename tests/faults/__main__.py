"""Faults on a running service, and a table of what held.

    python -m tests.faults [NUMBER ...] [--guarded]

Each fault is brought about twice: on a service as it is, where its invariant must hold; and on another with one guard
taken out, where the check must fail, or it would prove nothing. The exit status is 1 where either is not so.
`--guarded` leaves the second out. What a service left behind that went wrong stays, and is named.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.fault import Fault
from tests.faults.listed import FAULTS
from tests.faults.stage import Skipped, Violated, staged, take_out
from tests.faults.storage import small_disk


@dataclass(frozen=True)
class Outcome:
    """What came of a fault: how many facts were looked at, and what was violated."""

    tried: int
    violation: str | None


def brought_about(company: Sequence[Fault], folder: Path, *, whole: bool) -> Iterator[Outcome]:
    """Faults, one after the other, on a service of their own; each with its guard taken out, or all as it is.

    Raises:
        Skipped: they cannot be brought about here.
    """
    first, *_ = company
    with ExitStack() as stack:
        for disk, mebibytes in first.disks.items():
            stack.enter_context(small_disk(folder / "data" / disk, mebibytes))
        guards = () if whole else [fault.guard for fault in company]
        stage = stack.enter_context(staged(folder, guards, first.variables(folder)))
        for fault in company:
            if not whole:
                take_out(stage.folder, fault.guard)
            try:
                yield Outcome(fault.strike(stage), None)
            except Violated as violated:
                yield Outcome(0, str(violated))


def told(console: Console, company: Sequence[Fault], folder: Path, *, whole: bool) -> list[Outcome]:
    """`brought_about`, with a line before and after each; a folder that nobody needs to look at is removed."""
    outcomes: list[Outcome] = []
    coming = brought_about(company, folder, whole=whole)
    for fault in company:
        how = "as it is" if whole else f"without: {fault.guard}"
        console.print(f"{fault.number:>2}  {fault.name}, {how} ...", highlight=False)
        began = time.monotonic()
        outcomes.append(outcome := next(coming))
        said = outcome.violation or f"held, {outcome.tried} facts"
        console.print(f"      {said} ({time.monotonic() - began:.0f} s)", highlight=False, markup=False)
    # The service ends.
    next(coming, None)
    if whole and any(outcome.violation for outcome in outcomes):
        console.print(f"      what is left of it: {folder}", highlight=False)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return outcomes


def companies(numbers: Container[int]) -> list[list[Fault]]:
    """The faults of these numbers, those together that are of one company."""
    asked = (fault for fault in FAULTS if fault.number in numbers)
    return [[*found] for _, found in groupby(asked, lambda fault: fault.company or fault.number)]


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
    for company in companies(asked.numbers or range(len(FAULTS) + 1)):
        name = "-".join(str(fault.number) for fault in company)
        broken: Sequence[Outcome | None] = [None] * len(company)
        try:
            whole = told(console, company, root / name, whole=True)
            if not asked.guarded:
                broken = told(console, company, root / f"{name}.without", whole=False)
        except Skipped as skipped:
            console.print(f"      skipped: {skipped}")
            for fault in company:
                skip = f"skipped: {skipped}"
                table.add_row(str(fault.number), fault.name, fault.invariant, "-", skip, fault.guard, "-")
            continue
        for fault, held, without in zip(company, whole, broken, strict=True):
            good &= held.violation is None and (without is None or without.violation is not None)
            table.add_row(
                str(fault.number),
                fault.name,
                fault.invariant,
                str(held.tried),
                "yes" if held.violation is None else "NO",
                fault.guard,
                "-" if without is None else "fails" if without.violation else "STILL HOLDS",
            )
    console.print(table)
    if not any(root.iterdir()):
        root.rmdir()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
