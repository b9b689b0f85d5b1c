"""The queue of experiments, whoever waits in it."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.queueing import NEAR, Waiting, call, is_news

NOW = datetime(2026, 1, 15, tzinfo=UTC)
moments = st.integers(-3, 3).map(lambda hours: NOW + timedelta(hours=hours))
queues = st.lists(
    st.builds(
        Waiting,
        st.text("abcdef", min_size=1, max_size=4),
        st.integers(-2, 2),
        moments,
        st.none() | moments,
        st.none() | st.integers(0, 40),
    ),
    unique_by=lambda each: each.experiment,
    max_size=30,
)
rooms = st.integers(-2, 8)


@given(queues, rooms)
def test_everybody_expires_begins_or_waits_on_and_nobody_begins_without_room(queue: list[Waiting], room: int) -> None:
    calls = call(queue, room, NOW)
    assert len({*calls.expired, *calls.begins}) == len(calls.expired) + len(calls.begins)
    wanted = len(queue) - len(calls.expired)
    assert len(calls.begins) == min(wanted, max(0, room))
    for each in queue:
        assert (each.experiment in calls.expired) == (each.expires_at is not None and each.expires_at <= NOW)


@given(queues, rooms)
def test_nobody_begins_before_one_that_is_more_urgent_or_as_urgent_and_older(queue: list[Waiting], room: int) -> None:
    calls = call(queue, room, NOW)
    left = [each for each in queue if each.experiment not in (*calls.begins, *calls.expired)]
    for begun in (each for each in queue if each.experiment in calls.begins):
        for each in left:
            assert begun.priority > each.priority or (begun.priority == each.priority and begun.since <= each.since)


@given(queues, rooms)
def test_the_order_in_which_they_are_listed_does_not_matter(queue: list[Waiting], room: int) -> None:
    assert call(queue, room, NOW) == call(sorted(queue, key=lambda each: each.experiment), room, NOW)


@given(queues, rooms)
def test_who_waits_on_is_told_how_many_begin_before_it(queue: list[Waiting], room: int) -> None:
    never_told = [Waiting(each.experiment, each.priority, each.since, each.expires_at) for each in queue]
    calls = call(never_told, room, NOW)
    waits = {name: place for name, place in calls.positions.items() if name not in calls.begins}
    assert sorted(waits.values()) == [*range(len(waits))]
    assert {*waits, *calls.begins, *calls.expired} == {each.experiment for each in queue}
    # Let all of them begin one by one: each does so when its turn has come.
    queue_left = [each for each in never_told if each.experiment in waits]
    for name in sorted(waits, key=waits.__getitem__):
        assert call(queue_left, 1, NOW).begins == (name,)
        queue_left = [each for each in queue_left if each.experiment != name]


@given(st.integers(0, 5_000))
def test_on_its_way_to_the_head_it_is_told_the_truth_in_the_end_and_not_too_often(position: int) -> None:
    told, news = position, 0
    for place in range(position - 1, -1, -1):
        if is_news(told, place):
            told, news = place, news + 1
        assert told == place or NEAR <= place <= told < 2 * place
    assert told == 0
    assert news <= NEAR + position.bit_length()


@given(st.integers(0, 5_000))
def test_what_was_told_is_no_news(position: int) -> None:
    assert is_news(None, position)
    assert not is_news(position, position)
