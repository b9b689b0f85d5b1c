"""The page of one experiment: how far it is, its trials, what they tell, what the gate says."""

import asyncio
from datetime import datetime

from nicegui import ui

from orchestrator.api.pages import analysis, live, trials_part
from orchestrator.api.pages.asking import command, identity
from orchestrator.api.pages.deploying import ask_deploy
from orchestrator.api.pages.look import TONES, count, figure, moment, percent, said, span, words
from orchestrator.api.pages.parts import (
    Text,
    button,
    confirm,
    empty,
    fact,
    facts,
    heading,
    panel,
    pill,
    progress,
    reasons,
    sentence,
)
from orchestrator.api.pages.shell import frame
from orchestrator.api.ports import Event, Faces
from orchestrator.api.reading import NotFound, Reading
from orchestrator.api.views import ExperimentDetail
from orchestrator.core.lifecycle import RESUMABLE, State, allowed
from orchestrator.store.listing import Page, TrialsWanted
from schemas.commands import Cancel, Resume
from schemas.experiments import GateVerdict
from schemas.topics import EXPERIMENT_EVENTS, TRIAL_EVENTS

PAUSE_SECONDS = 1.0
SETTLE_SECONDS = 0.5
POPULATIONS = ("pbt", "multi_ticker_pbt")
SEARCHED = (State.SELECTED, State.DEPLOYING, State.DEPLOYED, State.REFUSED)


def add(faces: Faces, reading: Reading) -> None:
    """Add the page."""

    @ui.page("/experiments/{name}", response_timeout=30)
    async def experiment(name: str) -> None:
        with frame(faces, name, "Experiments"):
            try:
                found = await _found(reading, name)
            except NotFound:
                empty(f"There is no experiment {name}.", "All experiments", "/")
                return
            await _build(faces, reading, found)


async def _found(reading: Reading, name: str) -> ExperimentDetail:
    return await reading.experiment(name, TrialsWanted(), Page("trial", limit=0))


async def _build(faces: Faces, reading: Reading, found: ExperimentDetail) -> None:
    title, figures = (ui.element("div").style("display: contents") for _ in range(2))
    _title(faces, title, found)
    _figures(faces, figures, found)
    with ui.tabs().props('dense no-caps align="left" inline-label outside-arrows mobile-arrows') as tabs:
        ui.tab("trials", "Trials")
        ui.tab("parameters", "Parameters")
        if found.strategy in POPULATIONS:
            ui.tab("lineage", "Lineage")
        ui.tab("gate", "Gate")
        ui.tab("log", "Event log")
        ui.tab("request", "Request")
    with ui.tab_panels(tabs, value="trials", animated=False):
        with ui.tab_panel("trials"):
            trials = await trials_part.build(reading, found)
        with ui.tab_panel("parameters"):
            parameters = analysis.parameters(reading, found)
        if found.strategy in POPULATIONS:
            with ui.tab_panel("lineage"):
                lineage = analysis.lineage(faces, found)
        with ui.tab_panel("gate"):
            gate = ui.element("div").style("display: contents")
            _gate(gate, found)
        with ui.tab_panel("log"):
            log = analysis.log(faces, found.name)
        with ui.tab_panel("request"), panel():
            Text("pre", found.request.model_dump_json(exclude_unset=True, indent=2)).classes("mono written")
    shown = {"parameters": parameters, "log": log}
    if found.strategy in POPULATIONS:
        shown["lineage"] = lineage

    built = True

    async def refresh() -> None:
        nonlocal found, built
        if built:
            # The page was built with what there is; who is in a hurry is answered before its charts are drawn.
            await asyncio.sleep(SETTLE_SECONDS)
        fresh = found if built else await _found(reading, found.name)
        built = False
        if (fresh.state, fresh.aliases) != (found.state, found.aliases):
            # A button that is drawn anew misses the click that is on its way to it.
            _title(faces, title, fresh)
        if fresh != found:
            found = fresh
            _figures(faces, figures, found)
            _gate(gate, found)
        await trials(found)
        if tabs.value in shown:
            await shown[tabs.value]()

    async def open_tab() -> None:
        if tabs.value in shown:
            await shown[tabs.value]()

    def mine(event: Event) -> bool:
        return event.key == found.name

    tabs.on_value_change(open_tab)
    live.follow(faces, {EXPERIMENT_EVENTS.name, TRIAL_EVENTS.name}, refresh, wanted=mine, pause=PAUSE_SECONDS)


def _title(faces: Faces, box: ui.element, found: ExperimentDetail) -> None:
    box.clear()
    with box:
        with ui.element("div").classes("head"):
            heading(found.name, 1)
            pill(words(found.state), TONES[found.state]).props('data-testid="state"')
            ui.element("div").classes("grow")
            _actions(faces, found)
        aka = f" · also called {', '.join(found.aliases)}" if found.aliases else ""
        Text(
            "div",
            f"{words(found.strategy)} · {found.algorithm} · {', '.join(found.tickers)} · {found.timeframe} · "
            f"asked for {moment(found.created_at)} UTC{aka}",
        ).classes("quiet wrap")


