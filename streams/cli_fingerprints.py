"""`orchestrator fingerprints`: what is known and need not be trained again, and forgetting it."""

from typing import TYPE_CHECKING, Annotated

import typer

from schemas.base import format_instant
from streams.display import show_rows
from streams.terminal import WRONG_USE, asked, console, fail

if TYPE_CHECKING:
    # Imported when a command is called: `--help` must not load the store.
    from orchestrator.store.database import Database

app = typer.Typer(no_args_is_help=True, help="What is known by its fingerprint, and is not trained again.")


@app.command()
def stats() -> None:
    """How much is known, of how many experiments, and how much training that has saved."""
    from orchestrator.store import fingerprints

    async def ask(database: "Database") -> fingerprints.Stats:
        async with database.snapshot() as tx:
            return await fingerprints.stats(tx)

    found = asked(ask)
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

    rows = [(each.trial, str(each.step), "yes" if each.whole else "no", each.fingerprint) for each in asked(ask)]
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
        typer.confirm(f"Forget {asked(count)} results of {whose}?", abort=True)
    console.print(f"{asked(forget)} results of {whose} forgotten", highlight=False, markup=False)


async def _named(database: "Database", name: str) -> str:
    """The id of the experiment that goes by a name."""
    from orchestrator.store import experiments

    async with database.snapshot() as tx:
        found = await experiments.by_name(tx, name)
    if found is None:
        raise fail(f"there is no experiment {name}")
    return found.id
