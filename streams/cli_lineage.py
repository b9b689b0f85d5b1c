"""`orchestrator lineage`: what a signal goes back to."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.base import format_instant
from streams.display import Display, show_rows
from streams.following import figure
from streams.terminal import asked, broker_troubles, connection, console, fail, settings

if TYPE_CHECKING:
    # Imported when a command is called: `--help` must not load the store.
    from orchestrator.api.lineage import SignalLineage
    from orchestrator.api.ports import Sought
    from orchestrator.store.database import Database

MOST_RECORDS = 5_000_000


def lineage(
    signal_id: Annotated[str, typer.Argument(help="The signal's id.")],
    ticker: Annotated[
        str | None, typer.Option(help="Its instrument: then an eighth of the topics is looked through.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Records after which it is looked for no further.")] = MOST_RECORDS,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, as REST answers it.")] = False,
) -> None:
    """Tell what a signal goes back to: version, members, data, request, cause, gate, and the champions before."""
    from orchestrator.api.lineage import of_signal
    from orchestrator.api.reading import NotFound

    sought = _sought(signal_id, ticker, limit, quiet=as_json)

    async def read(database: "Database") -> "SignalLineage":
        try:
            return await of_signal(database, signal_id, sought)
        except NotFound as error:
            more = "" if all(each.whole for each in sought.looked) else "; --limit looks further"
            raise fail(f"{error}{more}") from None

    found = asked(read)
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json")))
        return
    show_rows(console, ("", signal_id), [*_about(found)])
    console.print()
    rows = [
        (
            each.member,
            each.trial,
            f"{each.weight:g}",
            figure(each.metric),
            each.trained_by or "-" if each.data_hash else "registered",
            (each.fingerprint or "-")[:12],
            each.artifact[:12],
            ", ".join(f"{name}={value}" for name, value in each.configuration.items()),
        )
        for each in found.members
    ]
    headings = ("member", "trial", "weight", "metric", "known from", "fingerprint", "artifact", "configuration")
    show_rows(console, headings, rows)


def _sought(signal_id: str, ticker: str | None, limit: int, *, quiet: bool) -> "Sought":
    """What came of looking for the signal; how far that is shows while it goes on."""
    from streams.finding import find

    config = connection(settings())
    with broker_troubles():
        if quiet:
            return find(config, signal_id, ticker, limit)
        with Display(console).activity("looking for the signal") as activity:
            return find(
                config, signal_id, ticker, limit, lambda read: activity.advance_to(0, None, f"{read:,} records")
            )


def _about(found: "SignalLineage") -> Iterator[tuple[str, str]]:
    from orchestrator.api.causes import caused

    signal, version, place = found.signal, found.version, found.found
    target = "no opinion" if signal.target_position is None else f"hold {signal.target_position:+d}"
    yield (
        "signal",
        f"{signal.signal} of {signal.ticker} at {format_instant(signal.event_time)}, {target}, {signal.mode}",
    )
    yield "lies at", f"{place.topic}, partition {place.partition}, offset {place.offset}"
    yield "of", f"version {version.version} of {found.ensemble}, {version.state.value}, digest {version.digest}"
    yield (
        "votes",
        f"{version.voting}, threshold {version.threshold:g}; trained through {version.trained_through:%Y-%m-%d}",
    )
    if found.experiment is not None:
        searched, plan = found.experiment, found.experiment.folds
        yield "experiment", f"{searched.name}, {searched.state.value}, {searched.trials} trials"
        yield "folds", f"{plan.folds} after the first {plan.initial:.0%}, {plan.holdout} sessions held out"
        for ticker, digest in (searched.data_hash or {}).items():
            yield "data", f"{ticker} {digest}"
    for request in found.requests:
        by, why = request.requested_by or "-", caused(request.cause)
        when = format_instant(request.received_at)
        yield "request", f"{request.request_id}, {request.outcome.value} {when}, by {by}{f': {why}' if why else ''}"
    if found.trigger is not None:
        joined = f"; {len(found.trigger.joined)} joined it" if found.trigger.joined else ""
        yield "trigger", f"{caused(found.trigger.cause)}, of version {found.trigger.version}{joined}"
    yield "gate", _gate(found)
    for reason in version.verdict.reasons:
        yield "", str(reason)
    for look in found.looks:
        span = f"{look.span_start:%Y-%m-%d} to {look.span_end:%Y-%m-%d}"
        yield "look", f"number {look.number} at {span}, {format_instant(look.looked_at)}"
    if found.command is not None:
        said = found.command.command
        name, actor = said.get("command", "-"), said.get("actor") or "-"
        yield "command", f"{name} {found.command.command_id}, by {actor}, {format_instant(found.command.received_at)}"
    for each in found.champions:
        began = "-" if each.deployed_at is None else format_instant(each.deployed_at)
        yield (
            "before it",
            f"version {each.version}, {each.state.value}, served from {began}, of {each.experiment or '-'}",
        )


def _gate(found: "SignalLineage") -> str:
    verdict = found.version.verdict
    said = "passed" if verdict.passed else "overridden" if verdict.overridden else "refused"
    looks = f", look {verdict.looks} at the hold-out" if verdict.looks else ""
    luck = figure(verdict.deflated_sharpe)
    return f"{said}: not luck with probability {luck} of {verdict.required:g}, N = {verdict.trials:,}{looks}"
