"""The command line: each verb is a face of the same events."""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from schemas.envelope import Undecodable
from schemas.topics import FEATURE_TICKS, SEARCH_REQUESTS, SIGNALS_BY_MODE, TOPICS
from streams import logs
from streams.cli_dead_letters import app as dead_letters_app
from streams.cli_ensembles import app as ensembles_app
from streams.cli_experiments import app as experiments_app
from streams.cli_experiments import cancel, resume
from streams.cli_fingerprints import app as fingerprints_app
from streams.cli_halts import app as halts_app
from streams.cli_lineage import lineage
from streams.cli_models import app as models_app
from streams.cli_policies import app as policies_app
from streams.cli_policies import retrain
from streams.display import Display, show_rows
from streams.run_folder import FolderInUse, RunFolder
from streams.settings import Settings
from streams.terminal import WRONG_USE, broker_troubles, connection, console, fail, instant, settings

# What a command needs beyond this is imported when it is called: `--help` must not load Ray.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Search requests in, trading signals out: Ray Tune and Ray Serve over Kafka. "
    "Settings are environment variables; `orchestrator settings` lists them.",
)
broker_app = typer.Typer(no_args_is_help=True, help="The embedded Kafka broker.")
app.add_typer(broker_app, name="broker")
app.add_typer(experiments_app, name="experiments")
app.add_typer(ensembles_app, name="ensembles")
app.add_typer(policies_app, name="policies")
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(fingerprints_app, name="fingerprints")
app.add_typer(halts_app)
app.add_typer(models_app, name="models")
app.command()(cancel)
app.command()(resume)
app.command()(retrain)
app.command()(lineage)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the service up with its result, until Ctrl-C.")] = False,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="A regime that breaks, and what the ensemble's policy makes of it.")
    ] = False,
) -> None:
    """Play the main job on real prices in a copy of its own: about a minute; nothing is left running."""
    from streams.demo import play
    from streams.demo import retrain as retraining

    settings()
    demo = retraining.play if retrain else play.play
    raise typer.Exit(asyncio.run(demo(Display(console), os.environ, keep=keep)))


@app.command()
def up() -> None:
    """Run the service until Ctrl-C: broker, Ray, worker and API, each started again when it ends."""
    from orchestrator.store.errors import UnusableDatabase
    from streams.service import keep_up

    try:
        raise typer.Exit(asyncio.run(keep_up(settings(), console, os.environ)))
    except FolderInUse as error:
        raise fail(str(error)) from None
    except UnusableDatabase as error:
        raise fail(str(error), WRONG_USE) from None


@app.command()
def request(
    file: Annotated[Path, typer.Argument(help="A JSON file with one search request; - for standard input.")],
    watch: Annotated[bool, typer.Option("--watch", help="Follow it to its end; exit 1 if it fails.")] = False,
) -> None:
    """Produce a search request. Without a request_id it gets one."""
    from streams.requesting import NotProduced, follow_request, parse_request, produce_request

    config, begun = connection(settings()), datetime.now(UTC)
    try:
        parsed = parse_request(sys.stdin.read() if str(file) == "-" else file.read_text(), begun)
    except OSError as error:
        raise fail(f"{file} cannot be read: {error.strerror}", WRONG_USE) from None
    except Undecodable as error:
        faults = (f"  {reason.where or 'request'}: {reason.message}" for reason in error.reasons)
        raise fail("\n".join(("this is no search request:", *faults)), WRONG_USE) from None
    with broker_troubles():
        try:
            produce_request(config, parsed)
        except NotProduced as error:
            raise fail(str(error)) from None
        console.print(f"request {parsed.request_id} produced to {SEARCH_REQUESTS.name}", highlight=False)
        if watch:
            story = follow_request(
                config,
                parsed.request_id,
                deploys=parsed.deploy.auto,
                since=begun - timedelta(seconds=1),
                display=Display(console),
            )
            raise typer.Exit(0 if story.succeeded else 1)


