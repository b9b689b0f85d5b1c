"""`orchestrator dead-letters`: what could not be handled, why, and having it handled after all."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.base import format_instant
from streams.display import show_rows
from streams.terminal import WRONG_USE, broker_troubles, connection, console, fail, settings

if TYPE_CHECKING:
    # Imported when a command is called: `--help` must be quick.
    from orchestrator.api.ports import Letter
    from schemas.topics import Topic

app = typer.Typer(no_args_is_help=True, help="What could not be handled: why, and having it handled after all.")
Partition = Annotated[int, typer.Argument(min=0)]
Offset = Annotated[int, typer.Argument(min=0)]
Of = Annotated[str, typer.Option("--topic", help="Where they lie; the topic that they came from will do.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@app.command("list")
def every(
    topic: Annotated[str | None, typer.Option(help="Of one topic; absent: of all.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The newest dead letters, newest first."""
    from streams.letters import DEAD_LETTERS, newest

    topics = DEAD_LETTERS if topic is None else (_topic(topic),)
    with broker_troubles():
        found = newest(connection(settings()), limit, topics)
    if as_json:
        for each in found:
            typer.echo(json.dumps(_document(each)))
    elif found:
        show_rows(console, ("topic", "partition", "offset", "given up", "key", "why"), [*map(_row, found)])
    else:
        console.print("there is no dead letter", highlight=False)


@app.command()
def show(partition: Partition, offset: Offset, topic: Of = "search-requests.dlq", as_json: AsJson = False) -> None:
    """A dead letter: every reason, and the original as it came."""
    from streams.letters import letter_of, record_at

    place = _topic(topic).name, partition, offset
    with broker_troubles():
        record = record_at(connection(settings()), *place)
    letter = None if record is None else letter_of(record)
    if letter is None:
        raise fail(f"there is no dead letter at {place[0]} {partition} {offset}: `orchestrator dead-letters list`")
    if as_json:
        typer.echo(json.dumps(_document(letter)))
        return
    console.print(
        f"from {letter.came_from} {letter.its_partition} {letter.its_offset}, given up "
        f"{format_instant(letter.buried_at)}, key {_text(letter.key)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    for reason in letter.reasons:
        console.print(f"  {reason.where or '-'}: {reason.message} [{reason.code}]", highlight=False, markup=False)
    console.print(_text(letter.value), highlight=False, markup=False, soft_wrap=True)


@app.command()
def resend(partition: Partition, offset: Offset, topic: Of = "search-requests.dlq") -> None:
    """Produce a dead letter's original again to the topic that it came from, once what was wrong has been put right."""
    from schemas.commands import ResendDeadLetter
    from streams.ordering import identified, settle

    letters = _topic(topic)
    settle(identified(ResendDeadLetter, {"topic": letters.name, "partition": partition, "offset": offset}))
    console.print(f"sent again to {letters.name.removesuffix('.dlq')}", highlight=False)


def _topic(name: str) -> "Topic":
    from streams.letters import DEAD_LETTERS

    for topic in DEAD_LETTERS:
        if name in (topic.name, topic.name.removesuffix(".dlq")):
            return topic
    known = ", ".join(topic.name for topic in DEAD_LETTERS)
    raise fail(f"{name} holds no dead letters: those topics are {known}", WRONG_USE)


def _row(letter: "Letter") -> tuple[str, ...]:
    why = "; ".join(f"{each.where}: {each.message}" if each.where else each.message for each in letter.reasons)
    place = (letter.topic, str(letter.partition), str(letter.offset), format_instant(letter.buried_at))
    return (*place, _text(letter.key)[:40], why[:200])


def _document(letter: "Letter") -> dict[str, Any]:
    """A letter as JSON; bytes that are no UTF-8 are replaced, `kcat` has them as they are."""
    return {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "came_from": letter.came_from,
        "its_partition": letter.its_partition,
        "its_offset": letter.its_offset,
        "buried_at": format_instant(letter.buried_at),
        "reasons": _dumped(letter),
        "key": None if letter.key is None else _text(letter.key),
        "value": None if letter.value is None else _text(letter.value),
    }


def _dumped(letter: "Letter") -> Sequence[Any]:
    return [each.model_dump(mode="json") for each in letter.reasons]


def _text(value: bytes | None) -> str:
    return "-" if value is None else value.decode(errors="backslashreplace")
