"""Of an experiment's page: its trials, the best so far, and what a chosen one has earned."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from nicegui import ui

from orchestrator.api.pages import charts
from orchestrator.api.pages.look import NONE, TONES, figure, said, span, words
from orchestrator.api.pages.parts import Text, empty, fact, facts, heading, panel, reasons, sentence
from orchestrator.api.pages.tables import Column, Listing, Row, long, pill, toned
from orchestrator.api.reading import Reading
from orchestrator.api.views import ExperimentDetail, TrialDetail, TrialLine
from orchestrator.core.metrics import OBJECTIVE
from orchestrator.store.listing import Page, TrialsWanted
from orchestrator.store.tables import TrialStatus

METRICS = {
    OBJECTIVE: ("Mean plus worst", 3),
    "sharpe_ratio": ("Sharpe", 3),
    "net_return": ("Return", 3),
    "max_drawdown": ("Drawdown", 3),
    "hit_rate": ("Hit rate", 3),
    "turnover": ("Turnover", 3),
    "sortino_ratio": ("Sortino", 3),
    "psr": ("PSR", 3),
    "trades": ("Trades", 0),
}
Show = Callable[[ExperimentDetail], Awaitable[None]]


async def build(reading: Reading, found: ExperimentDetail) -> Show:
    """Build the part; what is returned shows how things are now."""
    with ui.element("div").classes("beside"):
        with panel("Best so far"):
            best = ui.element("div").classes("fill")
        with panel("Out of sample: equity and drawdown of a trial"):
            chosen = ui.element("div").style("width: 100%")
    with ui.element("div").classes("head"):
        heading("Trials").classes("grow")
        status = ui.select({"": "All statuses", **{each.value: words(each.value) for each in TrialStatus}}, value="")
        status.props('outlined dense options-dense aria-label="Status"').style("min-width: 140px")
        ticker = ui.select({"": "All tickers", **{each: each for each in found.tickers}}, value="")
        ticker.props('outlined dense options-dense aria-label="Ticker"').style("min-width: 130px")
        eligible = ui.checkbox("Eligible only").props("dense")
    picked = ""
    drawn = 0

    async def load(page: Page) -> tuple[int, list[Row]]:
        wanted = TrialsWanted(
            statuses=(TrialStatus(status.value),) if status.value else (),
            ticker=ticker.value or None,
            eligible=True if eligible.value else None,
        )
        shown = await reading.experiment(found.name, wanted, page)
        return shown.total_trials, [_row(each) for each in shown.all_trials]

    async def pick(trial: str) -> None:
        nonlocal picked
        picked = trial
        _chosen(chosen, await reading.trial(found.name, trial))

    listing = Listing(_columns(found), load, order=found.metric, descending=found.mode == "max", on_pick=pick)
    for each in (status, ticker, eligible):
        each.on_value_change(listing.first)
    nothing = ui.element("div").style("width: 100%")

    async def show(now: ExperimentDetail) -> None:
        nonlocal drawn
        # What the page was built with need not be read again before its charts.
        total = await listing.refresh() if drawn else listing.total
        nothing.clear()
        if not total:
            with nothing:
                empty("No trial is like that." if any(now.by_status.values()) else "No trial is planned yet.")
        if not picked:
            tops = await reading.top(now.name, 1)
            if tops:
                await pick(tops[0].trial)
            elif not chosen.default_slot.children:
                with chosen:
                    empty("Choose a trial that is completed: a click on its row shows what it has earned.")
        if drawn != now.finished + 1:
            drawn = now.finished + 1
            await _best(best, reading, now)

    await listing.refresh()
    return show


async def _best(box: ui.element, reading: Reading, now: ExperimentDetail) -> None:
    points = await reading.best_so_far(now.name)
    box.clear()
    with box:
        if not points or now.started_at is None:
            empty("No trial has a score yet.")
            return
        ended = now.finished + now.failed
        took = timedelta(seconds=ended / now.trials_per_second if now.trials_per_second else 0.0)
        end = max(points[-1].finished_at, now.started_at + took)
        options = charts.best_so_far(points, now.started_at, end, words(now.compared_by))
        ui.echart(options, renderer="svg").classes("chart").props('role="img" aria-label="Best so far"')


def _columns(found: ExperimentDetail) -> tuple[Column, ...]:
    first = [found.metric, *(name for name in METRICS if name not in (OBJECTIVE, found.metric))]
    metrics = [
        Column(name, METRICS[name][0], figures=True, sortable=True, narrow=number == 0)
        for number, name in enumerate(first)
    ]
    return (
        Column("trial", "Trial", sortable=True),
        Column("tickers", "Tickers", narrow=False),
        Column("status", "Status", sortable=True),
        *metrics,
        Column("configuration", "Configuration", narrow=False),
        Column("seconds", "Took", figures=True, sortable=True, narrow=False),
        Column("known", "Known by", narrow=False),
    )


def _row(each: TrialLine) -> Row:
    metrics = each.metrics or {}
    barred = each.eligible is False
    return {
        "id": each.trial,
        "trial": each.trial,
        "tickers": long(", ".join(each.tickers)),
        "status": pill("not eligible", "warn") if barred else pill(words(each.status), TONES[each.status]),
        **{name: figure(metrics.get(name), digits) for name, (_, digits) in METRICS.items()},
        "configuration": long(said(each.configuration)),
        "seconds": span(each.seconds),
        "known": toned(each.recorded_by or "itself", "quiet") if each.cached else NONE,
    }


def _chosen(box: ui.element, trial: TrialDetail) -> None:
    box.clear()
    metrics = trial.metrics or {}
    with box:
        Text("div", f"{trial.trial} · {', '.join(trial.tickers)}").classes("wrap").style("font-weight: 600")
        Text("div", said(trial.configuration)).classes("quiet wrap small")
        if trial.profit:
            ui.echart(charts.equity(trial.profit), renderer="svg").classes("chart").props(
                'role="img" aria-label="Cumulated profit and drawdown"'
            )
        else:
            empty("What it earned by session is not kept.")
        with facts():
            fact("Return after costs", figure(metrics.get("net_return"), 3))
            fact("Break-even cost, bps", figure(metrics.get("break_even_bps"), 1))
            fact("Exposure", figure(metrics.get("exposure")))
            fact("Steps", str(trial.steps))
            if trial.parent is not None:
                fact("Cloned from", trial.parent)
        if trial.reasons:
            reasons(trial.reasons)
        elif trial.profit:
            sentence(
                "A fixed stake on sessions that its folds had not been trained on, after costs; nothing is compounded."
            )
