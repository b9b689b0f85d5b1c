"""`orchestrator fingerprints`: what is known and need not be trained again, and forgetting it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from schemas.base import format_instant
from streams.display import show_rows
from streams.terminal import WRONG_USE, console, fail, settings

if TYPE_CHECKING:
    # Imported when a command is called: `--help` must not load the store.
    from orchestrator.store.database import Database

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="What is known by its fingerprint, and is not trained again.")


@app.command()
def stats() -> None:
    """How much is known, of how many experiments, and how much training that has saved."""
    from orchestrator.store import fingerprints

    async def ask(database: "Database") -> fingerprints.Stats:
        async with database.snapshot() as tx:
            return await fingerprints.stats(tx)

    found = _asked(ask)
    times = ("-" if each is None else format_instant(each) for each in (found.oldest, found.newest))
    counts = (str(each) for each in (found.fingerprints, found.experiments, found.saved))
    headings = ("known", "experiments", "steps saved", "oldest", "newest")
    show_rows(console, headings, [(*counts, *times)])


@app.command("list")
def of_experiment(
    experiment: Annotated[str, typer.Argument(help="Its name.")],
) -> None:
    """What an experiment has trained that is known."""
    from orchestrator.store import fingerprints

    async def ask(database: "Database") -> list[fingerprints.Fingerprint]:
        name = await _named(database, experiment)
        async with database.snapshot() as tx:
            return await fingerprints.of_experiment(tx, name)

    rows = [(each.trial, str(each.step), "yes" if each.whole else "no", each.fingerprint) for each in _asked(ask)]
    if not rows:
        console.print(f"nothing is known of {experiment}", highlight=False, markup=False)
        return
    show_rows(console, ("trial", "step", "in full", "fingerprint"), rows)


@app.command()
def clear(
    experiment: Annotated[str | None, typer.Argument(help="Whose; or --all.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Of every experiment.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget results, so that they are trained again when asked for. Trials and the ledger stay as they are."""
    from orchestrator.store import fingerprints

    if (experiment is None) is not everything:
        raise fail("name one experiment, or give --all", WRONG_USE)
    whose = "all experiments" if experiment is None else experiment

    async def count(database: "Database") -> int:
        if experiment is None:
            async with database.snapshot() as tx:
                return (await fingerprints.stats(tx)).fingerprints
        name = await _named(database, experiment)
        async with database.snapshot() as tx:
            return len(await fingerprints.of_experiment(tx, name))

    async def forget(database: "Database") -> int:
        if experiment is None:
            async with database.transaction() as tx:
                return await fingerprints.clear_all(tx)
        name = await _named(database, experiment)
        async with database.transaction() as tx:
            return await fingerprints.clear(tx, name)

    if not yes:
        typer.confirm(f"Forget {_asked(count)} results of {whose}?", abort=True)
    console.print(f"{_asked(forget)} results of {whose} forgotten", highlight=False, markup=False)


def _asked(ask: Callable[["Database"], Awaitable[T]]) -> T:
    """What the store of the settings answers; where it cannot be used, the program ends with the reason."""
    from sqlalchemy.exc import SQLAlchemyError

    from orchestrator.store.database import Database
    from orchestrator.store.errors import DatabaseAway, UnusableDatabase

    async def answer() -> T:
        database = Database.open(settings().store_url)
        try:
            if database.is_missing:
                raise fail(f"there is no database at {database.url} yet: `orchestrator up` makes it")
            return await ask(database)
        finally:
            await database.close()

    try:
        return asyncio.run(answer())
    except (SQLAlchemyError, UnusableDatabase, DatabaseAway) as error:
        raise fail(f"the database cannot be asked: {error}") from None


async def _named(database: "Database", name: str) -> str:
    """The id of the experiment that goes by a name."""
    from orchestrator.store import experiments

    async with database.snapshot() as tx:
        found = await experiments.by_name(tx, name)
    if found is None:
        raise fail(f"there is no experiment {name}")
    return found.id
