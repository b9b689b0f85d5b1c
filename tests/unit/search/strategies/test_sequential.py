import pytest

from orchestrator.core.space import Configuration, Space
from orchestrator.search.strategies.base import Proposal
from orchestrator.search.strategies.searchers import RandomSearcher
from orchestrator.search.strategies.sequential import Sequential
from schemas.search import IntegerRange
from tests.unit.search.strategies.playing import SPACE, Told, by_key, play


class Recording(RandomSearcher):
    """A random searcher that keeps what it was asked and told."""

    def __init__(self, space: Space = SPACE) -> None:
        super().__init__(space, (42,))
        self.calls: list[tuple[str, int]] = []
        self.scores: dict[int, float | None] = {}

    def propose(self, number: int) -> Configuration | None:
        self.calls.append(("propose", number))
        return super().propose(number)

    def observe(self, number: int, configuration: Configuration, score: float | None) -> None:
        self.calls.append(("observe", number))
        self.scores[number] = score
        super().observe(number, configuration, score)


def test_a_batch_is_proposed_when_all_of_the_one_before_is_over() -> None:
    searcher = Recording()
    strategy = Sequential(searcher, 8, initial=3, batch=2)
    first = strategy.ask(2)
    assert [each.number for each in [*first, *strategy.ask(9)]] == [0, 1, 2]
    for number in (1, 0):
        strategy.tell(Proposal(number, first[number].configuration, None), 1.0)
    assert strategy.ask(9) == []
    assert not strategy.finished
    strategy.tell(Proposal(2, {}, None), 1.0)
    assert [each.number for each in strategy.ask(1)] == [3]


@pytest.mark.parametrize("slots", [1, 3, 16])
def test_the_searcher_is_asked_and_told_in_the_same_order_however_many_run(slots: int) -> None:
    searcher = Recording()
    play(Sequential(searcher, 8, initial=3, batch=2), slots=slots, order=slots)
    batches = [(0, 1, 2), (3, 4), (5, 6), (7,)]
    assert searcher.calls == [
        (call, number) for batch in batches for call in ("propose", "observe") for number in batch
    ]


def test_a_trial_that_failed_is_observed_without_a_score() -> None:
    searcher = Recording()
    play(Sequential(searcher, 4, initial=2), lambda proposal: Told(proposal, 1.0, failed=proposal.number == 1))
    assert searcher.scores == {0: 1.0, 1: None, 2: 1.0, 3: 1.0}


def test_it_ends_early_when_the_space_is_exhausted() -> None:
    strategy = Sequential(Recording({"a": IntegerRange(kind="integer", low=1, high=6)}), 50, initial=2)
    played = play(strategy, lambda proposal: Told(proposal, 0.0))
    assert sorted(int(each["a"]) for each in played.configurations.values()) == [1, 2, 3, 4, 5, 6]
    assert strategy.most == 6


def test_a_replay_goes_on_where_the_crash_was() -> None:
    whole = play(Sequential(Recording(), 10, initial=3))
    before = play(Sequential(Recording(), 10, initial=3), order=1, crash_after=5)
    after = play(Sequential(Recording(), 10, initial=3), order=2, known=by_key(before))
    assert by_key(after) == by_key(whole)
