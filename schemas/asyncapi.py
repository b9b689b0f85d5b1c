"""The AsyncAPI 3.0 document: every topic as a channel, with its key, its settings and its messages."""

from typing import Any

from schemas.base import INSTANT_PATTERN, JsonObject, Message
from schemas.dead_letter import OFFSET, PARTITION, REASON, TIME, TOPIC
from schemas.json_schema import direction_of, message_file
from schemas.topics import TOPICS, Topic

CONTRACT_VERSION = "0.1.0"
_BINDING = "0.5.0"
_SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"
_INSTANT = {"type": "string", "format": "date-time", "pattern": INSTANT_PATTERN}
_CLOUD_EVENTS: JsonObject = {
    "type": "object",
    "properties": {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {"type": "string", "minLength": 1, "description": "Unique within ce_source."},
        "ce_type": {"type": "string", "description": "The message's name in this document."},
        "ce_source": {"type": "string", "minLength": 1},
        "ce_time": {**_INSTANT, "description": "When it happened."},
        "content-type": {"type": "string", "const": "application/json"},
        "traceparent": {"type": "string", "description": "W3C trace context."},
    },
}
_DEAD_LETTER: JsonObject = {
    "type": "object",
    "description": "The original record's headers, and these.",
    "properties": {
        REASON: {"type": "string", "description": "JSON: an array of objects with code, where and message."},
        TOPIC: {"type": "string", "description": "The topic it came from."},
        PARTITION: {"type": "string", "pattern": "^[0-9]+$"},
        OFFSET: {"type": "string", "pattern": "^[0-9]+$"},
        TIME: {**_INSTANT, "description": "When it was given up."},
    },
    "required": [REASON, TOPIC, PARTITION, OFFSET, TIME],
}


def asyncapi() -> JsonObject:
    """The document, in the order of the topic table; payloads refer to the JSON Schema files beside it."""
    required = ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "content-type"]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "ray-orchestrator",
            "version": CONTRACT_VERSION,
            "description": "Search requests in, trading signals out; JSON, in the CloudEvents binary mode.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": {_operation_name(topic): _operation(topic) for topic in TOPICS},
        "components": {
            "schemas": {
                "headers-read": {**_CLOUD_EVENTS, "description": "All of them may be absent."},
                "headers-written": {**_CLOUD_EVENTS, "required": required},
                "headers-dead-letter": _DEAD_LETTER,
            }
        },
    }


def _channel(topic: Topic) -> JsonObject:
    return {
        "address": topic.name,
        "description": f"Keyed by {topic.key}. A consumer de-duplicates by {topic.deduplicated_by}.",
        "messages": dict(_messages(topic)),
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": _settings(topic),
                "bindingVersion": _BINDING,
            }
        },
    }


def _settings(topic: Topic) -> JsonObject:
    return {name: [value] if name == "cleanup.policy" else int(value) for name, value in topic.config.items()}


def _messages(topic: Topic) -> list[tuple[str, JsonObject]]:
    key = {"kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": _BINDING}}
    if topic.messages is None:
        return [("dead-letter", {**_dead_letter(), "bindings": key})]
    return [(model.TYPE, {**_message(topic, model), "bindings": key}) for model in topic.models]


def _message(topic: Topic, model: type[Message]) -> JsonObject:
    return {
        "name": model.TYPE,
        "title": model.__name__,
        **({"summary": model.__doc__.strip().splitlines()[0]} if model.__doc__ else {}),
        "contentType": "application/json",
        "headers": _ref("components", "schemas", "headers-read" if topic.consumed else "headers-written"),
        "payload": {"schemaFormat": _SCHEMA_FORMAT, "schema": {"$ref": message_file(model)}},
    }


def _dead_letter() -> JsonObject:
    return {
        "name": "dead-letter",
        "title": "DeadLetter",
        "summary": "A record that could not be handled: its value and key, byte for byte.",
        "contentType": "application/octet-stream",
        "headers": _ref("components", "schemas", "headers-dead-letter"),
    }


def _operation_name(topic: Topic) -> str:
    return f"{'receive' if topic.consumed else 'send'}.{topic.name}"


def _operation(topic: Topic) -> JsonObject:
    return {
        "action": "receive" if direction_of(topic) == "reads" else "send",
        "channel": _ref("channels", topic.name),
        "messages": [_ref("channels", topic.name, "messages", name) for name, _ in _messages(topic)],
    }


def _ref(*steps: str) -> dict[str, Any]:
    return {"$ref": "#/" + "/".join(steps)}
