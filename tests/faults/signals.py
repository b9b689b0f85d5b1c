"""What befalls the tick path: processes that die or dawdle under ticks, and ticks that are not as they should be."""

import random
import signal
import time
from collections.abc import Callable

import psutil
from confluent_kafka.admin import AdminClient

from orchestrator.core.versions import VersionState
from schemas.envelope import encode
from schemas.ticks import FeatureTick
from schemas.topics import FEATURE_TICKS, dead_letter_topic
from serving.manifest import EnsembleManifest
from streams.reader import TopicReader
from streams.source import group_of
from tests.faults.feed import (
    ANSWERED,
    IDLE,
    TICKERS,
    Key,
    ago,
    assembled,
    check,
    feeding,
    key,
    send,
    serve,
    state_of,
    tick,
    wanted,
)
from tests.faults.stage import Stage, Violated

KILLED_TTL, SHORT_TTL = 60.0, 10.0
"""SIGNAL_TTL where something has to start again, and where ticks have to expire."""
MOMENTS = ("before-signals", "before-states", "before-offsets")
SLOW_SECONDS = 15.0
"""Longer than a tick is worth anything."""
REPLICA = "ray::ServeReplica:ensemble-"


def tick_worker_killed(stage: Stage) -> int:
    """Amid a batch: before its signals are published, before their states are, and before its offsets are committed."""
    return sum(_worker_killed(stage, moment, exactly_once=False) for moment in MOMENTS)


def transaction_killed(stage: Stage) -> int:
    """A worker between the signals and the states of its transaction."""
    return _worker_killed(stage, "before-states", exactly_once=True)


def tick_workers_come_and_go(stage: Stage) -> int:
    """One more joins, twice: it leaves when asked, and one of the two is killed with signals in hand."""
    _serving(stage)
    with feeding(stage) as sent:
        for turn in range(2):
            with stage.worker(f"ticks.{turn}") as other:
                stage.until(lambda: len(_sharing(stage)) == 2, "two workers share the ticks")
                time.sleep(2)
                if turn:
                    stage.arm("before-signals")
                    stage.kill(stage.held_at("before-signals"))
                else:
                    other.send_signal(signal.SIGTERM)
                    other.wait(60)
            stage.until(lambda: len(_sharing(stage)) == 1, "one worker has all ticks")
            time.sleep(1)
    check(stage, sent)
    return len(sent)


def _sharing(stage: Stage) -> list[str]:
    """Who in the group of the ticks has partitions."""
    # Kept until it has answered: one that is gone leaves its futures waiting.
    admin = AdminClient(stage.service.config | {"log_level": 0})
    (described,) = admin.describe_consumer_groups([group_of(FEATURE_TICKS)]).values()
    return [each.member_id for each in described.result(30).members if each.assignment.topic_partitions]


def _worker_killed(stage: Stage, moment: str, *, exactly_once: bool) -> int:
    _serving(stage)
    with feeding(stage) as sent:
        time.sleep(1)
        stage.arm(moment)
        stage.kill(stage.held_at(moment))
        time.sleep(1)
    check(stage, sent, exactly_once=exactly_once)
    return len(sent)


def replica_killed(stage: Stage) -> int:
    """While its ensemble is asked."""
    _serving(stage)
    with feeding(stage) as sent:
        time.sleep(1)
        stage.kill(*_replicas(stage, "bot"))
        stage.until(lambda: bool(_replicas(stage, "bot")), "the replica starts again")
        time.sleep(1)
    check(stage, sent)
    return len(sent)


def broker_killed_under_ticks(stage: Stage) -> int:
    """While signals are on their way."""
    _serving(stage)
    with feeding(stage) as sent:
        time.sleep(1)
        broker = stage.child("broker")
        stage.kill(broker)
        stage.until(lambda: stage.child("broker").pid != broker.pid, "the broker is back")
        time.sleep(3)
    check(stage, sent)
    return len(sent)


def model_file_gone(stage: Stage) -> int:
    """Of the version that serves, of its successor, and then of a replica that has to start again."""
    first, second, third = (assembled(stage, "gone", seed) for seed in (10, 20, 30))
    old = _served(stage, first)
    serves = _served(stage, second)
    _lose(stage, second)
    facts = _answered_by(stage, serves)
    _lose(stage, third)
    broken = wanted(stage, third)
    stage.until(lambda: state_of(stage, "gone", broken)[0] != VersionState.WANTED, "the broken version is settled")
    facts += _answered_by(stage, serves)
    _settled(stage, broken, VersionState.FAILED)
    stage.kill(*_replicas(stage, "gone"))
    stage.until(
        lambda: state_of(stage, "gone", serves)[0] != VersionState.DEPLOYED, "the version before is gone back to"
    )
    _settled(stage, serves, VersionState.ROLLED_BACK)
    return facts + _answered_by(stage, old) + 2


def slow_replica(stage: Stage) -> int:
    """One ensemble answers when it is too late; the other one's ticks do not wait for it."""
    _serving(stage)
    _serving(stage, "slow")
    with stage.dawdling("slow", SLOW_SECONDS):
        with feeding(stage) as sent:
            time.sleep(SHORT_TTL)
        check(stage, sent)
        check(stage, dict.fromkeys(sent, "ttl"), "slow")
    with feeding(stage) as later:
        time.sleep(1)
    check(stage, later, "slow")
    return 2 * len(sent) + len(later)


