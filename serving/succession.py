"""Who answers which bar while one version takes over from another. Whoever asks says what time it is.

A version acts from one event time on, for all instruments together: bars that its predecessor had begun to answer, and
those before them, stay its predecessor's, whatever batch and worker their ticks come in. Until its probation ends, the
predecessor also answers where the version goes wrong.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from orchestrator.core.arrays import Flags, Integers
from serving.answer import FeatureBatch, Part, Reasons, answer
from serving.probation import Trial, objections
from serving.version import LoadedVersion, ServedVersion

PREDECESSORS = 3
"""So many are kept at most: each takes the memory of its models."""
_BEFORE_ALL = np.datetime64("0001-01-01", "us")


@dataclass(eq=False)
class _Predecessor:
    """A version that served before: bars up to `through` are its own; it is let go at `until`, by the asker's clock."""

    loaded: LoadedVersion
    through: np.datetime64
    until: float = math.inf


class Succession:
    """The version that serves, and for a while those that it took over from.

    Args:
        first: the version that serves.
        retention: seconds for which a version is kept after its successor has answered the first bar: as long as
            a tick can be on its way, and at least as long as the successor is on probation.
    """

    def __init__(self, first: LoadedVersion, retention: float) -> None:
        self._current = first
        self._retention = retention
        self._before: list[_Predecessor] = []
        self._newest = _BEFORE_ALL
        self._trial = Trial()
        self._objections: Reasons = ()

    @property
    def served(self) -> ServedVersion:
        """The version that is to answer."""
        return self._current.served

    @property
    def answering(self) -> LoadedVersion:
        """The version that answers the next bar: the one before, where the one that serves must give way."""
        return self._before[-1].loaded if self._objections else self._current

    def kept(self, served: ServedVersion) -> LoadedVersion | None:
        """A version, where it is still in memory."""
        return next((each.loaded for each in self._before if each.loaded.served == served), None)

    def objections(self, now: float) -> Reasons:
        """Why the version must give way to the one before it, which answers instead of it meanwhile; empty: nothing."""
        self._let_go(now)
        return self._objections

    def succeed(self, loaded: LoadedVersion) -> None:
        """Have a version answer every bar that nobody has begun to answer yet."""
        answered = not self._before or self._newest > self._before[-1].through
        if answered and not self._objections:
            self._before.append(_Predecessor(self._current, self._newest))
        if self._before and self._before[-1].loaded.served == loaded.served:
            self._before.pop()
        del self._before[:-PREDECESSORS]
        self._current, self._trial, self._objections = loaded, Trial(), ()

    def answer(self, batch: FeatureBatch, now: float) -> tuple[Part, ...]:
        """Answer every row of a batch, each by the version whose bar it is; mostly that is one for all of them."""
        self._let_go(now)
        turns = self._turns(batch)
        if batch.bound.any():
            self._newest = max(self._newest, batch.event_time[batch.bound].max())
        return tuple(part for turn in np.unique(turns).tolist() for part in self._parts(batch, turns, turn, now))

    def _turns(self, batch: FeatureBatch) -> Integers:
        """Which version answers each row: the place of a predecessor, or one beyond the last."""
        through = np.array([each.through for each in self._before], dtype="datetime64[us]")
        last = len(through) - 1 if self._objections else len(through)
        turns = np.where(batch.bound, np.searchsorted(through, batch.event_time), last)
        return np.minimum(turns, last)

    def _parts(self, batch: FeatureBatch, turns: Integers, turn: int, now: float) -> Iterator[Part]:
        rows = np.flatnonzero(turns == turn)
        some = batch if len(rows) == len(turns) else batch.rows(rows)
        if turn < len(self._before):
            yield Part(rows, answer(self._before[turn].loaded, some))
            return
        if self._before and some.bound.any():
            self._before[-1].until = min(self._before[-1].until, now + self._retention)
        for part in self._by_current(some):
            yield Part(rows[part.rows], part.answer)

    def _by_current(self, batch: FeatureBatch) -> Iterator[Part]:
        """The answer of the version that serves; where it goes wrong on probation, that of the one before it.

        One that is heard elsewhere cannot stand in: nobody who waits for the signal would hear it.
        """
        if not self._before or self._before[-1].loaded.served.mode != self.served.mode:
            yield Part.whole(answer(self._current, batch))
            return
        before = self._before[-1]
        try:
            found = answer(self._current, batch)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            instead = answer(before.loaded, batch)
            self._note(batch, error=error)
            yield Part.whole(instead)
            return
        lost = found.lost
        if not lost.any():
            self._note(batch)
            yield Part.whole(found)
            return
        instead = answer(before.loaded, batch)
        lost &= np.isfinite(instead.score)
        self._note(batch, lost=lost)
        stays = ~instead.covered if lost.any() else np.ones_like(lost)
        for loaded, chosen in ((self._current, stays), (before.loaded, ~stays)):
            if chosen.any():
                rows = np.flatnonzero(chosen)
                yield Part(rows, answer(loaded, batch.rows(rows)))

    def _note(self, batch: FeatureBatch, *, lost: Flags | None = None, error: Exception | None = None) -> None:
        """Note what became of a call; only of its bound rows, since the others may be anybody's."""
        bound = batch.bound
        if not bound.any():
            return
        losses = 0 if lost is None else int(np.sum(lost & bound))
        self._trial = self._trial.told(int(bound.sum()), lost=losses, error=error)
        if losses or error is not None:
            # What else comes of these bars is the predecessor's, too.
            self._before[-1].through = max(self._before[-1].through, batch.event_time[bound].max())
            self._objections = objections(self._trial, over=False)

    def _let_go(self, now: float) -> None:
        """Forget versions that can no longer be asked; the last one stays while it answers for its successor."""
        if self._before and self._before[-1].until <= now:
            self._objections = self._objections or objections(self._trial, over=True)
        kept = self._before[-1:] if self._objections else []
        self._before = [each for each in self._before if each.until > now or each in kept]
