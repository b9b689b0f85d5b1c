"""How long a page of the dashboard takes until it can be used."""

import statistics
import time

from benchmarks.browser import browser, chromium, looking

VISITS = 5
CLICK_MS = 50.0


def page_interactive(url: str, visits: int = VISITS) -> float | None:
    """The median seconds until an experiment's page has its rows, and answers a click on one of its columns.

    Each visit is the first one of its kind: nothing of an earlier one is kept. None: no Chromium is installed.

    Args:
        url: of the page.
        visits: how many are made, after one that is not counted.
    """
    path = chromium()
    if path is None:
        return None
    with browser(path) as started:
        seconds = []
        for _ in range(visits + 1):
            with looking(started) as seen:
                begun = time.perf_counter()
                seen.page.goto(url, wait_until="commit")
                rows = seen.page.locator("tbody tr")
                rows.first.wait_for()
                before = rows.first.inner_text()
                # A click before the page is connected is not heard.
                while rows.first.inner_text() == before:
                    seen.page.locator("th", has_text="Trial").first.click()
                    seen.page.wait_for_timeout(CLICK_MS)
                seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])
