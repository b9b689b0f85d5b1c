"""What a release wrote or took stays readable: compacted topics and replays bring it back years later."""

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.base import parse_instant
from schemas.envelope import decode, encode
from schemas.json_schema import topic_file
from schemas.topics import TOPICS
from tests.mutations import is_good
from tests.strategies import DOCUMENTS, MESSAGES

RECORDED = [
    (path.stem, json.loads(line))
    for path in sorted((Path(__file__).parent / "recorded").glob("*.jsonl"))
    for line in path.read_text(encoding="utf-8").splitlines()
]
TOPIC = {topic.name: topic for topic in TOPICS}
every_record = pytest.mark.parametrize(
    "record", [record for _, record in RECORDED], ids=[f"{release}-{record['type']}" for release, record in RECORDED]
)


def lost(recorded: Any, now: Any) -> bool:
    """Whether something of the recorded value is not in the present one."""
    if isinstance(recorded, dict) and isinstance(now, dict):
        return any(name not in now or lost(recorded[name], now[name]) for name in recorded)
    if isinstance(recorded, list) and isinstance(now, list):
        return len(recorded) != len(now) or any(map(lost, recorded, now))
    return bool(recorded != now) and not is_same_moment(recorded, now)


def is_same_moment(recorded: Any, now: Any) -> bool:
    try:
        return parse_instant(recorded) == parse_instant(now)
    except ValueError:
        return False


@every_record
def test_a_recorded_message_is_read_with_all_that_it_said(record: dict[str, Any]) -> None:
    value = json.dumps(record["value"]).encode()
    message = decode(TOPIC[record["topic"]].messages, value)
    assert record["type"] == message.TYPE
    assert not lost(record["value"], json.loads(encode(message)))


@every_record
def test_a_recorded_message_still_keeps_to_its_topics_schema(record: dict[str, Any]) -> None:
    document = DOCUMENTS[topic_file(TOPIC[record["topic"]])]
    if document["x-service"] == "reads":
        assert is_good(document, json.dumps(record["value"]).encode())


def test_every_message_has_been_recorded() -> None:
    assert {record["type"] for _, record in RECORDED} == {model.TYPE for model in MESSAGES}
