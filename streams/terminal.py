"""What every command speaks through: its settings, its two streams, and how it ends when something is wrong."""

import os

import typer
from rich.console import Console

from streams.settings import Settings, WrongSettings

WRONG_USE = 2

console = Console()
errors = Console(stderr=True)


def fail(message: str, code: int = 1) -> typer.Exit:
    """Say on standard error what is wrong; raise what is returned."""
    errors.print(message, style="red", highlight=False, markup=False, soft_wrap=True)
    return typer.Exit(code)


def settings() -> Settings:
    """The settings in the environment; every fault in them at once ends the program with 2."""
    try:
        return Settings.read(os.environ)
    except WrongSettings as error:
        raise fail("\n".join(("wrong settings:", *(f"  {fault}" for fault in error.faults))), WRONG_USE) from None
