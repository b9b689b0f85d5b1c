"""The generated files: a JSON Schema for each message and each topic, and one AsyncAPI document."""

import json
from collections.abc import Iterator
from pathlib import Path

from schemas.asyncapi import asyncapi
from schemas.json_schema import json_schemas

ASYNCAPI_FILE = "asyncapi.json"


def files() -> Iterator[tuple[str, str]]:
    """Name and text of every generated file: sorted keys, two spaces, a newline at the end."""
    for name, document in [(ASYNCAPI_FILE, asyncapi()), *json_schemas().items()]:
        yield name, json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write(directory: Path) -> None:
    """Write every generated file into `directory`, which is made where it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files():
        (directory / name).write_text(text, encoding="utf-8")
