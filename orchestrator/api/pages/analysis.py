"""Of an experiment's page: what its hyper-parameters decide, its lineage, its events."""

import asyncio
import json

from nicegui import ui

from orchestrator.api.pages import charts, weighing
from orchestrator.api.pages.live import Refresh
from orchestrator.api.pages.look import figure, moment, words
from orchestrator.api.pages.parts import Text, empty, panel, sentence
from orchestrator.api.ports import Faces
from orchestrator.api.reading import Reading
from orchestrator.api.views import Dot, ExperimentDetail
from orchestrator.store import looking
from schemas.base import JsonObject
from schemas.topics import EXPERIMENT_EVENTS

MOST_EVENTS = 100
MOST_SCORES = 3000
HIDDEN = ("event", "experiment", "request_id", "sequence", "emitted_at", "schema_version", "data_hash", "search_key")


def parameters(reading: Reading, found: ExperimentDetail) -> Refresh:
    """Which hyper-parameters decide, and how configurations went."""
    with ui.element("div").classes("beside"):
        with panel("What decides"):
            weights = ui.element("div").style("width: 100%")
        with panel("Configurations"):
            lines = ui.element("div").style("width: 100%")
    drawn: list[Dot] = []

    async def refresh() -> None:
        nonlocal drawn
        dots = [each for each in await reading.dots(found.name) if each.metric is not None]
        if dots == drawn and (dots or lines.default_slot.children):
            return
        drawn = dots
        higher = found.mode == "max"
        shares, (options, shown) = await asyncio.gather(
            asyncio.to_thread(weighing.shares, dots, higher),
            asyncio.to_thread(charts.parallel, dots, words(found.compared_by), higher),
        )
        _weights(weights, shares, len(dots))
        lines.clear()
        with lines:
            if not dots:
                empty("No trial has a score yet.")
                return
            ui.echart(options, renderer="svg").classes("chart tall").props(
                'role="img" aria-label="Parallel coordinates"'
            )
            some = (
                f"The best and, of the others, every so many: {shown} of {len(dots):,} trials. "
                if shown < len(dots)
                else ""
            )
            sentence(
                f"{some}Each line is a configuration; the greener it is, the better is its {words(found.compared_by)}."
            )

    return refresh


def _weights(box: ui.element, shares: dict[str, float] | None, scored: int) -> None:
    box.clear()
    with box:
        if shares is None:
            empty(
                f"{scored} trials have a score; an estimate needs {weighing.LEAST_TRIALS}, different from one another."
            )
            return
        ui.echart(charts.importance(shares), renderer="svg").classes("chart").props(
            'role="img" aria-label="Importance of hyper-parameters"'
        ).style(f"height: {60 + 34 * len(shares)}px")
        sentence(
            "How far the best tenth of the trials differs from all of them in each hyper-parameter, as shares of the "
            "whole (PED-ANOVA, by Optuna). A low share means that its value hardly matters within what was tried."
        )


def lineage(faces: Faces, found: ExperimentDetail) -> Refresh:
    """A population's scores by generation."""
    with panel("Lineage by generation"):
        tickers = list(found.tickers) if found.strategy == "pbt" else []
        chosen = ui.select(tickers, value=tickers[0], label="Ticker").props("outlined dense") if tickers else None
        box = ui.element("div").style("width: 100%")

    async def refresh() -> None:
        async with faces.database.snapshot() as tx:
            scores = await looking.lineage(tx, found.name, found.metric, MOST_SCORES)
        mine = [each for each in scores if chosen is None or chosen.value in each.tickers]
        box.clear()
        with box:
            if not mine:
                empty("No generation has been scored yet.")
                return
            ui.echart(charts.lineage(mine, words(found.compared_by)), renderer="svg").classes("chart tall").props(
                'role="img" aria-label="Scores by generation"'
            )
            sentence(
                "Each point is a trial's score in a generation. Grey lines: it trains on as it is. Green dashes: the "
                "worst quarter was replaced by mutated clones of the best."
            )

    if chosen is not None:
        chosen.on_value_change(refresh)
    return refresh


def log(faces: Faces, name: str) -> Refresh:
    """What was told of the experiment."""
    with panel("Event log"):
        box = ui.element("div").classes("log")
        note = sentence("")
    shown: list[tuple[object, bytes]] = []

    async def refresh() -> None:
        nonlocal shown
        async with faces.database.snapshot() as tx:
            events = await looking.told(tx, EXPERIMENT_EVENTS, name, MOST_EVENTS)
        if events == shown and box.default_slot.children:
            return
        shown = [*events]
        box.clear()
        with box:
            for at, value in events:
                event = json.loads(value)
                Text("span", moment(at)).classes("num quiet")
                with Text("div", "").classes("wrap"):
                    Text("b", words(event["event"]))
                    Text("span", _line(event)).classes("quiet")
        kept = (
            "Older events are on the topic experiment-events. "
            if events and json.loads(events[-1][1])["sequence"] > 1
            else ""
        )
        note._text = (
            f"{kept}Newest first, in UTC."
            if events
            else "Nothing is kept here any more; see the topic experiment-events."
        )
        note.update()

    return refresh


def _line(event: JsonObject) -> str:
    """What an event says besides its name."""
    told = {name: value for name, value in event.items() if name not in HIDDEN and value not in (None, [], {}, ())}
    verdict = told.pop("verdict", None)
    if verdict is not None:
        told |= {name: verdict[name] for name in ("deflated_sharpe", "active_deflated_sharpe", "required")}
    return "".join(f" · {words(name)} {_figure(value)}" for name, value in told.items())


def _figure(value: object) -> str:
    if isinstance(value, float):
        return figure(value, 3)
    if isinstance(value, list):
        listed = [each.get("message") or each.get("trial") if isinstance(each, dict) else str(each) for each in value]
        return ", ".join(map(str, listed[:8])) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")
    if isinstance(value, dict):
        return ", ".join(f"{name} {_figure(each)}" for name, each in value.items())
    return str(value)
