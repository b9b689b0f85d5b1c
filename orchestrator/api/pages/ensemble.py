"""The page of one ensemble: who votes, which version serves, what it earns, and what it says."""

from nicegui import ui

from orchestrator.api.pages import live
from orchestrator.api.pages.asking import command, identity
from orchestrator.api.pages.deploying import ask_deploy, ask_member
from orchestrator.api.pages.look import NONE, TONES, figure, moment, percent, place, said, words
from orchestrator.api.pages.parts import button, confirm, empty, fact, facts, heading, panel, pill, sentence
from orchestrator.api.pages.predicting import prediction
from orchestrator.api.pages.retraining import section
from orchestrator.api.pages.shell import frame
from orchestrator.api.pages.tables import Column, Listing, Row, act, link, long
from orchestrator.api.pages.tables import pill as pill_cell
from orchestrator.api.ports import Event, Faces
from orchestrator.api.reading import NotFound, Reading
from orchestrator.api.views import Earned, EnsembleDetail, MemberLine, VersionLine
from orchestrator.core.versions import VersionState
from orchestrator.store.listing import Page
from schemas.commands import Delete, RollBack
from schemas.topics import ENSEMBLE_EVENTS, RETRAINING_EVENTS

MEMBERS = (
    Column("member", "Member"),
    Column("tickers", "Tickers"),
    Column("weight", "Weight", figures=True),
    Column("metric", "Metric", figures=True),
    Column("algorithm", "Algorithm", narrow=False),
    Column("configuration", "Configuration", narrow=False),
    Column("artifact", "Model", narrow=False),
)
VERSIONS = (
    Column("version", "Version"),
    Column("state", "State"),
    Column("again", ""),
    Column("mode", "Heard", narrow=False),
    Column("members", "Members", figures=True, narrow=False),
    Column("gate", "Gate", narrow=False),
    Column("deflated", "Not luck", figures=True, narrow=False),
    Column("experiment", "Experiment", narrow=False),
    Column("deployed", "Deployed (UTC)", narrow=False),
    Column("digest", "Digest", narrow=False),
    Column("why", "Why it ended", narrow=False),
)


def add(faces: Faces, reading: Reading) -> None:
    """Add the page."""

    @ui.page("/ensembles/{name}", response_timeout=30)
    async def ensemble(name: str) -> None:
        try:
            found = await reading.ensemble(name)
        except NotFound:
            with frame(faces, name, "Ensembles"):
                empty(f"There is no ensemble {name}.", "All ensembles", "/ensembles")
            return
        with frame(faces, name, "Ensembles", scope=f"ensemble:{name}"):
            await _build(faces, reading, found)


async def _build(faces: Faces, reading: Reading, found: EnsembleDetail) -> None:
    head = ui.element("div").style("display: contents")

    async def members(page: Page) -> tuple[int, list[Row]]:
        return len(found.members), [_member(each) for each in found.members]

    async def versions(page: Page) -> tuple[int, list[Row]]:
        return len(found.versions), [_version(each) for each in reversed(found.versions)]

    async def again(version: str) -> None:
        _ask_again(faces, found.name, int(version))

    retrained = section(faces, found.name)
    with panel("Versions"):
        numbered = Listing(VERSIONS, versions, rows=0, on_act=again)
    with panel("Members"):
        sentence("Each votes on its tickers with its weight; the metric is its own, out of fold.")
        listed = Listing(MEMBERS, members, rows=0)
    with panel("Try a prediction"):
        box = ui.element("div").style("width: 100%")
    asked = 0
    shown: EnsembleDetail | None = None

    async def refresh() -> None:
        nonlocal found, asked, shown
        found = await reading.ensemble(found.name)
        if found != shown:
            # A button that is drawn anew misses the click that is on its way to it.
            _head(faces, head, found)
            shown = found
        await retrained()
        await listed.refresh()
        await numbered.refresh()
        if asked != (found.serving_version or -1):
            asked = found.serving_version or -1
            box.clear()
            with box:
                await prediction(faces, found)

    def mine(event: Event) -> bool:
        return event.key == found.name

    await refresh()
    live.follow(faces, {ENSEMBLE_EVENTS.name, RETRAINING_EVENTS.name}, refresh, wanted=mine)


