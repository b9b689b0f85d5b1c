"""Errors of the core: types that carry their reasons."""

from collections.abc import Iterable

from schemas.base import Reason


class Refused(Exception):
    """Something was judged and turned down; `reasons` name every fault, in the order in which they were found.

    Subclasses say what was refused; they keep this constructor, so that the error survives pickling.
    """

    def __init__(self, reasons: Iterable[Reason]) -> None:
        self.reasons: tuple[Reason, ...] = tuple(reasons)
        super().__init__(self.reasons)

    def __str__(self) -> str:
        return "; ".join(
            f"{reason.where}: {reason.message} [{reason.code}]" if reason.where else f"{reason.message} [{reason.code}]"
            for reason in self.reasons
        )
