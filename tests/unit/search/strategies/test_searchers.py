from collections.abc import Callable
from statistics import median

import pytest

from orchestrator.core.canonical import canonical_json
from orchestrator.core.space import Configuration, Space, contains, size
from orchestrator.search.strategies import gaussian
from orchestrator.search.strategies.gaussian import MOST_CATEGORIES, GaussianSearcher
from orchestrator.search.strategies.searchers import RandomSearcher, Searcher
from orchestrator.search.strategies.sequential import Sequential
from orchestrator.search.strategies.tpe import OptunaSearcher
from schemas.search import Choice, Dimension, IntegerRange, LogUniform, Uniform
from tests.unit.search.strategies.playing import SPACE, Told, by_key, play, quality

pytestmark = pytest.mark.slow

Maker = Callable[[Space, int], Searcher]


def drawing(space: Space, seed: int) -> Searcher:
    return RandomSearcher(space, (seed,))


def parzen(space: Space, seed: int) -> Searcher:
    return OptunaSearcher(space, (seed,), initial=5)


def surrogate(space: Space, seed: int) -> Searcher:
    return GaussianSearcher(space, (seed,), initial=5)


EVERY = pytest.mark.parametrize("make", [drawing, parzen, surrogate])
LEARNING = pytest.mark.parametrize("make", [parzen, surrogate])


def tried(searcher: Searcher, count: int, score: Callable[[Configuration], float | None] = quality) -> list[str]:
    """What is proposed, one after the other, until nothing is."""
    written = []
    for number in range(count):
        configuration = searcher.propose(number)
        if configuration is None:
            break
        searcher.observe(number, configuration, score(configuration))
        written.append(canonical_json(configuration))
    return written


def best(make: Maker, seed: int) -> float:
    """Of 32 trials, 8 of them drawn."""
    strategy = Sequential(make(SPACE, seed), 32, initial=8)
    return play(strategy, lambda proposal: Told(proposal, quality(proposal.configuration))).best


@LEARNING
def test_a_searcher_beats_drawing_at_random(make: Maker) -> None:
    seeds = range(7)
    assert median(best(make, seed) for seed in seeds) > median(best(drawing, seed) for seed in seeds) / 2


def test_a_surrogate_of_the_best_and_the_newest_still_beats_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussian, "MOST_FITTED", 16)
    seeds = range(5)
    assert median(best(surrogate, seed) for seed in seeds) > median(best(drawing, seed) for seed in seeds) / 2


@EVERY
def test_the_same_seed_proposes_the_same(make: Maker) -> None:
    one, same, other = (tried(make(SPACE, seed), 9) for seed in (1, 1, 2))
    assert one == same
    assert one != other


@EVERY
def test_a_small_space_is_tried_whole_and_nothing_twice(make: Maker) -> None:
    space: Space = {
        "a": IntegerRange(kind="integer", low=1, high=4, log=True),
        "b": Choice(kind="choice", values=(1, True, "x")),
        "c": Uniform(kind="uniform", low=0.5, high=0.5),
    }
    found = tried(make(space, 1), 50, lambda configuration: float(configuration["a"]))
    assert len(found) == len(set(found)) == size(space)


@EVERY
def test_a_space_of_one_configuration_is_exhausted_after_it(make: Maker) -> None:
    space: Space = {"a": IntegerRange(kind="integer", low=3, high=3), "b": Choice(kind="choice", values=("x",))}
    assert tried(make(space, 1), 20, lambda _: 1.0) == ['{"a":3,"b":"x"}']


@EVERY
def test_failures_do_not_stall(make: Maker) -> None:
    def score(configuration: Configuration) -> float | None:
        return None if configuration["booster"] == "tree" else quality(configuration)

    found = tried(make(SPACE, 3), 14, score)
    assert len(set(found)) == 14
    assert len(set(tried(make(SPACE, 3), 14, lambda _: None))) == 14


@LEARNING
def test_failures_are_avoided(make: Maker) -> None:
    space: Space = {"a": Uniform(kind="uniform", low=0.0, high=1.0)}
    searcher, proposed = make(space, 4), []
    for number in range(25):
        configuration = searcher.propose(number)
        assert configuration is not None
        value = float(configuration["a"])
        searcher.observe(number, configuration, None if value > 0.5 else value / 10)
        proposed.append(value)
    assert sum(value > 0.5 for value in proposed[10:]) < 8


@EVERY
def test_several_at_once_are_different(make: Maker) -> None:
    searcher = make(SPACE, 1)
    tried(searcher, 8)
    batch = [searcher.propose(number) for number in range(8, 12)]
    assert len({canonical_json(each) for each in batch}) == 4


@EVERY
def test_what_was_run_counts_when_it_is_not_what_was_proposed(make: Maker) -> None:
    searcher = make(SPACE, 1)
    ran: Configuration = {"alpha": 1e-3, "depth": 5, "booster": "dart", "ratio": 0.5}
    for number in range(8):
        proposed = searcher.propose(number)
        assert proposed is not None
        searcher.observe(number, ran if number % 2 else proposed, 1.0 - number)
    assert len({canonical_json(searcher.propose(number)) for number in range(8, 12)} - {canonical_json(ran)}) == 4


@EVERY
@pytest.mark.parametrize(
    "dimension",
    [
        LogUniform(kind="loguniform", low=1e-300, high=1e300),
        Uniform(kind="uniform", low=-1e308, high=1e308),
        IntegerRange(kind="integer", low=1, high=2**53 - 1, log=True),
        IntegerRange(kind="integer", low=-(2**53) + 1, high=2**53 - 1),
        Choice(kind="choice", values=(True, 1, "1", 0.5)),
        Choice(kind="choice", values=tuple(range(MOST_CATEGORIES + 1))),
    ],
)
def test_every_kind_of_dimension_is_kept_to(make: Maker, dimension: Dimension) -> None:
    space: Space = {"a": dimension, "b": Choice(kind="choice", values=(False, True))}
    searcher = make(space, 5)
    for number in range(8):
        configuration = searcher.propose(number)
        if configuration is None:
            break
        assert contains(space, configuration)
        assert all(type(value) in (int, float, bool, str) for value in configuration.values())
        searcher.observe(number, configuration, float(number))


@LEARNING
def test_a_replay_goes_on_where_the_crash_was(make: Maker) -> None:
    def strategy() -> Sequential:
        return Sequential(make(SPACE, 6), 14, initial=5, batch=3)

    whole = play(strategy())
    before = play(strategy(), order=1, crash_after=9)
    assert by_key(play(strategy(), order=2, known=by_key(before))) == by_key(whole)


@EVERY
def test_what_was_proposed_and_not_run_is_proposed_again(make: Maker) -> None:
    space: Space = {"a": IntegerRange(kind="integer", low=1, high=4)}
    searcher = make(space, 1)
    proposed = searcher.propose(0)
    assert proposed is not None
    ran = {"a": int(proposed["a"]) % 4 + 1}
    searcher.observe(0, ran, 1.0)
    left = [searcher.propose(number) for number in range(1, 5)]
    assert sorted(int(each["a"]) for each in [ran, *left[:3]] if each) == [1, 2, 3, 4]
    assert left[3] is None
