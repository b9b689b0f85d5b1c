"""Signals: what each goes back to."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from orchestrator.api.asking import Given, answer
from orchestrator.api.lineage import SignalLineage, of_signal
from schemas.base import Ticker, pattern_of
from schemas.signals import SignalId

router = APIRouter(prefix="/signals", tags=["signals"])

MOST_RECORDS = 20_000_000


@router.get(
    "/{signal_id}/lineage",
    response_model=SignalLineage,
    summary="What a signal goes back to",
    description="Version, members, trials, data, request, cause, the gate's verdict, and the champions before it. The "
    "signal is looked for on Kafka by its id: with its ticker, that is far less to look through.",
)
async def one(
    faces: Given,
    signal_id: Annotated[str, Path(pattern=pattern_of(SignalId))],
    ticker: Annotated[str | None, Query(pattern=pattern_of(Ticker))] = None,
    limit: Annotated[
        int, Query(ge=1, le=MOST_RECORDS, description="Records after which it is looked for no further.")
    ] = 1_000_000,
) -> Response:
    sought = await faces.kafka.signal(signal_id, ticker, limit)
    return answer(await of_signal(faces.database, signal_id, sought))
