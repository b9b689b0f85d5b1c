"""Pages that stay as things are: what happens is followed for as long as a page is open."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from nicegui import background_tasks, ui

from orchestrator.api.ports import Event, Faces, Unreachable
from orchestrator.store.errors import DatabaseAway

PAUSE_SECONDS = 0.5
"""Between two refreshes of a page, however much happens."""
LOOK_SECONDS = 10.0
"""After this time a page is refreshed although nothing was heard."""

Refresh = Callable[[], Awaitable[None]]


def every(event: Event) -> bool:
    """Whether an event changes a page: each one does."""
    return True


def follow(
    faces: Faces,
    topics: Collection[str],
    refresh: Refresh,
    *,
    wanted: Callable[[Event], bool] = every,
    pause: float = PAUSE_SECONDS,
    look: float = LOOK_SECONDS,
) -> None:
    """Refresh a part of the page that is being built: at once, then whenever something has happened.

    Args:
        faces: whose feed is followed.
        topics: where things are told.
        refresh: reads what there is, and shows it.
        wanted: whether an event is one of those that change something here.
        pause: seconds between two refreshes at least.
        look: seconds after which it is refreshed in any case.
    """
    changed = asyncio.Event()
    client, container = ui.context.client, ui.element().classes("q-gutter-none")
    container.set_visibility(False)

    async def listen() -> None:
        async with faces.feed.follow(topics) as events:
            async for event in events:
                if wanted(event):
                    changed.set()

    async def keep() -> None:
        while True:
            changed.clear()
            await _shown(container, refresh)
            await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(look):
                    await changed.wait()
            except TimeoutError:
                continue

    tasks: list[asyncio.Task[None]] = []

    def begin() -> None:
        # A browser that comes back connects again.
        if not tasks:
            tasks.extend(background_tasks.create(each, name="a page's refresh") for each in (listen(), keep()))
            for task in tasks:
                task.add_done_callback(ended)

    def ended(task: asyncio.Task[None]) -> None:
        # What went wrong is logged; a page that stands still must not look as if it was up to date.
        if not task.cancelled() and task.exception() is not None and not client.is_deleted:
            with container:
                ui.label("This page follows no longer what happens: load it again.").classes("notice")
            container.set_visibility(True)

    def leave() -> None:
        for task in tasks:
            task.cancel()

    client.on_connect(begin)
    client.on_delete(leave)


async def _shown(container: ui.element, refresh: Refresh) -> None:
    """Refresh once; what does not answer is told above everything, until it does again."""
    container.clear()
    with container:
        try:
            await refresh()
        except (Unreachable, DatabaseAway) as trouble:
            container.set_visibility(True)
            ui.label(str(trouble)).classes("notice")
        else:
            container.set_visibility(False)
