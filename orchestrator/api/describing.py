"""OpenAPI: what the routes say of themselves, the bodies that they read, and problems wherever something goes wrong."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from orchestrator.api import bodies
from orchestrator.api.problems import MEDIA_TYPE
from schemas.base import JsonObject

TITLE = "ray-orchestrator"
_DESCRIPTION = (
    "Search requests in, trading signals out. Whatever changes something is a message on Kafka, as from any other "
    "producer: it is answered with 202 when the broker has it. Bodies are JSON, whatever Content-Type says."
)
_KEYS: JsonObject = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""How API_KEY is shown."""
_PROBLEM: JsonObject = {
    "description": "Why not, every reason at once (RFC 9457)",
    "content": {MEDIA_TYPE: {"schema": bodies.PROBLEM}},
}


def described(app: FastAPI) -> Callable[[], JsonObject]:
    """What makes an application's OpenAPI document; made once."""

    def openapi() -> JsonObject:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    return openapi


def _document(app: FastAPI) -> JsonObject:
    document: dict[str, Any] = get_openapi(
        title=TITLE, version=version("ray-orchestrator"), description=_DESCRIPTION, routes=app.routes
    )
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = _PROBLEM
    components = document.setdefault("components", {}).setdefault("schemas", {})
    for left_out in ("HTTPValidationError", "ValidationError"):
        components.pop(left_out, None)
    components |= bodies.components()
    if app.state.faces.api_key is not None:
        document["components"]["securitySchemes"] = _KEYS
        document["security"] = [{name: []} for name in _KEYS]
    return document
