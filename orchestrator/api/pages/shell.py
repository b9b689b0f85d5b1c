"""The frame of every page: where one can go, what is halted, the halt button, light and dark."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from nicegui import ui

from orchestrator.api.pages import live
from orchestrator.api.pages.asking import ACTOR, order
from orchestrator.api.pages.look import STYLE, moment, words
from orchestrator.api.pages.parts import answers, button, confirm, dialog
from orchestrator.api.ports import Faces
from orchestrator.core.halting import EVERYTHING, in_effect
from orchestrator.store import ensembles
from orchestrator.store.errors import DatabaseAway, UnusableDatabase
from schemas.control import Halt, Lift
from schemas.topics import CONTROL

PLACES = {
    "Experiments": "/",
    "New search": "/search",
    "Ensembles": "/ensembles",
    "Signals": "/signals",
    "System": "/system",
}
ACTIONS = {
    "reduce_only": "Reduce only: nothing is opened or enlarged; closing is free",
    "halt_new": "Halt new: nothing is opened; what is held may still be filled up",
    "flatten": "Flatten: everything is closed at once",
}
THEME = "dashboard_theme"
THEMES = {"auto": ("brightness_auto", "dark"), "dark": ("dark_mode", "light"), "light": ("light_mode", "auto")}
"""By theme: its sign, and the theme that comes next."""


@contextmanager
def frame(faces: Faces, title: str, here: str, scope: str = EVERYTHING) -> Iterator[None]:
    """Everything around the page that is being built.

    Args:
        faces: for halts.
        title: of the browser's tab.
        here: the place of `PLACES` that the page belongs to.
        scope: what the halt button offers first.
    """
    ui.page_title(f"{title} · Ray Orchestrator")
    ui.add_head_html(f"<style>{STYLE}</style>")
    with ui.header().classes("bar"):
        ui.link("Orchestrator", PLACES["Experiments"]).classes("brand")
        with ui.element("nav").classes("places").props('aria-label="Pages"'):
            for name, path in PLACES.items():
                link = ui.link(name, path)
                if name == here:
                    link.props('aria-current="page"')
        _theme()
        label = "Halt" if scope == EVERYTHING else f"Halt {scope.partition(':')[2]}"
        what = "everything" if scope == EVERYTHING else scope.replace(":", " ")
        halt = button(label, lambda: _halt(faces, scope), icon="front_hand", tone="halt")
        # Set, and not written into props: those are parsed, and a name may come from an address that somebody made up.
        halt.props["aria-label"] = f"Halt {what}"
        halt.tooltip(f"Stop trading: {what}")
    _halts(faces)
    yield


def _theme() -> None:
    client = ui.context.client
    theme = client.request.cookies.get(THEME, "auto")
    theme = theme if theme in THEMES else "auto"
    dark = ui.dark_mode({"auto": None, "dark": True, "light": False}[theme])
    change = ui.button(color=None).props("flat round dense").classes("quiet")

    def show(chosen: str) -> None:
        sign, following = THEMES[chosen]
        change.props(f'icon="{sign}" aria-label="Theme: {chosen}; change to {following}"')
        dark.value = {"auto": None, "dark": True, "light": False}[chosen]

    def turn() -> None:
        nonlocal theme
        theme = THEMES[theme][1]
        show(theme)
        ui.run_javascript(f"document.cookie = '{THEME}={theme}; path=/; max-age=31536000; samesite=strict'")

    show(theme)
    change.on_click(turn)


def _halts(faces: Faces) -> None:
    """What is halted, above the page, as it changes."""
    standing = ui.column().classes("grow").style("width: 100%")
    standing.set_visibility(False)
    shown: dict[str, Halt] = {}

    async def refresh() -> None:
        nonlocal shown
        halts = in_effect(await faces.kafka.orders(), faces.clock())
        if halts == shown:
            return
        shown = halts
        standing.clear()
        standing.set_visibility(bool(halts))
        with standing:
            for halt in halts.values():
                _halted(faces, halt)

    live.follow(faces, {CONTROL.name}, refresh, look=30.0)


def _halted(faces: Faces, halt: Halt) -> None:
    until = "until it is lifted" if halt.expires_at is None else f"until {moment(halt.expires_at)} UTC"
    with ui.element("div").classes("halted").props('role="status"'):
        ui.icon("front_hand").classes("bad")
        ui.label(f"{_what(halt.scope)} halted: {words(halt.action)}").style("font-weight: 600")
        ui.label(f"{halt.reason} · {halt.actor} · {until}").classes("grow wrap")

        async def lift() -> None:
            lifted = Lift(scope=halt.scope, epoch=0, actor=ACTOR, issued_at=faces.clock())
            await order(faces, lifted, f"Lift the halt of {_what(halt.scope)}")

        question = f"Lift the halt of {_what(halt.scope)}?"
        button("Lift", lambda: confirm(question, "Trading goes on.", "Lift the halt", lift))


def _what(scope: str) -> str:
    return "everything" if scope == EVERYTHING else scope.replace(":", " ")


async def _halt(faces: Faces, scope: str) -> None:
    """Ask what is to be halted, and how."""
    try:
        async with faces.database.snapshot() as tx:
            serving = await ensembles.deployed(tx)
    except (DatabaseAway, UnusableDatabase):
        # The switch needs Kafka alone.
        serving = []
    scopes = {EVERYTHING: "Everything"}
    scopes |= {f"ensemble:{each.ensemble}": f"Ensemble {each.ensemble}" for each in serving}
    scopes |= {f"ticker:{each}": f"Ticker {each}" for each in sorted({name for one in serving for name in one.tickers})}
    scopes.setdefault(scope, _what(scope).capitalize())
    with dialog("Stop trading") as asked:
        chosen = ui.select(scopes, value=scope, label="What").props("outlined dense").mark("halt-scope")
        action = ui.radio(ACTIONS, value="reduce_only").props("dense").classes("small")
        why = ui.input("Reason", validation={"Say why: whoever reads it must know": bool})
        why.props("outlined dense autofocus maxlength=256").without_auto_validation()
        hours = ui.number("Hours; empty: until it is lifted", min=0.1, max=8760).props("outlined dense")

        async def send() -> None:
            if not why.validate():
                return
            asked.close()
            now = faces.clock()
            halt = Halt(
                scope=chosen.value,
                epoch=0,
                actor=ACTOR,
                issued_at=now,
                action=action.value,
                reason=why.value,
                expires_at=now + timedelta(hours=hours.value) if hours.value else None,
            )
            await order(faces, halt, f"Halt {_what(halt.scope)}")

        answers(asked, "Halt", send, "halt")