def shuffled_and_doubled(stage: Stage) -> int:
    """Ticks out of order, each of them twice: one signal for each that is newer than those before it."""
    _serving(stage)
    ticks = [tick(TICKERS[number % len(TICKERS)]) for number in range(60)] * 2
    random.Random(0).shuffle(ticks)
    send(stage, ticks)
    newest: dict[str, str] = {}
    words: dict[Key, set[str]] = {}
    for each in map(key, ticks):
        ticker, moment = each
        if moment != newest.get(ticker):
            words.setdefault(each, set()).add(ANSWERED if moment > newest.get(ticker, "") else "late")
        newest[ticker] = max(moment, newest.get(ticker, ""))
    check(stage, {each: " and ".join(sorted(said)) for each, said in words.items()})
    return len(ticks)


def features_wrong(stage: Stage) -> int:
    """Features that are null, missing, beyond belief, or more than are asked for, among ticks that are whole."""
    _serving(stage)
    name, *others = tick(IDLE).features
    wrong: dict[str, Callable[[dict[str, float | None]], dict[str, float | None]]] = {
        ANSWERED: lambda whole: whole | {"extra": 1.0},
        "missing_feature": lambda whole: whole | {name: None},
        "missing_feature ": lambda whole: {each: whole[each] for each in others},
        "member_lost": lambda whole: whole | {name: 1e308},
    }
    expected: dict[Key, str] = {}
    ticks: list[FeatureTick] = []
    for words, change in wrong.items():
        whole = tick(TICKERS[0])
        broken = tick(TICKERS[0], features=change(dict(whole.features)))
        ticks += (whole, broken)
        expected |= {key(whole): ANSWERED, key(broken): words.strip()}
    send(stage, ticks)
    check(stage, expected)
    return len(ticks)


def features_unreadable(stage: Stage) -> int:
    """NaN, infinities, strings and what is no JSON: dead letters, and the ticks beside them are answered."""
    _serving(stage)
    name = next(iter(tick(IDLE).features))
    values = (b"NaN", b"Infinity", b"-Infinity", b"1e999", b'"0.1"', b"true", b"[1]")
    readable = encode(tick(TICKERS[0], features={name: 0.125}))
    poison = [b"", b"half a ti", b"\xff\xfe", *(readable.replace(b"0.125", value) for value in values)]
    beside = [tick(TICKERS[0]) for _ in poison]
    mixed = [value for pair in zip(poison, map(encode, beside), strict=True) for value in pair]
    stage.service.produce(FEATURE_TICKS, [(TICKERS[0].encode(), value) for value in mixed])
    check(stage, {key(each): ANSWERED for each in beside})
    buried = [value for value, _ in _dead_letters(stage) if value in poison]
    if sorted(buried) != sorted(poison):
        raise Violated(f"{len(buried)} of {len(poison)} unreadable ticks are among the dead letters")
    return len(mixed)


def clocks_wrong(stage: Stage) -> int:
    """Ticks two hours old are skipped, and ticks of bars that close in two hours are dead letters."""
    _serving(stage)
    old = [tick(IDLE, event_time=moment, available_at=moment) for moment in (ago(hours=2) for _ in range(10))]
    ahead = [tick(IDLE, event_time=moment, available_at=moment) for moment in (ago(hours=-2) for _ in range(10))]
    fresh = [tick(IDLE) for _ in range(10)]
    send(stage, [*old, *ahead, *fresh])
    words = ((old, "ttl"), (ahead, "dead_letter"), (fresh, ANSWERED))
    check(stage, {key(each): said for ticks, said in words for each in ticks})
    values = {encode(each) for each in ahead}
    buried = [reason for value, reason in _dead_letters(stage) if value in values]
    if len(buried) != len(ahead) or not all("event_time_ahead" in reason for reason in buried):
        raise Violated(f"{len(ahead)} ticks that are ahead are dead letters for {buried}")
    return 30


def _serving(stage: Stage, ensemble: str = "bot") -> None:
    """Have an ensemble serve, where none of the faults before has."""
    if not stage.query("SELECT 1 FROM ensembles WHERE ensemble = ? AND state = 'deployed'", ensemble):
        serve(stage, ensemble)


def _served(stage: Stage, manifest: EnsembleManifest) -> int:
    number = wanted(stage, manifest)
    stage.until(lambda: state_of(stage, "gone", number)[0] == VersionState.DEPLOYED, f"version {number} serves")
    return number


def _lose(stage: Stage, manifest: EnsembleManifest) -> None:
    """Delete the files of a version's models."""
    for member in manifest.members:
        (stage.service.settings.artifacts_folder / member.artifact).unlink()


def _answered_by(stage: Stage, version: int) -> int:
    """Ticks are answered by this version of the ensemble; how many."""
    with feeding(stage) as sent:
        time.sleep(1)
    heard = check(stage, sent, "gone")
    if (versions := {heard.versions[each] for each in sent}) != {version}:
        raise Violated(f"versions {sorted(versions)} have answered, and {version} serves")
    return len(sent)


def _settled(stage: Stage, version: int, wanted: VersionState) -> None:
    state, why = state_of(stage, "gone", version)
    if state != wanted or "artifact_missing" not in why:
        raise Violated(f"version {version}, of which a file is missing, is {state}: {why}")


def _replicas(stage: Stage, ensemble: str) -> list[psutil.Process]:
    return stage.processes(f"{REPLICA}{ensemble}:")


def _dead_letters(stage: Stage) -> list[tuple[bytes, str]]:
    """Dead ticks and why they are."""
    with TopicReader(stage.service.config, [dead_letter_topic(FEATURE_TICKS)]) as reader:
        return [
            (each.value or b"", (dict(each.headers)["dlq_reason"] or b"").decode()) for each in reader.read_to_end()
        ]
