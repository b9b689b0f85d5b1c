"""The files under schemas/generated say what the models say, and hang together."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

import schemas
from schemas.asyncapi import asyncapi
from schemas.base import Instruction
from schemas.export import ASYNCAPI_FILE, files, write
from schemas.json_schema import direction_of, message_file, topic_file
from schemas.topics import TOPICS, Topic
from tests.strategies import DOCUMENTS, MESSAGES

GENERATED = Path(schemas.__file__).parent / "generated"
every_topic = pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)


def texts(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.json")}


def test_the_generated_files_are_up_to_date() -> None:
    assert texts(GENERATED) == dict(files()), "run `make schemas`, and remove what is no longer generated"


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "one")
    assert texts(tmp_path / "one") == texts(GENERATED)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_schema_is_valid_and_names_itself(name: str) -> None:
    document = DOCUMENTS[name]
    jsonschema_rs.meta.validate(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"].startswith("urn:ray-orchestrator:")
    assert document["x-service"] in ("reads", "writes")


def test_every_schema_has_an_id_of_its_own() -> None:
    assert len({document["$id"] for document in DOCUMENTS.values()}) == len(DOCUMENTS)


def test_every_message_and_every_topic_with_messages_has_a_schema() -> None:
    names = {message_file(model) for model in MESSAGES}
    names |= {topic_file(topic) for topic in TOPICS if topic.messages is not None}
    assert set(DOCUMENTS) == names
    assert list(DOCUMENTS) == sorted(names)


@pytest.mark.parametrize("model", MESSAGES, ids=lambda model: model.TYPE)
def test_only_instructions_refuse_unknown_fields(model: type[Any]) -> None:
    closed = DOCUMENTS[message_file(model)].get("additionalProperties") is False
    assert closed == issubclass(model, Instruction)


@pytest.mark.parametrize("model", MESSAGES, ids=lambda model: model.TYPE)
def test_every_field_of_what_is_written_is_promised(model: type[Any]) -> None:
    document = DOCUMENTS[message_file(model)]
    if document["x-service"] == "writes":
        assert set(document["required"]) == set(document["properties"]) == set(model.model_fields)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def follow(document: Any, pointer: str) -> Any:
    for step in pointer.removeprefix("#/").split("/"):
        document = document[step]
    return document


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi()
    for reference in references(document):
        if reference.startswith("#"):
            assert isinstance(follow(document, reference), dict)
        else:
            assert reference in DOCUMENTS


@every_topic
def test_the_asyncapi_document_has_every_topic_with_key_partitions_and_settings(topic: Topic) -> None:
    channel = asyncapi()["channels"][topic.name]
    kafka = channel["bindings"]["kafka"]
    assert channel["address"] == kafka["topic"] == topic.name
    assert kafka["partitions"] == topic.partitions
    assert kafka["topicConfiguration"]["cleanup.policy"] == [topic.cleanup]
    assert set(channel["messages"]) == ({model.TYPE for model in topic.models} or {"dead-letter"})
    for message in channel["messages"].values():
        assert message["bindings"]["kafka"]["key"]["description"] == topic.key


@every_topic
def test_the_service_receives_what_it_reads_and_sends_the_rest(topic: Topic) -> None:
    action = {"reads": "receive", "writes": "send"}[direction_of(topic)]
    operation = asyncapi()["operations"][f"{action}.{topic.name}"]
    assert operation["action"] == action
    assert operation["channel"] == {"$ref": f"#/channels/{topic.name}"}


def test_the_asyncapi_file_is_json() -> None:
    document = json.loads((GENERATED / ASYNCAPI_FILE).read_text(encoding="utf-8"))
    assert document["asyncapi"] == "3.0.0"
