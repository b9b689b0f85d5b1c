"""Campaigns over a family that accumulates: what each step is trained by, and what a crash leaves to be done."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.canonical import digest
from orchestrator.search.campaign import Campaign, Past, Population
from orchestrator.search.memory import Memory, Recall
from orchestrator.search.outcomes import Failed, GivenUp, Known, Outcome, Planned, Scored
from orchestrator.search.plan import PlannedTrial, Stage, Step
from orchestrator.search.strategies.asha import Asha
from orchestrator.search.strategies.listed import Listed
from orchestrator.search.strategies.pbt import Pbt
from orchestrator.search.strategies.searchers import RandomSearcher
from orchestrator.store.fingerprints import Result
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


def campaign(
    make: Callable[[], Pbt | Asha | Listed],
    past: Mapping[str, Past] | None = None,
    memory: Memory | None = None,
    *,
    accumulates: bool = True,
) -> Campaign:
    first = make()
    populations = (Population(("A",), first, 1), Population(("B",), make(), 1 + first.most))
    return Campaign(
        populations,
        fingerprint,
        lambda outcome: outcome.metrics["sharpe_ratio"],
        past or {},
        accumulates=accumulates,
        memory=memory,
    )


def outcome_of(step: Step) -> Scored:
    """A score that depends on the configuration alone."""
    rate = step.trial.configuration["rate"]
    assert isinstance(rate, float)
    base = scored(step.trial.trial, 1.0 - rate, step=step.number, last=step.last)
    state = None if step.last else {step.trial.tickers[0]: (b"state",)}
    budget = step.stages[-1].budget
    return Scored(**{**vars(base), "budget": budget, "state": state, "fingerprint": step.fingerprint})


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


def alone(configurations: Sequence[Mapping[str, float]], memory: Memory | None = None) -> Campaign:
    """A list of configurations on one ticker."""
    listed = Population(("A",), Listed(configurations), 1)
    return Campaign(
        [listed], fingerprint, lambda outcome: outcome.metrics["sharpe_ratio"], {}, accumulates=False, memory=memory
    )


def learned(said: Sequence[Outcome]) -> dict[str, Result]:
    """What the store knows by fingerprint of what another experiment said."""
    scores = [each for each in said if isinstance(each, Scored)]
    return {
        each.fingerprint: Result("earlier", each.trial, each.step, each.whole, each.metrics, each.eligible)
        for each in sorted(scores, key=lambda each: each.whole)
    }


def recall_of(known: Mapping[str, Result], asked: list[int] | None = None) -> Recall:
    """Answers from what is known, and notes how many fingerprints it was asked for."""

    def recall(wanted: Collection[str]) -> Mapping[str, Result]:
        if asked is not None:
            asked.append(len(wanted))
        return {each: known[each] for each in wanted if each in known}

    return recall


def pbt_anew() -> Pbt:
    """Of a family that trains anew in each generation."""
    return Pbt(SPACE, population=8, budgets=[None] * 3, seed=(42,))


FAMILIES = [(pbt, True), (pbt_anew, False), (asha, True), (asha, False)]


@given(st.sampled_from(FAMILIES), st.integers(1, 9), st.integers(1, 9))
def test_asked_again_nothing_is_run_and_the_end_is_the_same(
    family: tuple[Callable[[], Pbt | Asha], bool], before: int, limit: int
) -> None:
    make, accumulates = family
    _, said = run(campaign(make, memory=Memory("earlier"), accumulates=accumulates), before)
    known = recall_of(learned(said))
    steps, told = run(campaign(make, memory=Memory("later", known), accumulates=accumulates), limit)
    # What ASHA promotes depends on what comes out first.
    if make is not asha:
        assert steps == []
    ended = {each.trial: each.metrics for each in said if isinstance(each, Scored | Known) and each.last}
    again = {each.trial: each.metrics for each in told if isinstance(each, Scored | Known) and each.last}
    assert again == ended or make is asha
    assert all(each.recorded_by == "earlier" for each in told if isinstance(each, Known))


@given(st.sampled_from([pbt, asha]), st.sets(st.integers(0, 60)), st.integers(1, 9))
def test_half_known_only_the_other_half_is_run_through_all_of_its_stages(
    make: Callable[[], Pbt | Asha], forgotten: set[int], limit: int
) -> None:
    _, said = run(campaign(make), limit)
    whole = learned(said)
    known = {each: result for place, (each, result) in enumerate(whole.items()) if place not in forgotten}
    steps, told = run(campaign(make, memory=Memory("later", recall_of(known))), limit)
    assert {step.fingerprint for step in steps}.isdisjoint(known)
    assert len({step.fingerprint for step in steps}) == len(steps)
    answered = {(each.trial, each.step) for each in told if isinstance(each, Known)}
    for step in steps:
        before = (step.trial.trial, step.number - 1) if step.number > 1 else None
        # Predictors are not kept: behind what was known, all stages are gone through again.
        assert before not in answered or step.start is None
    trials = {trial.trial: trial for each in told if isinstance(each, Planned) for trial in each.trials}
    for each in told:
        if isinstance(each, Known):
            rate = trials[each.trial].configuration["rate"]
            assert (each.metrics["sharpe_ratio"], each.recorded_by) == (1.0 - float(rate), "earlier")
    ended = [each.trial for each in told if isinstance(each, Scored | Known) and each.last]
    ended += [name for each in told if isinstance(each, GivenUp) for name in each.trials]
    assert sorted(ended) == sorted(trials)


def test_a_family_that_trains_anew_trains_whoever_goes_on_once() -> None:
    steps, told = run(campaign(pbt_anew, memory=Memory("e"), accumulates=False))
    assert all(step.number == 1 for step in steps)
    assert {each.recorded_trial for each in told if isinstance(each, Known)} <= {step.trial.trial for step in steps}
    assert any(isinstance(each, Known) and each.last for each in told)


def test_what_one_search_proposes_twice_is_trained_once_also_while_it_runs() -> None:
    twins = [{"rate": 0.1}, {"rate": 0.1}, {"rate": 0.2}, {"rate": 0.1}]
    work = alone(twins, Memory("e"))
    steps, told = work.ask(10)
    assert [step.trial.trial for step in steps] == ["t00001", "t00003"]
    assert work.ask(10) == ([], [])
    assert not work.finished
    first = outcome_of(steps[0])
    assert work.tell(first) == []
    again, told = work.ask(10)
    assert again == []
    assert [(each.trial, each.recorded_by, each.recorded_trial) for each in told if isinstance(each, Known)] == [
        ("t00002", "e", "t00001"),
        ("t00004", "e", "t00001"),
    ]
    work.tell(outcome_of(steps[1]))
    assert work.finished


def test_a_failure_is_not_known_and_who_waited_for_it_is_tried() -> None:
    work = alone([{"rate": 0.1}] * 3, Memory("e"))
    for name in ("t00001", "t00002", "t00003"):
        (step,), _ = work.ask(10)
        assert step.trial.trial == name
        work.tell(Failed(name, (), 0.0))
    assert work.finished


def test_what_is_known_on_the_way_is_no_final_score() -> None:
    result = Result("earlier", "t00009", 1, False, {"sharpe_ratio": 1.0}, True)
    step = Step(PlannedTrial("t00001", ("A",), {}, "f"), fingerprint="f")
    on_the_way = replace(step, last=False)
    assert Memory("e", recall_of({"f": result})).look([step, on_the_way]) == [None, result]
    whole = replace(result, whole=True)
    assert Memory("e", recall_of({"f": whole})).look([step, on_the_way]) == [whole, whole]


def test_who_is_asked_for_many_asks_once() -> None:
    asked: list[int] = []
    configurations = [{"rate": number / 100} for number in range(1, 51)]
    work = campaign(lambda: Listed(configurations), memory=Memory("e", recall_of({}, asked)))
    work.ask(100)
    assert asked == [100]


def test_without_a_memory_everything_is_trained() -> None:
    work = alone([{"rate": 0.1}] * 3)
    assert len(work.ask(10)[0]) == 3
