import numpy as np
import pytest

from schemas.base import Mode
from schemas.envelope import encode
from schemas.topics import SIGNAL_STATE
from serving.rolling import Rolling, Worth
from streams.decision import Moment
from streams.memory import HELD, HELD_BEFORE, ROLLED, SEED, Answered, SignalMemory, read_state, state_record
from streams.publisher import Outgoing
from streams.source import Record
from tests.unit.streams.fakes import NOW, as_read, bar, batch_answer, decided, tick

PLACE = ("alpha", "AAPL", "1h", "live")


def state(hours: int, partition: int = 0, revision: int = 0, mode: Mode = "live") -> Outgoing:
    answer = batch_answer(np.array([0.9]), ["AAPL"], worth=Worth(0.0))
    on = tick(hours, revision=revision, mode=mode)
    signal, answered = decided(on, answer, 0, None, Moment(NOW, NOW, False, session=bar(24)))
    return state_record(("alpha", "AAPL", "1h", signal.mode), encode(signal), answered, partition)


def memory(*states: Outgoing) -> SignalMemory:
    return SignalMemory(lambda partitions: [each for each in as_read(states) if each.partition in partitions])


def test_what_was_written_is_read_again() -> None:
    (record,) = as_read([state(3, revision=2)])
    place, answered = read_state(record)
    assert place == PLACE
    assert (answered.bar, answered.position, answered.position_before) == ((bar(3), 2), 1, 0)
    assert answered.rolling == Rolling.begun("2026-01-14", "1h", bar(24)).with_vote(bar(3), 0.9)
    assert (record.key, record.topic) == (b"alpha|AAPL|1h|live", SIGNAL_STATE.name)


def test_the_newest_state_of_the_partitions_at_hand_is_restored() -> None:
    found = memory(state(1, 4), state(2, 4), state(9, 5))
    found.restore([4])
    assert found.newest(PLACE) == read_state(as_read([state(2)])[0])[1]
    found.restore([5])
    assert found.newest(PLACE) == read_state(as_read([state(9)])[0])[1]


def test_of_a_place_in_two_partitions_the_newest_bar_counts_whichever_is_read_last() -> None:
    found = memory(state(9, 4), state(2, 5))
    found.restore([4, 5])
    newest = found.newest(PLACE)
    assert newest is not None
    assert newest.event_time == bar(9)


def test_of_a_replay_that_went_back_the_last_word_counts() -> None:
    found = memory(state(9, mode="replay"), state(2, mode="replay"))
    found.restore([0])
    newest = found.newest(("alpha", "AAPL", "1h", "replay"))
    assert newest is not None
    assert newest.event_time == bar(2)


def test_partitions_of_ticks_beyond_those_of_the_states_share_them() -> None:
    found = memory(state(7, 12))
    found.restore([4, 12])
    newest = found.newest(PLACE)
    assert newest is not None
    assert newest.event_time == bar(7)
    assert {each.partition for each in (state(7, 12), state(7, 4))} == {4}


def test_a_tombstone_is_passed_over() -> None:
    SignalMemory(lambda partitions: [Record(SIGNAL_STATE.name, 0, 0, b"key", None)]).restore([0])


@pytest.mark.parametrize(
    "foreign",
    [
        Outgoing(SIGNAL_STATE.name, b"key", b"{}", partition=4),
        state(9, 4)._replace(headers=((HELD, b"much"),)),
        state(9, 4)._replace(headers=((HELD, b"\xff"),)),
        state(9, 4)._replace(headers=((HELD_BEFORE, b"2"),)),
    ],
    ids=["no signal", "no number", "no text", "no position"],
)
def test_what_is_no_state_is_passed_over_and_the_others_are_restored(foreign: Outgoing) -> None:
    found = memory(state(1, 4), foreign, state(2, 4))
    found.restore([4])
    newest = found.newest(PLACE)
    assert newest is not None
    assert newest.event_time == bar(2)


@pytest.mark.parametrize(("seed", "rolled"), [(b"2026-01-14", b"\x00" * 23), (b"\xff", b"")])
def test_of_a_state_with_a_calibration_that_cannot_be_read_what_is_held_counts(seed: bytes, rolled: bytes) -> None:
    found = memory(state(2)._replace(headers=((HELD, b"1"), (SEED, seed), (ROLLED, rolled))))
    found.restore([0])
    newest = found.newest(PLACE)
    assert newest is not None
    assert (newest.event_time, newest.position, newest.rolling) == (bar(2), 1, None)


def test_what_is_remembered_replaces_what_was() -> None:
    found = memory()
    assert found.newest(PLACE) is None
    for hours in (1, 2):
        answered = Answered(bar(hours), 0, "0" * 32, 1, 0)
        found.remember(PLACE, answered)
        assert found.newest(PLACE) == answered


def test_what_was_read_before_an_answer_is_known_in_its_partition() -> None:
    answered = Answered(bar(1), 0, "0" * 32, 1, 0, None, (4, 17))
    (record,) = as_read([state_record(PLACE, state(1).value or b"", answered, 4)])
    _, found = read_state(record)
    assert found.read == (4, 17)
    assert [found.knows(*each) for each in ((4, 17), (4, 3), (4, 18), (5, 3))] == [True, True, False, False]
    assert not Answered(bar(1), 0, "0" * 32, 1, 0).knows(4, 3)
