"""The dashboard: pages in the browser over the same queries and the same messages as REST."""

from functools import partial

from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import RedirectResponse
from nicegui import core, ui

from orchestrator.api.pages import (
    ensemble,
    ensembles,
    experiment,
    experiments,
    new_search,
    policy,
    signal,
    signals,
    system,
)
from orchestrator.api.pages.look import PATH
from orchestrator.api.ports import Faces
from orchestrator.api.reading import Aim, Reading

RECONNECT_SECONDS = 20.0
"""A browser that was away for less goes on where it was."""
FASTEST = 1
"""Files are packed as they are asked for: packing them well takes longer than sending what that saves."""
_PAGES = (experiments, experiment, new_search, ensembles, ensemble, policy, signals, signal, system)


def mount(app: FastAPI, faces: Faces) -> None:
    """Serve the dashboard below `PATH`; everything that it loads is served by itself.

    The pages are the process's: mounted once more, they show what was given last.
    """

    @app.get("/", include_in_schema=False)
    @app.get(PATH, include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse(f"{PATH}/")

    reading = Reading(faces.database, Aim(faces.limits.metric, faces.limits.mode))
    for each in _PAGES:
        each.add(faces, reading)
    if core.app.middleware_stack is not None:
        app.mount(PATH, core.app)
        return
    ui.run_with(
        app,
        title="Ray Orchestrator",
        favicon="📈",
        dark=None,
        language="en-US",
        mount_path=PATH,
        reconnect_timeout=RECONNECT_SECONDS,
        binding_refresh_interval=None,
        tailwind=False,
        gzip_middleware_factory=partial(GZipMiddleware, minimum_size=2000, compresslevel=FASTEST),
        show_welcome_message=False,
    )
