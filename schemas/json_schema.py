"""JSON Schemas (2020-12) of the messages and topics: exactly what the decoder accepts, exactly what is written."""

from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from schemas.base import Message
from schemas.topics import TOPICS, Topic

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Direction = Literal["reads", "writes"]


def direction_of(topic: Topic) -> Direction:
    """Whether the service reads the topic's messages or writes them."""
    return "reads" if topic.consumed else "writes"


def message_file(model: type[Message]) -> str:
    """Name of a message's schema file, after its CloudEvents type."""
    return f"{model.TYPE}.schema.json"


def topic_file(topic: Topic) -> str:
    """Name of the file with the schema of whatever a topic carries."""
    return f"topic.{topic.name}.schema.json"


def json_schemas() -> dict[str, JsonSchemaValue]:
    """Every schema by file name, sorted.

    What the service reads is described as it judges it: a field with a default may be absent, and unknown fields are
    refused in requests and commands. What it writes is described as it is sent: every field is there. `x-service` says
    which of the two a document is.
    """
    documents: dict[str, JsonSchemaValue] = {}
    for topic in TOPICS:
        direction = direction_of(topic)
        for model in topic.models:
            documents[message_file(model)] = _document(model, f"message:{model.TYPE}", direction)
        if topic.messages is not None:
            documents[topic_file(topic)] = _document(topic.messages, f"topic:{topic.name}", direction)
    return dict(sorted(documents.items()))


class ExactSchema(GenerateJsonSchema):
    """Pydantic's schemas, made exact where they say less than the decoder checks."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        # Pydantic gives a pattern of names as `patternProperties` alone, which lets any other name pass.
        found = super().dict_schema(schema)
        for pattern, values in found.pop("patternProperties", {}).items():
            found["additionalProperties"] = values
            found["propertyNames"] = {"pattern": pattern, **found.get("propertyNames", {})}
        return found

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        # The tag has a default in each model, but a union cannot be told apart without it.
        found = super().tagged_union_schema(schema)
        tag = found.pop("discriminator")["propertyName"]
        return {"oneOf": [{**choice, "required": [tag]} for choice in found["oneOf"]]}


def _document(messages: Any, name: str, direction: Direction) -> JsonSchemaValue:
    schema = TypeAdapter[Any](messages).json_schema(
        mode="validation" if direction == "reads" else "serialization", schema_generator=ExactSchema
    )
    return {"$schema": DIALECT, "$id": f"urn:ray-orchestrator:{name}:1", "x-service": direction, **schema}
