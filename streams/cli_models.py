"""`orchestrator models`: files that were trained elsewhere, and may be deployed."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from schemas.base import format_instant, parse_instant
from streams.display import show_rows
from streams.terminal import WRONG_USE, asked, console, fail, settings

if TYPE_CHECKING:
    # Imported when a command is called: `--help` must not load the store.
    from orchestrator.core.models import RegisteredModel
    from orchestrator.store.database import Database

_DIGEST = re.compile("[0-9a-f]{64}")

app = typer.Typer(
    no_args_is_help=True, help="Models that were trained elsewhere: registering them, and which there are."
)


@app.command()
def register(
    path: Annotated[str, typer.Argument(help="A file below MODELS_DIR.")],
    algorithm: Annotated[str, typer.Option(help="What it was trained by, such as elasticnet.")],
    timeframe: Annotated[str, typer.Option(help="Of the bars that it was trained on.")],
    ticker: Annotated[list[str], typer.Option(help="Instrument that it predicts; may be repeated.")],
    trained_through: Annotated[str, typer.Option(help="Event time of the last bar that it was trained on (RFC 3339).")],
    name: Annotated[str | None, typer.Option(help="Absent: the file's, without its ending.")] = None,
    feature: Annotated[
        list[str] | None, typer.Option(help="In the order in which it takes them; absent: the file says so.")
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(min=1, help="Bars ahead that it predicts. Absent: 1 for days and more, 12 below.")
    ] = None,
    target_transform: Annotated[Literal["log_return", "return"], typer.Option(help="What it predicts.")] = "log_return",
    kind: Annotated[
        Literal["sealed", "xgboost", "lightgbm", "joblib"] | None, typer.Option("--format", help="Absent: as it looks.")
    ] = None,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Read a joblib file; what it carries is not run even so.")
    ] = False,
) -> None:
    """Register a model file, by what it holds: it is copied, and what becomes of the file matters no more."""
    from orchestrator.core.errors import Refused
    from serving.artifacts import Artifacts
    from streams.registering import Declaration, registered

    chosen, now = settings(), datetime.now(UTC)
    try:
        through = parse_instant(trained_through)
    except ValueError as error:
        raise fail(f"--trained-through {trained_through} {error}", WRONG_USE) from None
    said = Declaration(
        algorithm=algorithm,
        timeframe=timeframe,
        tickers=tuple(ticker),
        trained_through=through,
        name=name,
        kind=kind,
        feature_names=tuple(feature) if feature else None,
        horizon=horizon,
        target_transform=target_transform,
        trusts_pickle=trust_pickle,
    )
    limit, artifacts = chosen.model_max_mb << 20, Artifacts(chosen.artifacts_folder)

    async def write(database: "Database") -> "RegisteredModel":
        return await registered(database, artifacts, chosen.models_folder, path, said, limit=limit, now=now)

    try:
        model = asked(write)
    except Refused as refused:
        raise fail("\n".join(map(str, refused.reasons))) from None
    console.print(f"{model.name} is registered: {model.digest}", highlight=False, soft_wrap=True)


@app.command("list")
def every() -> None:
    """Every registered model."""
    from orchestrator.store import models

    async def ask(database: "Database") -> "list[RegisteredModel]":
        async with database.snapshot() as tx:
            return await models.every(tx)

    rows = [
        (
            each.name,
            each.algorithm,
            each.format,
            ",".join(each.tickers),
            each.timeframe,
            format_instant(each.trained_through),
            each.digest,
        )
        for each in asked(ask)
    ]
    if not rows:
        console.print("no model is registered yet", highlight=False)
        return
    show_rows(console, ("model", "algorithm", "format", "tickers", "timeframe", "trained through", "digest"), rows)


@app.command()
def show(name: Annotated[str, typer.Argument(help="Its name or digest.")]) -> None:
    """What is registered of a model."""
    document = _known(name).model_dump(mode="json")
    rows = [
        (key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)) for key, value in document.items()
    ]
    show_rows(console, ("field", "value"), rows)


def digest_of(name: str) -> str:
    """The digest of the model that goes by a name; a digest is one."""
    return name if _DIGEST.fullmatch(name) else _known(name).digest


def _known(name: str) -> "RegisteredModel":
    from orchestrator.store import models

    async def ask(database: "Database") -> "RegisteredModel | None":
        async with database.snapshot() as tx:
            return await models.named(tx, name)

    found = asked(ask)
    if found is None:
        raise fail(f"there is no model {name}: `orchestrator models list` shows those that are registered")
    return found
