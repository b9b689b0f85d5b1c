"""From an ensemble's answer to a signal: a pure decision."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from orchestrator.core.arrays import Floats
from orchestrator.core.calendar import Calendar
from orchestrator.core.halting import Effect, restrained
from orchestrator.core.position import drawn_in, position
from schemas.base import Mode, Reason, format_instant
from schemas.codec import Tick, WireSignal, WireVote, wire_reasons
from schemas.signals import written_id
from serving.answer import BELOW_COSTS, BatchAnswer, Reasons
from serving.rolling import Rolling
from serving.voting import BPS
from streams.controls import reason as halted
from streams.memory import Answered
from streams.routes import heard_on

VOTES: Mapping[int, str] = {1: "BUY", -1: "SELL", 0: "HOLD"}
_VOTES = np.array([VOTES[vote] for vote in (0, 1, -1)], dtype=object)
"""By vote, the last one counted from the end."""
BARS_TO_EXIT = 2
"""A position decided at a close is taken one bar later at the earliest and held for a bar."""
written = lru_cache(maxsize=4096)(format_instant)
"""A time as signals have it; most are those of many signals."""

_HALTED = Reason(
    code="trading_halted",
    message="trading in the instrument is halted, so that a change of position could not be carried out",
)
_NOT_COVERED = Reason(
    code="not_covered",
    message="no version that serves covers this instrument, so nothing is held; deploy one that does",
)
_FLAT = Reason(
    code="flat_at_close",
    message="a position taken now would be held over the close, and the session policy is flat at the close",
)


class Moment(NamedTuple):
    """What a signal is given under.

    Attributes:
        now: when.
        valid_until: until when it may be acted on.
        must_be_flat: the position would be held over a close that the session policy forbids.
        halt: the halt in effect.
        too_old: why the ensemble must abstain for its age.
        session: when the session of the bar closes; None: calibrations are not rolled forward.
        read: partition and offset of the tick; None: not known.
        mode: how it is heard; None: as the version that answers is.
    """

    now: datetime
    valid_until: datetime
    must_be_flat: bool
    halt: Effect | None = None
    too_old: Reason | None = None
    session: datetime | None = None
    read: tuple[int, int] | None = None
    mode: Mode | None = None


class Sheet:
    """An ensemble's answer to a batch, row by row in plain numbers: arrays are slow to read one figure at a time.

    Attributes:
        answer: what was written out.
    """

    def __init__(self, answer: BatchAnswer) -> None:
        self.answer = answer
        self.covered: list[bool] = answer.covered.tolist()
        self.raw: list[float] = answer.raw.tolist()
        self.opinion: list[float] = answer.opinion.tolist()
        self.score: list[float] = answer.score.tolist()
        self.confidence = _known(answer.confidence)
        self.p_correct = _known(answer.p_correct)
        self.edge_bps = _known(answer.edge_bps)
        figures = (_VOTES[answer.votes], answer.strengths, answer.confidences, answer.predictions)
        self._votes = [*zip(*(each.tolist() for each in figures), strict=True)]

    def judged(self, ticker: str, row: int, rolling: Rolling | None) -> tuple[float, float, float | None, Reasons]:
        """Score (NaN where it abstains), confidence, chance of the right direction and reasons of a row.

        By the calibration of its session; None: by that with which the version was deployed.
        """
        raw = self.raw[row]
        if rolling is None or not rolling.past.sessions or raw != raw:
            return self.score[row], self.confidence[row] or 0.0, self.p_correct[row], self.answer.reasons[row]
        worth, opinion = self.answer.worth[ticker], rolling.past.score(raw, self.opinion[row])
        expected = (self.edge_bps[row] or 0.0) / BPS
        score = drawn_in(opinion, expected, threshold=self.answer.threshold, cost=worth.cost)
        below = () if score == opinion else BELOW_COSTS
        return score, abs(score), worth.chance_at(opinion), below

    def votes(self, ticker: str, row: int) -> list[WireVote]:
        """The members' votes; none where the ensemble abstains."""
        if self.score[row] != self.score[row]:
            return []
        # As many as there are members: of a ticker that has fewer than another one, the last columns are empty.
        return [*map(WireVote, self.answer.members.get(ticker, ()), *self._votes[row])]


def _known(figures: Floats) -> list[float | None]:
    finite = np.isfinite(figures)
    if finite.all():
        return list(figures.tolist())
    return [figure if known else None for figure, known in zip(figures.tolist(), finite.tolist(), strict=True)]


