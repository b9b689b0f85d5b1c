"""What a fault is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.stage import Stage


def _nothing(folder: Path) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Fault:
    """A fault, what it must not break, and the guard without which it does.

    Attributes:
        strike: does the harm and looks; returns how many facts were looked at, and raises Violated.
        variables: of the service's environment; the folder is for what they point to.
        disks: folders of the data folder that lie on disks of their own, and the MiB of these.
        company: faults of one company befall one service, one after the other, with the variables and disks of the
            first; absent: the fault has a service of its own.
    """

    number: int
    name: str
    invariant: str
    guard: str
    strike: Callable[[Stage], int]
    variables: Callable[[Path], Mapping[str, str]] = _nothing
    disks: Mapping[str, int] = field(default_factory=dict)
    company: str | None = None
