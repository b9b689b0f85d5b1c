"""The search-request agent's work: validate, record, acknowledge. It never waits for a search."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import structlog
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.errors import Refused
from orchestrator.core.resuming import EVERYTHING, Resuming
from orchestrator.store.database import Database
from orchestrator.store.requests import (
    Accepted,
    Admission,
    Duplicate,
    NameTaken,
    NotResumed,
    Rejected,
    TooSoon,
    admit,
    reject,
    settled,
)
from schemas.base import Reason, RequestId
from schemas.envelope import Undecodable, decode
from schemas.search import SearchRequest
from streams import outside
from streams.dead_letters import dead_letter
from streams.judging import Admissible
from streams.metrics import DEAD_LETTERS, REQUESTS
from streams.publisher import Publishing
from streams.source import Record

log = structlog.get_logger(__name__)

_REQUEST_ID: TypeAdapter[str] = TypeAdapter(RequestId)
Reasons = tuple[Reason, ...]
Verdict = Admissible | Reasons
Settled = tuple[dict[Record, Admission | Rejected], dict[Record, Reasons]]


class Intake:
    """Settles batches of search requests.

    Args:
        database: where requests are recorded, with their events.
        judge: says what a request amounts to, or refuses it with every reason at once.
        publisher: where dead letters go.
        clock: the time.
        on_accepted: called when there is something new to launch.
        may_resume: what a request with `resume` may go on with.
    """

    def __init__(
        self,
        *,
        database: Database,
        judge: Callable[[SearchRequest, datetime], Admissible],
        publisher: Publishing,
        clock: Callable[[], datetime],
        on_accepted: Callable[[], None],
        may_resume: Resuming = EVERYTHING,
    ) -> None:
        self._may_resume = may_resume
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
            DatabaseAway: the store did not take it; the batch is taken again.
        """
        now = self._clock()
        # In a thread: a request may take long to judge, and ticks must not wait for it.
        judged = await asyncio.to_thread(lambda: {record: self._judged(record, now) for record in records})
        refused = {record: verdict for record, verdict in judged.items() if isinstance(verdict, tuple)}
        for record in await self._settled(refused):
            del refused[record]
        while True:
            await self._bury(refused, now)
            outcomes, refused = await self._settle_all(judged, now)
            if not refused:
                break
            judged |= refused
        for record, outcome in outcomes.items():
            REQUESTS.labels(type(outcome).__name__.lower()).inc()
            if not isinstance(outcome, Rejected | NameTaken | NotResumed | TooSoon):
                log.info(
                    "request_settled",
                    outcome=type(outcome).__name__.lower(),
                    experiment=outcome.experiment,
                    trace_id=record.trace.trace_id,
                )
        if any(isinstance(outcome, Accepted | Duplicate) for outcome in outcomes.values()):
            self._on_accepted()

    async def _settled(self, records: Iterable[Record]) -> list[Record]:
        """Those that come again and were accepted then, though they would not be now: since they have expired, say."""
        named = [(record, name, record.value) for record in records if (name := readable_request_id(record.value))]
        if not named:
            return []
        async with self._database.snapshot() as tx:
            known = await settled(tx, [name for _, name, _ in named])
        return [record for record, name, value in named if known.get(name) == value]

    async def _settle_all(self, judged: Mapping[Record, Verdict], now: datetime) -> Settled:
        """Settle every request in one transaction; where names turn out to be taken, nothing, and those are refused.

        They are buried first: the broker, which may not answer for long, is never waited for inside a transaction.
        """

        async def settle(tx: AsyncSession) -> Settled:
            outcomes = {record: await self._settle(tx, record, verdict, now) for record, verdict in judged.items()}
            taken = {
                record: outcome.reasons
                for record, outcome in outcomes.items()
                if isinstance(outcome, NameTaken | NotResumed | TooSoon)
            }
            if taken:
                await tx.rollback()
            return outcomes, taken

        return await self._database.commit(settle)

    async def _settle(self, tx: AsyncSession, record: Record, verdict: Verdict, now: datetime) -> Admission | Rejected:
        trace = str(record.trace)
        value = record.value or b""
        if isinstance(verdict, Admissible):
            case = await outside.case_of(tx, verdict.request, now)
            joined = None if case is None else await outside.joined(tx, case, verdict.request, value, now, trace)
            admission: Admission = joined or await admit(
                tx,
                verdict.request,
                raw=value,
                trials=verdict.trials,
                search_key=verdict.search_key,
                now=now,
                traceparent=trace,
                may_resume=self._may_resume,
            )
            if case is not None and joined is None and isinstance(admission, Accepted | Duplicate):
                await outside.record(tx, case, verdict, now)
            return admission
        request_id = readable_request_id(record.value)
        if request_id is None:
            return Rejected(verdict)
        return await reject(tx, request_id, verdict, raw=value, now=now, traceparent=trace)

    async def _bury(self, refused: Mapping[Record, Reasons], now: datetime) -> None:
        await self._publisher.publish([dead_letter(record, reasons, now) for record, reasons in refused.items()])
        for record, reasons in refused.items():
            DEAD_LETTERS.labels(record.topic).inc()
            log.warning(
                "request_refused",
                partition=record.partition,
                offset=record.offset,
                reasons=[*map(str, reasons)],
                trace_id=record.trace.trace_id,
            )

    def _judged(self, record: Record, now: datetime) -> Verdict:
        """The verdict on one record.

        Raises:
            OSError: the features cannot be looked at now; the batch is read again.
        """
        try:
            return self._judge(decode(SearchRequest, record.value), now)
        except (Undecodable, Refused) as fault:
            return fault.reasons
        except OSError:
            raise
        except Exception as error:
            log.exception("request_cannot_be_judged", partition=record.partition, offset=record.offset)
            name = type(error).__name__
            message = f"it could not be judged ({name}): the service's log says why; ask for less, or in another way"
            return (Reason(code="cannot_be_judged", message=message),)


def readable_request_id(value: bytes | None) -> str | None:
    """The request id of a message that may be wrong in every other way; None where there is none to read."""
    try:
        document = json.loads((value or b"").decode())
        return _REQUEST_ID.validate_python(document["request_id"], strict=True)
    except (ValueError, RecursionError, KeyError, TypeError, ValidationError):
        return None
