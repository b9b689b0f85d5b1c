"""What the gate says of each ensemble that is wished for, and what follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from orchestrator.core.gate import Decision, Evidence, Override, judge
from orchestrator.core.lifecycle import State
from orchestrator.core.retention import digests_in
from orchestrator.search.appraisal import Appraisal, span_of
from orchestrator.search.judgement import luck_of, nothing_to_judge
from orchestrator.search.selection import Wish
from orchestrator.search.study import Study
from orchestrator.store import ensembles, experiments, ledger, retention, wishes
from orchestrator.store.ensembles import Proposal
from orchestrator.store.experiments import Experiment
from orchestrator.store.ledger import LedgerRow
from schemas.experiments import GatePassed, GateRefused


@dataclass(frozen=True)
class Candidacy:
    """A wish, and the ensemble that could fulfil it; None where no trial survived."""

    wish: Wish
    appraisal: Appraisal | None


async def settle(
    tx: AsyncSession,
    experiment: Experiment,
    study: Study,
    candidacies: Sequence[Candidacy],
    rows: Sequence[LedgerRow],
    override: Override,
    now: datetime,
) -> None:
    """Judge every candidacy, count its look at the hold-out, and propose what may be deployed; else it is refused.

    An experiment of which nothing is to be deployed stays selected, with its verdict. One that was judged before stays
    where it is: only commands ask for more of it, and those that were withdrawn meanwhile get nothing. `rows` are of
    the ledger, of the lineages of all its tickers.
    """
    proposed = False
    commanded = [candidacy.wish.request_id for candidacy in candidacies if candidacy.wish.commanded]
    open_ones = await wishes.settle(tx, commanded)
    for candidacy in candidacies:
        if candidacy.wish.commanded and candidacy.wish.request_id not in open_ones:
            continue
        looks = await _look(tx, experiment, study, candidacy, now)
        decision = decide(candidacy, rows, looks, override, together=study.together)
        wish, verdict = candidacy.wish, decision.verdict
        if candidacy.appraisal is not None:
            assembled = candidacy.appraisal.assembled
            await retention.note_artifacts(tx, digests_in(assembled.manifest) | {assembled.digest}, now)
        event = (GatePassed if verdict.passed else GateRefused)(
            experiment=experiment.id, request_id=wish.request_id, sequence=0, emitted_at=now, verdict=verdict
        )
        await experiments.note(tx, experiment.id, event, now)
        if candidacy.appraisal is not None and wish.deploy.auto and decision.mode is not None:
            await ensembles.propose(tx, _proposal(experiment, study, candidacy, decision), now)
            proposed = True
    if not proposed and any(each.wish.deploy.auto and not each.wish.commanded for each in candidacies):
        await experiments.advance(tx, experiment.id, State.REFUSED, None, now)


def decide(
    candidacy: Candidacy, rows: Sequence[LedgerRow], looks: int, override: Override, *, together: bool
) -> Decision:
    """What the gate says of one candidacy.

    Args:
        candidacy: the ensemble.
        rows: of the ledger; those of its own tickers count.
        looks: the number of this look at its hold-out; 0 where there is none.
        override: what a request may do that turns the gate off.
        together: each member was picked on all tickers at once.
    """
    appraisal, deploy = candidacy.appraisal, candidacy.wish.deploy
    if appraisal is None:
        return Decision(nothing_to_judge(luck_of(rows, together=together)), None)
    luck = luck_of([row for row in rows if row.ticker in appraisal.tickers], together=together)
    total, active = appraisal.profit.total, appraisal.profit.active
    evidence = Evidence(
        profit=total.profit,
        active=active.profit,
        sessions_per_year=appraisal.sessions_per_year,
        trials=luck.trials,
        benchmark=luck.benchmark(total.shares),
        active_benchmark=luck.benchmark(active.shares),
        holdout=appraisal.holdout,
        looks=looks,
    )
    # What is not to be deployed has nothing to override.
    return judge(evidence, mode=deploy.mode, gated=deploy.gate or not deploy.auto, override=override)


async def _look(tx: AsyncSession, experiment: Experiment, study: Study, candidacy: Candidacy, now: datetime) -> int:
    """The number of the look that is taken at the hold-out; 0: none is."""
    appraisal = candidacy.appraisal
    if appraisal is None or appraisal.holdout is None:
        return 0
    spans = {study.lineages[ticker]: span_of(study.holdouts[ticker]) for ticker in appraisal.tickers}
    return await ledger.record_looks(tx, spans, _looker(experiment, candidacy.wish), now)


def _looker(experiment: Experiment, wish: Wish) -> str:
    """Whose look it is: another choice by command, of members, votes or threshold, has one of its own."""
    own, asked = experiment.request.deploy, wish.deploy
    choice = (asked.top_n, asked.voting, asked.threshold)
    if not wish.commanded or (own.auto and choice == (own.top_n, own.voting, own.threshold)):
        return experiment.id
    return ":".join(map(str, (experiment.id, *choice)))


def _proposal(experiment: Experiment, study: Study, candidacy: Candidacy, decision: Decision) -> Proposal:
    appraisal, wish = candidacy.appraisal, candidacy.wish
    if appraisal is None or decision.mode is None:
        raise ValueError("the decision does not let it be deployed")
    return Proposal(
        ensemble=appraisal.ensemble,
        experiment=experiment.id,
        manifest=appraisal.assembled.manifest,
        digest=appraisal.assembled.digest,
        members=appraisal.members,
        mode=decision.mode,
        tickers=appraisal.tickers,
        timeframe=study.request.timeframe,
        verdict=decision.verdict,
        command_id=wish.request_id if wish.commanded else None,
    )
