"""The page that asks for a search: a form by strategy, with what it amounts to before it starts."""

import asyncio
import json
from dataclasses import replace

from nicegui import ui

from orchestrator.api.asking import made_id
from orchestrator.api.pages.asking import ACTOR
from orchestrator.api.pages.entering import Entry, dimension_entry, entry, values_entry
from orchestrator.api.pages.fields import Field, document, fields, owner
from orchestrator.api.pages.look import count, span
from orchestrator.api.pages.parts import Text, button, heading, panel, sentence
from orchestrator.api.pages.shell import frame
from orchestrator.api.ports import Faces, NotSent, Unreachable
from orchestrator.api.reading import Reading
from orchestrator.core.admission import STRATEGY_FIELDS
from orchestrator.core.errors import Refused
from orchestrator.store import listing, looking
from orchestrator.store.errors import DatabaseAway
from schemas.base import JsonObject, Reason
from schemas.envelope import Undecodable, decode
from schemas.search import SearchRequest

STRATEGIES = {
    "grid": "grid: every combination",
    "random": "random: so many, drawn evenly",
    "asha": "asha: many, of which only the best third is trained on, again and again",
    "bayesian": "bayesian: where a Gaussian process expects the most",
    "pbt": "pbt: a population; the worst become mutated clones of the best, which train on",
    "multi_ticker_pbt": "multi ticker pbt: one configuration on all tickers",
}
AMOUNTS = ("num_samples", "search_alg", "population_size", "num_generations")
SCORING = "target_transform horizon execution session_policy metric mode costs/default_bps data_start data_end holdout "
SECTIONS = {
    "Prediction and scoring": f"{SCORING} exit_threshold seed",
    "What becomes of the survivors": "deploy/auto deploy/gate deploy/ensemble_name deploy/top_n deploy/voting "
    "deploy/threshold deploy/mode",
    "The request": "name priority expires_at parent",
}
SETTLE_SECONDS = 0.3
PATIENCE_SECONDS = 30.0


def add(faces: Faces, reading: Reading) -> None:
    """Add the page."""

    @ui.page("/search", response_timeout=30)
    async def search() -> None:
        with frame(faces, "New search", "New search"):
            timeframes = await asyncio.to_thread(lambda: sorted(faces.timeframes()))
            await Form(faces, timeframes).build()


