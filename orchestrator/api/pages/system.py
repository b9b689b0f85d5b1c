"""The page of the system: topics and their lag, dead letters, Ray, fingerprints, disk."""

import shutil
from collections.abc import Sequence

from nicegui import ui

from orchestrator.api.pages import live
from orchestrator.api.pages.asking import command, identity
from orchestrator.api.pages.look import NONE, count, figure, moment
from orchestrator.api.pages.parts import confirm, empty, fact, facts, heading, panel, sentence
from orchestrator.api.pages.shell import frame
from orchestrator.api.pages.tables import Column, Listing, Row, act, long, toned, whole
from orchestrator.api.ports import Faces, Letter, TopicState, Unreachable
from orchestrator.api.reading import Reading
from orchestrator.store.listing import Page
from schemas.commands import ResendDeadLetter
from schemas.topics import COMMANDS, EXPERIMENT_EVENTS

MOST_LETTERS = 50
LOOK_SECONDS = 5.0
SHOWN_BYTES = 120
GIB = 2**30
TOPICS = (
    Column("name", "Topic"),
    Column("lag", "Lag", figures=True),
    Column("produced", "Produced", figures=True),
    Column("partitions", "Partitions", figures=True, narrow=False),
)
LETTERS = (
    Column("reasons", "Reasons"),
    Column("again", ""),
    Column("from", "Came from", narrow=False),
    Column("value", "What it holds", narrow=False),
    Column("place", "Lies at", narrow=False),
    Column("buried", "Since (UTC)", narrow=False),
)


def add(faces: Faces, reading: Reading) -> None:
    """Add the page."""

    @ui.page("/system", response_timeout=30)
    async def system() -> None:
        with frame(faces, "System", "System"):
            await _build(faces, reading)


async def _build(faces: Faces, reading: Reading) -> None:
    topics: Sequence[TopicState] = ()
    letters: Sequence[Letter] = ()

    async def topic_rows(page: Page) -> tuple[int, list[Row]]:
        return len(topics), [_topic(each) for each in topics]

    async def letter_rows(page: Page) -> tuple[int, list[Row]]:
        return len(letters), [_letter(each) for each in letters]

    async def resend(name: str) -> None:
        letter = next((each for each in letters if _id(each) == name), None)
        if letter is not None:
            _ask_resend(faces, letter)

    heading("System", 1)
    with ui.element("div").classes("beside"):
        with panel("Ray"):
            cluster = ui.element("div").style("width: 100%")
        with panel("Fingerprints and disk"):
            known = ui.element("div").style("width: 100%")
    with panel("Dead letters"):
        sentence("What could not be handled, whole, with the reasons. Mend what they name, then send it again.")
        buried = Listing(LETTERS, letter_rows, rows=0, on_act=resend)
        nothing = ui.element("div").style("width: 100%")
    with panel("Kafka topics"):
        sentence("Lag is what the service has not taken up; of topics that it only writes there is none.")
        listed = Listing(TOPICS, topic_rows, rows=0)

    async def refresh() -> None:
        nonlocal topics, letters
        await _cluster(faces, cluster)
        await _known(faces, reading, known)
        topics = await faces.kafka.topics()
        letters = await faces.kafka.dead_letters(MOST_LETTERS)
        await listed.refresh()
        await buried.refresh()
        buried.table.set_visibility(bool(letters))
        nothing.clear()
        if not letters:
            with nothing:
                empty("There are none: everything that was sent could be handled.")

    live.follow(faces, {EXPERIMENT_EVENTS.name}, refresh, pause=LOOK_SECONDS, look=LOOK_SECONDS)


async def _cluster(faces: Faces, box: ui.element) -> None:
    try:
        found = await faces.ray.cluster()
    except Unreachable as trouble:
        found, said = None, str(trouble)
    box.clear()
    with box:
        if found is None:
            empty(f"{said}. It is started by the service; the log ray.log says why it is not there.")
        else:
            with facts():
                fact("Nodes", count(found.nodes))
                for name in ("CPU", "GPU"):
                    if found.total.get(name):
                        used = found.total[name] - found.available.get(name, 0.0)
                        fact(f"{name} in use", f"{figure(used, 1)} of {found.total[name]:g}")
                for name, label in (("memory", "Memory free"), ("object_store_memory", "Object store free")):
                    if name in found.total:
                        free, there = found.available.get(name, 0.0) / GIB, found.total[name] / GIB
                        fact(label, f"{figure(free, 1)} of {figure(there, 1)} GiB")
        if faces.ray.dashboard:
            ui.link("Ray's own dashboard", faces.ray.dashboard, new_tab=True).style(
                "display: inline-block; margin-top: 10px"
            )


async def _known(faces: Faces, reading: Reading, box: ui.element) -> None:
    stats = await reading.fingerprint_stats()
    disk = shutil.disk_usage(faces.data_dir)
    box.clear()
    with box, facts():
        fact("Results known", count(stats.fingerprints))
        fact("Of experiments", count(stats.experiments))
        fact("Trainings saved", count(stats.saved))
        fact("Since (UTC)", moment(stats.oldest))
        fact("Disk free", f"{figure(disk.free / GIB, 1)} GiB", "bad" if disk.free < GIB else "")


def _topic(each: TopicState) -> Row:
    lag = NONE if each.lag is None else count(each.lag)
    return {
        "id": each.name,
        "name": each.name,
        "lag": toned(lag, "warn") if each.lag else lag,
        "produced": count(each.produced),
        "partitions": str(each.partitions) if each.partitions else toned("not there", "warn"),
    }


def _id(each: Letter) -> str:
    return f"{each.topic} {each.partition} {each.offset}"


def _letter(each: Letter) -> Row:
    text = (each.value or b"").decode(errors="replace")
    return {
        "id": _id(each),
        "from": each.came_from,
        "again": act("Send again", f"Send the letter at {_id(each)} again"),
        "reasons": whole(
            "; ".join(
                f"{reason.where}: {reason.message}" if reason.where else reason.message for reason in each.reasons
            )
        ),
        "value": long(text[:SHOWN_BYTES], text),
        "place": _id(each),
        "buried": moment(each.buried_at),
    }


def _ask_resend(faces: Faces, letter: Letter) -> None:
    async def resend() -> None:
        wanted = ResendDeadLetter(
            **identity(faces), topic=letter.topic, partition=letter.partition, offset=letter.offset
        )
        await command(faces, wanted, f"Send the letter at {_id(letter)} again")

    consequence = (
        "A command that was refused stays refused under its id: give it again instead."
        if letter.came_from == COMMANDS.name
        else f"Its bytes are produced to {letter.came_from} as they are. What is still wrong with them is buried again."
    )
    confirm("Send it again?", consequence, "Send again", resend)
