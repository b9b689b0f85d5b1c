"""Every page of a running service's dashboard as a picture, at the width of a desk and of a phone."""

import json
import os
import sys
import urllib.request
from pathlib import Path

from playwright.sync_api import Page

from benchmarks.browser import browser, chromium, looking
from streams.run_folder import RunFolder
from streams.settings import Settings

WIDTHS = (1280, 390)
SETTLE_MS = 1500
EXPERIMENT_TABS = ("Trials", "Parameters", "Lineage", "Gate", "Event log", "Request")


def main(target: Path) -> int:
    """Write them; the exit code."""
    path = chromium()
    if path is None:
        print("no Chromium is on the PATH: install it, then make the screenshots again")
        return 1
    address = str(RunFolder(Settings.read(os.environ).data_dir).require("api")["url"])
    target.mkdir(parents=True, exist_ok=True)
    places = pages(address)
    with browser(path) as started:
        for scheme in ("light", "dark"):
            for width in WIDTHS:
                with looking(started, width, scheme) as seen:
                    for name, place in places.items():
                        seen.page.goto(f"{address}/dashboard{place}")
                        take(seen.page, target / f"{name}-{width}-{scheme}.png")
                        if name == "experiment":
                            tabs(seen.page, target, f"{width}-{scheme}")
                    for complaint in seen.complaints:
                        print(complaint)
    print(f"{len([*target.glob('*.png')])} pictures are in {target}")
    return 0


def pages(address: str) -> dict[str, str]:
    """The pages by name; of one experiment and one ensemble where there is any."""
    found = {
        "experiments": "/",
        "search": "/search",
        "ensembles": "/ensembles",
        "signals": "/signals",
        "system": "/system",
    }
    for name, path, listed in (("experiment", "experiments", "experiments"), ("ensemble", "ensembles", "ensemble")):
        named = names(f"{address}/{listed}")
        if named:
            found[name] = f"/{path}/{named[0]}"
    if "ensemble" in found:
        found["policy"] = f"{found['ensemble']}/policy"
    return found


def names(url: str) -> list[str]:
    """Of what REST lists."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        document = json.load(answer)
    listed = (
        document if isinstance(document, list) else next(each for each in document.values() if isinstance(each, list))
    )
    return [each["name"] for each in listed]


def tabs(page: Page, target: Path, suffix: str) -> None:
    """The parts of an experiment's page that are behind tabs."""
    for tab in EXPERIMENT_TABS[1:]:
        button = page.get_by_role("tab", name=tab)
        if button.count():
            button.click()
            take(page, target / f"experiment-{tab.lower().replace(' ', '-')}-{suffix}.png")


def take(page: Page, file: Path) -> None:
    """One picture, of the whole page, once it stands still."""
    page.locator("h1").wait_for()
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=file, full_page=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/screenshots")))
