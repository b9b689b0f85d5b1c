"""A headless Chromium, for whoever looks at the dashboard: tests, screenshots, measurements."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 60_000.0


@dataclass(frozen=True)
class Looking:
    """A page in the browser, and all that it complained about: errors on its console, requests that failed."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def visit(self, url: str) -> None:
        """Go to a page of the dashboard, and wait until it hears what is clicked."""
        self.page.goto(url)
        self.page.wait_for_function("window.did_handshake === true")


def chromium() -> str | None:
    """Where the browser is; None: it is not installed."""
    return next((found for name in NAMES if (found := shutil.which(name)) is not None), None)


@contextmanager
def browser(path: str) -> Iterator[Browser]:
    """The browser, without a window."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield started
        finally:
            started.close()


@contextmanager
def looking(started: Browser, width: int = 1280, scheme: Literal["light", "dark"] = "light") -> Iterator[Looking]:
    """A new page, as one who was never there has it."""
    context = started.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE_MS)
    found = Looking(context.new_page())
    page, told = found.page, found.complaints.append
    page.on("console", lambda said: told(f"console: {said.text}") if said.type == "error" else None)
    page.on("pageerror", lambda error: told(f"page: {error}"))
    page.on("response", lambda answer: told(f"{answer.status}: {answer.url}") if answer.status >= 400 else None)
    page.on("requestfailed", lambda asked: told(f"failed: {asked.url} {asked.failure}"))
    try:
        yield found
    finally:
        context.close()
