"""The page of signals: the tape as it runs, and a ticker's price with what was said at it."""

from collections.abc import Sequence
from urllib.parse import quote

from nicegui import ui

from orchestrator.api.pages import charts, live
from orchestrator.api.pages.look import HELD, MARKS, NONE, TONES, figure, place
from orchestrator.api.pages.parts import Text, empty, heading, panel, sentence
from orchestrator.api.pages.shell import frame
from orchestrator.api.pages.tables import Column, Listing, Row, link, long, pill
from orchestrator.api.ports import Faces
from orchestrator.api.reading import Reading
from orchestrator.store.listing import Page
from schemas.signals import Signal, TickSkipped
from schemas.topics import SIGNALS_BY_MODE

TOPICS = frozenset(topic.name for topic in SIGNALS_BY_MODE.values())
MOST_SIGNALS = 1000
MOST_ROWS = 100
PAUSE_SECONDS = 1.0
COLUMNS = (
    Column("at", "Bar (UTC)"),
    Column("ticker", "Ticker"),
    Column("signal", "Signal"),
    Column("target", "Hold"),
    Column("score", "Score", figures=True, narrow=False),
    Column("confidence", "Confidence", figures=True, narrow=False),
    Column("edge", "Edge, bps", figures=True, narrow=False),
    Column("price", "Price", figures=True),
    Column("ensemble", "Ensemble", narrow=False),
    Column("mode", "Heard", narrow=False),
    Column("why", "Why", narrow=False),
)


def add(faces: Faces, reading: Reading) -> None:
    """Add the page."""

    @ui.page("/signals", response_timeout=30)
    async def signals() -> None:
        with frame(faces, "Signals", "Signals"):
            await _build(faces)


async def _build(faces: Faces) -> None:
    with ui.element("div").classes("head"):
        heading("Signals", 1).classes("grow")
        mode = _choice("All modes", SIGNALS_BY_MODE)
        ensemble = _choice("All ensembles", ())
        ticker = _choice("All tickers", ())
        skipped = ui.checkbox("Skipped ticks").props("dense")
    with panel() as drawing:
        title = heading("")
        box = ui.element("div").style("width: 100%")
    tape = ui.element("div").style("width: 100%").classes("tape")
    nothing = ui.element("div").style("width: 100%")
    shown: list[Signal | TickSkipped] = []

    async def rows(page: Page) -> tuple[int, list[Row]]:
        return len(shown), [_row(each) for each in shown[:MOST_ROWS]]

    with tape:
        listing = Listing(COLUMNS, rows, rows=0)
        sentence(
            f"Newest first, {MOST_ROWS} at most; a signal is late news once its bar is over. The link at its bar leads "
            "to what it goes back to."
        ).classes("small")

    async def refresh() -> None:
        nonlocal shown
        heard = [each.message for each in faces.feed.recent(TOPICS, MOST_SIGNALS)]
        known = [each for each in heard if isinstance(each, Signal | TickSkipped)]
        _offer(ensemble, "All ensembles", {each.ensemble for each in known if each.ensemble is not None})
        _offer(ticker, "All tickers", {each.ticker for each in known})
        shown = [
            each
            for each in known
            if (skipped.value or isinstance(each, Signal))
            and mode.value in ("", each.mode)
            and ensemble.value in ("", each.ensemble)
            and ticker.value in ("", each.ticker)
        ]
        await listing.refresh()
        tape.set_visibility(bool(shown))
        drawing.set_visibility(bool(shown))
        nothing.clear()
        if shown:
            _draw(title, box, [each for each in shown if isinstance(each, Signal)])
            return
        with nothing:
            if known:
                empty("No signal is like that. Take a filter away to see more.")
            else:
                empty(
                    "No signal was heard lately. Signals come when an ensemble serves and ticks of its tickers are "
                    "produced to feature-ticks.",
                    "Ensembles",
                    "/ensembles",
                )

    for each in (mode, ensemble, ticker, skipped):
        each.on_value_change(refresh)
    live.follow(faces, TOPICS, refresh, pause=PAUSE_SECONDS)


def _choice(every: str, names: object) -> ui.select:
    options = {"": every, **{str(each): str(each) for each in names}}  # type: ignore[attr-defined]
    found = ui.select(options, value="").props(f'outlined dense options-dense aria-label="{every}"')
    return found.style("min-width: 128px")


def _offer(choice: ui.select, every: str, names: set[str]) -> None:
    options = {"": every, **{each: each for each in sorted(names | {choice.value} - {""})}}
    if choice.options != options:
        choice.set_options(options, value=choice.value)


def _draw(title: Text, box: ui.element, found: Sequence[Signal]) -> None:
    """The price of the ticker that was heard last, and its marks."""
    if not found:
        return
    ticker, frame_, mode = found[0].ticker, found[0].timeframe, found[0].mode
    mine = sorted(
        (each for each in found if (each.ticker, each.timeframe, each.mode) == (ticker, frame_, mode)),
        key=lambda each: (each.event_time, each.revision),
    )
    price = {_bar(each): each.price for each in mine if each.price is not None}
    title._text = f"{ticker} · {frame_} · {mode}"
    title.update()
    if not price:
        box.clear()
        with box:
            empty("These signals carry no price: the ticks that they answer had none.")
        return
    marks: dict[str, list[tuple[str, float]]] = {}
    for each in mine:
        if each.signal != "HOLD" and each.price is not None:
            marks.setdefault(each.signal, []).append((_bar(each), each.price))
    options = charts.prices([*price], [*price.values()], marks)
    drawn = box.default_slot.children
    if drawn and isinstance(drawn[0], ui.echart):
        if drawn[0].options != options:
            drawn[0].options.clear()
            drawn[0].options.update(options)
            drawn[0].update()
        return
    box.clear()
    with box:
        ui.echart(options, renderer="svg").classes("chart").props(
            'role="img" aria-label="Price with BUY and SELL marks"'
        )


def _bar(each: Signal | TickSkipped) -> str:
    """When the bar closed: of bars of a day and more, the day."""
    return f"{each.event_time:%Y-%m-%d}" if each.timeframe[-1] in "dw" else f"{each.event_time:%Y-%m-%d %H:%M:%S}"


def _row(each: Signal | TickSkipped) -> Row:
    row: Row = {
        "at": _bar(each),
        "ticker": each.ticker,
        "mode": each.mode,
        "ensemble": NONE if each.ensemble is None else link(each.ensemble, place("ensembles", each.ensemble)),
    }
    if isinstance(each, TickSkipped):
        blank = dict.fromkeys(("target", "score", "confidence", "edge", "price"), NONE)
        mark = f"{each.ticker}{each.event_time}{each.revision}{each.ensemble}{each.mode}{each.emitted_at}"
        return {"id": mark, **row, **blank, "signal": pill("skipped", "warn"), "why": each.reason}
    return {
        "id": each.id,
        **row,
        "at": link(_bar(each), f"{place('signals', each.id)}?ticker={quote(each.ticker)}"),
        "signal": pill(MARKS[each.signal], TONES[each.signal]),
        "target": HELD.get(each.target_position, NONE),
        "score": figure(each.score, 3),
        "confidence": figure(each.confidence),
        "edge": figure(each.edge_bps, 1),
        "price": figure(each.price),
        "why": long("; ".join(reason.message for reason in each.reasons)),
    }
