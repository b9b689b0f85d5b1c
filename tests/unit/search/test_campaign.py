"""Campaigns over a family that accumulates: what each step is trained by, and what a crash leaves to be done."""

from collections.abc import Callable, Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.canonical import digest
from orchestrator.search.campaign import Campaign, Past, Population
from orchestrator.search.outcomes import Failed, GivenUp, Outcome, Planned, Scored
from orchestrator.search.plan import PlannedTrial, Stage, Step
from orchestrator.search.strategies.asha import Asha
from orchestrator.search.strategies.listed import Listed
from orchestrator.search.strategies.pbt import Pbt
from orchestrator.search.strategies.searchers import RandomSearcher
from schemas.search import LogUniform
from tests.unit.search.test_recorder import scored

SPACE = {"rate": LogUniform(kind="loguniform", low=0.01, high=1.0)}
BUDGETS = (10, 20, 30)


def fingerprint(trial: PlannedTrial, stages: Sequence[Stage]) -> str:
    return digest([trial.tickers, [(stage.configuration, stage.budget) for stage in stages]])


def pbt() -> Pbt:
    return Pbt(SPACE, population=8, budgets=BUDGETS, seed=(42,))


def asha() -> Asha:
    return Asha(RandomSearcher(SPACE, (42,)), 12, budgets=(11, 33, 100))


def campaign(make: Callable[[], Pbt | Asha | Listed], past: Mapping[str, Past] | None = None) -> Campaign:
    first = make()
    populations = (Population(("A",), first, 1), Population(("B",), make(), 1 + first.most))
    return Campaign(
        populations, fingerprint, lambda outcome: outcome.metrics["sharpe_ratio"], past or {}, accumulates=True
    )


def outcome_of(step: Step) -> Scored:
    """A score that depends on the configuration alone."""
    rate = step.trial.configuration["rate"]
    assert isinstance(rate, float)
    base = scored(step.trial.trial, 1.0 - rate, step=step.number, last=step.last)
    state = None if step.last else {step.trial.tickers[0]: (b"state",)}
    return Scored(**{**vars(base), "budget": step.stages[-1].budget, "state": state})


def run(work: Campaign, limit: int = 5, stop_after: int | None = None) -> tuple[list[Step], list[Outcome]]:
    """Run it, a few steps at a time; with `stop_after`, only so many."""
    done: list[Step] = []
    said: list[Outcome] = []
    while not work.finished:
        steps, told = work.ask(limit)
        said += told
        for step in steps:
            if len(done) == stop_after:
                return done, said
            outcome = outcome_of(step)
            said += [outcome, *work.tell(outcome)]
            done.append(step)
    return done, said


def recorded(said: Sequence[Outcome]) -> dict[str, Past]:
    """What the store holds of what was said."""
    past: dict[str, Past] = {}
    for each in said:
        if isinstance(each, Planned):
            past |= {trial.trial: Past(trial.configuration) for trial in each.trials}
        elif isinstance(each, Scored):
            before = past[each.trial]
            scores = {**before.scores, each.step: each.metrics["sharpe_ratio"]}
            past[each.trial] = Past(before.configuration, scores, ended=each.last)
        elif isinstance(each, GivenUp):
            past |= {name: Past(past[name].configuration, past[name].scores, ended=True) for name in each.trials}
    return past


def test_a_trial_goes_through_all_budgets_and_a_clone_through_its_parent_s_before() -> None:
    steps, said = run(campaign(pbt))
    trials = {trial.trial: trial for each in said if isinstance(each, Planned) for trial in each.trials}
    clones = [trial for trial in trials.values() if trial.parent]
    assert len(clones) == 2 * 2 * 2
    for step in steps:
        trial = step.trial
        assert [stage.budget for stage in step.stages] == list(BUDGETS[: len(step.stages)])
        assert step.stages[: len(trial.inherited)] == trial.inherited
        assert all(stage.configuration == trial.configuration for stage in step.stages[len(trial.inherited) :])
        if trial.parent is not None and step.number == 1:
            assert step.start == {trial.tickers[0]: (b"state",)}
            own = next(
                each for each in steps if each.trial.trial == trial.parent and len(each.stages) == len(step.stages) - 1
            )
            assert own.stages == trial.inherited
    assert len({trial.fingerprint for trial in trials.values()}) == len(trials)


def test_every_trial_ends_once() -> None:
    for make in (pbt, asha):
        _, said = run(campaign(make))
        planned = [trial.trial for each in said if isinstance(each, Planned) for trial in each.trials]
        ended = [each.trial for each in said if isinstance(each, Scored) and each.last]
        ended += [name for each in said if isinstance(each, GivenUp) for name in each.trials]
        assert sorted(ended) == sorted(planned)
        assert len(set(planned)) == len(planned)


def test_populations_are_numbered_one_after_the_other() -> None:
    configurations = [{"rate": 0.1}, {"rate": 0.2}]
    steps, _ = run(campaign(lambda: Listed(configurations)))
    names = {(step.trial.trial, step.trial.tickers) for step in steps}
    assert names == {("t00001", ("A",)), ("t00002", ("A",)), ("t00003", ("B",)), ("t00004", ("B",))}


@given(st.integers(0, 60), st.sampled_from([pbt, asha]), st.integers(1, 9))
def test_begun_again_only_what_is_not_recorded_is_run_and_the_end_is_the_same(
    stop: int, make: Callable[[], Pbt | Asha], limit: int
) -> None:
    whole, said_whole = run(campaign(make), limit)
    before, said = run(campaign(make), limit, stop_after=stop)
    after, said_after = run(campaign(make, recorded(said)), limit)
    did = {(step.trial.trial, step.number) for step in before}
    assert did.isdisjoint((step.trial.trial, step.number) for step in after)
    if make is pbt:
        everything = {(step.trial.trial, step.number): step.stages for step in whole}
        assert {(step.trial.trial, step.number): step.stages for step in before + after} == everything
        planned = [trial for each in said + said_after if isinstance(each, Planned) for trial in each.trials]
        again = [trial for each in said_whole if isinstance(each, Planned) for trial in each.trials]
        assert sorted(planned, key=lambda trial: trial.trial) == sorted(again, key=lambda trial: trial.trial)
    ended = [each.trial for each in said + said_after if isinstance(each, Scored) and each.last]
    ended += [name for each in said + said_after if isinstance(each, GivenUp) for name in each.trials]
    assert len(ended) == len(set(ended))


def test_a_trial_that_fails_is_not_run_again() -> None:
    work = campaign(pbt)
    steps, _ = work.ask(100)
    work.tell(Failed(steps[0].trial.trial, (), 0.0))
    for step in steps[1:]:
        work.tell(outcome_of(step))
    later, _ = run(work)
    assert steps[0].trial.trial not in {step.trial.trial for step in later}


@given(st.integers(1, 7))
def test_no_more_is_given_out_than_asked_for_and_every_population_has_its_turn(limit: int) -> None:
    configurations = [{"rate": 0.1}, {"rate": 0.2}, {"rate": 0.3}]
    populations = [Population((ticker,), Listed(configurations), 1 + 3 * place) for place, ticker in enumerate("ABCDE")]
    work = Campaign(populations, fingerprint, lambda outcome: None, {}, accumulates=False)
    given: list[str] = []
    for _ in range(5):
        steps, _ = work.ask(limit)
        assert len(steps) == min(limit, 15 - len(given))
        given += [step.trial.tickers[0] for step in steps]
    assert set(given) == set("ABCDE")