class Form:
    """The form, on the page that is being built.

    Args:
        faces: who judges, and where the request goes.
        timeframes: to choose from.
    """

    def __init__(self, faces: Faces, timeframes: list[str]) -> None:
        self._faces = faces
        self._timeframes = timeframes or ["1d"]
        self._entries: dict[str, Entry] = {}
        self._own: dict[str, Entry] = {}
        self._changes = 0
        self._sending = False

    async def build(self) -> None:
        """Put everything on the page."""
        heading("New search", 1)
        with panel("What is searched"), ui.element("div").classes("fields"):
            self._strategy = ui.select(STRATEGIES, value="grid", label="Strategy", on_change=self._another)
            names = sorted(self._faces.algorithms)
            self._algorithm = ui.select(names, value=names[0], label="Algorithm", on_change=self._another)
            frame_ = "1d" if "1d" in self._timeframes else self._timeframes[0]
            self._timeframe = ui.select(self._timeframes, value=frame_, label="Timeframe", on_change=self._other_bars)
            self._tickers = ui.select(
                [], value=[], label="Tickers", multiple=True, with_input=True, on_change=self._change
            )
            for each in (self._strategy, self._algorithm, self._timeframe, self._tickers):
                each.props("outlined dense options-dense")
            self._tickers.props("use-chips").classes("wide")
            self._strategy.classes("wide")
        self._entries |= {
            "strategy": Entry(lambda: self._strategy.value, self._strategy),
            "algorithm": Entry(lambda: self._algorithm.value, self._algorithm),
            "timeframe": Entry(lambda: self._timeframe.value, self._timeframe),
            "tickers": Entry(lambda: [*self._tickers.value], self._tickers),
        }
        with panel("What is tried"):
            self._box = ui.element("div").style("width: 100%")
        for title, paths in SECTIONS.items():
            with (
                ui.element("section").classes("panel"),
                ui.expansion(title).classes("section"),
                ui.element("div").classes("fields"),
            ):
                for field in fields(SearchRequest, paths.split()):
                    self._entries[field.path] = entry(field, self._change)
        with ui.element("div").classes("panel summary"), ui.element("div").classes("head"):
            with ui.element("div").classes("grow").props('role="status" aria-live="polite"'):
                self._amount = Text("div", "")
                self._amount.classes("num").style("font-weight: 600")
                self._time = Text("div", "")
                self._time.classes("quiet small")
                self._faults = ui.element("ul").classes("faults small")
            self._start = button("Start search", self._send, icon="play_arrow", tone="act")
        self._show_own()
        await self._offer_tickers()
        await self._judge()

    def _show_own(self) -> None:
        """The fields of the strategy, and the algorithm's hyper-parameters."""
        strategy, trainer = self._strategy.value, self._faces.algorithms[self._algorithm.value]
        own = STRATEGY_FIELDS[strategy]
        self._box.clear()
        self._own.clear()
        with self._box:
            amounts = fields(SearchRequest, [name for name in AMOUNTS if name in own])
            if amounts:
                with ui.element("div").classes("fields").style("margin-bottom: 12px"):
                    for field in amounts:
                        self._own[field.path] = entry(self._with_default(field), self._change)
            if "param_grid" in own:
                sentence("Values of each hyper-parameter, between commas; every combination is tried.").style(
                    "margin-bottom: 10px"
                )
                names = [*trainer.default_grid, *(name for name in trainer.space if name not in trainer.default_grid)]
                with ui.element("div").classes("fields"):
                    for name in names:
                        self._own[f"param_grid/{name}"] = values_entry(
                            name, trainer.default_grid.get(name, ()), self._change
                        )
            else:
                sentence("The space that is drawn from, by hyper-parameter.").style("margin-bottom: 10px")
                with ui.element("div").classes("fields spaces"):
                    for name, dimension in trainer.space.items():
                        self._own[f"space/{name}"] = dimension_entry(name, dimension, self._change)

    def _with_default(self, field: Field) -> Field:
        """The field, with what the service does where it is left empty."""
        default = getattr(self._faces.limits.defaults, field.path, None)
        return field if default is None else replace(field, about=f"{field.about} Empty: {default}.".strip())

    def _document(self) -> JsonObject:
        """The request as it is entered; a grid or a space that is the algorithm's own is left out."""
        entered = {path: each.read() for path, each in {**self._entries, **self._own}.items()}
        found = document(entered)
        trainer = self._faces.algorithms[self._algorithm.value]
        own_grid = {name: [*values] for name, values in trainer.default_grid.items()}
        if found.get("param_grid") == own_grid:
            del found["param_grid"]
        own_space = {
            name: each.model_dump(mode="json", exclude_defaults=True) | {"kind": each.kind}
            for name, each in trainer.space.items()
        }
        if found.get("space") == own_space:
            del found["space"]
        return {"request_id": f"dashboard-{made_id(self._faces.clock())}", "requested_by": ACTOR, **found}

    async def _another(self) -> None:
        self._show_own()
        await self._change()

    async def _other_bars(self) -> None:
        await self._offer_tickers()
        await self._change()

    async def _offer_tickers(self) -> None:
        known = await asyncio.to_thread(lambda: sorted(self._faces.tickers(self._timeframe.value)))
        self._tickers.set_options(known, value=[each for each in self._tickers.value if each in known])
        self._tickers.props["hint"] = (
            "" if known else "There are no features of this timeframe; docs/features.md says where they go."
        )

    async def _change(self) -> None:
        """Judge once nothing has changed for a moment."""
        self._changes += 1
        mine = self._changes
        await asyncio.sleep(SETTLE_SECONDS)
        if mine == self._changes and not self._sending:
            await self._judge()

    async def _judge(self) -> SearchRequest | None:
        """Say what the request amounts to, or what is wrong with it; None: something is."""
        if not self._tickers.value:
            self._tell("Choose a ticker", "", ())
            self._start.set_enabled(False)
            return None
        try:
            request = decode(SearchRequest, json.dumps(self._document()).encode())
            trials = await asyncio.to_thread(self._faces.judge, request, self._faces.clock())
        except (Undecodable, Refused) as refused:
            self._tell("This cannot be searched yet", "", refused.reasons)
            self._start.set_enabled(False)
            return None
        self._tell(f"{count(trials)} trials", await self._estimate(request, trials), ())
        self._start.set_enabled(True)
        return request

    async def _estimate(self, request: SearchRequest, trials: int) -> str:
        try:
            async with self._faces.database.snapshot() as tx:
                speed = await looking.speed(tx, request.algorithm, request.strategy)
        except DatabaseAway:
            return "Time unknown: the database does not answer."
        if speed.per_second is None:
            return f"Time unknown: no search with {request.algorithm} has been measured yet."
        searches = "one earlier search" if speed.searches == 1 else f"{speed.searches} earlier searches"
        rate = f"{speed.per_second:.1f} trials a second of {searches} with {request.algorithm}"
        return f"About {span(trials / speed.per_second)}, by {rate}."

    def _tell(self, amount: str, time: str, reasons: tuple[Reason, ...]) -> None:
        """Show what it amounts to, and each reason beside its field, or below where it is of none."""
        self._amount._text, self._time._text = amount, time
        self._amount.update()
        self._time.update()
        entries = {**self._entries, **self._own}
        paths = [path for path, each in entries.items() if each.tells]
        errors: dict[str, list[str]] = {}
        elsewhere: list[str] = []
        for each in reasons:
            path = owner(each, paths)
            if path is None:
                elsewhere.append(f"{each.where}: {each.message}" if each.where else each.message)
            else:
                errors.setdefault(path, []).append(each.message)
        for path, shown in entries.items():
            shown.complain("; ".join(errors[path]) if path in errors else None)
        self._faults.clear()
        with self._faults:
            for text in elsewhere:
                Text("li", text)

    async def _send(self) -> None:
        """Send the request, and go to the experiment that it becomes."""
        request = await self._judge()
        if request is None:
            return
        self._sending = True
        self._start.set_enabled(False)
        self._start.props("loading")
        try:
            await self._faces.kafka.search(request)
            asked = await self._settled(request.request_id)
        except (NotSent, Unreachable) as trouble:
            self._tell("Not sent", str(trouble), ())
        except DatabaseAway as trouble:
            self._tell(f"Sent as {request.request_id}", str(trouble), ())
        else:
            self._follow(request.request_id, asked)
        finally:
            self._sending = False
            self._start.set_enabled(True)
            self._start.props(remove="loading")

    async def _settled(self, request_id: str) -> listing.Asked | None:
        """What became of the request; None: nothing yet."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    async with self._faces.database.snapshot() as tx:
                        asked = await listing.asked(tx, request_id)
                    if asked is not None:
                        return asked
                    await asyncio.sleep(0.2)
        except TimeoutError:
            return None

    def _follow(self, request_id: str, asked: listing.Asked | None) -> None:
        if asked is None:
            self._tell(
                f"Sent as {request_id}",
                "No worker has taken it up yet. It shows among the experiments once one does.",
                (),
            )
        elif asked.experiment is None:
            self._tell("Rejected", "", asked.reasons)
        else:
            ui.navigate.to(f"/experiments/{asked.experiment}")
