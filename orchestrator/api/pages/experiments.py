"""The page of all experiments: what runs, how far it is, what it has found."""

from nicegui import ui

from orchestrator.api.pages import live
from orchestrator.api.pages.look import NONE, TONES, count, figure, moment, place, span, words
from orchestrator.api.pages.parts import button, empty, fact, facts, heading, panel
from orchestrator.api.pages.shell import frame
from orchestrator.api.pages.tables import Column, Listing, Row, link, long, pill, share
from orchestrator.api.ports import Faces
from orchestrator.api.reading import Reading
from orchestrator.api.views import ExperimentLine
from orchestrator.core.lifecycle import SEARCHING, State
from orchestrator.store.listing import ExperimentsWanted, Page
from schemas.topics import EXPERIMENT_EVENTS

COLUMNS = (
    Column("name", "Experiment", sortable=True),
    Column("state", "State", sortable=True),
    Column("finished", "Progress", sortable=True),
    Column("best", "Best", figures=True, sortable=True),
    Column("rate", "Trials/s", figures=True, narrow=False),
    Column("cached", "Saved", figures=True, narrow=False),
    Column("strategy", "Strategy", sortable=True, narrow=False),
    Column("algorithm", "Algorithm", sortable=True, narrow=False),
    Column("tickers", "Tickers", narrow=False),
    Column("created_at", "Asked for (UTC)", sortable=True, narrow=False),
    Column("took", "Took", figures=True, narrow=False),
)
STATES = {"": "All states", "under way": "Under way", **{state.value: words(state.value) for state in State}}


def add(faces: Faces, reading: Reading) -> None:
    """Add the page."""

    @ui.page("/", response_timeout=30)
    async def experiments() -> None:
        with frame(faces, "Experiments", "Experiments"):
            await _build(faces, reading)


async def _build(faces: Faces, reading: Reading) -> None:
    with ui.element("div").classes("head"):
        heading("Experiments", 1).classes("grow")
        button("New search", lambda: ui.navigate.to("/search"), icon="add", tone="act")
    with panel():
        figures = ui.element("div").style("display: contents")
    with ui.element("div").classes("head"):
        text = ui.input(placeholder="Filter by name").props(
            'outlined dense clearable debounce=250 aria-label="Filter by name"'
        )
        state = (
            ui.select(STATES, value="")
            .props('outlined dense options-dense aria-label="State"')
            .style("min-width: 140px")
        )
        algorithm = ui.select({"": "All algorithms", **{each: each for each in sorted(faces.algorithms)}}, value="")
        algorithm.props('outlined dense options-dense aria-label="Algorithm"').style("min-width: 160px")
    listed = ui.element("div").style("width: 100%")

    async def load(page: Page) -> tuple[int, list[Row]]:
        wanted = ExperimentsWanted(
            states=_states(state.value), algorithm=algorithm.value or None, text=text.value or None
        )
        found = await reading.experiments(wanted, page)
        return found.total, [_row(each) for each in found.items]

    with listed:
        listing = Listing(COLUMNS, load, order="created_at")
    nothing = ui.element("div").style("width: 100%")

    async def refresh() -> None:
        states = await reading.states()
        stats = await reading.fingerprint_stats()
        figures.clear()
        with figures, facts():
            fact("Under way", count(sum(states.get(each, 0) for each in SEARCHING)))
            fact("Deployed", count(states.get(State.DEPLOYED, 0)))
            fact("Refused by the gate", count(states.get(State.REFUSED, 0)))
            fact("Failed", count(states.get(State.FAILED, 0)))
            fact("Experiments", count(sum(states.values())))
            fact("Results known", count(stats.fingerprints))
            fact("Trainings saved", count(stats.saved))
        total = await listing.refresh()
        _tell_nothing(nothing, listed, total, any(states.values()))

    text.on_value_change(listing.first)
    state.on_value_change(listing.first)
    algorithm.on_value_change(listing.first)
    await refresh()
    live.follow(faces, {EXPERIMENT_EVENTS.name}, refresh)


def _tell_nothing(nothing: ui.element, listed: ui.element, total: int, any_there: bool) -> None:
    nothing.clear()
    listed.set_visibility(bool(total or any_there))
    if total:
        return
    with nothing:
        if any_there:
            empty("No experiment is like that. Take the filter away to see all of them.")
        else:
            empty(
                "There are no experiments yet. Ask for a search, and it shows here as it runs.", "New search", "/search"
            )


def _states(chosen: str) -> tuple[State, ...]:
    if chosen == "under way":
        return tuple(SEARCHING)
    return (State(chosen),) if chosen else ()


def _row(each: ExperimentLine) -> Row:
    ended = each.finished + each.failed
    took = None
    if each.started_at is not None and each.finished_at is not None:
        took = (each.finished_at - each.started_at).total_seconds()
    return {
        "id": each.name,
        "name": link(each.name, place("experiments", each.name)),
        "state": pill(words(each.state), TONES[each.state]),
        "finished": share(ended / each.trials if each.trials else 0.0, f"{count(ended)} / {count(each.trials)}"),
        "best": figure(each.best, 3),
        "rate": figure(each.trials_per_second, 1),
        "cached": count(each.cached) if each.cached else NONE,
        "strategy": words(each.strategy),
        "algorithm": each.algorithm,
        "tickers": long(", ".join(each.tickers)),
        "created_at": moment(each.created_at),
        "took": span(took),
    }
