"""The page of one signal: all that has led to it."""

from collections.abc import Iterator
from contextlib import contextmanager

from nicegui import ui

from orchestrator.api.causes import caused
from orchestrator.api.lineage import SignalLineage, TracedMember, of_signal
from orchestrator.api.pages.look import HELD, MARKS, NONE, TONES, figure, moment, percent, place, said, words
from orchestrator.api.pages.parts import Text, empty, fact, facts, heading, panel, pill, reasons, sentence
from orchestrator.api.pages.shell import frame
from orchestrator.api.pages.tables import Column, Listing, Row, link, long
from orchestrator.api.ports import Faces, Sought, Unreachable
from orchestrator.api.reading import NotFound, Reading
from orchestrator.store.errors import DatabaseAway
from orchestrator.store.listing import Page
from schemas.signals import Signal
from schemas.topics import SIGNALS_BY_MODE

MOST_RECORDS = 1_000_000
MOST_HEARD = 1000
MEMBERS = (
    Column("member", "Member"),
    Column("vote", "Vote"),
    Column("weight", "Weight", figures=True, narrow=False),
    Column("metric", "Metric", figures=True),
    Column("configuration", "Configuration", narrow=False),
    Column("trained", "Trained by", narrow=False),
    Column("fingerprint", "Fingerprint", narrow=False),
    Column("artifact", "Model", narrow=False),
    Column("data", "Data", narrow=False),
)


def add(faces: Faces, reading: Reading) -> None:
    """Add the page."""

    @ui.page("/signals/{signal_id}", response_timeout=60)
    async def signal(signal_id: str, ticker: str | None = None) -> None:
        with frame(faces, "Signal", "Signals"):
            try:
                found = await of_signal(faces.database, signal_id, await _sought(faces, signal_id, ticker))
            except NotFound as unknown:
                empty(f"{str(unknown).capitalize()}.", "All signals", "/signals")
                return
            except (Unreachable, DatabaseAway) as trouble:
                empty(str(trouble), "All signals", "/signals")
                return
            await _build(found)


async def _sought(faces: Faces, signal_id: str, ticker: str | None) -> Sought:
    """The signal: of those that were heard lately, else as Kafka has it."""
    topics = {topic.name for topic in SIGNALS_BY_MODE.values()}
    for event in faces.feed.recent(topics, MOST_HEARD):
        if isinstance(event.message, Signal) and event.message.id == signal_id:
            ticker = event.message.ticker
    return await faces.kafka.signal(signal_id, ticker, MOST_RECORDS)


async def _build(found: SignalLineage) -> None:
    signal, version = found.signal, found.version
    with ui.element("div").classes("head"):
        heading(f"{signal.ticker} at {moment(signal.event_time)} UTC", 1)
        pill(MARKS[signal.signal], TONES[signal.signal])
        pill(signal.mode, "accent")
    with panel(), facts():
        fact("Ensemble", f"{found.ensemble}, version {version.version}")
        fact("Hold", HELD.get(signal.target_position, NONE))
        fact("Score", figure(signal.score, 3))
        fact("Confidence", figure(signal.confidence))
        fact("Edge, bps", figure(signal.edge_bps, 1))
        fact("Price", figure(signal.price))
        fact("Said at (UTC)", moment(signal.emitted_at))
        fact("Lies at", f"{found.found.topic}, {found.found.partition}, {found.found.offset}")
    if signal.reasons:
        with panel("Why it did not act on its score"):
            reasons(signal.reasons)
    with ui.element("div").classes("beside"):
        with panel("What was asked, and why"):
            _asked(found)
        with panel("What let it be heard"):
            _let(found)
    with panel("Members"):
        votes = {each.member: each.vote for each in signal.votes}

        async def members(page: Page) -> tuple[int, list[Row]]:
            return len(found.members), [_member(each, votes.get(each.member, NONE)) for each in found.members]

        await Listing(MEMBERS, members, rows=0).refresh()
    with panel("Champions before"):
        if not found.champions:
            sentence(f"Version {version.version} is the first of {found.ensemble} that served.")
        with ui.element("ol").classes("timeline"):
            for each in found.champions:
                with ui.element("li").classes(TONES.get(each.state, "quiet")):
                    Text("b", f"version {each.version}")
                    Text("span", f" {words(each.state)}, served from {moment(each.deployed_at)} UTC").classes("at")
                    Text("div", "; ".join(reason.message for reason in each.reasons)).classes("quiet")