def _head(faces: Faces, box: ui.element, found: EnsembleDetail) -> None:
    serving = next((each for each in found.versions if each.version == found.serving_version), None)
    newest = found.versions[-1]
    box.clear()
    with box:
        with ui.element("div").classes("head"):
            heading(found.name, 1)
            pill(
                "nothing serves" if serving is None else f"version {serving.version} serves",
                "warn" if serving is None else "good",
            )
            if newest.state is VersionState.WANTED:
                pill(f"version {newest.version} is being deployed", "accent")
            ui.element("div").classes("grow")
            _actions(faces, found, serving)
        with panel():
            with facts():
                about = serving or newest
                fact("Heard", about.mode)
                fact("Voting", f"{about.voting}, threshold {figure(about.threshold)}")
                fact("Trained through", f"{about.trained_through:%Y-%m-%d}")
                fact("Tickers", ", ".join(about.tickers))
                for each in found.performance:
                    _earned(each)
            if not found.performance:
                sentence("What it earns shows here once it has answered ticks that carry a price.")
            for each in found.performance:
                sentence(
                    f"{each.mode.capitalize()}: following {each.signals:,} signals in {each.sessions:,} sessions since "
                    f"{each.since:%Y-%m-%d}, each carried out at the {words(each.filled_at)}, after costs."
                )


def _earned(each: Earned) -> None:
    fact(f"Hit rate, {each.mode}", percent(each.hit_rate))
    fact(f"Net Sharpe, {each.mode}", figure(each.net_sharpe))
    fact(
        f"Net return, {each.mode}",
        percent(each.net_return, 2),
        "good" if each.net_return > 0 else "bad" if each.net_return < 0 else "",
    )
    fact("Sharpe above 0", percent(each.confidence))


def _actions(faces: Faces, found: EnsembleDetail, serving: VersionLine | None) -> None:
    async def back() -> None:
        await command(faces, RollBack(**identity(faces), ensemble=found.name), f"Roll back {found.name}")

    async def delete() -> None:
        await command(faces, Delete(**identity(faces), ensemble=found.name), f"Delete {found.name}")

    experiment = (serving or found.versions[-1]).experiment
    if experiment is not None:
        button("Deploy survivors", lambda: ask_deploy(faces, experiment, found.name), icon="rocket_launch")
    if serving is None:
        return
    button("Add member", lambda: ask_member(faces, found.name), icon="person_add")
    if any(each.version < serving.version and each.state is VersionState.SUPERSEDED for each in found.versions):
        says = f"The version that served before {serving.version} answers again."
        button("Roll back", lambda: confirm(f"Roll back {found.name}?", says, "Roll back", back), icon="undo")
    ends = "It answers each instrument that it holds once more, with target position 0. Its versions can serve again."
    button("Delete", lambda: confirm(f"Delete {found.name}?", ends, "Delete", delete), icon="delete", tone="danger")


def _ask_again(faces: Faces, ensemble: str, version: int) -> None:
    async def serve() -> None:
        wanted = RollBack(**identity(faces), ensemble=ensemble, version=version)
        await command(faces, wanted, f"Serve version {version} of {ensemble} again")

    confirm(
        f"Serve version {version} again?", f"It takes the place of what answers for {ensemble} now.", "Serve it", serve
    )


def _member(each: MemberLine) -> Row:
    return {
        "id": each.member,
        "member": each.member,
        "tickers": long(", ".join(each.tickers)),
        "weight": figure(each.weight, 3),
        "metric": figure(each.metric, 3),
        "algorithm": each.algorithm,
        "configuration": long(said(each.configuration)),
        "artifact": long(each.artifact[:12], each.artifact),
    }


def _version(each: VersionLine) -> Row:
    passed = "passed" if each.verdict.passed else "overridden" if each.verdict.overridden else "refused"
    again = each.deployed_at is not None and each.state not in (VersionState.DEPLOYED, VersionState.WANTED)
    return {
        "id": str(each.version),
        "version": str(each.version),
        "state": pill_cell(words(each.state), TONES[each.state]),
        "again": act("Serve again", f"Serve version {each.version} again") if again else "",
        "mode": each.mode,
        "members": str(each.members),
        "gate": pill_cell(passed, TONES.get(passed, "warn")),
        "deflated": percent(each.verdict.deflated_sharpe),
        "experiment": link(each.experiment, place("experiments", each.experiment)) if each.experiment else NONE,
        "deployed": moment(each.deployed_at),
        "digest": long(each.digest[:12], each.digest),
        "why": long("; ".join(reason.message for reason in each.reasons) or NONE),
    }
