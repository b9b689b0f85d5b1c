"""The search-request agent's work: validate, record, acknowledge. It never waits for a search."""

import json
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.errors import Refused
from orchestrator.store.database import Database
from orchestrator.store.requests import Admission, NameTaken, Rejected, admit, reject
from schemas.base import Reason, RequestId
from schemas.envelope import Undecodable, decode, read_headers
from schemas.search import SearchRequest
from schemas.trace_context import begin_trace
from streams.dead_letters import dead_letter
from streams.judging import Admissible
from streams.metrics import DEAD_LETTERS, REQUESTS
from streams.publisher import Publisher
from streams.source import Record

log = structlog.get_logger(__name__)

_REQUEST_ID: TypeAdapter[str] = TypeAdapter(RequestId)


class Intake:
    """Settles batches of search requests.

    Args:
        database: where requests are recorded, with their events.
        judge: says what a request amounts to, or refuses it with every reason at once.
        publisher: where dead letters go.
        clock: the time.
        on_accepted: called when there is something new to launch.
    """

    def __init__(
        self,
        *,
        database: Database,
        judge: Callable[[SearchRequest, datetime], Admissible],
        publisher: Publisher,
        clock: Callable[[], datetime],
        on_accepted: Callable[[], None],
    ) -> None:
        self._database = database
        self._judge = judge
        self._publisher = publisher
        self._clock = clock
        self._on_accepted = on_accepted

    async def take(self, records: Sequence[Record]) -> None:
        """Settle every request of a batch, in order and in one transaction.

        What is refused lies in the dead letters before the transaction says so: after a crash between the two it is
        buried again, never lost.

        Raises:
            NotDelivered: a dead letter was not acknowledged; nothing is recorded.
            sqlalchemy.exc.SQLAlchemyError: the store did not take it; the batch is read again.
        """
        now = self._clock()
        judged = [(record, self._judged(record, now)) for record in records]
        await self._bury([(record, verdict) for record, verdict in judged if isinstance(verdict, tuple)], now)
        outcomes: Counter[str] = Counter()
        taken: list[tuple[Record, tuple[Reason, ...]]] = []
        async with self._database.transaction() as tx:
            for record, verdict in judged:
                outcome = await self._settle(tx, record, verdict, now)
                outcomes[type(outcome).__name__] += 1
                if isinstance(outcome, NameTaken):
                    taken.append((record, outcome.reasons))
            await self._bury(taken, now)
        for name, count in outcomes.items():
            REQUESTS.labels(name.lower()).inc(count)
        if outcomes["Accepted"]:
            self._on_accepted()

    async def _settle(
        self, tx: AsyncSession, record: Record, verdict: Admissible | tuple[Reason, ...], now: datetime
    ) -> Admission | Rejected | None:
        trace = str(read_headers(record.headers).trace or begin_trace(secrets.token_bytes(24)))
        value = record.value or b""
        if isinstance(verdict, Admissible):
            return await admit(
                tx,
                verdict.request,
                raw=value,
                trials=verdict.trials,
                search_key=verdict.search_key,
                now=now,
                traceparent=trace,
            )
        request_id = readable_request_id(value)
        if request_id is None:
            return None
        return await reject(tx, request_id, verdict, raw=value, now=now, traceparent=trace)

    async def _bury(self, refused: Sequence[tuple[Record, tuple[Reason, ...]]], now: datetime) -> None:
        await self._publisher.publish([dead_letter(record, reasons, now) for record, reasons in refused])
        for record, reasons in refused:
            DEAD_LETTERS.labels(record.topic).inc()
            log.warning(
                "request_refused",
                partition=record.partition,
                offset=record.offset,
                reasons=[reason.message for reason in reasons],
            )

    def _judged(self, record: Record, now: datetime) -> Admissible | tuple[Reason, ...]:
        try:
            return self._judge(decode(SearchRequest, record.value), now)
        except (Undecodable, Refused) as fault:
            return fault.reasons


def readable_request_id(value: bytes) -> str | None:
    """The request id of a message that may be wrong in every other way; None where there is none to read."""
    try:
        document = json.loads(value.decode())
        return _REQUEST_ID.validate_python(document["request_id"], strict=True)
    except (ValueError, RecursionError, KeyError, TypeError, ValidationError):
        return None
