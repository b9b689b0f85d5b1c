"""`orchestrator halt`, `lift` and `halts`: the kill switch. They need Kafka and nothing else."""

import getpass
import json
import os
import re
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.base import SHORT_TEXT, JsonObject, format_instant
from schemas.control import HaltAction
from schemas.envelope import Undecodable, decode
from schemas.topics import CONTROL
from streams.display import show_rows
from streams.terminal import WRONG_USE, broker_troubles, connection, console, fail, instant, settings

if TYPE_CHECKING:
    # Imported when a command is called: `--help` must be quick.
    from orchestrator.core.halting import Order
    from streams.halting import Heard

HEADINGS = ("scope", "action", "until", "by", "since", "epoch", "reason")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

app = typer.Typer()

Scoped = Annotated[str, typer.Option(help="`all`, `ensemble:NAME` or `ticker:NAME`.")]
By = Annotated[str | None, typer.Option(help="Who says so; absent: the user and the machine.")]


@app.command()
def halt(
    reason: Annotated[str, typer.Option(help="For whoever reads signals and logs.")],
    scope: Scoped = "all",
    action: Annotated[HaltAction, typer.Option(help="How strict; flatten closes what is held.")] = "reduce_only",
    for_: Annotated[str | None, typer.Option("--for", help="Until so long from now, such as 90s, 30m, 2h, 1d.")] = None,
    until: Annotated[str | None, typer.Option(help="Until a time (RFC 3339). Absent, as --for: until lifted.")] = None,
    actor: By = None,
) -> None:
    """Halt trading: nothing new is opened (halt_new), what is held only shrinks (reduce_only), or goes (flatten)."""
    now = datetime.now(UTC)
    said = {"scope": scope, "action": action, "reason": reason, "actor": actor or _somebody()}
    _give(_order({"control": "halt", **said, "expires_at": _expiry(now, for_, until)}, now))


@app.command()
def lift(scope: Scoped = "all", actor: By = None) -> None:
    """End the halt of a scope; those of other scopes stay."""
    from orchestrator.core.halting import in_effect
    from streams.halting import known

    now = datetime.now(UTC)
    order = _order({"control": "lift", "scope": scope, "actor": actor or _somebody()}, now)
    with broker_troubles():
        others = in_effect(known(connection(settings())), now)
    if others.pop(scope, None) is None:
        console.print(f"nothing halts {scope}", highlight=False)
    else:
        _give(order)
    if others:
        console.print(f"still halted: {', '.join(others)}", highlight=False, soft_wrap=True)


@app.command()
def halts() -> None:
    """The halts in effect."""
    from orchestrator.core.halting import in_effect
    from streams.halting import known

    with broker_troubles():
        found = in_effect(known(connection(settings())), datetime.now(UTC))
    if not found:
        console.print("nothing is halted", highlight=False)
        return
    rows = [
        (
            each.scope,
            each.action,
            "lifted" if each.expires_at is None else format_instant(each.expires_at),
            each.actor,
            format_instant(each.issued_at),
            str(each.epoch),
            each.reason,
        )
        for each in found.values()
    ]
    show_rows(console, HEADINGS, rows)


def _give(order: "Order") -> None:
    """Write a halt or lift, and wait for the running workers; where it does not act, the program ends with 1."""
    from streams.halting import EpochsUsedUp, heard, issue, workers
    from streams.requesting import NotProduced

    config = connection(settings())
    with broker_troubles(), workers(config) as reader:
        try:
            issued = issue(config, order)
        except (NotProduced, EpochsUsedUp) as error:
            raise fail(str(error)) from None
        if issued.overtaken:
            raise fail(f"overtaken: {_told(issued.stands)} by {issued.stands.actor} stands")
        console.print(_told(issued.order), highlight=False, soft_wrap=True)
        _say(heard(reader, issued.order))


def _say(found: "Heard") -> None:
    if found.lack or (found.have and found.silent):
        waiting = sorted(found.lack | found.silent)
        raise fail(
            f"it stands on {CONTROL.name}, but not every worker has said that it follows it: not yet on the partitions "
            f"{', '.join(map(str, waiting))} of signals"
        )
    if found.have:
        console.print("every worker follows it", highlight=False)
    else:
        console.print(
            "no worker is heard of: it stands, and one that starts follows it before its first tick",
            highlight=False,
            soft_wrap=True,
        )


def _told(order: "Order") -> str:
    if order.control == "lift":
        return f"{order.scope}: lifted, epoch {order.epoch}"
    until = "lifted" if order.expires_at is None else format_instant(order.expires_at)
    return f"{order.scope}: {order.action} until {until}, epoch {order.epoch}"


def _order(fields: JsonObject, now: datetime) -> "Order":
    """A halt or lift that was given now; it gets its epoch when it is written."""
    try:
        value = json.dumps({"epoch": 0, "issued_at": format_instant(now), **fields})
        order: Order = decode(CONTROL.messages, value.encode())
    except Undecodable as error:
        raise fail("\n".join(f"{each.where}: {each.message}" for each in error.reasons), WRONG_USE) from None
    return order


def _expiry(now: datetime, span: str | None, until: str | None) -> str | None:
    if span is not None and until is not None:
        raise fail("--for and --until are two words for one thing: give one of them", WRONG_USE)
    if until is not None:
        moment = instant(until)
        if moment <= now:
            raise fail(f"{until} has passed: the halt would not act", WRONG_USE)
        return format_instant(moment)
    return None if span is None else format_instant(now + _span(span))


def _span(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,4})([smhd])", text)
    if match is None:
        raise fail(f"{text} is no span of time: write 90s, 30m, 2h or 1d", WRONG_USE)
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


def _somebody() -> str:
    """The user and the machine; a container's user may have no name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:SHORT_TEXT]