@contextmanager
def _trace() -> Iterator[None]:
    with ui.element("dl").classes("trace"):
        yield


def _line(name: str, text: str, leads: str | None = None) -> None:
    Text("dt", name)
    with Text("dd", "" if leads else text):
        if leads:
            ui.link(text, leads)


def _asked(found: SignalLineage) -> None:
    searched = found.experiment
    with _trace():
        if searched is None:
            _line("Search", "none: its members are registered models")
        else:
            _line("Search", searched.name, f"/experiments/{searched.name}")
            asked = searched.request
            _line("What", f"{words(asked.strategy)}, {asked.algorithm}, {searched.trials:,} trials")
            plan = searched.folds
            held = f", {plan.holdout} sessions held out" if plan.holdout else ""
            _line("Folds", f"{plan.folds} after the first {percent(plan.initial, 0)} of the bars{held}")
            for ticker, digest in (searched.data_hash or {}).items():
                _line(f"Data of {ticker}", digest)
        for each in found.requests:
            by = f", by {each.requested_by}" if each.requested_by else ""
            _line("Request", f"{each.request_id}, {each.outcome.value} {moment(each.received_at)} UTC{by}")
            if each.cause:
                _line("Cause", caused(each.cause))
            if each.parent:
                _line("Follows", each.parent, f"/experiments/{each.parent}")
        if found.trigger is not None:
            joined = f"; {len(found.trigger.joined)} joined it" if found.trigger.joined else ""
            of_it = f" of version {found.trigger.version}"
            _line("Trigger", f"{words(found.trigger.kind)}{of_it}, {moment(found.trigger.fired_at)} UTC{joined}")


def _let(found: SignalLineage) -> None:
    version, verdict = found.version, found.version.verdict
    outcome = "passed" if verdict.passed else "overridden" if verdict.overridden else "refused"
    with _trace():
        _line("Gate", outcome)
        _line("Not luck", f"{percent(verdict.deflated_sharpe)} of {percent(verdict.required)} required")
        _line("Configurations ever tried", f"{verdict.trials:,}")
        if verdict.looks:
            _line("Look at the hold-out", f"number {verdict.looks}, {percent(verdict.holdout_psr)}")
        for look in found.looks:
            span = f"{look.span_start:%Y-%m-%d} to {look.span_end:%Y-%m-%d}"
            _line("Looked at", f"{span}, number {look.number} in its lineage")
        for reason in verdict.reasons:
            _line("Reason", reason.message)
        if found.command is not None:
            given = found.command.command
            by = f" by {given['actor']}" if given.get("actor") else ""
            what = words(str(given.get("command", "command")))
            _line("Command", f"{what} {found.command.command_id}{by}, {moment(found.command.received_at)} UTC")
        _line("Version", f"{version.version}, {words(version.state)}", f"/ensembles/{found.ensemble}")
        _line("Deployed", "never" if version.deployed_at is None else f"{moment(version.deployed_at)} UTC")
        _line("Trained through", f"{moment(version.trained_through)} UTC")
        _line("Digest", version.digest)


def _member(each: TracedMember, vote: str) -> Row:
    trained = each.trained_by or ("its search" if each.data_hash else "registered")
    return {
        "id": each.member,
        "member": each.member,
        "vote": vote,
        "weight": figure(each.weight, 3),
        "metric": figure(each.metric, 3),
        "configuration": long(said(each.configuration)),
        "trained": link(each.trained_by, place("experiments", each.trained_by)) if each.trained_by else trained,
        "fingerprint": long((each.fingerprint or NONE)[:12], each.fingerprint or ""),
        "artifact": long(each.artifact[:12], each.artifact),
        "data": long((each.data_hash or NONE)[:12], each.data_hash or ""),
    }
