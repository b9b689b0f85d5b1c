"""Small pieces that several pages are made of."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from nicegui import ui

from schemas.base import Reason

Act = Callable[[], Awaitable[None]]


class Text(ui.element):
    """An HTML element with plain text in it."""

    def __init__(self, tag: str, text: str) -> None:
        super().__init__(tag)
        self._text = text


def heading(text: str, level: int = 2) -> Text:
    """A heading."""
    return Text(f"h{level}", text)


def sentence(text: str) -> Text:
    """A sentence that explains."""
    found = Text("p", text)
    found.classes("sentence")
    return found


@contextmanager
def panel(title: str | None = None) -> Iterator[ui.element]:
    """A box with a heading."""
    with ui.element("section").classes("panel") as box:
        if title is not None:
            heading(title)
        yield box


@contextmanager
def facts() -> Iterator[None]:
    """Figures with their names, in columns."""
    with ui.element("div").classes("facts"):
        yield


def fact(name: str, value: str, tone: str = "") -> None:
    """A figure and its name."""
    with ui.element("div").classes("fact"):
        Text("span", name)
        Text("b", value).classes(tone)


def pill(text: str, tone: str = "") -> Text:
    """A state."""
    found = Text("span", text)
    found.classes(f"pill {tone}")
    return found


def progress(done: int, whole: int, about: str) -> None:
    """A bar of what is done."""
    bar = ui.element("div").classes("progress").props(f'role="progressbar" aria-valuemin=0 aria-valuemax={whole}')
    bar.props(f'aria-valuenow={done} aria-label="{about}"')
    with bar:
        ui.element("b").style(f"width: {100 * done / whole if whole else 0:.2f}%")


def reasons(found: Sequence[Reason]) -> None:
    """Reasons, each on its own line."""
    with ui.element("ul").classes("reasons"):
        for each in found:
            Text("li", each.message)


def empty(text: str, link: str | None = None, target: str = "") -> None:
    """What is to be done where there is nothing to show."""
    with ui.element("div").classes("empty"):
        ui.label(text)
        if link is not None:
            ui.link(link, target)


def button(text: str, act: Callable[[], Any], *, icon: str | None = None, tone: str = "plain") -> ui.button:
    """A button; its tone is `act` for what a page is for, `plain`, `danger` or `halt`."""
    found = ui.button(text, on_click=act, icon=icon, color=None)
    return found.props("unelevated dense padding='5px 12px'").classes(tone)


@contextmanager
def dialog(title: str) -> Iterator[ui.dialog]:
    """A question above the page; it outlasts the part of the page that it is asked from."""
    with ui.context.client, ui.dialog() as found, ui.card():
        heading(title).style("font-size: 16px")
        yield found
    found.open()


def answers(asked: ui.dialog, verb: str, act: Act, tone: str = "act", *, careful: bool = False) -> None:
    """The buttons of a question: to leave it, and to go on; `careful`: leaving it is what the Enter key does."""
    with ui.element("div").classes("head").style("justify-content: flex-end"):
        leave = button("Cancel", asked.close)
        if careful:
            leave.props("autofocus")
        button(verb, act, tone=tone)


def confirm(question: str, consequence: str, verb: str, act: Act) -> None:
    """Ask before something is done that has consequences."""
    with dialog(question) as asked:
        sentence(consequence)

        async def go() -> None:
            asked.close()
            await act()

        answers(asked, verb, go, "danger", careful=True)
