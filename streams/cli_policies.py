"""`orchestrator policies` and `retrain`: when ensembles are trained anew."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.base import format_instant
from streams.display import show_rows
from streams.terminal import WRONG_USE, asked, console, fail

if TYPE_CHECKING:
    # Imported when a command is called: `--help` must not load the store.
    from orchestrator.store.database import Database
    from orchestrator.store.retraining import StandingPolicy, Trigger
    from schemas.policies import Policy

HEADINGS = ("ensemble", "fires by", "cool-down", "trials a day", "promotion", "set")

app = typer.Typer(no_args_is_help=True, help="Policies: when ensembles are trained anew, and by which rule promoted.")
Named = Annotated[str, typer.Argument(help="The ensemble's.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, as `set` reads it.")]


@app.command("list")
def every() -> None:
    """Every policy."""
    from orchestrator.store import retraining

    async def ask(database: "Database") -> "list[StandingPolicy]":
        async with database.snapshot() as tx:
            return [*(await retraining.standing(tx)).values()]

    found = asked(ask)
    if not found:
        console.print("no ensemble has a policy yet: `orchestrator policies set ENSEMBLE FILE.json`", highlight=False)
        return
    rows = [
        (
            each.ensemble,
            ", ".join(rules(each.policy)) or "by hand alone",
            f"{each.policy.cooldown_hours:g} h",
            "-" if each.policy.trials_per_day is None else str(each.policy.trials_per_day),
            "by rule" if each.policy.promotion.auto else "by command",
            format_instant(each.set_at),
        )
        for each in found
    ]
    show_rows(console, HEADINGS, rows)


@app.command()
def show(name: Named, as_json: AsJson = False) -> None:
    """An ensemble's policy, and what it has triggered."""
    from orchestrator.api.causes import caused
    from orchestrator.store import retraining

    async def ask(database: "Database") -> "tuple[StandingPolicy | None, list[Trigger]]":
        async with database.snapshot() as tx:
            return await retraining.policy_of(tx, name), await retraining.triggered(tx, name)

    standing, triggers = asked(ask)
    if standing is None:
        raise fail(f"{name} has no policy: `orchestrator policies set {name} FILE.json` gives it one")
    document = standing.policy.model_dump_json(exclude_none=True, indent=2)
    typer.echo(document)
    if as_json:
        return
    rows = [
        (format_instant(each.fired_at), each.request_id, str(each.version), caused(each.cause), str(len(each.joined)))
        for each in triggers
    ]
    if rows:
        console.print()
        show_rows(console, ("triggered", "request", "of version", "cause", "joined"), rows)


@app.command("set")
def set_(
    name: Named,
    file: Annotated[Path, typer.Argument(help="A JSON file with one policy; - for standard input.")],
) -> None:
    """Say when an ensemble is trained anew, instead of what was said before."""
    from schemas.commands import SetPolicy
    from streams.ordering import identified, settle

    try:
        policy = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text())
    except OSError as error:
        raise fail(f"{file} cannot be read: {error.strerror}", WRONG_USE) from None
    except ValueError as error:
        raise fail(f"{file} is not JSON: {error}", WRONG_USE) from None
    settle(identified(SetPolicy, {"ensemble": name, "policy": policy}))
    console.print(f"{name} has this policy now", highlight=False)


@app.command()
def remove(name: Named) -> None:
    """Train an ensemble anew no more; its challenger, if there is one, stays until it is promoted or retired."""
    from schemas.commands import RemovePolicy
    from streams.ordering import identified, settle

    settle(identified(RemovePolicy, {"ensemble": name}))
    console.print(f"{name} has no policy any more", highlight=False)


def retrain(
    name: Named,
    because: Annotated[str | None, typer.Option(help="Why, in your own words; it is on every event.")] = None,
) -> None:
    """Train an ensemble anew by its policy, now; inside the cool-down it joins what was triggered before."""
    from orchestrator.store import retraining
    from schemas.commands import Retrain
    from streams.ordering import identified, settle

    cause = {} if because is None else {"because": because}
    command = identified(Retrain, {"ensemble": name, "cause": cause})
    settle(command)

    async def ask(database: "Database") -> "list[Trigger]":
        async with database.snapshot() as tx:
            return await retraining.triggered(tx, name, 1)

    (newest,) = asked(ask)
    mine = (newest.cause.get("said") or {}).get("command_id") == command.command_id
    told = "is trained anew" if mine else "is being trained anew already, and this joined it"
    console.print(f"{name} {told}: request {newest.request_id}", highlight=False, soft_wrap=True)


def rules(policy: "Policy") -> list[str]:
    """What a policy fires by, in words."""
    found = {
        f"schedule {policy.schedule}": policy.schedule,
        f"age above {policy.max_age_days or 0:g} d": policy.max_age_days,
        "performance": policy.performance,
        "drift": policy.drift,
        "outliers": policy.outliers,
    }
    return [name for name, rule in found.items() if rule is not None]
