"""Policies: when an ensemble is trained anew, what is searched then, and what makes its challenger the champion."""

import re
from typing import Annotated

from pydantic import Field, StringConstraints

from schemas.base import FeatureName, Number, StrictPart, Ticker, Whole
from schemas.search import StrategyName

CLOCK = re.compile(r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
ClockTime = Annotated[str, StringConstraints(pattern=CLOCK.pattern)]
Cron = Annotated[str, StringConstraints(pattern=r"^\S+( \S+){4}$", max_length=256)]
"""Minute, hour, day of the month, month, day of the week, by the clock of the calendar's exchange."""
Confidence = Annotated[Number, Field(ge=0.5, le=0.9999)]


class Hours(StrictPart):
    """From `start` to before `end` by the clock of the calendar's exchange; over midnight where `end` is not later."""

    start: ClockTime
    end: ClockTime


class PerformanceRule(StrictPart):
    """Fires where the version that serves earns less than it did out of fold, by more than chance."""

    sessions: Annotated[int, Whole(10, 1000)] = 60
    """The last ones that it has answered; as long as there are fewer, nothing is said."""
    confidence: Confidence = 0.995
    """That in a year, looked at after every session, a version as good as out of fold does not make it fire."""


class DriftRule(StrictPart):
    """Fires where features are distributed otherwise than in training."""

    windows: Annotated[int, Whole(1, 10)] = 2
    """Disjoint windows in a row whose population stability index is above the feature's threshold."""
    features: Annotated[tuple[FeatureName, ...], Field(min_length=1)] | None = None
    """Absent: all that a member takes."""


class OutlierRule(StrictPart):
    """Fires where ticks lie outside the range of training."""

    share: Annotated[Number, Field(gt=0, le=1)] = 0.2
    """Of a window's ticks, with any feature outside."""


class RetrainingSearch(StrictPart):
    """How the search differs from that which the champion is of; absent: as it was."""

    strategy: StrategyName | None = None
    num_samples: Annotated[int, Whole(1, 1_000_000)] | None = None
    population_size: Annotated[int, Whole(2, 10_000)] | None = None
    num_generations: Annotated[int, Whole(1, 10_000)] | None = None
    holdout: Annotated[int, Whole(0, 100_000)] | None = None
    neighbourhood: Annotated[Number, Field(gt=0, le=1)] = 0.5
    """How much of each hyper-parameter's range is searched, around what the champion's members have; 1: all of it."""


class PromotionRule(StrictPart):
    """When a challenger becomes the champion, and when it does not stay it."""

    auto: bool = True
    """False: only by command."""
    sessions: Annotated[int, Whole(5, 1000)] = 20
    """That both have answered before the first look, and between looks."""
    looks: Annotated[int, Whole(1, 20)] = 3
    """After the last one, a challenger that has not shown itself to be better is retired."""
    confidence: Confidence = 0.95
    """That the challenger earns more than the champion on the same ticks, over all looks together."""
    canary: tuple[Ticker, ...] = ()
    """Instruments that the challenger is heard on first, when it has shown itself to be better; empty: all at once."""
    canary_sessions: Annotated[int, Whole(1, 1000)] = 5
    demote: bool = True
    """Have the champion before serve again where the promoted version falls below its out-of-fold band."""


class Policy(StrictPart):
    """When an ensemble is trained anew; what is absent never fires."""

    schedule: Cron | None = None
    """Only on days with a session."""
    max_age_days: Annotated[Number, Field(gt=0)] | None = None
    """Since the end of the training data of the version that serves."""
    performance: PerformanceRule | None = None
    drift: DriftRule | None = None
    outliers: OutlierRule | None = None
    cooldown_hours: Annotated[Number, Field(ge=0, le=100_000)] = 24.0
    """After a trigger, others join it."""
    trials_per_day: Annotated[int, Whole(1, 1_000_000)] | None = None
    """Of all that was triggered for the ensemble within 24 hours; what would go beyond it waits."""
    quiet: tuple[Hours, ...] = ()
    """When nothing is triggered; what is due then is triggered afterwards, if it still is."""
    search: RetrainingSearch = RetrainingSearch()
    promotion: PromotionRule = PromotionRule()
