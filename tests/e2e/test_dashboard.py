"""The dashboard in a real browser, on the running service."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.browser import browser, chromium, looking
from tests.service import Service

pytestmark = pytest.mark.slow

PATIENCE_MS = 90_000.0
ENSEMBLE = "dashed"
PAGES = ("", "search", "ensembles", f"ensembles/{ENSEMBLE}", f"ensembles/{ENSEMBLE}/policy", "signals", "system")


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        pytest.skip("no Chromium is on the PATH: the dashboard cannot be looked at")
    expect.set_options(timeout=PATIENCE_MS)
    with browser(path) as found:
        yield found


@pytest.fixture(scope="module")
def home(service: Service) -> str:
    return f"{service.url}/dashboard"


def click(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def confirm(page: Page, name: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()


def choose(page: Page, label: str, *options: str) -> None:
    page.get_by_label(label, exact=True).click()
    for option in options:
        page.get_by_role("option", name=option, exact=True).click()
    page.keyboard.press("Escape")


def deploy(page: Page, members: int, heard: str = "") -> None:
    click(page, "Deploy survivors")
    page.get_by_label("Ensemble", exact=True).fill(ENSEMBLE)
    page.get_by_label("Members per ticker at most").fill(str(members))
    if heard:
        page.get_by_label("Heard", exact=True).click()
        page.get_by_role("option", name=heard).click()
    page.get_by_role("checkbox", name="Only if the gate lets it through").click()
    confirm(page, "Deploy")


def test_a_search_is_asked_for_watched_deployed_asked_and_rolled_back(
    service: Service, started: Browser, home: str
) -> None:
    with looking(started) as seen:
        page = seen.page
        seen.visit(f"{home}/search")
        expect(page.get_by_text("Choose a ticker")).to_be_visible()
        choose(page, "Tickers", "AAPL", "IBM")
        page.get_by_label("l1_ratio").fill("0.4")
        page.get_by_label("alpha").fill("-1")
        expect(page.locator(".q-field", has=page.get_by_label("alpha")).get_by_role("alert")).to_contain_text("-1")
        page.get_by_label("alpha").fill("0.002, 0.02, 0.2")
        page.get_by_text("Prediction and scoring").click()
        page.get_by_label("Bars until").fill(f"{service.feed_start():%Y-%m-%d}")
        expect(page.get_by_text("6 trials")).to_be_visible()
        click(page, "Start search")

        expect(page.get_by_test_id("state")).to_have_text("selected")
        expect(page.get_by_text("6 / 6")).to_be_visible()
        expect(page.locator("tbody tr")).to_have_count(6)
        expect(page.get_by_label("Cumulated profit and drawdown")).to_be_visible()
        page.get_by_role("tab", name="Gate").click()
        expect(page.get_by_text("Deflated Sharpe", exact=True)).to_be_visible()

        deploy(page, 2)
        expect(page).to_have_url(f"{home}/ensembles/{ENSEMBLE}")
        expect(page.get_by_text("version 1 serves", exact=True)).to_be_visible()
        click(page, "Predict")
        expect(page.get_by_text("version 1, 2 members, soft voting")).to_be_visible()

        deploy(page, 1)
        expect(page.get_by_text("version 2 serves", exact=True)).to_be_visible()
        with looking(started) as tape:
            tape.visit(f"{home}/signals")
            expect(tape.page.locator("h1")).to_have_text("Signals")
            service.play(slice(0, 4), ("AAPL", "IBM"))
            expect(tape.page.get_by_role("link", name=ENSEMBLE)).to_have_count(8)
            expect(tape.page.get_by_label("Price with BUY and SELL marks")).to_be_visible()
            assert tape.complaints == []

        click(page, "Roll back")
        confirm(page, "Roll back")
        expect(page.get_by_text("version 1 serves", exact=True)).to_be_visible()
        assert seen.complaints == []


def test_a_policy_is_set_a_challenger_comes_and_is_retired_and_a_signal_goes_back_to_its_search(
    service: Service, started: Browser, home: str
) -> None:
    with looking(started) as seen:
        page = seen.page
        seen.visit(f"{home}/ensembles/{ENSEMBLE}")
        expect(page.get_by_text("Nothing trains this ensemble anew by itself")).to_be_visible()
        click(page, "Set a policy")
        schedule = page.get_by_label("Schedule, as cron")
        schedule.fill("61 18 * * 5")
        expect(page.locator(".q-field", has=schedule).get_by_role("alert")).to_contain_text("no cron")
        schedule.fill("30 18 * * 5")
        expect(page.get_by_text("Trained anew by schedule")).to_be_visible()
        click(page, "Save policy")
        expect(page).to_have_url(f"{home}/ensembles/{ENSEMBLE}")
        expect(page.get_by_label("How near schedule is to firing")).to_be_visible()

        deploy(page, 1, heard="shadow: on signals.shadow")
        expect(page.get_by_role("heading", name="Challenger: version 3")).to_be_visible()
        expect(page.get_by_text("challenger in shadow", exact=True)).to_be_visible()
        click(page, "Retire")
        confirm(page, "Retire")
        expect(page.get_by_role("heading", name="Challenger: version 3")).to_be_hidden()
        expect(page.get_by_text("version 1 serves", exact=True)).to_be_visible()
        assert seen.complaints == []

        seen.visit(f"{home}/signals")
        page.locator("tbody tr a").first.click()
        expect(page.get_by_role("heading", name="What was asked, and why")).to_be_visible()
        expect(page.get_by_role("heading", name="Champions before")).to_be_visible()
        assert seen.complaints == []


def test_a_halt_is_given_on_any_page_shown_on_all_and_lifted(started: Browser, home: str) -> None:
    with looking(started) as seen:
        page = seen.page
        seen.visit(f"{home}/ensembles/{ENSEMBLE}")
        click(page, f"Halt ensemble {ENSEMBLE}")
        confirm(page, "Halt")
        expect(page.get_by_text("Say why: whoever reads it must know")).to_be_visible()
        page.get_by_label("Reason").fill("a test")
        confirm(page, "Halt")
        halted = page.get_by_text(f"ensemble {ENSEMBLE} halted: reduce only")
        expect(halted).to_be_visible()
        seen.visit(f"{home}/system")
        expect(halted).to_be_visible()
        click(page, "Lift")
        confirm(page, "Lift the halt")
        expect(halted).to_be_hidden()
        assert seen.complaints == []


def test_no_page_is_wider_than_a_phone(started: Browser, home: str) -> None:
    with looking(started, width=390) as seen:
        for place in PAGES:
            seen.visit(f"{home}/{place}")
            expect(seen.page.locator("h1")).to_be_visible()
            seen.page.wait_for_timeout(500)
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390, place
        assert seen.complaints == []


def test_a_deleted_ensemble_serves_no_longer(started: Browser, home: str) -> None:
    with looking(started) as seen:
        page = seen.page
        seen.visit(f"{home}/ensembles/{ENSEMBLE}")
        click(page, "Delete")
        confirm(page, "Delete")
        expect(page.get_by_text("nothing serves", exact=True)).to_be_visible()
        assert seen.complaints == []
