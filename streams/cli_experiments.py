"""`orchestrator experiments`: what was searched, and what came of it."""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from schemas.base import format_instant
from streams.display import show_rows
from streams.following import figure
from streams.terminal import asked, console, fail, settings

if TYPE_CHECKING:
    # Imported when a command is called: `--help` must not load the store.
    from collections.abc import Iterable

    from orchestrator.api.reading import Reading
    from orchestrator.api.views import ExperimentDetail, TrialLine, View
    from orchestrator.core.lifecycle import State
    from orchestrator.store.database import Database

T = TypeVar("T")
FAILED_SHOWN = 5
"""Failed trials of which the reasons are shown."""

app = typer.Typer(no_args_is_help=True, help="Experiments: what was searched, and what came of it.")
Named = Annotated[str, typer.Argument(help="Its name.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, as REST answers it.")]


@app.command("list")
def every(
    state: Annotated[list[str] | None, typer.Option(help="Only in this state; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The newest experiments, newest first."""
    from orchestrator.store.listing import ExperimentsWanted, Page

    wanted = ExperimentsWanted(states=frozenset(map(_state, state or ())))
    found = _read(lambda reading: reading.experiments(wanted, Page("created_at", descending=True, limit=limit)))
    if as_json:
        _print([found])
        return
    if not found.items:
        console.print("there is no such experiment: `orchestrator request` asks for one", highlight=False)
        return
    rows = [
        (
            each.name,
            each.state.value,
            each.strategy,
            each.algorithm,
            ",".join(each.tickers),
            f"{each.finished}/{each.trials}",
            str(each.failed),
            figure(each.best),
            format_instant(each.created_at),
        )
        for each in found.items
    ]
    show_rows(
        console,
        ("experiment", "state", "strategy", "algorithm", "tickers", "trials", "failed", "best", "asked for"),
        rows,
    )
    if found.total > len(rows):
        console.print(f"and {found.total - len(rows)} more: --limit", highlight=False)


@app.command()
def show(name: Named, as_json: AsJson = False) -> None:
    """An experiment: how far it is, what the gate says, which trials survived, and why others failed.

    With --json it is told with all its trials.
    """
    from orchestrator.store.listing import Page, TrialsWanted
    from orchestrator.store.tables import TrialStatus

    wanted = TrialsWanted() if as_json else TrialsWanted(statuses=(TrialStatus.FAILED,))
    page = Page("trial", limit=None if as_json else FAILED_SHOWN)
    found = _read(lambda reading: reading.experiment(name, wanted, page))
    if as_json:
        _print([found])
        return
    show_rows(console, ("", found.name), list(_about(found)))
    if found.survivors:
        console.print()
        rows = [(each.trial, ",".join(each.tickers), figure(each.metric)) for each in found.survivors]
        show_rows(console, ("survivor", "tickers", found.compared_by), rows)
    for trial in found.all_trials:
        for reason in trial.reasons:
            console.print(f"{trial.trial} failed: {reason}", highlight=False, markup=False, soft_wrap=True)
    for reason in (*found.reasons, *(() if found.verdict is None else found.verdict.reasons)):
        console.print(str(reason), highlight=False, markup=False, soft_wrap=True)


@app.command()
def top(
    name: Named,
    count: Annotated[int, typer.Argument(min=1, max=10_000, help="How many.")] = 10,
    as_json: AsJson = False,
) -> None:
    """The best trials of an experiment that may be selected, best first."""
    found = _read(lambda reading: reading.top(name, count))
    if as_json:
        _print(found)
        return
    if not found:
        console.print(f"no trial of {name} has been scored that may be selected", highlight=False)
        return
    metrics = sorted({metric for each in found for metric in each.metrics or {}})
    rows = [(each.trial, ",".join(each.tickers), *_figures(each, metrics), _configuration(each)) for each in found]
    show_rows(console, ("trial", "tickers", *metrics, "configuration"), rows)


@app.command()
def cancel(name: Named) -> None:
    """Stop an experiment; trials that have ended stay, and `resume` goes on with it."""
    from schemas.commands import Cancel
    from streams.ordering import order

    order(Cancel, {"experiment": name})
    console.print(f"{name} is cancelled", highlight=False)


@app.command()
def resume(name: Named) -> None:
    """Go on with an experiment that failed or was cancelled."""
    from schemas.commands import Resume
    from streams.ordering import order

    order(Resume, {"experiment": name})
    console.print(f"{name} is resumed", highlight=False)


def _read(ask: "Callable[[Reading], Awaitable[T]]") -> T:
    """What the same reader says that REST answers from; a name that nothing goes by ends the program with 1."""
    from orchestrator.api.reading import Aim, NotFound, Reading

    chosen = settings()

    async def read(database: "Database") -> T:
        try:
            return await ask(Reading(database, Aim(chosen.tune_metric, chosen.tune_mode)))
        except NotFound as error:
            raise fail(str(error)) from None

    return asked(read)


def _state(name: str) -> "State":
    from orchestrator.core.lifecycle import State

    try:
        return State(name)
    except ValueError:
        raise fail(f"{name} is no state: {', '.join(each.value for each in State)}", 2) from None


def _about(found: "ExperimentDetail") -> "Iterable[tuple[str, str]]":
    yield "state", found.state.value if found.position is None else f"{found.state.value}, {found.position} before it"
    yield "request", found.request_id
    yield "searches", f"{found.strategy}, {found.algorithm}, {','.join(found.tickers)}, {found.timeframe}"
    yield (
        "trials",
        ", ".join(f"{count} {status.value}" for status, count in found.by_status.items() if count) or "none yet",
    )
    yield f"best {found.compared_by}", figure(found.best)
    yield "not luck", figure(found.deflated_sharpe)
    if found.verdict is not None:
        passed = "overridden" if found.verdict.overridden else "passed" if found.verdict.passed else "refused"
        yield "gate", passed
    for what, moment in (("asked for", found.created_at), ("began", found.started_at), ("ended", found.finished_at)):
        yield what, "-" if moment is None else format_instant(moment)


def _figures(trial: "TrialLine", metrics: list[str]) -> list[str]:
    return [figure((trial.metrics or {}).get(metric)) for metric in metrics]


def _configuration(trial: "TrialLine") -> str:
    return ", ".join(f"{name}={value}" for name, value in trial.configuration.items())


def _print(views: "Iterable[View]") -> None:
    for each in views:
        typer.echo(json.dumps(each.model_dump(mode="json")))