def must_be_flat(tick: Tick, answer: BatchAnswer, calendar: Calendar) -> bool:
    """Whether the ensemble's session policy forbids any position from this bar on."""
    return answer.session_policy == "flat_at_close" and calendar.crosses_close(
        tick.event_time, tick.timeframe, BARS_TO_EXIT
    )


def decide(tick: Tick, sheet: Sheet, row: int, newest: Answered | None, moment: Moment) -> tuple[WireSignal, Answered]:
    """The signal of one tick, and what is remembered of it.

    BUY, SELL and HOLD tell how the target position changes: up, down, or not. An abstention is HOLD with no target; a
    halt that flattens closes what is held even then. Of an instrument that the version does not cover, though one
    before it may have, nothing is held.

    Args:
        tick: the tick, fresh for this ensemble.
        sheet: the ensemble's answers to a batch; `row` is this tick's.
        newest: what the place answered last.
        moment: of the decision.
    """
    answer = sheet.answer
    revises = newest is not None and newest.event_time == tick.event_time
    held = 0 if newest is None else newest.position
    before = newest.position_before if newest is not None and revises else held
    rolling = _rolling(tick, answer, newest, moment.session)
    score, confidence, p_correct, reasons = sheet.judged(tick.ticker, row, rolling)
    known = score == score
    halt = moment.halt
    flat = moment.must_be_flat or not sheet.covered[row] or (halt is not None and halt.action == "flatten")
    abstains = not flat and (not known or tick.trading_status == "halted" or moment.too_old is not None)
    # Who abstains leaves what is held, also where that is what the revision before has said.
    after = (
        held
        if abstains
        else position(
            score,
            before,
            threshold=answer.threshold,
            exit_threshold=answer.exit_threshold,
            flat=flat,
        )
    )
    if halt is not None and not abstains:
        after = restrained(before, after, halt.action)
    served = answer.served
    mode = moment.mode or heard_on(served.mode, tick.mode)
    event_time = written(tick.event_time)
    identity = written_id(served.ensemble, tick.ticker, tick.timeframe, event_time, tick.revision, mode)
    votes = sheet.votes(tick.ticker, row)
    # By place, in the order of its fields: naming them would take as long as all the rest.
    signal = WireSignal(
        identity,
        served.ensemble,
        served.version,
        tick.ticker,
        tick.timeframe,
        event_time,
        tick.revision,
        newest.signal_id if newest is not None and revises else None,
        written(moment.now),
        written(moment.valid_until),
        "HOLD" if abstains else VOTES[(after > before) - (after < before)],
        None if abstains else after,
        confidence,
        score if known else None,
        p_correct,
        sheet.edge_bps[row],
        len(votes),
        answer.voting,
        votes,
        max(0.0, (tick.event_time - answer.trained_through).total_seconds()),
        served.gate,
        mode,
        wire_reasons(_reasons(tick, reasons, sheet.covered[row], moment)),
        answer.experiment,
        answer.calibration_ids.get(tick.ticker) if rolling is None else rolling.past.calibration_id,
        0 if halt is None else halt.epoch,
        tick.price,
    )
    raw = sheet.raw[row]
    if rolling is not None and raw == raw:
        rolling = rolling.with_vote(tick.event_time, raw)
    read, version = moment.read, served.version
    return signal, Answered(tick.event_time, tick.revision, identity, after, before, rolling, read, version)


def _rolling(tick: Tick, answer: BatchAnswer, newest: Answered | None, session: datetime | None) -> Rolling | None:
    """What the tick's session is calibrated by: another version begins with its own; None: with nothing that rolls."""
    if session is None or tick.ticker not in answer.worth:
        return None
    known, seed = None if newest is None else newest.rolling, answer.calibration_ids[tick.ticker]
    if known is None or known.past.seed != seed:
        return Rolling.begun(seed, tick.timeframe, session)
    return known.at(session)


def _reasons(tick: Tick, reasons: Reasons, covered: bool, moment: Moment) -> Reasons:
    if tick.trading_status == "halted":
        reasons = (*reasons, _HALTED)
    if not covered:
        reasons = (*reasons, _NOT_COVERED)
    if moment.must_be_flat:
        reasons = (*reasons, _FLAT)
    if moment.too_old is not None:
        reasons = (*reasons, moment.too_old)
    if moment.halt is not None:
        reasons = (*reasons, halted(moment.halt))
    return reasons
