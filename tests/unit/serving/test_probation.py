import pytest

from serving.probation import Trial, objections


@pytest.mark.parametrize(
    ("trial", "during", "in_the_end"),
    [
        (Trial(), [], []),
        (Trial(calls=1000, rows=9000), [], []),
        (Trial(calls=1, rows=5, raised=1), [], ["version_raises"]),
        (Trial(calls=20, rows=90, raised=2), [], ["version_raises"]),
        (Trial(calls=21, rows=90, raised=2), [], []),
        (Trial(calls=30_000, rows=90_000, raised=3), ["version_raises"], ["version_raises"]),
        (Trial(calls=1, rows=19, lost=19), [], ["version_loses_members"]),
        (Trial(calls=1, rows=20, lost=20), ["version_loses_members"], ["version_loses_members"]),
        (Trial(calls=50, rows=200, lost=20), ["version_loses_members"], ["version_loses_members"]),
        (Trial(calls=50, rows=201, lost=20), [], []),
        (Trial(calls=3, rows=30, raised=3, lost=20), *[["version_raises", "version_loses_members"]] * 2),
    ],
)
def test_a_version_gives_way_when_its_faults_are_not_chance(
    trial: Trial, during: list[str], in_the_end: list[str]
) -> None:
    assert [reason.code for reason in objections(trial, over=False)] == during
    assert [reason.code for reason in objections(trial, over=True)] == in_the_end


def test_calls_add_up_and_the_last_error_is_told() -> None:
    trial = Trial().told(3).told(4, lost=2)
    assert trial == Trial(calls=2, rows=7, lost=2)
    for number in range(3):
        trial = trial.told(1, error=ValueError(f"number {number}"))
    (reason,) = objections(trial, over=False)
    assert reason.message == "It raised in 3 of 5 calls, the last time ValueError: number 2"
