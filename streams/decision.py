"""From an ensemble's answer to a signal: a pure decision."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from orchestrator.core.calendar import Calendar
from orchestrator.core.position import position
from schemas.base import Position, Reason
from schemas.signals import Signal, Vote, signal_id
from schemas.ticks import FeatureTick
from serving.answer import BatchAnswer
from streams.memory import Answered
from streams.routes import heard_on

VOTES: Mapping[int, Literal["BUY", "SELL", "HOLD"]] = {1: "BUY", -1: "SELL", 0: "HOLD"}
TARGETS: Mapping[int, Position] = {1: 1, -1: -1, 0: 0}
BARS_TO_EXIT = 2
"""A position decided at a close is taken one bar later at the earliest and held for a bar."""


@dataclass(frozen=True)
class Moment:
    """When a signal is given, and until when it may be acted on."""

    now: datetime
    valid_until: datetime
    must_be_flat: bool
    """The position would be held over a close that the session policy forbids."""


def must_be_flat(tick: FeatureTick, answer: BatchAnswer, calendar: Calendar) -> bool:
    """Whether the ensemble's session policy forbids any position from this bar on."""
    return answer.session_policy == "flat_at_close" and calendar.crosses_close(
        tick.event_time, tick.timeframe, BARS_TO_EXIT
    )


def decide(
    tick: FeatureTick, answer: BatchAnswer, row: int, newest: Answered | None, moment: Moment
) -> tuple[Signal, Answered]:
    """The signal of one tick, and what is remembered of it.

    BUY, SELL and HOLD tell how the target position changes: up, down, or not. An abstention is HOLD with no target.
    Of an instrument that the version does not cover, though one before it may have, nothing is held.

    Args:
        tick: the tick, fresh for this ensemble.
        answer: the ensemble's answers to a batch; `row` is this tick's.
        newest: what the place answered last.
        moment: of the decision.
    """
    revises = newest is not None and newest.event_time == tick.event_time
    held = 0 if newest is None else newest.position
    before = newest.position_before if newest is not None and revises else held
    score = float(answer.score[row])
    flat = moment.must_be_flat or not answer.covered[row]
    abstains = not flat and (tick.trading_status == "halted" or not np.isfinite(score))
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
    mode = heard_on(answer.served.mode, tick.mode)
    identity = signal_id(answer.served.ensemble, tick.ticker, tick.timeframe, tick.event_time, tick.revision, mode)
    votes = _votes(answer, tick.ticker, row)
    signal = Signal(
        id=identity,
        ensemble=answer.served.ensemble,
        version=answer.served.version,
        ticker=tick.ticker,
        timeframe=tick.timeframe,
        event_time=tick.event_time,
        revision=tick.revision,
        supersedes=newest.signal_id if newest is not None and revises else None,
        emitted_at=moment.now,
        valid_until=moment.valid_until,
        signal="HOLD" if abstains else VOTES[int(np.sign(after - before))],
        target_position=None if abstains else TARGETS[after],
        confidence=_known(answer.confidence[row]) or 0.0,
        score=_known(score),
        p_correct=_known(answer.p_correct[row]),
        edge_bps=_known(answer.edge_bps[row]),
        num_models=len(votes),
        voting_method=answer.voting,
        votes=votes,
        model_age=max(0.0, (tick.event_time - answer.trained_through).total_seconds()),
        gate=answer.served.gate,
        mode=mode,
        reasons=_reasons(tick, answer, row, moment),
        experiment=answer.experiment,
        calibration_id=answer.calibration_ids.get(tick.ticker),
    )
    return signal, Answered(tick.event_time, tick.revision, identity, after, before)


def _votes(answer: BatchAnswer, ticker: str, row: int) -> tuple[Vote, ...]:
    """The members' votes; none where the ensemble abstains."""
    if not np.isfinite(answer.score[row]):
        return ()
    return tuple(
        Vote(
            member=member,
            vote=VOTES[int(answer.votes[row, column])],
            strength=float(answer.strengths[row, column]),
            confidence=float(answer.confidences[row, column]),
            predicted_return=float(answer.predictions[row, column]),
        )
        for column, member in enumerate(answer.members[ticker])
    )


def _reasons(tick: FeatureTick, answer: BatchAnswer, row: int, moment: Moment) -> tuple[Reason, ...]:
    reasons = answer.reasons[row]
    if tick.trading_status == "halted":
        message = "trading in the instrument is halted, so that a change of position could not be carried out"
        reasons = (*reasons, Reason(code="trading_halted", message=message))
    if not answer.covered[row]:
        message = "no version that serves covers this instrument, so nothing is held; deploy one that does"
        reasons = (*reasons, Reason(code="not_covered", message=message))
    if moment.must_be_flat:
        message = "a position taken now would be held over the close, and the session policy is flat at the close"
        reasons = (*reasons, Reason(code="flat_at_close", message=message))
    return reasons


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
