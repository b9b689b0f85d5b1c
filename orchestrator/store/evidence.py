"""What a policy decides by, gathered: the versions of its ensemble, their books and watches, and what was triggered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.calendar import Calendar, calendar_named
from orchestrator.core.drift import Profile, Watch
from orchestrator.core.lifecycle import is_final
from orchestrator.core.performance import Account
from orchestrator.core.retraining import Evidence, Standing
from orchestrator.core.retraining import readings as read
from orchestrator.core.versions import VersionState
from orchestrator.store import books, commands, performance, retraining, watches
from orchestrator.store.ensembles import Version
from orchestrator.store.experiments import Experiment
from orchestrator.store.retraining import StandingPolicy, Trigger
from orchestrator.store.tables import RequestOutcome, ensembles, experiments, requests
from schemas.base import JsonObject, parse_instant
from schemas.commands import Promote
from schemas.retraining import DetectorReading
from schemas.search import SearchRequest

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Case:
    """An ensemble with a policy, and everything that is known of it.

    Attributes:
        policy: the ensemble's.
        champion: the version that serves.
        challenger: the version on trial; None: there is none.
        triggers: what was triggered, newest first.
        pending: the newest trigger's request has not come in yet.
        under_way: its search has not ended, or has not begun.
        experiment: its search; None: it has not begun, or was refused.
        trials_today: that were triggered within the last 24 hours.
        books: what following each version's own signals earns, by version.
        watches: of the champion's instruments, by ticker.
        through: the newest live bar; None: there was none.
    """

    policy: StandingPolicy
    champion: Version
    challenger: Version | None
    triggers: Sequence[Trigger]
    pending: bool
    under_way: bool
    experiment: str | None
    trials_today: int
    books: Mapping[int, Account]
    watches: Mapping[str, Watch]
    through: datetime | None

    @property
    def ensemble(self) -> str:
        """Its name."""
        return self.champion.ensemble

    @property
    def newest(self) -> Trigger | None:
        """What was triggered last."""
        return self.triggers[0] if self.triggers else None

    @property
    def basis(self) -> tuple[object, ...]:
        """What a decision stands on that somebody else may change meanwhile."""
        newest, challenger = self.newest, self.challenger
        return (
            self.policy.command_id,
            self.champion.version,
            None if challenger is None else challenger.version,
            None if newest is None else newest.request_id,
        )

    @property
    def calendar(self) -> Calendar:
        """The champion's."""
        return calendar_named(self.champion.manifest["calendar"])

    @property
    def known(self) -> list[JsonObject]:
        """Every cause that triggers have, first ones and joined ones."""
        return [cause for trigger in self.triggers for cause in (trigger.cause, *trigger.joined)]

    def readings(self, profiles: Mapping[str, Profile], now: datetime) -> tuple[DetectorReading, ...]:
        """What the detectors of the policy's rules say.

        Args:
            profiles: of the champion's features in training, by ticker, as far as they are known.
            now: the time.
        """
        standing = Standing(
            set_at=self.policy.set_at,
            trained_through=parse_instant(self.champion.manifest["trained_through"]),
            through=self.through,
            verdict=self.champion.verdict,
            account=self.books.get(self.champion.version),
            profiles=profiles,
            watches=self.watches,
            known=self.known,
        )
        return read(self.policy.policy, standing, self.calendar, now)

    def evidence(self, readings: Sequence[DetectorReading] = (), trials: int = 0) -> Evidence:
        """What is decided by, of a search that would make so many trials."""
        newest = self.newest
        return Evidence(
            ensemble=self.ensemble,
            version=self.champion.version,
            readings=readings,
            known=self.known,
            fired_at=None if newest is None else newest.fired_at,
            under_way=self.under_way,
            challenger=self.challenger is not None,
            trials=trials,
            trials_today=self.trials_today,
        )


@dataclass(frozen=True)
class Origins:
    """Where a champion comes from.

    Attributes:
        request: that its experiment was founded by.
        origin: the one that this descends from and no policy made; itself where no policy made it.
    """

    experiment: str
    request: SearchRequest
    origin: SearchRequest


async def gather(tx: AsyncSession, ensemble: str, now: datetime, but: str | None = None) -> Case | None:
    """Everything that is known of an ensemble; None: it has no policy, or nothing serves.

    Args:
        tx: a snapshot, or the transaction that triggers something.
        ensemble: its name.
        now: the time.
        but: the trigger that is left out.
    """
    policy = await retraining.policy_of(tx, ensemble)
    answering = {each.state: each for each in await _answering(tx, ensemble)}
    champion = answering.get(VersionState.DEPLOYED)
    if policy is None or champion is None:
        return None
    triggers = [each for each in await retraining.triggered(tx, ensemble) if each.request_id != but]
    came, search = await _search_of(tx, triggers[0].request_id) if triggers else (True, None)
    accounts = await books.of(tx, ensemble)
    watched = await watches.of(tx, ensemble, champion.version)
    seen = [each.newest for each in watched.values()]
    answered = [each.through for each in (await performance.of(tx, ensemble)).values()]
    return Case(
        policy=policy,
        champion=champion,
        challenger=answering.get(VersionState.SHADOWING),
        triggers=triggers,
        pending=not came,
        under_way=not came or (search is not None and not is_final(search.state, deploys=search.request.deploy.auto)),
        experiment=None if search is None else search.id,
        trials_today=await retraining.trials_since(tx, ensemble, now - DAY),
        books=accounts,
        watches=watched,
        through=max((each for each in (*seen, *answered) if each is not None), default=None),
    )


async def origins(tx: AsyncSession, version: Version) -> Origins | None:
    """Where a version comes from; None: it was not searched for."""
    if version.experiment is None:
        return None
    request = origin = await _request(tx, version.experiment)
    while origin.requested_by == "policy" and origin.parent is not None:
        origin = await _request(tx, origin.parent)
    return Origins(version.experiment, request, origin)


async def was_promoted(tx: AsyncSession, version: Version) -> bool:
    """Whether a version serves because it was promoted."""
    return version.command_id is not None and isinstance(await commands.given(tx, version.command_id), Promote)


async def _answering(tx: AsyncSession, ensemble: str) -> list[Version]:
    """The version that serves, and the one on trial: not all the others, whose manifests are long."""
    states = ensembles.c.state.in_([VersionState.DEPLOYED, VersionState.SHADOWING])
    rows = await tx.execute(select(ensembles).where((ensembles.c.ensemble == ensemble) & states))
    return [Version(**row._mapping) for row in rows]


async def _search_of(tx: AsyncSession, request_id: str) -> tuple[bool, Experiment | None]:
    """Whether a request has come in, and the experiment that does its work."""
    columns = requests.c["outcome", "experiment"]
    row = (await tx.execute(select(*columns).where(requests.c.request_id == request_id))).one_or_none()
    if row is None or row.outcome is RequestOutcome.REJECTED or row.experiment is None:
        return row is not None, None
    search = (await tx.execute(select(experiments).where(experiments.c.id == row.experiment))).one()
    return True, Experiment(**search._mapping)


async def _request(tx: AsyncSession, experiment: str) -> SearchRequest:
    found: SearchRequest = (
        await tx.execute(select(experiments.c.request).where(experiments.c.id == experiment))
    ).scalar_one()
    return found
