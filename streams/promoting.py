"""What becomes of challengers by rule: they are promoted, heard as canaries or retired, and taken back once promoted.

Everything is a command on the topic `commands`, as an operator would give it. Its id is made of the version and of the
look that it is decided by, so that whoever decides the same again, after a crash or elsewhere, orders nothing new.
"""

from datetime import UTC, datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.promotion import Judgement, Promote, Retire, demotion, judge, judge_canary, paired
from orchestrator.store import commands as store
from orchestrator.store import outbox
from orchestrator.store.database import Database
from orchestrator.store.ensembles import Version, gone_back_to
from orchestrator.store.evidence import Case, was_promoted
from schemas import commands
from schemas.commands import RollBack
from schemas.policies import PerformanceRule
from schemas.topics import COMMANDS

log = structlog.get_logger(__name__)

ACTOR = "policy"
Order = commands.Promote | commands.Retire | RollBack


class Promoting:
    """Orders what the rules say."""

    async def see_to(self, database: Database, case: Case, now: datetime) -> bool:
        """Order what follows from the books, once; whether the version that serves is to give way to one before it.

        Raises:
            LeaseLost: another worker sees to it.
        """
        order = on_trial(case, now) if case.challenger is not None else None
        if order is not None:
            await self._order(database, order, now)
        back = await self._taken_back(database, case, now)
        return back is not None and await self._order(database, back, now)

    async def _taken_back(self, database: Database, case: Case, now: datetime) -> RollBack | None:
        order = below_band(case, now)
        if order is None:
            return None
        async with database.snapshot() as tx:
            before = await gone_back_to(tx, case.champion)
            promoted = await was_promoted(tx, case.champion)
        return order.model_copy(update={"version": before[0].version}) if before and promoted else None

    async def _order(self, database: Database, order: Order, now: datetime) -> bool:
        """Order something, unless it was ordered before; False: it was refused."""
        async with database.snapshot() as tx:
            refused = await store.outcome(tx, order.command_id)
        if refused is not None:
            return not refused

        async def write(tx: AsyncSession) -> bool:
            return await outbox.order(tx, COMMANDS, order.ensemble, order.command_id, order, now)

        if await database.commit(write):
            log.info("ordered", command=order.command, command_id=order.command_id, reasons=[*map(str, order.reasons)])
        return True


def on_trial(case: Case, now: datetime) -> commands.Promote | commands.Retire | None:
    """What is to become of the challenger; None: nothing yet, or nothing by rule."""
    rule, challenger = case.policy.policy.promotion, case.challenger
    books = [case.books.get(each.version) for each in (case.champion, challenger) if each is not None]
    if not rule.auto or challenger is None or books[0] is None or books[1] is None:
        return None
    difference = paired(books[0], books[1])
    judged = judge(difference, rule, passed=_passed(case.champion, challenger))
    if isinstance(judged, Promote) and challenger.canary:
        return _ordered(judge_canary(difference, judged.look * rule.sessions, rule), challenger, now)
    both = {*case.champion.tickers} & {*challenger.tickers}
    return _ordered(judged, challenger, now, canary=tuple(each for each in rule.canary if each in both))


def below_band(case: Case, now: datetime) -> RollBack | None:
    """That the version before is to serve again, where the one that serves earns less than it may; None: it stays."""
    policy, book = case.policy.policy, case.books.get(case.champion.version)
    if not policy.promotion.demote or book is None:
        return None
    _, reasons = demotion(
        [book.profit[session] for session in sorted(book.profit)],
        case.champion.verdict,
        policy.performance or PerformanceRule(),
        case.calendar.sessions_per_year,
    )
    if not reasons:
        return None
    served = (case.champion.deployed_at or now).astimezone(UTC)
    return RollBack(
        command_id=f"demote.{case.ensemble}.{case.champion.version}.{served:%Y%m%dT%H%M%S}",
        issued_at=now,
        actor=ACTOR,
        ensemble=case.ensemble,
        reasons=reasons,
    )


def _passed(champion: Version, challenger: Version) -> bool:
    """Whether the gate has let a challenger through, or nothing asks for that."""
    return challenger.verdict.passed or (champion.mode != "live" and not champion.verdict.passed)


def _ordered(
    judged: Judgement, challenger: Version, now: datetime, canary: tuple[str, ...] = ()
) -> commands.Promote | commands.Retire | None:
    ensemble, version = challenger.ensemble, challenger.version
    match judged:
        case Promote():
            return commands.Promote(
                command_id=f"{'canary' if canary else 'promote'}.{ensemble}.{version}.{judged.look}",
                issued_at=now,
                actor=ACTOR,
                ensemble=ensemble,
                version=version,
                tickers=canary,
                reasons=judged.reasons,
            )
        case Retire():
            return commands.Retire(
                command_id=f"retire.{ensemble}.{version}.{judged.look}",
                issued_at=now,
                actor=ACTOR,
                ensemble=ensemble,
                version=version,
                reasons=judged.reasons,
            )
    return None
