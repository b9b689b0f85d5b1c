from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search.turns import PATIENCE, Turns


def opened(runs: int, *, slots: int = 2, lanes: int = 2, jobs: int = 10, cpus: float = 1.0) -> Turns[str]:
    turns: Turns[str] = Turns(slots=slots, cpus=float(slots))
    for run in range(runs):
        turns.open(f"r{run}", cpus, "pool")
        turns.offer(f"r{run}", [f"r{run}.{job}" for job in range(jobs)])
    for lane in range(lanes):
        turns.wait(str(lane), "pool")
    return turns


@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 8))
def test_nobody_is_a_turn_ahead_of_another(runs: int, slots: int, lanes: int) -> None:
    turns = opened(runs, slots=slots, lanes=lanes)
    served = dict.fromkeys((f"r{run}" for run in range(runs)), 0)
    running = turns.grants(0.0)
    for _ in range(30):
        assert len(running) <= min(slots, lanes)
        for grant in running:
            served[grant.run] += 1
        # Whoever began first ends first.
        if not running:
            break
        over, *running = running
        turns.wait(over.lane, "pool")
        running += turns.grants(0.0)
        if max(served.values()) < 8:
            assert max(served.values()) - min(served.values()) <= max(1, slots)
    assert not running or sum(served.values()) >= 10


def test_a_lane_that_asks_again_gives_back_its_slot() -> None:
    turns = opened(1, slots=1, lanes=1, jobs=2)
    assert [grant.job for grant in turns.grants(0.0)] == ["r0.0"]
    assert turns.grants(0.0) == []
    turns.wait("0", "pool")
    assert [grant.job for grant in turns.grants(0.0)] == ["r0.1"]


def test_a_lane_serves_whichever_run_has_its_turn() -> None:
    turns = opened(3, slots=1, lanes=1)
    served = []
    for _ in range(6):
        (grant,) = turns.grants(0.0)
        served.append(grant.run)
        turns.wait(grant.lane, "pool")
    assert served == ["r0", "r1", "r2"] * 2


def test_jobs_go_to_lanes_of_the_pool_that_their_run_asks_for() -> None:
    turns: Turns[str] = Turns(slots=8, cpus=8.0)
    turns.open("plain", 1.0, "cpu")
    turns.open("other", 1.0, "gpu")
    turns.offer("plain", ["p"])
    turns.offer("other", ["o"])
    turns.wait("c", "cpu")
    assert [(grant.lane, grant.job) for grant in turns.grants(0.0)] == [("c", "p")]
    turns.wait("g", "gpu")
    assert [(grant.lane, grant.job) for grant in turns.grants(0.0)] == [("g", "o")]


def test_a_lane_that_is_gone_leaves_its_job() -> None:
    turns = opened(1, slots=1, lanes=2, jobs=2)
    (grant,) = turns.grants(0.0)
    assert turns.lost(grant.lane) == ("r0", "r0.0")
    assert turns.lost(grant.lane) is None
    turns.offer("r0", ["again"], first=True)
    (again,) = turns.grants(0.0)
    assert (again.job, again.lane == grant.lane) == ("again", False)


def test_a_lane_that_is_gone_while_it_waits_gets_nothing() -> None:
    turns = opened(1, lanes=1)
    assert turns.lost("0") is None
    assert turns.grants(0.0) == []


def test_the_slot_of_a_lane_that_is_quiet_goes_to_the_next() -> None:
    turns = opened(2, slots=1, lanes=2)
    (first,) = turns.grants(0.0)
    assert turns.beat(first.lane, PATIENCE)
    assert turns.grants(2 * PATIENCE) == []
    (second,) = turns.grants(2 * PATIENCE + 1)
    assert second.run != first.run
    assert turns.lost(first.lane) == (first.run, first.job)


def test_a_large_job_is_not_overtaken_for_ever() -> None:
    turns: Turns[str] = Turns(slots=8, cpus=2.0)
    for run, cpus in (("small", 1.0), ("large", 2.0)):
        turns.open(run, cpus, "pool")
    for lane in "abcdef":
        turns.wait(lane, "pool")
    turns.offer("small", ["s1", "s2", "s3", "s4"])
    small = turns.grants(0.0)
    assert [grant.job for grant in small] == ["s1", "s2"]
    turns.offer("large", ["l1"])
    turns.wait(small[0].lane, "pool")
    assert turns.grants(0.0) == []
    turns.wait(small[1].lane, "pool")
    assert [grant.job for grant in turns.grants(0.0)] == ["l1"]


def test_a_job_larger_than_the_cluster_runs_alone() -> None:
    turns = opened(1, slots=2, lanes=2, cpus=16.0)
    assert len(turns.grants(0.0)) == 1


def test_nobody_waits_for_the_job_of_a_run_that_is_over() -> None:
    turns = opened(1, slots=1, lanes=3)
    (grant,) = turns.grants(0.0)
    turns.close("r0")
    turns.close("r0")
    assert not turns.beat(grant.lane, 0.0)
    assert turns.lost(grant.lane) is None
    assert turns.grants(0.0) == []
    assert turns.runs == frozenset()
