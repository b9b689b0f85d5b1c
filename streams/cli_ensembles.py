"""`orchestrator ensembles`: which versions there are, and having others serve."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from schemas.base import Voting, format_instant, parse_instant
from streams.display import show_rows
from streams.following import figure, told_of
from streams.run_folder import RunFolder
from streams.serve_port import served_at
from streams.terminal import asked, console, fail, settings

if TYPE_CHECKING:
    # Imported when a command is called: `--help` must not load the store.
    from orchestrator.core.performance import Account
    from orchestrator.store.database import Database
    from orchestrator.store.ensembles import Version
    from schemas.base import Message, Mode

DEPLOY_SECONDS = 300.0
"""A driver makes the ensemble, and then a replica starts, maybe beside searches that keep every core busy."""
ABOUT = ("mode", "members", "timeframe", "gate", "not luck", "model age")

app = typer.Typer(no_args_is_help=True, help="Ensembles: which versions there are, and which of them serves.")


@app.command("list")
def every() -> None:
    """Every ensemble, and the version that serves."""
    from orchestrator.store import ensembles

    async def ask(database: "Database") -> dict[str, list["Version"]]:
        async with database.snapshot() as tx:
            return {name: await ensembles.versions(tx, name) for name in await ensembles.names(tx)}

    found = asked(ask)
    if not found:
        console.print("there is no ensemble yet", highlight=False)
        return
    rows = []
    for name, versions in found.items():
        serving, newest = _serving(versions), versions[-1]
        about = ("-",) * len(ABOUT) if serving is None else _about(serving)
        number = "-" if serving is None else str(serving.version)
        rows.append((name, number, f"{newest.version} {newest.state.value}", *about))
    show_rows(console, ("ensemble", "serves", "newest", *ABOUT), rows)


@app.command()
def show(name: Annotated[str, typer.Argument(help="The ensemble's.")]) -> None:
    """The versions of an ensemble, what its signals have earned, and who votes in the one that serves."""
    from orchestrator.store import ensembles, performance

    async def ask(database: "Database") -> tuple[list["Version"], dict["Mode", "Account"]]:
        async with database.snapshot() as tx:
            return await ensembles.versions(tx, name), await performance.of(tx, name)

    versions, accounts = asked(ask)
    if not versions:
        raise fail(f"there is no ensemble {name}")
    rows = [
        (
            str(each.version),
            each.state.value,
            *_about(each),
            "-" if each.deployed_at is None else format_instant(each.deployed_at),
            each.experiment or "-",
            each.digest,
        )
        for each in versions
    ]
    show_rows(console, ("version", "state", *ABOUT, "deployed", "experiment", "digest"), rows)
    serving = _serving(versions)
    for mode, account in accounts.items():
        _show_earned(mode, account, next(each for each in versions if each.version == account.version))
    _show_members(serving or versions[-1])
    if serving is not None and (address := served_at(RunFolder(settings().data_dir))) is not None:
        console.print(f"\npredictions: POST {address}/{name}", highlight=False, soft_wrap=True)


def _show_earned(mode: "Mode", account: "Account", version: "Version") -> None:
    from streams.performance import Rules

    rules = Rules.of(version.manifest)
    found = rules.figures(account)
    if account.since is None or not found.sessions:
        return
    rate = "-" if found.hit_rate is None else f"{found.hit_rate:.1%}"
    console.print(
        f"{mode} since {format_instant(account.since)}: hit rate {rate}, net Sharpe {figure(found.net_sharpe)}, net "
        f"return {found.net_return:.2%} in {found.sessions} sessions and {account.signals} signals, each followed at "
        f"the {rules.filled_at.replace('_', ' ')}",
        highlight=False,
        soft_wrap=True,
    )


def _show_members(version: "Version") -> None:
    manifest = version.manifest
    rows = [
        (
            each["member"],
            ",".join(each["records"]),
            f"{each['weight']:g}",
            "-" if each["metric"] is None else f"{each['metric']:.3f}",
            ", ".join(f"{name}={value}" for name, value in each["configuration"].items()),
            each["artifact"],
        )
        for each in manifest["members"]
    ]
    title = (
        f"version {version.version}: {manifest['algorithm']}, {manifest['voting']} voting, threshold "
        f"{manifest['threshold']:g}, trained through {manifest['trained_through']}"
    )
    console.print()
    show_rows(console, ("member", "tickers", "weight", "metric", "configuration", "digest"), rows, title=title)
    for reason in (*version.verdict.reasons, *version.reasons):
        console.print(f"  - {reason.message}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def deploy(
    experiment: Annotated[str, typer.Argument(help="Its name; its search must be over.")],
    name: Annotated[str, typer.Option(help="The ensemble's.")],
    top: Annotated[int, typer.Option(min=1, max=100, help="Members per ticker at most.")] = 5,
    voting: Annotated[Voting | None, typer.Option(help="Absent: SERVE_VOTING.")] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Absent: SERVE_THRESHOLD.")] = None,
    mode: Annotated[Literal["live", "shadow", "paper"], typer.Option(help="How it is heard.")] = "live",
    gate: Annotated[bool, typer.Option(help="Without it, GATE_OVERRIDE says what the ensemble may do.")] = True,
) -> None:
    """Have the best of an experiment vote as the next version of an ensemble, if the gate lets it through."""
    from schemas.commands import DeployEnsemble
    from streams.ordering import order

    wanted = {
        "experiment": experiment,
        "ensemble": name,
        "top_n": top,
        "voting": voting,
        "threshold": threshold,
        "mode": mode,
        "gate": gate,
    }
    _say(order(DeployEnsemble, wanted, patience=DEPLOY_SECONDS))


@app.command("deploy-models")
def deploy_models(
    name: Annotated[str, typer.Argument(help="The ensemble's.")],
    models: Annotated[list[str], typer.Argument(help="Digests of registered models, or their names.")],
    voting: Annotated[Voting | None, typer.Option(help="Absent: SERVE_VOTING.")] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Absent: SERVE_THRESHOLD.")] = None,
    mode: Annotated[Literal["live", "shadow", "paper"], typer.Option(help="How it is heard.")] = "live",
    gate: Annotated[
        bool, typer.Option(help="No gate judges these: without it, GATE_OVERRIDE says what they may do.")
    ] = True,
) -> None:
    """Have registered models vote as the next version of an ensemble."""
    from schemas.commands import DeployEnsemble
    from streams.cli_models import digest_of
    from streams.ordering import order

    wanted = {
        "ensemble": name,
        "models": [digest_of(each) for each in models],
        "voting": voting,
        "threshold": threshold,
        "mode": mode,
        "gate": gate,
    }
    _say(order(DeployEnsemble, wanted, patience=DEPLOY_SECONDS))


@app.command("add-member")
def add_member(
    name: Annotated[str, typer.Argument(help="The ensemble's.")],
    model: Annotated[str, typer.Argument(help="Digest of a registered model, or its name.")],
    ticker: Annotated[str | None, typer.Option(help="Absent: every one that it was registered for.")] = None,
) -> None:
    """Have a registered model vote besides the members of the version that serves, as the next version."""
    from schemas.commands import AddMember
    from streams.cli_models import digest_of
    from streams.ordering import order

    wanted = {"ensemble": name, "model": digest_of(model), "ticker": ticker}
    _say(order(AddMember, wanted, patience=DEPLOY_SECONDS))


@app.command("roll-back")
def roll_back(
    name: Annotated[str, typer.Argument(help="The ensemble's.")],
    version: Annotated[int | None, typer.Option(min=1, help="Absent: the one before.")] = None,
) -> None:
    """Have an earlier version serve again."""
    from schemas.commands import RollBack
    from streams.ordering import order

    _say(order(RollBack, {"ensemble": name, "version": version}, patience=DEPLOY_SECONDS))


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="The ensemble's.")],
    version: Annotated[int | None, typer.Option(min=1, help="Absent: the one on trial.")] = None,
    ticker: Annotated[
        list[str] | None, typer.Option(help="As a canary, on this instrument alone; may be repeated.")
    ] = None,
) -> None:
    """Make the challenger the champion; with --ticker, have it heard on some instruments first."""
    from schemas.commands import Promote
    from streams.ordering import identified, settle

    number = version or _on_trial(name)
    settle(identified(Promote, {"ensemble": name, "version": number, "tickers": ticker or []}), patience=DEPLOY_SECONDS)
    if ticker:
        console.print(f"version {number} of {name} is heard on {', '.join(ticker)}", highlight=False)
    else:
        console.print(f"version {number} of {name} serves", highlight=False)


@app.command()
def retire(
    name: Annotated[str, typer.Argument(help="The ensemble's.")],
    version: Annotated[int | None, typer.Option(min=1, help="Absent: the one on trial.")] = None,
) -> None:
    """End the challenger; the champion goes on."""
    from schemas.commands import Retire
    from streams.ordering import identified, settle

    number = version or _on_trial(name)
    settle(identified(Retire, {"ensemble": name, "version": number}))
    console.print(f"version {number} of {name} is retired", highlight=False)


def _on_trial(name: str) -> int:
    """The number of the ensemble's version that is on trial; where none is, the program ends with 1."""
    from orchestrator.core.versions import VersionState
    from orchestrator.store import ensembles

    async def ask(database: "Database") -> "dict[int, VersionState]":
        async with database.snapshot() as tx:
            return await ensembles.states(tx, name)

    found = [number for number, state in asked(ask).items() if state is VersionState.SHADOWING]
    if not found:
        raise fail(f"no version of {name} is on trial: `orchestrator ensembles show {name}` tells where each is")
    return found[0]


@app.command()
def delete(name: Annotated[str, typer.Argument(help="The ensemble's.")]) -> None:
    """Stop serving an ensemble; its versions can serve again, by `roll-back` with --version."""
    from schemas.commands import Delete
    from streams.ordering import order

    order(Delete, {"ensemble": name})
    console.print(f"{name} is deleted", highlight=False)


def _serving(versions: Sequence["Version"]) -> "Version | None":
    from orchestrator.core.versions import VersionState

    return next((each for each in versions if each.state is VersionState.DEPLOYED), None)


def _about(version: "Version") -> tuple[str, ...]:
    """The columns of `ABOUT`."""
    age = datetime.now(UTC) - parse_instant(version.manifest["trained_through"])
    return (
        version.mode,
        str(version.members),
        version.timeframe,
        "passed" if version.verdict.passed else "overridden",
        figure(version.verdict.deflated_sharpe),
        f"{age.days} d",
    )


def _say(event: "Message") -> None:
    """Say which version serves now."""
    from schemas.ensembles import EnsembleDeployed

    if isinstance(event, EnsembleDeployed):
        console.print(told_of(event), highlight=False, soft_wrap=True)
