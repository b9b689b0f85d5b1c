"""The application: REST over what the ports offer, and whether the process is alive, ready, and what it counts."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from fastapi import FastAPI, Response, status
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from orchestrator.api.ports import Faces

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
        faces: what it is made of; endpoints find it in `app.state.faces`.
        checks: what readiness depends on, by name.
        exposition: the metrics in Prometheus' text format.
    """
    app = FastAPI(title="ray-orchestrator", docs_url=None, redoc_url=None)
    app.state.faces = faces

    @app.get("/health")
    async def health() -> Health:
        return Health()

    @app.get("/ready", responses={status.HTTP_503_SERVICE_UNAVAILABLE: {"model": Readiness}})
    async def ready(response: Response) -> Readiness:
        faults = dict(zip(checks, await asyncio.gather(*map(_answer, checks.values())), strict=True))
        if any(faults.values()):
            response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        return Readiness(ready=not any(faults.values()), faults=faults)

    @app.get("/metrics", response_class=Response)
    def metrics() -> Response:
        return Response(exposition(), media_type=CONTENT_TYPE_LATEST)

    return app


async def _answer(check: Check) -> str | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await check()
    except TimeoutError:
        return f"no answer within {ANSWER_SECONDS:g} s"
