"""The line from end to end: a request goes in, signals come out; and what users see of it."""

import json
import signal

import psutil
import pytest

from orchestrator.core.position import position
from schemas.envelope import decode
from schemas.signals import Signal, TickSkipped
from schemas.topics import (
    ENSEMBLE_EVENTS,
    EXPERIMENT_EVENTS,
    SIGNALS,
    SIGNALS_REPLAY,
    TRIAL_EVENTS,
)
from streams.following import RequestStory
from tests.service import FEED_SESSIONS, TICKERS, Service, is_signal_of, request

pytestmark = pytest.mark.slow

HALF = FEED_SESSIONS // 2


@pytest.fixture(scope="module")
def deployed(service: Service) -> RequestStory:
    """An ensemble that answers live ticks, and half of the feed answered by it."""
    deploy = {"auto": True, "ensemble_name": "line", "top_n": 2, "gate": False}
    # Of a seed of its own: what other tests have trained would be answered by its results.
    story = service.follow(service.ask(**request(service, "line-1", seed=7, deploy=deploy)), deploys=True)
    assert story.succeeded, story.reasons
    service.play(slice(0, HALF))
    return story


def signals(service: Service, enough: int) -> list[Signal]:
    found = service.await_records(SIGNALS, enough, lambda record: is_signal_of(record, "line"))
    return [decode(Signal, record.value) for record in found]


def test_every_trial_is_told_from_its_creation_to_its_score(service: Service, deployed: RequestStory) -> None:
    assert (deployed.trials, deployed.scored, deployed.failed) == (6, 6, 0)
    events = [
        decode(TRIAL_EVENTS.messages, record.value)
        for record in service.await_records(
            TRIAL_EVENTS, 18, lambda record: record.key == str(deployed.experiment).encode()
        )
    ]
    for trial in {event.trial for event in events}:
        assert [event.event for event in events if event.trial == trial] == ["created", "started", "completed"]
    assert [event.sequence for event in events] == list(range(1, 19))


def test_the_gate_is_told_and_overridden(deployed: RequestStory) -> None:
    assert deployed.verdict is not None
    assert deployed.verdict.passed or deployed.verdict.overridden
    assert deployed.deployed is not None
    assert deployed.deployed.tickers == TICKERS


def test_each_tick_gives_one_signal_and_none_twice(service: Service, deployed: RequestStory) -> None:
    found = signals(service, HALF * len(TICKERS))
    assert len(found) == len({each.id for each in found}) == HALF * len(TICKERS)
    times = [str(moment) for bars in service.bars() for moment in bars.event_time[:HALF]]
    assert sorted(f"{each.event_time:%Y-%m-%dT%H:%M:%S.%f}" for each in found) == sorted(times)


def test_positions_follow_the_one_position_function(service: Service, deployed: RequestStory) -> None:
    for ticker in TICKERS:
        held = 0
        for each in sorted(signals(service, HALF * len(TICKERS)), key=lambda one: one.event_time):
            if each.ticker != ticker:
                continue
            assert each.score is not None
            after = position(each.score, held, threshold=0.7, exit_threshold=0.35)
            assert each.target_position == after
            assert each.signal == {1: "BUY", 0: "HOLD", -1: "SELL"}[(after > held) - (after < held)]
            assert each.num_models == len(each.votes) > 0
            held = after


def test_a_tick_sent_again_gives_no_second_signal_and_a_late_one_is_told(
    service: Service, deployed: RequestStory
) -> None:
    before = len(signals(service, HALF * len(TICKERS)))
    service.play(slice(HALF - 2, HALF))
    skipped = service.await_records(SIGNALS, len(TICKERS), lambda record: b'"late"' in (record.value or b""))
    assert {decode(TickSkipped, record.value).reason for record in skipped} == {"late"}
    assert len(signals(service, before)) == before