def _figures(faces: Faces, box: ui.element, found: ExperimentDetail) -> None:
    box.clear()
    with box, panel():
        ended = found.finished + found.failed
        progress(ended, found.trials, f"{ended} of {found.trials} trials have ended")
        with facts():
            fact("Trials", f"{count(ended)} / {count(found.trials)}")
            fact(f"Best {words(found.compared_by)}", figure(found.best, 3))
            fact("Not luck, by its deflation", percent(found.deflated_sharpe))
            fact("Trials/s", figure(found.trials_per_second, 1))
            fact("Saved by fingerprints", count(found.cached))
            fact("Failed", count(found.failed), "bad" if found.failed else "")
            fact("Took", span(_took(found, faces.clock())))
        sentence(_explained(found))
        if found.reasons:
            reasons(found.reasons)


def _took(found: ExperimentDetail, now: datetime) -> float | None:
    if found.started_at is None:
        return None
    return ((found.finished_at or now) - found.started_at).total_seconds()


def _explained(found: ExperimentDetail) -> str:
    """The deflation, in a sentence."""
    if found.position is not None:
        return f"It waits: {found.position} experiments begin before it."
    if found.deflated_sharpe is None:
        return (
            "When the search is over, its best score is deflated: how likely it is more than what the luckiest of all "
            "configurations ever scored on these tickers would show by chance."
        )
    return (
        "After counting every configuration ever scored on these tickers, the best trial's Sharpe ratio is more than "
        f"luck with a probability of {percent(found.deflated_sharpe)}; the gate asks 95 % of the ensemble."
    )


def _actions(faces: Faces, found: ExperimentDetail) -> None:
    async def cancel() -> None:
        await command(faces, Cancel(**identity(faces), experiment=found.name), f"Cancel {found.name}")

    async def resume() -> None:
        await command(faces, Resume(**identity(faces), experiment=found.name), f"Resume {found.name}")

    if State.CANCELLED in allowed(found.state) and found.state is not State.SELECTED:
        ends = "Its workers stop within seconds. Trials that have ended stay, and it can be resumed."
        question = f"Cancel {found.name}?"
        button("Cancel", lambda: confirm(question, ends, "Cancel the search", cancel), icon="stop", tone="danger")
    if found.state in RESUMABLE:
        button("Resume", resume, icon="play_arrow", tone="act")
    if found.state in SEARCHED:
        button("Deploy survivors", lambda: ask_deploy(faces, found.name), icon="rocket_launch", tone="act")


def _gate(box: ui.element, found: ExperimentDetail) -> None:
    box.clear()
    with box:
        if found.verdict is None:
            with panel("The gate"):
                empty("The gate has not judged yet: it does once the survivors are known.")
        else:
            _verdict(found.verdict)
        if found.survivors:
            _survivors(found)


def _verdict(verdict: GateVerdict) -> None:
    with panel("The gate"):
        with ui.element("div").classes("head"):
            word, tone = (
                ("passed", "good")
                if verdict.passed
                else ("overridden", "warn")
                if verdict.overridden
                else ("refused", "bad")
            )
            pill(word, tone)
            sentence(
                "An ensemble passes where its out-of-fold profit is unlikely to be luck, given all that was tried, "
                "also for the part beyond merely holding its mean position."
            )
        with facts():
            fact("Deflated Sharpe", percent(verdict.deflated_sharpe), "good" if verdict.passed else "")
            fact("Beyond holding", percent(verdict.active_deflated_sharpe))
            fact("Required", percent(verdict.required, 0))
            fact("Sharpe ratio, annualised", figure(verdict.sharpe_ratio))
            fact("By luck, per session", figure(verdict.benchmark_sharpe, 4))
            fact("Configurations counted", count(verdict.trials))
            fact("Sessions", count(verdict.sessions))
            if verdict.looks:
                fact("Hold-out PSR", percent(verdict.holdout_psr))
                fact("Looks at the hold-out", count(verdict.looks))
        reasons(verdict.reasons)


def _survivors(found: ExperimentDetail) -> None:
    with panel("Survivors"):
        votes = ", ".join(f"{ticker} {figure(worth, 1)}" for ticker, worth in found.effective_votes.items())
        if votes:
            sentence(f"Independent votes that they are worth, by ticker: {votes}.")
        with ui.element("div").classes("log"):
            for each in found.survivors:
                Text("span", f"{each.rank}.").classes("num quiet")
                Text(
                    "span",
                    f"{each.trial} · {', '.join(each.tickers)} · {figure(each.metric, 3)} · {said(each.configuration)}",
                ).classes("wrap num")
        if found.passed_over:
            heading("Passed over")
            reasons(found.passed_over)