@app.command()
def signals(
    ticker: Annotated[list[str] | None, typer.Option(help="Only this instrument; may be repeated.")] = None,
    mode: Annotated[Literal["live", "replay", "shadow", "paper"], typer.Option(help="Which signals.")] = "live",
    since: Annotated[str, typer.Option(help="`now`, `start`, or a time (RFC 3339).")] = "now",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    skipped: Annotated[bool, typer.Option("--skipped", help="Ticks that gave no signal, too.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
) -> None:
    """Follow signals as they are published, until Ctrl-C."""
    from streams.showing import follow_signals

    beginning = {"now": datetime.now(UTC), "start": None}
    with broker_troubles():
        follow_signals(
            connection(settings()),
            SIGNALS_BY_MODE[mode],
            beginning[since] if since in beginning else instant(since),
            console,
            tickers=frozenset(ticker or ()),
            as_json=as_json,
            skipped=skipped,
            limit=limit,
        )


@app.command()
def ticks(
    tickers: Annotated[list[str], typer.Argument(help="Instruments to play.")],
    timeframe: Annotated[str, typer.Option(help="Of the bars.")] = "1d",
    start: Annotated[str | None, typer.Option(help="Bars at or after this time (RFC 3339).")] = None,
    end: Annotated[str | None, typer.Option(help="Bars before this time (RFC 3339).")] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Event times a second; absent: all at once.")] = None,
    mode: Annotated[Literal["live", "replay"], typer.Option(help="How the signals are heard.")] = "replay",
) -> None:
    """Play bars from the features as ticks."""
    from orchestrator.core.errors import Refused
    from orchestrator.features.sources import source_at
    from streams.replay import NotPlayed, replay

    chosen = settings()
    source = source_at(chosen.features_folder, chosen.features_db, minimum_rows=1)
    first, last = (None if text is None else instant(text) for text in (start, end))
    try:
        instruments = [source.load(ticker, timeframe, first, last) for ticker in tickers]
    except Refused as error:
        raise fail("\n".join(f"{reason.where}: {reason.message}" for reason in error.reasons)) from None
    config = connection(chosen)
    total = sum(len(bars) for bars in instruments)
    with broker_troubles(), Display(console).activity("playing ticks", total) as activity:
        try:
            replay(instruments, config, rate=rate, mode=mode, on_progress=lambda sent: activity.advance_to(sent, total))
        except NotPlayed as error:
            raise fail(str(error)) from None
    console.print(f"{total} ticks produced to {FEATURE_TICKS.name}", highlight=False)


@app.command()
def topics(
    verbose: Annotated[bool, typer.Option("--verbose", help="With what the contract says of each.")] = False,
) -> None:
    """Show the contract's topics, what was produced to them, and how far the service is behind."""
    from streams.showing import BRIEF, TOPIC_HEADINGS, topic_rows

    shown = slice(None) if verbose else slice(BRIEF)
    with broker_troubles():
        rows = topic_rows(connection(settings()), TOPICS)
        show_rows(console, TOPIC_HEADINGS[shown], [row[shown] for row in rows])


@app.command()
def samples(
    tickers: Annotated[list[str] | None, typer.Argument(help="Absent: all of them.")] = None,
) -> None:
    """Write real daily prices of a few shares, with features, into the features' directory, to try things out on."""
    from orchestrator.core.errors import Refused
    from orchestrator.features.samples import SAMPLE_TICKERS, SURVIVORSHIP_NOTE, write_samples

    directory = settings().features_folder
    try:
        written = write_samples(directory, tickers or SAMPLE_TICKERS)
    except Refused as error:
        raise fail("\n".join(reason.message for reason in error.reasons)) from None
    bars = ", ".join(f"{ticker} {count}" for ticker, count in written.items())
    console.print(f"bars written to {directory}: {bars}", highlight=False, soft_wrap=True)
    console.print(SURVIVORSHIP_NOTE, highlight=False, soft_wrap=True)


@app.command()
def schemas(
    directory: Annotated[Path, typer.Argument(help="Where to write.")] = Path("schemas/generated"),
) -> None:
    """Write the JSON Schema of every message, and the AsyncAPI document."""
    from schemas.export import write

    write(directory)
    console.print(f"JSON Schemas and the AsyncAPI document written to {directory}", highlight=False)


@app.command("settings")
def show_settings() -> None:
    """List the settings: environment variables, their defaults and meanings."""
    rows = [(each.variable, each.default, each.meaning) for each in Settings.describe()]
    show_rows(console, ("variable", "default", "meaning"), rows)


@broker_app.command()
def fetch() -> None:
    """Fetch the embedded broker's jars and verify them, so that the first start needs no network."""
    from streams.broker import jars
    from streams.child import CannotStart

    try:
        with Display(console).activity("fetching Kafka's jars") as activity:
            found = jars.class_path(jars.home(), jars.listed(), lambda done, total: activity.advance_to(done, total))
            jars.java()
    except CannotStart as error:
        raise fail(str(error)) from None
    console.print(f"Kafka {jars.VERSION}: {len(found)} jars are in place and verified", highlight=False)


@app.command(hidden=True)
def worker() -> None:
    """The worker process; `up` starts it."""
    from orchestrator.store.errors import UnusableDatabase
    from streams.worker import Worker

    chosen = settings()
    logs.set_up(chosen.log_format, chosen.log_level, program="worker")
    try:
        raise typer.Exit(asyncio.run(Worker(chosen, RunFolder(chosen.data_dir)).run()))
    except UnusableDatabase as error:
        raise fail(str(error), WRONG_USE) from None


@app.command(hidden=True)
def api() -> None:
    """The API process; `up` starts it."""
    from streams.api import serve_api

    chosen = settings()
    logs.set_up(chosen.log_format, chosen.log_level, program="api")
    asyncio.run(serve_api(chosen, RunFolder(chosen.data_dir)))


def main() -> None:
    """The `orchestrator` program."""
    app()


if __name__ == "__main__":
    main()
