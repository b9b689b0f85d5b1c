"""How long a page of the dashboard takes until it can be used."""

import statistics
import time

from benchmarks.browser import browser, chromium, looking

VISITS = 5


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
                first = seen.page.locator("tbody td").first
                first.wait_for()
                before = first.inner_text()
                seen.page.locator("th", has_text="Trial").first.click()
                seen.page.wait_for_function(
                    "before => document.querySelector('tbody td')?.innerText !== before", arg=before
                )
                seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])
