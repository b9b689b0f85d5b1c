"""The topic table is the contract's: renaming, re-keying or re-partitioning a topic breaks those who use it."""

import pytest

from schemas.base import Message
from schemas.topics import (
    DEAD_LETTER_MAX_MESSAGE_BYTES,
    MAX_MESSAGE_BYTES,
    SIGNALS_BY_MODE,
    TOPICS,
    Topic,
)

DAY_MS = "86400000"
CONTRACT = {
    "search-requests": (4, "delete", 7),
    "commands": (1, "delete", 7),
    "control": (1, "compact", None),
    "trial-events": (4, "delete", 7),
    "experiment-events": (4, "delete", 30),
    "ensemble-events": (1, "compact", None),
    "retraining-events": (1, "delete", 30),
    "feature-ticks": (8, "delete", 7),
    "signals": (8, "delete", 7),
    "signals.replay": (8, "delete", 7),
    "signals.shadow": (8, "delete", 7),
    "signals.paper": (8, "delete", 7),
    "signal-state": (8, "compact", None),
    "search-requests.dlq": (1, "delete", 30),
    "commands.dlq": (1, "delete", 30),
    "control.dlq": (1, "delete", 30),
    "feature-ticks.dlq": (1, "delete", 30),
}
"""Partitions, cleanup and days of retention by topic."""
MESSAGES = {
    "search-requests": {"search.requested"},
    "commands": {
        *("command.cancel", "command.resume", "command.deploy", "command.add_member", "command.roll_back"),
        *("command.delete", "command.promote", "command.retire", "command.set_policy", "command.remove_policy"),
        *("command.retrain", "command.resend_dead_letter"),
    },
    "control": {"control.halt", "control.lift"},
    "trial-events": {
        *("trial.created", "trial.started", "trial.reported", "trial.completed", "trial.stopped_early"),
        *("trial.failed", "trial.cached"),
    },
    "experiment-events": {
        *("experiment.accepted", "experiment.duplicate", "experiment.rejected", "experiment.waiting"),
        *("experiment.started", "experiment.progress", "experiment.completed", "experiment.failed"),
        *("experiment.cancelled", "experiment.survivors_selected", "experiment.gate_passed"),
        "experiment.gate_refused",
    },
    "ensemble-events": {
        f"ensemble.{event}" for event in ["deploying", "deployed", "failed", "rolled_back", "deleted", "performance"]
    },
    "retraining-events": {
        f"retraining.{event}" for event in ["triggered", "detectors_read", "shadowing", "canary", "promoted", "retired"]
    },
    "feature-ticks": {"feature.tick"},
    **{name: {"signal", "signal.tick_skipped", "signal.heartbeat"} for name in CONTRACT if name.startswith("signals")},
    "signal-state": {"signal"},
}
"""CloudEvents types by topic."""
every_topic = pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)


def test_the_topics_are_those_of_the_contract() -> None:
    assert [topic.name for topic in TOPICS] == list(CONTRACT)


@every_topic
def test_a_topic_has_the_partitions_cleanup_and_retention_of_the_contract(topic: Topic) -> None:
    assert (topic.partitions, topic.cleanup, topic.retention_days) == CONTRACT[topic.name]
    assert topic.config["cleanup.policy"] == topic.cleanup
    if topic.retention_days is None:
        assert "retention.ms" not in topic.config
    else:
        assert int(topic.config["retention.ms"]) == topic.retention_days * int(DAY_MS)


@every_topic
def test_a_topic_carries_the_messages_of_the_contract(topic: Topic) -> None:
    assert {model.TYPE for model in topic.models} == MESSAGES.get(topic.name, set())
    assert all(issubclass(model, Message) for model in topic.models)


@every_topic
def test_exactly_the_topics_that_are_read_have_dead_letters_with_more_room(topic: Topic) -> None:
    by_name = {other.name: other for other in TOPICS}
    assert (topic.dead_letters in by_name) == topic.consumed
    if topic.consumed:
        assert by_name[topic.dead_letters].max_message_bytes == DEAD_LETTER_MAX_MESSAGE_BYTES > topic.max_message_bytes
        assert topic.max_message_bytes == MAX_MESSAGE_BYTES


@every_topic
def test_a_topic_says_how_it_is_keyed_and_deduplicated(topic: Topic) -> None:
    assert topic.key
    assert topic.deduplicated_by


def test_each_mode_of_signals_has_a_topic_of_its_own() -> None:
    assert {mode: topic.name for mode, topic in SIGNALS_BY_MODE.items()} == {
        "live": "signals",
        "replay": "signals.replay",
        "shadow": "signals.shadow",
        "paper": "signals.paper",
    }
