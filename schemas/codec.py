"""The tick path's codec: ticks in and signals out, many times faster than by the models, and held to them by tests.

A tick that this reads, `FeatureTick` reads, with the same values; what it does not read at once is left to the model,
which accepts it after all or says what is wrong with it.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Annotated, ClassVar, Literal, Protocol

import msgspec

from schemas.base import (
    LARGEST_COUNT,
    LARGEST_INTEGER,
    FeatureName,
    Mode,
    Name,
    Reason,
    Ticker,
    Timeframe,
    Voting,
    parse_instant,
    pattern_of,
)
from schemas.envelope import decode
from schemas.ticks import MOST_FEATURES, FeatureTick, TradingStatus

_TICKER, _TIMEFRAME, _FEATURE, _NAME = (re.compile(pattern_of(kind)) for kind in (Ticker, Timeframe, FeatureName, Name))


class Tick(Protocol):
    """What the tick path needs of a tick; a `FeatureTick` is one."""

    @property
    def ticker(self) -> str: ...
    @property
    def timeframe(self) -> str: ...
    @property
    def event_time(self) -> datetime: ...
    @property
    def available_at(self) -> datetime: ...
    @property
    def revision(self) -> int: ...
    @property
    def features(self) -> Mapping[str, float | None]: ...
    @property
    def price(self) -> float | None: ...
    @property
    def is_final(self) -> bool: ...
    @property
    def trading_status(self) -> TradingStatus: ...
    @property
    def mode(self) -> Mode: ...


class _Read(msgspec.Struct, frozen=True, gc=False):
    """A tick that was read; its fields are described at `FeatureTick`."""

    ticker: str
    timeframe: str
    event_time: datetime
    available_at: datetime
    revision: int
    features: dict[str, float | None]
    price: float | None
    is_final: bool
    trading_status: TradingStatus
    mode: Mode


class _Raw(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A tick's JSON: of the right types, but nothing more is known of its values."""

    ticker: str
    timeframe: str
    event_time: str
    available_at: str
    features: dict[str, float | None]
    schema_version: Literal[1] = 1
    revision: int = 0
    price: float | None = None
    bid: float | None = None
    ask: float | None = None
    is_final: bool = True
    feature_set: str | None = None
    sequence: int | None = None
    trading_status: TradingStatus = "trading"
    mode: Mode = "live"


_read_raw = msgspec.json.Decoder(_Raw).decode
_write = msgspec.json.Encoder().encode
# A bar's times come once for each instrument, and feature names with every tick.
_instant = lru_cache(maxsize=4096)(parse_instant)


def read_tick(value: bytes | None) -> Tick:
    """Read the value of a record of `feature-ticks`.

    Raises:
        Undecodable: as `schemas.envelope.decode` does, with every fault.
    """
    if value is not None:
        try:
            raw = _read_raw(value)
            if _sound(raw):
                return _Read(
                    raw.ticker,
                    raw.timeframe,
                    _instant(raw.event_time),
                    _instant(raw.available_at),
                    raw.revision,
                    raw.features,
                    raw.price,
                    raw.is_final,
                    raw.trading_status,
                    raw.mode,
                )
        except (msgspec.DecodeError, ValueError):
            pass
    return decode(FeatureTick, value)


def _sound(raw: _Raw) -> bool:
    return (
        _placed(raw.ticker, raw.timeframe)
        and _named(tuple(raw.features))
        and 0 <= raw.revision <= LARGEST_COUNT
        and (raw.price is None or raw.price > 0)
        and (raw.bid is None or raw.bid > 0)
        and (raw.ask is None or raw.ask > 0)
        and (raw.sequence is None or 0 <= raw.sequence <= LARGEST_INTEGER)
        and (raw.feature_set is None or _NAME.fullmatch(raw.feature_set) is not None)
    )


@lru_cache(maxsize=65_536)
def _placed(ticker: str, timeframe: str) -> bool:
    return _TICKER.fullmatch(ticker) is not None and _TIMEFRAME.fullmatch(timeframe) is not None


@lru_cache(maxsize=1024)
def _named(names: tuple[str, ...]) -> bool:
    return len(names) <= MOST_FEATURES and all(_FEATURE.fullmatch(name) for name in names)


class WireVote(msgspec.Struct, gc=False):
    """`schemas.signals.Vote`."""

    member: str
    vote: str
    strength: float
    confidence: float
    predicted_return: float


class WireSignal(msgspec.Struct, gc=False):
    """`schemas.signals.Signal`, its times as `schemas.base.format_instant` writes them."""

    TYPE: ClassVar[str] = "signal"

    id: str
    ensemble: str
    version: int
    ticker: str
    timeframe: str
    event_time: str
    revision: int
    supersedes: str | None
    emitted_at: str
    valid_until: str
    signal: str
    target_position: int | None
    confidence: float
    score: float | None
    p_correct: float | None
    edge_bps: float | None
    num_models: int
    voting_method: Voting
    votes: list[WireVote]
    model_age: float | None
    gate: str
    mode: Mode
    reasons: list[dict[str, str]]
    experiment: str | None
    calibration_id: str | None
    control_epoch: int = 0
    price: float | None = None
    kind: str = "signal"
    schema_version: int = 1


class Followed(msgspec.Struct, tag_field="kind", tag="signal", frozen=True, gc=False):
    """What whoever follows positions needs of a signal."""

    ensemble: str
    version: int
    ticker: str
    timeframe: str
    event_time: str
    revision: int
    target_position: Literal[-1, 0, 1] | None
    mode: Mode
    price: Annotated[float, msgspec.Meta(gt=0)] | None = None


_read_followed = msgspec.json.Decoder(Followed).decode


def read_followed(value: bytes | None) -> tuple[Followed, datetime] | None:
    """What a record of signals says of a position, and its event time; None: it is no signal."""
    try:
        followed = _read_followed(value or b"")
        return followed, _instant(followed.event_time)
    except (msgspec.DecodeError, ValueError):
        return None


def write_signal(signal: WireSignal) -> bytes:
    """The JSON of a signal, every field in it. The same signal gives the same bytes."""
    return _write(signal)


def wire_reasons(reasons: tuple[Reason, ...]) -> list[dict[str, str]]:
    """Reasons as a signal carries them."""
    return [{"code": each.code, "where": each.where, "message": each.message} for each in reasons]
