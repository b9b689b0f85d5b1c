"""Good messages made strange, and a judge of them that shares no code with the decoder.

Random generators are arguments, so that ten thousand mutants are the same ten thousand each time.
"""

import gzip
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from random import Random
from typing import Any

import jsonschema_rs

NESTING_LIMIT = 200
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_EMPTY = re.compile(r"\[\s*\]|\{\s*\}")

Document = dict[str, Any]
Path = tuple[int | str, ...]


def is_good(document: Document, value: bytes) -> bool:
    """Whether `value` is strict JSON (RFC 8259 in UTF-8, at most 200 deep) that the JSON Schema accepts."""
    try:
        parsed = parse_strictly(value)
    except (ValueError, RecursionError):
        return False
    return _validator(json.dumps(document, sort_keys=True)).is_valid(parsed)


def parse_strictly(value: bytes) -> Any:
    """Parse RFC 8259 JSON; the last of a repeated name counts.

    Raises:
        ValueError: it is not JSON, not UTF-8, has half a surrogate pair, or is nested too deep.
        RecursionError: it is nested far too deep.
    """
    text = value.decode("utf-8")
    parsed = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_checked_object)
    if _depth(text) > NESTING_LIMIT:
        raise ValueError("nested too deep")
    return _checked(parsed)


def mutants(rng: Random, good: Sequence[bytes]) -> Iterator[bytes]:
    """Without end: good messages, and messages with a fault in a value, in the structure or in the bytes.

    Not every mutant is bad: `is_good` tells.
    """
    while True:
        value = rng.choice(good)
        for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 3))):
            value = rng.choice(_MUTATIONS)(rng, value)
        yield value


@lru_cache(maxsize=64)
def _validator(document: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(json.loads(document), validate_formats=True)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _checked(value: Any) -> Any:
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, list):
        for item in value:
            _checked(item)
    return value


def _checked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, value in pairs:
        _checked(name)
        _checked(value)
    return dict(pairs)


def _depth(text: str) -> int:
    """The most arrays and objects around a value, of JSON that is known to be well formed."""
    deepest = depth = 0
    for character in _EMPTY.sub("0", _STRINGS.sub("0", text)):
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


_RAW = "\N{SNOWMAN}raw"
"""Stands in a parsed document for a text that `json.dumps` would not write."""
_RAW_TEXTS = (
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e-400", "01", "1.", ".5", "+1", "1.0", "1e2", "-0", "-0.0"),
    *("0.5", "1e308", "2e308", "9007199254740991", "9007199254740993", "-9007199254740992", "1" + "0" * 400),
    *(
        "1" * 4300,
        "1" * 4400,
        "1." + "0" * 50,
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        '"\\u0000"',
        '"\t"',
        "'x'",
        "undefined",
    ),
    *("[" * 150 + "]" * 150, "[" * 201 + "]" * 201, "[" * 300 + "]" * 300, '{"a":' * 200 + "1" + "}" * 200, "//", ""),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 100, 101, 10_000, 10_001, 1.5, -0.5, 1e9, 1_000_000_001, 2**31 - 1, 2**31, 2**53),
    *("", " ", "x", "X", "true", "1", "é", "AAPL", "BRK.B", "a b", "A\n", "\x00", "x" * 64, "x" * 65, "x" * 257),
    *(
        "😀" * 256,
        "😀" * 257,
        "y" * 5000,
        "1d",
        "5m",
        "0d",
        "live",
        "grid",
        "cancel",
        "halt",
        "all",
        "a" * 64,
        "0" * 64,
    ),
    *("2026-01-15T21:00:00Z", "2026-01-15T21:00:00.123456+05:30", "2026-02-30T00:00:00Z", "2026-01-15T21:00:60Z"),
    *("2026-01-15 21:00:00Z", "2026-01-15T21:00:00", "2026-01-15t21:00:00z", "1899-12-31T23:59:59Z", "2026-01-15"),
    *("2199-12-31T23:59:59-14:00", "1900-01-01T00:00:00+14:00", "2026-01-15T21:00:00.1234567Z", "2024-02-29T00:00:00Z"),
    *([], {}, [None], [[]], ["AAPL"], ["AAPL", "AAPL"], [1, 1.0, True], {"": 1}, {"a": 1}, {"a b": None}, {"x": [{}]}),
)
_NAMES = ("", "x", "schema_version", "request_id", "tickers", "seeds", "command", "kind", "a b", "é", "\x00", "n" * 300)


