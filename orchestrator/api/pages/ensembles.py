"""The page of all ensembles: what serves, and what that has earned."""

import asyncio

from nicegui import ui

from orchestrator.api.pages import live
from orchestrator.api.pages.look import NONE, TONES, figure, moment, percent, place, words
from orchestrator.api.pages.parts import empty, heading, sentence
from orchestrator.api.pages.shell import frame
from orchestrator.api.pages.tables import Column, Listing, Row, link, long, pill
from orchestrator.api.ports import Faces
from orchestrator.api.reading import Reading
from orchestrator.api.views import EnsembleDetail, EnsembleLine
from orchestrator.store.listing import Page
from schemas.topics import ENSEMBLE_EVENTS

COLUMNS = (
    Column("name", "Ensemble"),
    Column("serves", "Serves"),
    Column("mode", "Heard", narrow=False),
    Column("members", "Members", figures=True, narrow=False),
    Column("hit", "Live hit rate", figures=True),
    Column("sharpe", "Live net Sharpe", figures=True),
    Column("earned", "Net return", figures=True, narrow=False),
    Column("gate", "Gate", narrow=False),
    Column("tickers", "Tickers", narrow=False),
    Column("trained", "Trained through", narrow=False),
    Column("since", "Serves since (UTC)", narrow=False),
)


def add(faces: Faces, reading: Reading) -> None:
    """Add the page."""

    @ui.page("/ensembles", response_timeout=30)
    async def ensembles() -> None:
        with frame(faces, "Ensembles", "Ensembles"):
            heading("Ensembles", 1)
            listed, nothing = ui.element("div").style("width: 100%"), ui.element("div").style("width: 100%")

            async def load(page: Page) -> tuple[int, list[Row]]:
                lines = await reading.ensembles()
                details = await asyncio.gather(*(reading.ensemble(each.name) for each in lines))
                return len(lines), [_row(line, detail) for line, detail in zip(lines, details, strict=True)]

            with listed:
                listing = Listing(COLUMNS, load, rows=0)
                sentence(
                    "Hit rate, Sharpe ratio and return are of following the signals since the first one, after costs, "
                    "where ticks carry a price."
                ).classes("small").style("margin-top: 8px")

            async def refresh() -> None:
                total = await listing.refresh()
                listed.set_visibility(bool(total))
                nothing.clear()
                if not total:
                    with nothing:
                        empty(
                            "No ensemble was deployed yet. Open an experiment that is over, and deploy its survivors.",
                            "Experiments",
                            "/",
                        )

            await refresh()
            live.follow(faces, {ENSEMBLE_EVENTS.name}, refresh)


def _row(line: EnsembleLine, detail: EnsembleDetail) -> Row:
    version = line.serving or line.newest
    earned = next((each for each in detail.performance if each.mode == version.mode), None)
    passed = "passed" if version.verdict.passed else "overridden" if version.verdict.overridden else "refused"
    serves = (
        pill(f"version {line.serving_version}", "good")
        if line.serving
        else pill(words(line.newest.state), TONES[line.newest.state])
    )
    return {
        "id": line.name,
        "name": link(line.name, place("ensembles", line.name)),
        "serves": serves,
        "mode": version.mode,
        "members": str(version.members),
        "hit": percent(earned.hit_rate) if earned else NONE,
        "sharpe": figure(earned.net_sharpe) if earned else NONE,
        "earned": percent(earned.net_return, 2) if earned else NONE,
        "gate": pill(passed, TONES.get(passed, "warn")),
        "tickers": long(", ".join(version.tickers)),
        "trained": f"{version.trained_through:%Y-%m-%d}",
        "since": moment(line.serving.deployed_at) if line.serving else NONE,
    }
