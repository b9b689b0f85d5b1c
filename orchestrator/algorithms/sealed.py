"""The file of a model: a digest of what follows, a line of JSON that says what it is, a body in a library's own format.

Libraries trust what they parse, so nothing that was damaged on the way is given to them.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from math import prod
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from orchestrator.algorithms.base import MalformedModel, quoted
from schemas.base import FeatureName, Reason

_Parsed = TypeVar("_Parsed", bound=BaseModel)
_Label = TypeVar("_Label", bound="Label")
Layout = Mapping[str, tuple[str, tuple[int, ...]]]
"""Of a body made of arrays: by name the numpy type, little-endian, and the shape, in their order."""


class Label(BaseModel):
    """The line of JSON. A family's own adds `algorithm` and `version` as literals, and what the body does not say."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    feature_names: tuple[FeatureName, ...]

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if len(set(self.feature_names)) != len(self.feature_names):
            raise ValueError("a feature is named twice")
        return self


def seal(label: Label, body: bytes) -> bytes:
    """The file of a body: the same for the same label and body."""
    rest = compact(label.model_dump(mode="json")) + b"\n" + body
    return _digest(rest) + b"\n" + rest


def unseal(kind: type[_Label], dumped: bytes) -> tuple[_Label, bytes]:
    """The label and the body that `seal` put together.

    Raises:
        MalformedModel: the file is damaged, or its label of another kind.
    """
    found, _, rest = dumped.partition(b"\n")
    if found != _digest(rest):
        raise malformed("", "It does not begin with the digest of what follows; load a whole model of this algorithm.")
    line, _, body = rest.partition(b"\n")
    return parsed(kind, line), body


def pack(layout: Layout, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of arrays, one after the other as laid out."""
    return b"".join(np.ascontiguousarray(arrays[name], kind).tobytes() for name, (kind, _) in layout.items())


def unpack(layout: Layout, body: bytes) -> dict[str, NDArray[Any]]:
    """The arrays that `pack` put together, read-only.

    Raises:
        MalformedModel: the body has another length.
    """
    sizes = [prod(shape) * np.dtype(kind).itemsize for kind, shape in layout.values()]
    if sum(sizes) != len(body):
        raise malformed("", f"The model's arrays take {sum(sizes)} bytes, but it has {len(body)}.")
    arrays, begin = {}, 0
    for (name, (kind, shape)), size in zip(layout.items(), sizes, strict=True):
        arrays[name] = np.frombuffer(body[begin : begin + size], kind).reshape(shape)
        begin += size
    return arrays


def compact(value: object) -> bytes:
    """Canonical JSON: sorted keys, no spaces, shortest digits that give the same bits back."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def parsed(kind: type[_Parsed], text: bytes) -> _Parsed:
    """JSON as this kind.

    Raises:
        MalformedModel: it is not; one reason for each fault.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise MalformedModel(
            Reason(code="malformed_model", where=quoted(".".join(map(str, fault["loc"]))), message=fault["msg"][:4096])
            for fault in error.errors()
        ) from error


def malformed(where: str, message: str) -> MalformedModel:
    """The error of a model with one fault."""
    return MalformedModel([Reason(code="malformed_model", where=where, message=message[:4096])])


def _digest(content: bytes) -> bytes:
    return sha256(content).hexdigest().encode("ascii")