def test_a_killed_worker_comes_back_and_goes_on_from_what_is_held(service: Service, deployed: RequestStory) -> None:
    count = HALF * len(TICKERS)
    held = {each.ticker: each for each in signals(service, count)}
    worker = service.folder.running("worker")
    assert worker is not None
    psutil.Process(worker.pid).send_signal(signal.SIGKILL)
    service.play(slice(HALF, FEED_SESSIONS))
    found = signals(service, FEED_SESSIONS * len(TICKERS))
    assert len(found) == len({each.id for each in found}) == FEED_SESSIONS * len(TICKERS)
    for ticker, last in held.items():
        following = min(
            (each for each in found if each.ticker == ticker and each.event_time > last.event_time),
            key=lambda each: each.event_time,
        )
        assert following.score is not None
        assert last.target_position is not None
        assert following.target_position == position(
            following.score, last.target_position, threshold=0.7, exit_threshold=0.35
        )


def test_the_same_request_again_changes_nothing(service: Service, deployed: RequestStory) -> None:
    deploy = {"auto": True, "ensemble_name": "line", "top_n": 2, "gate": False}
    service.ask(**request(service, "line-1", seed=7, deploy=deploy))
    marker = service.follow(
        service.ask(request_id="after-it", strategy="grid", algorithm="none", tickers=["AAPL"]), deploys=False
    )
    assert not marker.succeeded
    mine = service.await_records(EXPERIMENT_EVENTS, 1, lambda record: b'"request_id":"line-1"' in (record.value or b""))
    accepted = [record for record in mine if b'"event":"accepted"' in (record.value or b"")]
    assert len(accepted) == 1
    versions = service.await_records(ENSEMBLE_EVENTS, 1, lambda record: record.key == b"line")
    assert {json.loads(record.value or b"")["version"] for record in versions} == {1}


def test_the_command_line_asks_follows_plays_and_shows(service: Service, deployed: RequestStory) -> None:
    asked = service.command("request", "-", "--watch", stdin=json.dumps(request(service, "cli-1", tickers=["IBM"])))
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert "searched in" in asked.stdout
    start = service.feed_start().isoformat().replace("+00:00", "Z")
    played = service.command("ticks", "IBM", "--start", start, "--mode", "replay")
    assert played.returncode == 0, played.stderr
    service.await_records(SIGNALS_REPLAY, FEED_SESSIONS, lambda record: b'"IBM"' in (record.value or b""))
    shown = service.command("signals", "--mode", "replay", "--since", "start", "--json", "--limit", "10")
    assert shown.returncode == 0, shown.stderr
    assert {json.loads(line)["mode"] for line in shown.stdout.splitlines()} == {"replay"}
    table = service.command("topics")
    assert table.returncode == 0, table.stderr
    assert "feature-ticks.dlq" in table.stdout


def test_a_halt_is_followed_and_lifted_by_command(service: Service) -> None:
    scope = ("--scope", "ensemble:nobody")
    for arguments in (("halt", *scope, "--reason", "a test", "--for", "1h"), ("lift", *scope)):
        given = service.command(*arguments)
        assert given.returncode == 0, given.stdout + given.stderr
        assert "every worker follows it" in given.stdout
    assert service.command("halts").stdout == "nothing is halted\n"


def test_a_refused_request_is_told_with_every_reason(service: Service) -> None:
    bad = request(service, "refused-1", tickers=["NOPE"], param_grid={"alpha": [-1.0]})
    asked = service.command("request", "-", "--watch", stdin=json.dumps(bad))
    assert asked.returncode == 1
    assert "NOPE" in asked.stdout
    assert "param_grid/alpha" in asked.stdout


def test_health_readiness_and_metrics_tell_of_the_work(service: Service, deployed: RequestStory) -> None:
    assert json.loads(service.get("/health")) == {"status": "alive"}
    assert json.loads(service.get("/ready"))["ready"] is True
    metrics = service.get("/metrics")
    for name in (
        "orchestrator_lag_records",
        "orchestrator_ticks_total",
        "orchestrator_signals_total",
        "orchestrator_ticks_skipped_total",
        "orchestrator_trials_total",
        "orchestrator_outbox_age_seconds",
        "orchestrator_requests_total",
    ):
        assert f"\n{name}" in metrics, name
