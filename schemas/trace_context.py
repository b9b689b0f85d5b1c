"""W3C trace context: one trace id follows a request from the first message to the last signal."""

import re
from dataclasses import dataclass, replace

TRACEPARENT = "traceparent"
TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
_SAMPLED = 1
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_PLAIN = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]")


@dataclass(frozen=True)
class TraceContext:
    """A position in a trace: the trace, the span that is the parent of what follows, and the flags (bit 0: sampled).

    `str()` gives the `traceparent` header's text.
    """

    trace_id: str
    span_id: str
    flags: int = _SAMPLED

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def parse_traceparent(text: str) -> TraceContext | None:
    """Read a `traceparent`; None where it is malformed, so that the caller begins a trace of its own.

    A version above 00 is read by its first four fields (W3C Trace Context, 2021, section 4).
    """
    match = _TRACEPARENT.fullmatch(text)
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, int(flags, 16) & _SAMPLED)


def is_plain(header: bytes) -> bool:
    """Whether a `traceparent` is already written as `TraceContext` would write it."""
    return _PLAIN.fullmatch(header) is not None


def begin_trace(random: bytes) -> TraceContext:
    """A new, sampled trace.

    Args:
        random: 24 random bytes.

    Raises:
        ValueError: not 24 bytes, or the zeros that the standard forbids.
    """
    if len(random) != TRACE_ID_BYTES + SPAN_ID_BYTES:
        raise ValueError(f"a trace begins with {TRACE_ID_BYTES + SPAN_ID_BYTES} random bytes, not {len(random)}")
    return TraceContext(_identifier(random[:TRACE_ID_BYTES]), _identifier(random[TRACE_ID_BYTES:]))


def child_of(parent: TraceContext, random: bytes) -> TraceContext:
    """The next position in the parent's trace.

    Args:
        parent: where the trace stands.
        random: 8 random bytes.

    Raises:
        ValueError: not 8 bytes, or zeros.
    """
    if len(random) != SPAN_ID_BYTES:
        raise ValueError(f"a span takes {SPAN_ID_BYTES} random bytes, not {len(random)}")
    return replace(parent, span_id=_identifier(random))


def trace_id_of(traceparent: str) -> str | None:
    """The 32 hexadecimal digits that join log lines of one trace; None where the header is malformed."""
    context = parse_traceparent(traceparent)
    return None if context is None else context.trace_id


def _identifier(random: bytes) -> str:
    if not any(random):
        raise ValueError("an identifier of zeros is not valid: pass random bytes")
    return random.hex()
