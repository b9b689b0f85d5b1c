"""The dashboard behind its key, in a real browser."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from benchmarks.browser import browser, chromium, looking
from streams import ports

pytestmark = pytest.mark.slow

KEY = "a-key-of-the-tests"
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, folder = ports.free(), tmp_path_factory.mktemp("guarded")
    command = [sys.executable, "-m", "tests.support.guarded", str(port), KEY, str(folder)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as server:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)
                break
            except httpx.TransportError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
        server.terminate()
        server.wait(PATIENCE_SECONDS)


def test_a_browser_shows_the_key_once_and_has_the_whole_dashboard(address: str) -> None:
    path = chromium()
    if path is None:
        pytest.skip("no Chromium is on the PATH: the dashboard cannot be looked at")
    with browser(path) as started, looking(started) as seen:
        page = seen.page
        page.goto(f"{address}/dashboard/system")
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Go on").click()
        page.wait_for_url(f"{address}/dashboard/system")
        # The topics come by the page's websocket: it was let in.
        expect(page.get_by_text("search-requests.dlq").first).to_be_visible(timeout=30_000)
        assert seen.complaints == []


def test_a_page_of_another_site_reads_nothing_and_opens_no_websocket(address: str) -> None:
    foreign = {"Origin": "https://evil.example", "X-API-Key": KEY}
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    socket = "/dashboard/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    with httpx.Client(base_url=address, trust_env=False) as client:
        assert client.get("/experiments", headers=foreign).status_code == 403
        answer = client.get(socket, headers=foreign | upgrade | {"Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg=="})
        assert (answer.status_code, answer.json()["reasons"][0]["code"]) == (403, "foreign_origin")
