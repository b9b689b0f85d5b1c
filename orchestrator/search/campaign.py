"""Which steps of an experiment are to be run now: its populations are asked, and told how they came out."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from orchestrator.search.memory import Memory
from orchestrator.search.outcomes import Failed, GivenUp, Known, Outcome, Planned, Scored
from orchestrator.search.plan import Configuration, PlannedTrial, Stage, State, Step
from orchestrator.search.strategies.base import Proposal, Strategy
from orchestrator.store.fingerprints import Result


@dataclass(frozen=True)
class Population:
    """Trials that are compared with each other: of one ticker, or of all in a multi-ticker search."""

    tickers: tuple[str, ...]
    strategy: Strategy
    first: int
    """Number of its first trial in the experiment, from 1."""

    def name_of(self, number: int) -> str:
        """What its `number`-th trial, from 0, is called in the experiment."""
        return f"t{self.first + number:05d}"


@dataclass(frozen=True)
class Past:
    """What is recorded of a trial: its configuration, the score of each of its steps, and whether it failed."""

    configuration: Configuration
    scores: Mapping[int, float | None] = field(default_factory=dict)
    """By step from 1; None where the score is not defined."""
    ended: bool = False
    """Completed, failed or stopped early."""


Fingerprint = Callable[[PlannedTrial, Sequence[Stage]], str]
"""Of a trial, as far as it is trained by stages."""


@dataclass(frozen=True)
class _Running:
    population: Population
    proposal: Proposal
    step: Step


class Campaign:
    """Asks each population in turn. What is recorded of it, or known of others, is told at once without being run.

    Args:
        populations: in the order in which their trials are numbered.
        fingerprint: of a trial that is about to be planned.
        score_of: from a score's metrics to what the populations compare, higher being better; None: it has none.
        past: what is recorded, by trial.
        accumulates: whether training goes on from predictors; else each step trains anew.
        memory: knows what need not be trained, and that no two steps of one fingerprint run at once; None: whatever is
            not recorded of this very trial is trained.
    """

    def __init__(
        self,
        populations: Sequence[Population],
        fingerprint: Fingerprint,
        score_of: Callable[[Scored | Known], float | None],
        past: Mapping[str, Past],
        *,
        accumulates: bool,
        memory: Memory | None = None,
    ) -> None:
        self._populations = populations
        self._turn = deque(populations)
        self._fingerprint = fingerprint
        self._score_of = score_of
        self._past = past
        self._accumulates = accumulates
        self._memory = memory
        self._trials: dict[str, PlannedTrial] = {}
        self._stages: dict[str, tuple[Stage, ...]] = {}
        self._states: dict[str, State] = {}
        self._running: dict[str, _Running] = {}
        self._taken: set[str] = set()
        """Trials that a worker has had."""
        self._alike: dict[str, list[_Running]] = {}
        """By the fingerprint of what runs: those that wait for how it comes out."""
        self._put_off: list[_Running] = []
        """What they waited for has come out."""

    @property
    def most(self) -> int:
        """Trials at most."""
        return sum(population.strategy.most for population in self._populations)

    @property
    def finished(self) -> bool:
        """Nothing is running, and nothing more will be."""
        return not self._running and all(population.strategy.finished for population in self._populations)

    def ask(self, limit: int) -> tuple[list[Step], list[Outcome]]:
        """Steps that may start now, `limit` at most, and what is to be told of first.

        That is, in this order, trials that are new, scores that are known, trials that are given up.
        No step is given out twice. None: what is running has to come out first, or the campaign is finished.
        """
        due, self._put_off = self._put_off[:limit], self._put_off[limit:]
        steps, told = self._divided(due)
        while len(steps) < limit and (proposals := self._proposals(limit - len(steps))):
            # A clone inherits what its parent was before either of them goes on.
            new = [self._planned(*each) for each in proposals if self._name(*each) not in self._trials]
            self._trials |= {trial.trial: trial for trial in new}
            if unknown := tuple(trial for trial in new if trial.trial not in self._past):
                told.append(Planned(unknown))
            given, known = self._divided(self._due(proposals))
            steps += given
            told += known
        # Steps on the same tickers travel together.
        return sorted(steps, key=lambda step: step.trial.trial), told + self._given_up()

    def tell(self, outcome: Scored | Failed) -> list[Outcome]:
        """Take in how a step came out; what is to be told of besides."""
        running = self._running.pop(outcome.trial)
        self._put_off += self._alike.pop(running.step.fingerprint, [])
        if isinstance(outcome, Failed):
            running.population.strategy.tell(running.proposal, None, failed=True)
        else:
            if self._memory is not None:
                self._memory.keep(outcome)
            self._keep(running.step, outcome.state)
            running.population.strategy.tell(running.proposal, self._score_of(outcome))
        return self._given_up()

    def _proposals(self, limit: int) -> list[tuple[Population, Proposal]]:
        """What the populations propose, taking turns: who was asked last comes last the next time."""
        share = ceil(limit / len(self._populations))
        proposals: list[tuple[Population, Proposal]] = []
        for _ in self._populations:
            asked = self._turn[0]
            self._turn.rotate(-1)
            proposals += [(asked, proposal) for proposal in asked.strategy.ask(min(share, limit - len(proposals)))]
            if len(proposals) == limit:
                break
        # What is recorded is how it was, even if it would be proposed otherwise now.
        known = {name: past.configuration for name, past in self._past.items()}
        return [
            (each, replace(proposal, configuration=known.get(self._name(each, proposal), proposal.configuration)))
            for each, proposal in proposals
        ]

    def _due(self, proposals: Sequence[tuple[Population, Proposal]]) -> list[_Running]:
        """What is proposed and not recorded."""
        due = [
            _Running(population, proposal, self._step(proposal, self._trials[self._name(population, proposal)]))
            for population, proposal in proposals
        ]
        return [each for each in due if not self._recorded(each.population, each.proposal, each.step)]

    def _divided(self, due: Sequence[_Running]) -> tuple[list[Step], list[Outcome]]:
        """The steps that are to be run now, and what is known of others; whose like is running waits for that."""
        results = [None] * len(due) if self._memory is None else self._memory.look([each.step for each in due])
        steps: list[Step] = []
        known: list[Outcome] = []
        for each, result in zip(due, results, strict=True):
            step = each.step
            if result is not None:
                outcome = _known(step, result)
                self._keep(step, None)
                each.population.strategy.tell(each.proposal, self._score_of(outcome))
                known.append(outcome)
            elif self._memory is not None and step.fingerprint in self._alike:
                self._alike[step.fingerprint].append(each)
            else:
                self._alike[step.fingerprint] = []
                self._running[step.trial.trial] = each
                self._taken.add(step.trial.trial)
                steps.append(step)
        return steps, known

    @staticmethod
    def _name(population: Population, proposal: Proposal) -> str:
        return population.name_of(proposal.number)

    def _planned(self, population: Population, proposal: Proposal) -> PlannedTrial:
        parent = None if proposal.parent is None else population.name_of(proposal.parent)
        inherited = self._stages[parent] if parent is not None and self._accumulates else ()
        if parent in self._states:
            self._states[self._name(population, proposal)] = self._states[parent]
        trial = PlannedTrial(
            self._name(population, proposal), population.tickers, proposal.configuration, "", parent, inherited
        )
        first = Stage(proposal.configuration, proposal.budget)
        return replace(trial, fingerprint=self._fingerprint(trial, (*inherited, first)))

    def _step(self, proposal: Proposal, trial: PlannedTrial) -> Step:
        before = self._stages.get(trial.trial, trial.inherited) if self._accumulates else ()
        stages = (*before, Stage(trial.configuration, proposal.budget))
        written = trial.fingerprint if proposal.step == 1 else self._fingerprint(trial, stages)
        start, begins = self._states.pop(trial.trial, None), trial.trial not in self._taken
        return Step(trial, proposal.step, stages, proposal.last, start, written, begins)

    def _recorded(self, population: Population, proposal: Proposal, step: Step) -> bool:
        """Whether it is recorded how a step came out; then that is told."""
        past = self._past.get(step.trial.trial)
        # What has ended stays so, even if it would be trained further now.
        if past is None or not (past.ended or proposal.step in past.scores):
            return False
        if proposal.step in past.scores:
            self._keep(step, None)
            population.strategy.tell(proposal, past.scores[proposal.step])
        else:
            population.strategy.tell(proposal, None, failed=True)
        return True

    def _keep(self, step: Step, state: State | None) -> None:
        self._stages[step.trial.trial] = step.stages
        if state is not None:
            self._states[step.trial.trial] = state

    def _given_up(self) -> list[Outcome]:
        names = tuple(
            population.name_of(number) for population in self._populations for number in population.strategy.given_up()
        )
        for name in names:
            self._states.pop(name, None)
        # Who was given up before is recorded as that.
        news = tuple(name for name in names if name not in self._past or not self._past[name].ended)
        return [GivenUp(news)] if news else []


def _known(step: Step, result: Result) -> Known:
    return Known(
        trial=step.trial.trial,
        step=step.number,
        budget=step.stages[-1].budget,
        last=step.last,
        metrics=result.metrics,
        eligible=result.eligible,
        reasons=result.reasons,
        recorded_by=result.experiment,
        recorded_trial=result.trial,
    )
