"""What a search reads: bars that are loaded, or what is larger than memory as streams."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from orchestrator.algorithms.base import Streaming, Trainer, registered
from orchestrator.core.bars import Bars
from orchestrator.core.errors import Refused
from orchestrator.features.blocks import Stream
from orchestrator.features.source import Extent, FeatureSource
from orchestrator.features.streaming import stream
from schemas.base import Reason
from schemas.search import SearchRequest

GIB = 2**30
SHARE = 0.25
"""Of the memory that is there: what is larger when loaded is streamed, since it is copied on its way."""
STREAMED_ROW = 256
"""Bytes that a row takes without its features: times, prices, targets, and predictions while they are scored."""

_Found = TypeVar("_Found")


class LargerThanMemory(Refused):
    """The rows are more than memory takes, and the family cannot stream them."""


def load(source: FeatureSource, request: SearchRequest) -> dict[str, Bars]:
    """The bars that a request is about, by ticker.

    Raises:
        Refused: with the faults of all tickers.
    """
    span = request.timeframe, request.data_start, request.data_end
    return _each(request, lambda ticker: source.load(ticker, *span))


def read(
    source: FeatureSource, request: SearchRequest, trainer: Trainer, *, memory: int, stream_above: int | None = None
) -> tuple[dict[str, Bars], dict[str, Stream]]:
    """The bars that a request is about, by ticker, and the features that are not in them, because they are streamed.

    Args:
        source: of bars and features.
        request: names tickers, timeframe and span.
        trainer: the family.
        memory: bytes that are there.
        stream_above: bytes of rows above which all features are streamed; None: a share of the memory.

    Raises:
        LargerThanMemory: the rows do not fit (`larger_than_memory`).
        Refused: with the faults of all tickers; or the source cannot be streamed (`not_streamable`).
    """
    span = request.timeframe, request.data_start, request.data_end
    extents = _each(request, lambda ticker: source.extent(ticker, *span))
    named = {f"{ticker}/{request.timeframe}": extent for ticker, extent in extents.items()}
    if not is_streamed(trainer, named, memory=memory, stream_above=stream_above):
        return load(source, request), {}
    found = _each(request, lambda ticker: stream(source, ticker, *span))
    return (
        {ticker: bars for ticker, (bars, _) in found.items()},
        {ticker: features for ticker, (_, features) in found.items()},
    )


def is_streamed(
    trainer: Trainer, extents: Mapping[str, Extent], *, memory: int, stream_above: int | None = None
) -> bool:
    """Whether the features of a search are streamed, decided before anything is loaded.

    Args:
        trainer: the family.
        extents: what would be loaded, by what it is called in a reason.
        memory: bytes that are there.
        stream_above: bytes of rows above which they are streamed; None: `SHARE` of the memory.

    Raises:
        LargerThanMemory: they would have to be, and the family cannot, or even then there are too many rows
            (`larger_than_memory`).
    """
    needed = {where: 8 * extent.rows * (extent.columns + 1) for where, extent in extents.items()}
    limit = int(SHARE * memory) if stream_above is None else stream_above
    if sum(needed.values()) <= limit:
        return False
    kept = STREAMED_ROW * sum(extent.rows for extent in extents.values())
    if isinstance(trainer, Streaming):
        if kept <= memory:
            return True
        why, other = f"streamed they still need {kept / GIB:.1f} GiB", ""
    else:
        able = [name for name, family in registered().items() if isinstance(family, Streaming)]
        why, other = f"{trainer.name} cannot stream them", f"a family that can ({', '.join(able)}), "
    message = (
        f"All rows together need {sum(needed.values()) / GIB:.1f} GiB of memory; {memory / GIB:.1f} GiB are there, of "
        f"which they may take {limit / GIB:.1f} GiB (STREAM_ABOVE_MB), and {why}. Choose {other}a shorter span "
        "(data_start, data_end), fewer features, or a machine with more memory."
    )
    raise LargerThanMemory(
        Reason(
            code="larger_than_memory",
            where=where,
            message=f"{extents[where].rows:,} rows x {extents[where].columns} columns: {size / GIB:.1f} GiB. {message}",
        )
        for where, size in needed.items()
    )


def _each(request: SearchRequest, find: Callable[[str], _Found]) -> dict[str, _Found]:
    """What is found of each ticker; the faults of all of them are raised together."""
    found: dict[str, _Found] = {}
    faults: list[Reason] = []
    for ticker in request.tickers:
        try:
            found[ticker] = find(ticker)
        except Refused as refused:
            faults += refused.reasons
    if faults:
        raise Refused(faults)
    return found