def _paths(value: Any, here: Path = ()) -> Iterator[Path]:
    yield here
    if isinstance(value, dict):
        for name in value:
            yield from _paths(value[name], (*here, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _paths(item, (*here, index))


def _on_document(change: Callable[[Random, Any], Any]) -> Callable[[Random, bytes], bytes]:
    """A mutation of the parsed value; what is no longer JSON is left as it is."""

    def mutate(rng: Random, value: bytes) -> bytes:
        try:
            changed = change(rng, json.loads(value.decode("utf-8")))
            text = json.dumps(changed, ensure_ascii=False)
            return text.replace(f'"{_RAW}"', rng.choice(_RAW_TEXTS)).encode("utf-8")
        except (ValueError, OverflowError, RecursionError):
            return value

    return mutate


def _replace(rng: Random, document: Any) -> Any:
    return _put(document, rng.choice(list(_paths(document))), rng.choice((_RAW, *_VALUES)))


def _replace_raw(rng: Random, document: Any) -> Any:
    return _put(document, rng.choice(list(_paths(document))), _RAW)


def _nudge(rng: Random, document: Any) -> Any:
    """A number beside the number, a text beside the text: bounds are near."""
    path = rng.choice(list(_paths(document)))
    value = _get(document, path)
    if isinstance(value, bool) or value is None:
        return _put(document, path, rng.choice((not value, int(bool(value)), str(value))))
    if isinstance(value, int | float):
        return _put(document, path, rng.choice((-value, value + 1, value - 1, value / 2, float(value), str(value))))
    if isinstance(value, str):
        edited = (value.upper(), value[:-1], value + rng.choice(" \n_é0x"), " " + value, value.replace("Z", "+00:00"))
        return _put(document, path, rng.choice(edited))
    return document


def _remove(rng: Random, document: Any) -> Any:
    path = rng.choice(list(_paths(document)))
    if path:
        del _get(document, path[:-1])[path[-1]]
    return document


def _add(rng: Random, document: Any) -> Any:
    containers = [path for path in _paths(document) if isinstance(_get(document, path), dict | list)]
    if containers:
        container = _get(document, rng.choice(containers))
        added = rng.choice((_RAW, *_VALUES))
        if isinstance(container, list):
            container.insert(rng.randint(0, len(container)), rng.choice((*container, added)))
        else:
            container[rng.choice((*_NAMES, *_misspelt(rng, container)))] = added
    return document


def _rename(rng: Random, document: Any) -> Any:
    objects = [value for path in _paths(document) if (value := _get(document, path)) and isinstance(value, dict)]
    if objects:
        chosen = rng.choice(objects)
        name = rng.choice(list(chosen))
        chosen[rng.choice((*_NAMES, *_misspelt(rng, chosen)))] = chosen.pop(name)
    return document


def _misspelt(rng: Random, names: dict[str, Any]) -> list[str]:
    return [name[:-1] if rng.random() < 0.5 else name + "s" for name in names]


def _swap(rng: Random, document: Any) -> Any:
    paths = list(_paths(document))[1:]
    if paths:
        return _put(document, rng.choice(paths), json.loads(json.dumps(_get(document, rng.choice(paths)))))
    return document


def _get(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


def _put(document: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    _get(document, path[:-1])[path[-1]] = value
    return document


def _flip(rng: Random, value: bytes) -> bytes:
    edited = bytearray(value)
    for _ in range(rng.randint(1, 3) if edited else 0):
        edited[rng.randrange(len(edited))] ^= 1 << rng.randrange(8)
    return bytes(edited)


def _cut(rng: Random, value: bytes) -> bytes:
    start, stop = sorted((rng.randint(0, len(value)), rng.randint(0, len(value))))
    return rng.choice((value[:start], value[stop:], value[:start] + value[stop:], value[start:stop]))


def _insert(rng: Random, value: bytes) -> bytes:
    at = rng.randint(0, len(value))
    stray = (
        b",",
        b'"',
        b"}",
        b" ",
        b"\n",
        b"\x00",
        b"\xff",
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"\\",
        b"null",
        b"{}",
        b"//",
    )
    return value[:at] + rng.choice((rng.choice(stray), rng.randbytes(rng.randint(1, 8)))) + value[at:]


def _repeat(rng: Random, value: bytes) -> bytes:
    start, stop = sorted((rng.randint(0, len(value)), rng.randint(0, len(value))))
    return value[:stop] + value[start:]


def _repeat_name(rng: Random, value: bytes) -> bytes:
    name = rng.choice((b'"seed":1', b'"schema_version":2', b'"revision":0', b'"command":"cancel"', b'"request_id":"r"'))
    return rng.choice((value.replace(b"{", b"{" + name + b",", 1), value.removesuffix(b"}") + b"," + name + b"}"))


def _recode(rng: Random, value: bytes) -> bytes:
    text = value.decode("utf-8", "replace")
    recoded = (text.encode("utf-16"), text.encode("utf-16-le"), text.encode("latin-1", "replace"))
    framed = (b"\xef\xbb\xbf" + value, b" " + value + b"\n", value + b"\x00", value + value, b"[" + value + b"]")
    return rng.choice((*recoded, *framed, gzip.compress(value, mtime=0)))


def _anything(rng: Random, value: bytes) -> bytes:
    return rng.choice((b"", b"null", b"{}", b"[]", b'""', b"0", b"[" * 100_000, rng.randbytes(rng.randint(0, 64))))


_MUTATIONS: tuple[Callable[[Random, bytes], bytes], ...] = (
    *(_on_document(change) for change in (_replace, _replace_raw, _nudge, _remove, _add, _rename, _swap)),
    *(_on_document(change) for change in (_replace, _replace, _nudge, _add)),
    *(_flip, _cut, _insert, _repeat, _repeat_name, _recode, _anything),
)
