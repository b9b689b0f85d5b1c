"""Of an ensemble's page: what would have it trained anew, what has, and the challenger beside the champion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nicegui import ui
from nicegui.events import ValueChangeEventArguments

from orchestrator.api import retraining
from orchestrator.api.pages import charts
from orchestrator.api.pages.asking import command, identity
from orchestrator.api.pages.chapters import Chapter, chapters, common
from orchestrator.api.pages.live import Refresh
from orchestrator.api.pages.look import NONE, figure, moment, percent, span, words
from orchestrator.api.pages.parts import (
    Text,
    answers,
    button,
    confirm,
    dialog,
    empty,
    fact,
    facts,
    heading,
    panel,
    pill,
    sentence,
)
from orchestrator.api.ports import Faces
from orchestrator.api.retraining import ChallengerView, ReadingView, Retraining
from schemas.commands import Promote, Retire, Retrain

NEAREST = 6
"""Readings that are seen at once; the others are a click away."""
MOST_CHAPTERS = 30
CLOSE = 0.8
"""How near a reading is that is worth looking at."""


@dataclass(frozen=True)
class Shown:
    """A reading as it is drawn: what differs less than that is not drawn anew."""

    detector: str
    of_it: str
    says: str
    percent: int
    tone: str


class _Part:
    """A part of the page that is drawn anew only when what it shows has changed: else it misses clicks on their way."""

    def __init__(self) -> None:
        self._box = ui.element("div").style("display: contents")
        self._shown: object = None

    def show(self, shown: object, draw: Callable[[], None]) -> None:
        """Draw it, unless it shows this already."""
        if shown != self._shown:
            self._shown = shown
            self._box.clear()
            with self._box:
                draw()


def section(faces: Faces, name: str) -> Refresh:
    """The section on the page that is being built; what it returns shows how things are."""
    trial = _Part()
    with ui.element("div").classes("beside"):
        with panel():
            head, near, notes = _Part(), _Part(), _Part()
        with panel("What happened"):
            timeline = _Part()
    open_ = False

    def opened(event: ValueChangeEventArguments[bool]) -> None:
        nonlocal open_
        open_ = event.value

    async def refresh() -> None:
        found = await retraining.of_ensemble(faces, name)
        story = chapters(found, await retraining.story(faces, name))[:MOST_CHAPTERS]
        trial.show((found.challenger, found.serving_version), lambda: _on_trial(faces, found))
        standing = _stands(found)
        head.show((standing, found.policy is None, found.serving_version), lambda: _head(faces, found, standing))
        readings = [_shown(each) for each in found.readings]
        near.show((readings, found.policy is None), lambda: _readings(found, readings, open_, opened))
        said = _notes(found)
        notes.show(said, lambda: _sentences(said))
        timeline.show(story, lambda: _timeline(story))

    return refresh


def _head(faces: Faces, found: Retraining, standing: tuple[str, str]) -> None:
    """What can be done."""
    with ui.element("div").classes("head"):
        heading("Retraining")
        pill(*standing)
        ui.element("div").classes("grow")
        if found.policy is not None and found.serving_version is not None:
            button("Retrain now", lambda: _ask_retrain(faces, found.ensemble), icon="model_training")
        leads = f"/ensembles/{found.ensemble}/policy"
        button("Change policy" if found.policy else "Set a policy", lambda: ui.navigate.to(leads), icon="rule")


def _readings(
    found: Retraining,
    readings: Sequence[Shown],
    open_: bool,
    opened: Callable[[ValueChangeEventArguments[bool]], None],
) -> None:
    """What would trigger, and how near it is."""
    if found.policy is None:
        empty(
            "Nothing trains this ensemble anew by itself. A policy says when: by the calendar, by age, where it earns "
            "less than it should, or where its features drift."
        )
        return
    if not readings:
        sentence(
            "Nothing fires by itself: it is trained anew when somebody asks."
            if found.serving_version is not None
            else "Detectors read what the version that serves is told, and none serves."
        )
    with ui.element("div").style("width: 100%"):
        for each in readings[:NEAREST]:
            _reading(each)
    if len(readings) > NEAREST:
        more = ui.expansion(f"{len(readings) - NEAREST} more that are further away", value=open_)
        with more.on_value_change(opened).classes("section"):
            for each in readings[NEAREST:]:
                _reading(each)


def _notes(found: Retraining) -> list[str]:
    """What else decides whether a rule that fires triggers."""
    if found.policy is None:
        return []
    rule = found.policy.policy
    budget = "" if rule.trials_per_day is None else f" of {rule.trials_per_day:,}"
    held = [f"What fires now waits or joins: {reason.message}." for reason in found.held_back]
    cooldown = f"After a trigger others join it for {span(3600 * rule.cooldown_hours)}."
    return [*held, f"{cooldown} {found.trials_today:,}{budget} trials were triggered within 24 hours."]


def _sentences(said: Sequence[str]) -> None:
    for each in said:
        sentence(each).classes("small")


def _stands(found: Retraining) -> tuple[str, str]:
    """How near anything is, and its tone."""
    if found.policy is None:
        return "no policy", ""
    if any(each.fires for each in found.readings):
        return "a rule fires", "bad"
    if any((each.nearness or 0.0) >= CLOSE for each in found.readings):
        return "a rule is close", "warn"
    return "quiet", "good"


def _shown(each: ReadingView) -> Shown:
    near = each.nearness or 0.0
    return Shown(
        detector=words(each.reading.detector),
        of_it=" · ".join(part for part in (each.reading.feature, each.reading.ticker) if part),
        says=says(each),
        percent=round(100 * near),
        tone="bad" if each.fires else "warn" if near >= CLOSE else "",
    )


def _reading(each: Shown) -> None:
    with ui.element("div").classes("reading"):
        with Text("div", ""):
            Text("b", each.detector.capitalize())
            if each.of_it:
                Text("span", f" {each.of_it}").classes("quiet")
        gauge = ui.element("div").classes(f"gauge {each.tone}").props('role="meter" aria-valuemin=0 aria-valuemax=100')
        gauge.props["aria-valuenow"] = each.percent
        gauge.props["aria-label"] = " ".join(f"How near {each.detector} {each.of_it} is to firing".split())
        with gauge:
            ui.element("b").style(f"width: {each.percent}%")
        Text("div", each.says).classes(f"says {each.tone}")


def says(each: ReadingView) -> str:
    """A reading beside what it fires at, in words."""
    reading, streak = each.reading, each.reading.streak
    if reading.figure is None:
        return "not enough to tell yet"
    match reading.detector:
        case "schedule":
            return "due" if each.fires else f"in {span(3600 * reading.figure)}"
        case "age":
            return f"{figure(reading.figure, 0)} of {figure(reading.threshold, 0)} days"
        case "performance":
            return f"Sharpe {figure(reading.figure)}, fires below {figure(reading.threshold)}"
        case "outliers":
            return f"{percent(reading.figure)} of {percent(reading.threshold)}"
    windows = f", {streak} in a row" if streak else ""
    return f"{figure(reading.figure)} of {figure(reading.threshold)}{windows}"


def _on_trial(faces: Faces, found: Retraining) -> None:
    """The challenger beside the champion, where there is one."""
    if found.challenger is not None:
        with panel():
            _challenger(faces, found, found.challenger)


def _challenger(faces: Faces, found: Retraining, challenger: ChallengerView) -> None:
    version, name = challenger.version, found.ensemble
    with ui.element("div").classes("head"):
        heading(f"Challenger: version {version.version}")
        heard = f"canary on {', '.join(challenger.canary)}" if challenger.canary else "in shadow"
        pill(heard, "accent")
        passed = version.verdict.passed
        pill("gate passed" if passed else "gate refused", "good" if passed else "warn")
        ui.element("div").classes("grow")
        button("Promote", lambda: _ask_promote(faces, name, challenger), icon="upgrade", tone="act")
        ends = f"Version {version.version} answers no more. Version {found.serving_version} goes on."

        async def retire() -> None:
            wanted = Retire(**identity(faces), ensemble=name, version=version.version)
            await command(faces, wanted, f"Retire version {version.version}")

        ask = f"Retire version {version.version}?"
        button("Retire", lambda: confirm(ask, ends, "Retire", retire), icon="block", tone="danger")
    with facts():
        fact("Sessions compared", f"{challenger.paired:,}")
        fact("Next look", f"after {challenger.next_look:,}" if challenger.next_look is not None else "by hand")
        tone = "good" if challenger.beyond > 0 else "bad" if challenger.beyond < 0 else ""
        fact("Beyond the champion", percent(challenger.beyond, 2) if challenger.paired else NONE, tone)
        fact("It is better", percent(challenger.better))
        for book in challenger.books:
            who = "Challenger" if book.version == version.version else "Champion"
            fact(f"{who}'s Sharpe", figure(book.net_sharpe))
    curves = [*common([(each.sessions, each.profit) for each in challenger.books])]
    if len(curves) == 2 and curves[0]:
        names = (f"champion, version {found.serving_version}", f"challenger, version {version.version}")
        options = charts.trial_of_strength(dict(zip(names, curves, strict=True)), challenger.next_look)
        ui.echart(options, renderer="svg").classes("chart").props(
            'role="img" aria-label="What champion and challenger have earned"'
        )
    else:
        sentence("What both earn on the same ticks shows here once sessions are settled.")


def _timeline(story: Sequence[Chapter]) -> None:
    if not story:
        sentence("Nothing that is kept here any more.")
    with ui.element("ol").classes("timeline"):
        for each in story:
            with ui.element("li").classes(each.tone):
                Text("b", each.title)
                Text("span", f" {moment(each.at)} UTC").classes("at")
                Text("div", each.text).classes("quiet")
                if each.link is not None:
                    ui.link(each.reference, each.link).classes("small")


def _ask_retrain(faces: Faces, name: str) -> None:
    with dialog(f"Retrain {name} now?") as asked:
        sentence(
            "A search like the champion's, around its configurations and on newer bars. What comes of it is on trial "
            "in shadow first. Inside a cool-down it joins what was triggered before."
        )
        why = ui.input("Why", placeholder="for whoever reads the events").props(
            "outlined dense autofocus maxlength=200"
        )

        async def send() -> None:
            asked.close()
            cause = {"because": why.value.strip()} if (why.value or "").strip() else {}
            await command(faces, Retrain(**identity(faces), ensemble=name, cause=cause), f"Retrain {name}")

        answers(asked, "Retrain", send)


def _ask_promote(faces: Faces, name: str, challenger: ChallengerView) -> None:
    version = challenger.version
    with dialog(f"Promote version {version.version}?") as asked:
        sentence(
            "On all instruments it takes the champion's place, which can serve again. On some of them it is heard as a "
            "canary, and the champion on the others."
        )
        if not version.verdict.passed:
            Text("div", "The gate has not passed it. GATE_OVERRIDE says whether it may be live.").classes("notice")
        where = ui.select(
            [*version.tickers], value=[*challenger.canary], label="Instruments, as a canary; empty: all", multiple=True
        )
        where.props("outlined dense options-dense use-chips")

        async def send() -> None:
            asked.close()
            heard = tuple(where.value) if len(where.value) < len(version.tickers) else ()
            wanted = Promote(**identity(faces), ensemble=name, version=version.version, tickers=heard)
            await command(faces, wanted, f"Promote version {version.version}")

        answers(asked, "Promote", send, "danger", careful=True)
