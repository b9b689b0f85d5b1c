"""An ensemble's versions: where each is, and which one is gone back to."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol, TypeVar

from schemas.base import Reason


class VersionState(StrEnum):
    """Where a version is. One that has served can be wanted again."""

    WANTED = "wanted"
    DEPLOYED = "deployed"
    SHADOWING = "shadowing"
    """It answers beside the one that is deployed, as its challenger."""
    SUPERSEDED = "superseded"
    """Another was deployed instead of it, its ensemble was deleted, or it was a challenger and its trial has ended."""
    ROLLED_BACK = "rolled_back"
    """One of a lower number was served again instead of it."""
    FAILED = "failed"


class Past(Protocol):
    """A version, as far as going back to it goes."""

    @property
    def version(self) -> int:
        """Its number."""

    @property
    def state(self) -> VersionState:
        """Where it is."""

    @property
    def deployed_at(self) -> datetime | None:
        """When it was last; None: it has never served."""

    @property
    def ended_at(self) -> datetime | None:
        """When it was superseded or given up."""


P = TypeVar("P", bound=Past)


def left_by(number: int, successor: int) -> VersionState:
    """What becomes of the version that serves when `successor` takes its place."""
    return VersionState.SUPERSEDED if number < successor else VersionState.ROLLED_BACK


def earlier(ensemble: str, versions: Sequence[P], named: int | None) -> P | Reason:
    """The version to serve again, or why there is none.

    Absent a number, it is the one that served last of those with a lower number than the one that serves now. What was
    rolled back from, or has failed, is passed over: whoever rolls back twice gets further back, and not to where they
    came from.

    Args:
        ensemble: its name.
        versions: all of it.
        named: the number that is asked for.
    """
    if not versions:
        return Reason(code="unknown_ensemble", where="/ensemble", message=f"there is no ensemble {ensemble}")
    if named is not None:
        return _named(ensemble, versions, named)
    serving = next((each.version for each in versions if each.state is VersionState.DEPLOYED), None)
    if serving is None:
        message = f"no version of {ensemble} serves: name the one that is to serve again"
        return Reason(code="nothing_serves", where="/version", message=message)
    before = those_before(serving, versions)
    if not before:
        message = f"nothing served before version {serving} of {ensemble} that was not rolled back or has failed since"
        return Reason(code="no_earlier_version", where="/version", message=f"{message}: name a version")
    return before[0]


def those_before(serving: int, versions: Sequence[P]) -> list[P]:
    """What may be gone back to from the version that serves, first the one that served last."""
    before = [
        each
        for each in versions
        if each.version < serving and each.state is VersionState.SUPERSEDED and each.deployed_at is not None
    ]
    return sorted(
        before, key=lambda each: (each.ended_at or datetime.min.replace(tzinfo=UTC), each.version), reverse=True
    )


def _named(ensemble: str, versions: Sequence[P], number: int) -> P | Reason:
    found = next((each for each in versions if each.version == number), None)
    if found is None:
        message = f"{ensemble} has no version {number}"
        return Reason(code="unknown_version", where="/version", message=message)
    if found.state in (VersionState.DEPLOYED, VersionState.WANTED):
        message = f"version {number} of {ensemble} is {found.state} already"
        return Reason(code="serves_already", where="/version", message=message)
    if found.deployed_at is None:
        message = f"version {number} of {ensemble} has never served, so there is nothing to go back to"
        return Reason(code="never_served", where="/version", message=message)
    return found
