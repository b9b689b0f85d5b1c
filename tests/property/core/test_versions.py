"""Going back, whatever was deployed, gone back to and deleted before."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.versions import VersionState, earlier, left_by
from schemas.base import Reason

START = datetime(2026, 1, 15, tzinfo=UTC)


@dataclass(frozen=True)
class One:
    version: int
    state: VersionState
    deployed_at: datetime | None = None
    ended_at: datetime | None = None


def serve(versions: list[One], number: int, now: datetime) -> list[One]:
    """The versions once this one has taken the place of the one that served."""

    def after(each: One) -> One:
        if each.version == number:
            return replace(each, state=VersionState.DEPLOYED, deployed_at=now, ended_at=None)
        if each.state is VersionState.DEPLOYED:
            return replace(each, state=left_by(each.version, number), ended_at=now)
        return each

    return [after(each) for each in versions]


def serving(versions: list[One]) -> int | None:
    return next((each.version for each in versions if each.state is VersionState.DEPLOYED), None)


@given(st.lists(st.one_of(st.just("deploy"), st.just("fail"), st.integers(1, 6)), max_size=12))
def test_going_back_again_and_again_only_leads_further_back_and_ends(
    steps: list[str | int],
) -> None:
    versions: list[One] = []
    for second, step in enumerate(steps):
        now = START + timedelta(seconds=second)
        if isinstance(step, int):
            named = earlier("bot", versions, step)
            versions = versions if isinstance(named, Reason) else serve(versions, named.version, now)
        else:
            state = VersionState.WANTED if step == "deploy" else VersionState.FAILED
            versions = [*versions, One(len(versions) + 1, state, ended_at=now)]
            versions = serve(versions, len(versions), now) if step == "deploy" else versions
    passed = [serving(versions)]
    while not isinstance(before := earlier("bot", versions, None), Reason):
        assert before.deployed_at is not None
        assert before.state is VersionState.SUPERSEDED
        versions = serve(versions, before.version, START + timedelta(days=len(passed)))
        passed.append(serving(versions))
    numbers = [number for number in passed if number is not None]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == len(numbers)


def test_after_a_new_version_the_one_before_is_what_served_last_and_not_what_was_rolled_back_from() -> None:
    versions = [One(number, VersionState.WANTED) for number in (1, 2, 3, 4)]
    for second, number in enumerate((1, 2, 3, 2, 4)):
        versions = serve(versions, number, START + timedelta(seconds=second))
    before = earlier("bot", versions, None)
    assert isinstance(before, One)
    assert before.version == 2
