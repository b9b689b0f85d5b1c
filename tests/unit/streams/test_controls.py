"""What a worker knows of the halts, given the records of `control`."""

from datetime import timedelta

import pytest

from schemas.control import Halt, HaltAction, Lift
from schemas.envelope import Undecodable
from schemas.topics import CONTROL
from streams.controls import Controls, Custody, order_in, reason
from streams.source import Record
from tests.unit.streams.fakes import NOW, Clock, FakePublisher

MINUTE = timedelta(minutes=1)


def halt(
    offset: int, scope: str = "all", action: HaltAction = "flatten", epoch: int = 1, minutes: int | None = None
) -> Record:
    said = Halt(
        scope=scope,
        epoch=epoch,
        actor="desk",
        issued_at=NOW,
        action=action,
        reason="bad prices",
        expires_at=None if minutes is None else NOW + minutes * MINUTE,
    )
    return Record(CONTROL.name, 0, offset, scope.encode(), said.model_dump_json().encode())


def lift(offset: int, scope: str = "all", epoch: int = 2) -> Record:
    said = Lift(scope=scope, epoch=epoch, actor="desk", issued_at=NOW)
    return Record(CONTROL.name, 0, offset, scope.encode(), said.model_dump_json().encode())


def bad(offset: int, key: bytes | None = b"all", value: bytes | None = b"{}") -> Record:
    return Record(CONTROL.name, 0, offset, key, value)


async def knowing(*records: Record) -> Controls:
    controls = Controls({}, Clock(), lambda error: None)
    await controls._take(records)
    return controls


def actions(controls: Controls, minutes: int = 0) -> list[str | None]:
    """What alpha is under in AAPL and in MSFT, and beta in AAPL."""
    places = (("alpha", "AAPL"), ("alpha", "MSFT"), ("beta", "AAPL"))
    found = [controls.on(*place, NOW + minutes * MINUTE) for place in places]
    return [None if each is None else each.action for each in found]


async def test_without_a_halt_there_is_no_effect() -> None:
    assert actions(await knowing()) == [None, None, None]
    assert actions(await knowing(halt(0), lift(1))) == [None, None, None]


async def test_the_strictest_halt_that_holds_a_place_is_in_effect_until_it_expires() -> None:
    controls = await knowing(
        halt(0, "all", "halt_new"),
        halt(1, "ticker:AAPL", "flatten", minutes=2),
        halt(2, "ensemble:alpha", "reduce_only"),
    )
    assert actions(controls) == ["flatten", "reduce_only", "flatten"]
    assert actions(controls, minutes=2) == ["reduce_only", "reduce_only", "halt_new"]


async def test_what_comes_later_changes_what_was_asked_before() -> None:
    controls = await knowing(halt(0, action="halt_new"))
    assert actions(controls) == ["halt_new"] * 3
    await controls._take([halt(1, action="flatten", epoch=2)])
    assert actions(controls) == ["flatten"] * 3
    await controls._take([halt(2, action="halt_new", epoch=1), lift(3, epoch=1)])
    assert actions(controls) == ["flatten"] * 3
    await controls._take([lift(4, epoch=3)])
    assert actions(controls) == [None] * 3


async def test_what_is_read_again_is_no_news() -> None:
    controls = await knowing(halt(0))
    controls.changed.clear()
    await controls._take([halt(1)])
    assert not controls.changed.is_set()


async def test_a_signal_says_which_halt_it_is_under() -> None:
    found = (await knowing(halt(0, "ticker:AAPL", "reduce_only", 4))).on("alpha", "AAPL", NOW)
    assert found is not None
    assert (found.action, found.epoch, found.scope) == ("reduce_only", 4, "ticker:AAPL")
    said = reason(found)
    assert (said.code, said.message) == ("reduce_only", "ticker:AAPL is halted, reduce_only of epoch 4: bad prices")


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (bad(0, value=b"\xff"), "not_utf8"),
        (bad(0, value=b"halt!"), "not_json"),
        (bad(0), "schema"),
        (bad(0, value=None), "no_value"),
        (bad(0, b"ticker:AAPL", halt(0).value), "key_is_not_scope"),
        (bad(0, None, halt(0).value), "key_is_not_scope"),
    ],
)
async def test_what_is_no_control_is_refused_by_its_reason_and_changes_nothing(record: Record, code: str) -> None:
    with pytest.raises(Undecodable) as refused:
        order_in(record)
    assert refused.value.reasons[0].code == code
    assert actions(await knowing(record)) == [None] * 3
    assert actions(await knowing(halt(0), record)) == ["flatten"] * 3


async def kept(*records: Record) -> tuple[list[bytes | None], list[bytes | None]]:
    """What custody buries, and what it writes again."""
    publisher = FakePublisher()
    await Custody(await knowing(*records), publisher, Clock()).take(records)
    buried, again = ([each.value for each in publisher.on(topic)] for topic in (CONTROL.dead_letters, CONTROL.name))
    return buried, again


async def test_good_controls_are_left_as_they_are() -> None:
    assert await kept(halt(0), halt(1, "ticker:AAPL"), lift(2), halt(3, epoch=3)) == ([], [])


async def test_what_is_no_control_is_buried_and_the_next_is_read() -> None:
    assert await kept(bad(0, b"nobody", b"?"), halt(1)) == ([b"?"], [])


@pytest.mark.parametrize(
    ("displacing", "letters"),
    [
        (halt(2, action="halt_new", epoch=4), 0),
        (lift(2, epoch=4), 0),
        (bad(2), 1),
        (bad(2, value=None), 1),
        (bad(2, b"all", lift(0, "ticker:IBM", 9).value), 1),
    ],
)
async def test_what_would_take_the_place_of_a_newer_halt_by_compaction_does_not(
    displacing: Record, letters: int
) -> None:
    stands = halt(1, epoch=5)
    buried, again = await kept(lift(0), stands, displacing)
    assert again == [stands.value]
    assert len(buried) == letters


async def test_what_was_displaced_and_then_replaced_is_not_written_again() -> None:
    assert await kept(halt(0, epoch=5), lift(1, epoch=4), halt(2, epoch=6)) == ([], [])
