"""Who may call over HTTP: by which names, from which pages, with which key."""

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import unquote, urlsplit

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
CHALLENGE = 'Bearer realm="ray-orchestrator"'
"""What who shows no key is asked for, as WWW-Authenticate has it."""
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{0,5})?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def host_name(host: str) -> str | None:
    """The name in a Host header or in an Origin's `HOST:PORT`, in lower case and without its port.

    None: it is neither. What goes on after the name, as in `localhost/health`, would be taken for a part of the path
    by whoever puts the address together again.
    """
    found = _HOST.fullmatch(host.lower())
    return None if found is None else found[1] or found[2]


def origin_host(origin: str) -> str | None:
    """`HOST:PORT` of an Origin as a Host header would have it; None: it is none that a page of a server has."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") and parts.netloc else None


def key_digest(key: str) -> str:
    """What a key is known by to those who only judge it: 64 hexadecimal digits."""
    return sha256(b"ray-orchestrator API key\x00" + key.encode()).hexdigest()


def opens(offered: str | None, digest: str) -> bool:
    """Whether this is the key of that digest, in a time that does not tell how much of it is right."""
    return offered is not None and hmac.compare_digest(key_digest(offered), digest)


def offered_key(headers: Mapping[str, str]) -> str | None:
    """The key that a request brings, as `Authorization: Bearer KEY` or as `X-API-Key: KEY`; names are in lower case."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")


def session(key: str, until: int) -> str:
    """What a browser that has shown the key carries instead of it, up to `until` (seconds since 1970)."""
    return f"{until}.{_seal(key, until)}"


def session_holds(value: str, key: str, now: float) -> bool:
    """Whether a session was made with this key, and has not ended."""
    until, _, seal = value.partition(".")
    if not re.fullmatch(r"[0-9]{1,15}", until, re.ASCII) or now >= int(until):
        return False
    return hmac.compare_digest(seal.encode(), _seal(key, int(until)).encode())


def straight(path: str, raw: str) -> bool:
    """Whether a path means one place however often it is decoded: no `..`, no encoded slash, no control character.

    Args:
        path: decoded once.
        raw: as it was sent.
    """
    final = unquote(path)
    return (
        final.startswith("/")
        and final.count("/") == raw.count("/")
        and _CONTROL.search(final) is None
        and not {".", ".."}.intersection(final.split("/"))
    )


def _seal(key: str, until: int) -> str:
    return hmac.new(key.encode(), f"ray-orchestrator session until {until}".encode(), sha256).hexdigest()
