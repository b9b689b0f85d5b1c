from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search.plan import PlannedTrial, Stage, Step, packed

LANES = st.integers(1, 12)
BATCH = st.integers(1, 20)


def step(ticker: str, number: int, budget: int | None = None) -> Step:
    trial = PlannedTrial(f"{ticker}{number}", (ticker,), {"alpha": number}, f"{ticker} {number}")
    return Step(trial, stages=(Stage(trial.configuration, budget),))


STEPS = st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from([None, 10, 30])), max_size=60).map(
    lambda drawn: [step(ticker, number, budget) for number, (ticker, budget) in enumerate(sorted(drawn, key=str))]
)


@given(STEPS, LANES, BATCH)
def test_packs_hold_every_step_once_and_in_order(steps: list[Step], lanes: int, batch: int) -> None:
    packs = packed(steps, lanes=lanes, batch=batch)
    assert [step for pack in packs for step in pack] == steps


@given(STEPS, LANES, BATCH)
def test_a_pack_is_of_the_same_tickers_and_budgets_and_neither_empty_nor_too_large(
    steps: list[Step], lanes: int, batch: int
) -> None:
    for pack in packed(steps, lanes=lanes, batch=batch):
        assert 1 <= len(pack) <= batch
        assert len({(each.trial.tickers, each.budgets) for each in pack}) == 1


@given(st.integers(1, 60), LANES, BATCH)
def test_no_lane_is_left_without_work_that_there_is(count: int, lanes: int, batch: int) -> None:
    packs = packed([step("A", number) for number in range(count)], lanes=lanes, batch=batch)
    sizes = [len(pack) for pack in packs]
    assert len(packs) >= min(lanes, count) or max(sizes) == 1 or max(sizes) - min(sizes) <= 1
    assert max(sizes) - min(sizes) <= 1


def test_a_step_that_goes_on_has_one_stage_left() -> None:
    trial = PlannedTrial("t", ("A",), {}, "f")
    stages = (Stage({}, 10), Stage({}, 20))
    assert Step(trial, 2, stages).budgets == (10, 20)
    assert Step(trial, 2, stages, start={"A": ()}).budgets == (20,)
