"""What every search strategy keeps, whatever the scores, the failures and the order in which steps end."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.canonical import canonical_json
from orchestrator.core.space import contains
from orchestrator.search.strategies.asha import Asha
from orchestrator.search.strategies.base import Proposal, Strategy
from orchestrator.search.strategies.listed import Listed, drawn
from orchestrator.search.strategies.pbt import Pbt, budgets
from orchestrator.search.strategies.searchers import RandomSearcher
from orchestrator.search.strategies.sequential import Sequential
from schemas.search import IntegerRange
from tests.unit.search.strategies.playing import SPACE, Outcome, Played, Told, play

pytestmark = pytest.mark.slow

ORDERS = st.integers(0, 1000)
SLOTS = st.integers(1, 12)


@st.composite
def outcomes(draw: st.DrawFn, *, failing: bool = True) -> Outcome:
    """Scores by trial and step, few of them different; some steps fail or have no score."""
    scores = draw(st.lists(st.none() | st.sampled_from([-1.0, 0.0, 0.5, float("nan")]), min_size=1, max_size=40))
    failures = draw(st.lists(st.booleans(), min_size=1, max_size=40)) if failing else [False]

    def outcome(proposal: Proposal) -> Told:
        place = 7 * proposal.number + proposal.step
        return Told(proposal, scores[place % len(scores)], failures[place % len(failures)])

    return outcome


@st.composite
def strategies(draw: st.DrawFn) -> Strategy:
    seed, count = (draw(st.integers(0, 50)),), draw(st.integers(1, 30))
    match draw(st.sampled_from(["listed", "pbt", "asha", "sequential"])):
        case "listed":
            return Listed(drawn(SPACE, count, seed))
        case "pbt":
            return Pbt(SPACE, population=count, budgets=budgets(20, draw(st.integers(1, 5))), seed=seed)
        case "asha":
            return Asha(RandomSearcher(SPACE, seed), count, budgets=draw(st.sampled_from([(9,), (3, 9), (1, 3, 9)])))
    return Sequential(RandomSearcher(SPACE, seed), count, initial=draw(st.integers(1, 10)))


def steps(played: Played) -> dict[int, list[Told]]:
    found: dict[int, list[Told]] = defaultdict(list)
    for each in played.told:
        found[each.proposal.number].append(each)
    return found


@given(strategies(), outcomes(), SLOTS, ORDERS)
def test_a_search_ends_and_every_trial_in_one_way(strategy: Strategy, outcome: Outcome, slots: int, order: int) -> None:
    most = strategy.most
    played = play(strategy, outcome, slots=slots, order=order)
    ways = Counter(played.given_up)
    for number, told in steps(played).items():
        assert [each.proposal.step for each in told] == list(range(1, len(told) + 1))
        assert not any(each.failed or each.proposal.last for each in told[:-1])
        ways[number] += told[-1].failed or told[-1].proposal.last
    assert ways == dict.fromkeys(range(len(ways)), 1)
    assert strategy.most == len(ways) <= most
    assert len(played.asked) == len(played.told)
    assert strategy.ask(9) in ([], ())


@given(strategies(), outcomes(), SLOTS, ORDERS)
def test_no_configuration_leaves_the_space_or_comes_as_two_trials(
    strategy: Strategy, outcome: Outcome, slots: int, order: int
) -> None:
    configurations = play(strategy, outcome, slots=slots, order=order).configurations.values()
    assert all(contains(SPACE, each) for each in configurations)
    assert all(type(each["depth"]) is int for each in configurations)
    assert len({canonical_json(each) for each in configurations}) == len(configurations)


@given(strategies(), outcomes(failing=False), SLOTS, ORDERS)
def test_how_many_trials_there_will_be_is_known_beforehand(
    strategy: Strategy, outcome: Outcome, slots: int, order: int
) -> None:
    most = strategy.most
    assert len(play(strategy, outcome, slots=slots, order=order).configurations) == most


@given(st.integers(1, 20), st.integers(1, 5), outcomes(), st.tuples(SLOTS, SLOTS), st.tuples(ORDERS, ORDERS))
def test_pbt_and_bayesian_do_not_depend_on_how_many_run_or_which_ends_first(
    count: int, generations: int, outcome: Outcome, slots: tuple[int, int], order: tuple[int, int]
) -> None:
    def pbt() -> Strategy:
        return Pbt(SPACE, population=count, budgets=budgets(20, generations), seed=(count,))

    def sequential() -> Strategy:
        return Sequential(RandomSearcher(SPACE, (count,)), count, initial=generations)

    for make in (pbt, sequential):
        one, other = (
            play(make(), outcome, slots=each, order=number) for each, number in zip(slots, order, strict=True)
        )
        assert one.asked == other.asked
        assert sorted(one.given_up) == sorted(other.given_up)


@given(st.integers(2, 20), st.integers(1, 5), outcomes(failing=False), SLOTS, ORDERS)
def test_pbt_keeps_its_population_and_its_barrier(
    population: int, generations: int, outcome: Outcome, slots: int, order: int
) -> None:
    cumulated = budgets(20, generations)
    strategy = Pbt(SPACE, population=population, budgets=cumulated, seed=(1,))
    played = play(strategy, outcome, slots=slots, order=order)
    for asked in (played.asked, [each.proposal for each in played.told]):
        assert [each.budget for each in asked] == [budget for budget in cumulated for _ in range(population)]
    clones = [each for each in played.asked if each.parent is not None and each.step == 1]
    assert len(clones) == max(population // 4, 1) * (generations - 1)
    assert len(played.given_up) == len(clones)


@given(st.integers(1, 40), st.integers(2, 4), outcomes(), SLOTS, ORDERS)
def test_asha_promotes_the_best_of_a_rung_and_only_as_many(
    count: int, eta: int, outcome: Outcome, slots: int, order: int
) -> None:
    strategy = Asha(RandomSearcher(SPACE, (1,)), count, budgets=(1, eta, eta**2), eta=eta)
    scores: dict[int, dict[int, float | None]] = defaultdict(dict)
    running: list[Proposal] = []
    promoted: set[tuple[int, int]] = set()
    while not strategy.finished:
        for proposal in strategy.ask(slots - len(running)):
            if proposal.step > 1:
                below = scores[proposal.step - 1]
                ranked = sorted((-each, number) for number, each in below.items() if each is not None)
                own = (-(below[proposal.number] or 0.0), proposal.number)
                place = ranked.index(own)
                waiting = [each for each in ranked if (proposal.step, each[1]) not in promoted]
                assert waiting[0] == own
                the_end = (
                    not running and len(scores[1]) == count and not any(each is not None for each in scores[3].values())
                )
                assert place < len(below) // eta or the_end
                promoted.add((proposal.step, proposal.number))
            running.append(proposal)
        if not running:
            break
        told = outcome(running.pop(order % len(running)))
        score = None if told.failed or told.score != told.score else told.score
        scores[told.proposal.step][told.proposal.number] = score
        strategy.tell(told.proposal, told.score, failed=told.failed)
    assert strategy.finished
    if all(each is None for each in scores[3].values()):
        scored = {(step + 1, number) for step in (1, 2) for number, each in scores[step].items() if each is not None}
        assert scored == promoted


@given(st.integers(1, 12), st.integers(1, 30), outcomes(), SLOTS, ORDERS)
def test_a_small_space_is_never_searched_twice(
    width: int, count: int, outcome: Outcome, slots: int, order: int
) -> None:
    space = {"a": IntegerRange(kind="integer", low=1, high=width)}
    for strategy in (
        Listed(drawn(space, count, (1,))),
        Asha(RandomSearcher(space, (1,)), count, budgets=(3, 9)),
        Sequential(RandomSearcher(space, (1,)), count, initial=3),
    ):
        found = [each["a"] for each in play(strategy, outcome, slots=slots, order=order).configurations.values()]
        assert len(found) == len(set(found)) == min(width, count)
