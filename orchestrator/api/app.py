"""The application: REST over what the ports offer, and whether the process is alive, ready, and what it counts."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from fastapi import FastAPI, Response, status
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from orchestrator.api import problems
from orchestrator.api.asking import Remembered
from orchestrator.api.describing import TITLE, described
from orchestrator.api.ports import Faces
from orchestrator.api.reading import Aim, Reading
from orchestrator.api.routers import (
    commands,
    ensembles,
    events,
    experiments,
    fingerprints,
    halts,
    retraining,
    searches,
    signals,
    system,
)

ANSWER_SECONDS = 10.0
"""Longer than this, what is asked counts as not ready."""

Check = Callable[[], Awaitable[str | None]]
"""Answers None when a dependency is there, else why it is not."""


class Health(BaseModel):
    """This process answers."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Whether work can be taken on: by the name of each dependency null, or why it is not there."""

    ready: bool
    faults: dict[str, str | None]


def create(faces: Faces, checks: Mapping[str, Check], exposition: Callable[[], bytes]) -> FastAPI:
    """The application.

    Args:
        faces: what it is made of.
        checks: what readiness depends on, by name.
        exposition: the metrics in Prometheus' text format.
    """
    app = FastAPI(title=TITLE, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.faces = faces
    app.state.reading = Reading(faces.database, Aim(faces.limits.metric, faces.limits.mode))
    app.state.remembered = Remembered()
    problems.install(app)
    for group in (searches, experiments, ensembles, retraining, signals, commands, halts, fingerprints, system, events):
        app.include_router(group.router)

    @app.get("/health", tags=["system"])
    async def health() -> Health:
        return Health()

    @app.get("/ready", tags=["system"], responses={status.HTTP_503_SERVICE_UNAVAILABLE: {"model": Readiness}})
    async def ready(response: Response) -> Readiness:
        faults = dict(zip(checks, await asyncio.gather(*map(_answer, checks.values())), strict=True))
        if any(faults.values()):
            response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        return Readiness(ready=not any(faults.values()), faults=faults)

    @app.get(
        "/metrics",
        tags=["system"],
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' format"}
        },
    )
    def metrics() -> Response:
        return Response(exposition(), media_type=CONTENT_TYPE_LATEST)

    app.openapi = described(app)  # type: ignore[method-assign]
    return app


async def _answer(check: Check) -> str | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await check()
    except TimeoutError:
        return f"no answer within {ANSWER_SECONDS:g} s"
