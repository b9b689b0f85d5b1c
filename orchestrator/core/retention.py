"""What nothing refers to any more, and may go. What no rule here speaks of is kept for good."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Keeping:
    """How much is kept that nothing needs any more."""

    published: timedelta = timedelta(days=1)
    """Events, once they are on Kafka: for whoever wants to see what was told."""
    unreferred: timedelta = timedelta(days=30)
    """Predictions and artifacts, from when nothing has changed about their experiment or their version."""
    versions: int = 5
    """Of each ensemble, those that served last before the one that does: what it can go back to."""


@dataclass(frozen=True)
class Served:
    """A version of an ensemble."""

    ensemble: str
    version: int
    wanted: bool
    """It serves, or waits to."""
    served: bool
    """It did, and was superseded."""
    ended_at: datetime | None
    """When it was superseded or given up."""


@dataclass(frozen=True)
class Predicted:
    """The out-of-fold predictions of one trial."""

    experiment: str
    trial: str
    judged: bool
    """The gate has spoken, so that nobody goes on with the experiment. One that broke off before can be resumed."""
    changed_at: datetime
    """The experiment, last."""
    known: bool
    """They are what a fingerprint answers with."""


def kept_versions(versions: Iterable[Served], keeping: Keeping, now: datetime) -> set[tuple[str, int]]:
    """The versions, by ensemble and number, that may serve again: whatever they are made of is referred to."""
    kept: set[tuple[str, int]] = set()
    back: dict[str, int] = {}
    for each in sorted(versions, key=lambda each: -each.version):
        recent = each.ended_at is None or each.ended_at > now - keeping.unreferred
        if each.served:
            back[each.ensemble] = back.get(each.ensemble, 0) + 1
        if each.wanted or recent or (each.served and back[each.ensemble] <= keeping.versions):
            kept.add((each.ensemble, each.version))
    return kept


def may_go(
    predicted: Iterable[Predicted], members: Collection[tuple[str, str]], keeping: Keeping, now: datetime
) -> list[Predicted]:
    """The predictions that nothing refers to: no search, no fingerprint, no ensemble.

    Args:
        predicted: those that are there.
        members: experiment and trial of every member of a version that is kept.
        keeping: for how long they are kept nevertheless.
        now: the time.
    """
    return [
        each
        for each in predicted
        if each.judged
        and not each.known
        and (each.experiment, each.trial) not in members
        and each.changed_at <= now - keeping.unreferred
    ]


def members_in(manifests: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Experiment and trial of every member."""
    return {(manifest["experiment"], member["trial"]) for manifest in manifests for member in manifest["members"]}


def unreferred(
    noted: Mapping[str, datetime], manifests: Iterable[Mapping[str, Any]], keeping: Keeping, now: datetime
) -> list[str]:
    """The artifacts that no version is made of that is kept.

    Args:
        noted: by digest, when an ensemble was last assembled of it; what is not noted is not ours to delete.
        manifests: of the versions that are kept.
        keeping: for how long they are kept nevertheless.
        now: the time.
    """
    referred = {digest for manifest in manifests for digest in digests_in(manifest)}
    return sorted(digest for digest, at in noted.items() if digest not in referred and at <= now - keeping.unreferred)


def digests_in(document: object) -> set[str]:
    """Every string of a JSON document that may name an artifact, wherever it stands."""
    return {text for text in _strings(document) if len(text) == 64 and _HEX.issuperset(text)}


def _strings(document: object) -> Iterator[str]:
    match document:
        case str():
            yield document
        case Mapping():
            for value in document.values():
                yield from _strings(value)
        case list() | tuple():
            for value in document:
                yield from _strings(value)
