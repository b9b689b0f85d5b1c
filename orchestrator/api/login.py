"""How a browser comes to a session: a page that asks for the key once."""

from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from urllib.parse import parse_qs, quote

from starlette.responses import HTMLResponse, RedirectResponse, Response

from orchestrator.core.access import key_digest, opens, session

PATH = "/login"
COOKIE = "orchestrator_session"
SESSION_SECONDS = 12 * 3600
_POLICY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ray Orchestrator</title><style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }}
body {{ display: grid; place-items: center; min-height: 90vh; margin: 0 1rem }}
form {{ display: grid; gap: .75rem; width: min(22rem, 100%) }}
input, button {{ font: inherit; padding: .6rem; border-radius: .4rem; border: 1px solid gray }}
button {{ background: #1d4ed8; color: white; border: 0; cursor: pointer }}
p {{ margin: 0 }}
</style></head><body><form method="post" action="{path}">
<h1>Ray Orchestrator</h1>{said}
<input type="hidden" name="next" value="{next}">
<label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
<button>Go on</button>
</form></body></html>
"""


def ask(query: bytes) -> Response:
    """The page; `next` in the query is where it leads to."""
    return _page(_next(_fields(query)), "", HTTPStatus.OK)


def answer(form: bytes, key: str, now: float, *, secure: bool) -> Response:
    """A session and the way on for who shows the key; else the page again.

    Args:
        form: what the page sent, URL-encoded: `key` and `next`.
        key: the right one.
        now: seconds since 1970.
        secure: whether the browser came by TLS; the session is then sent by TLS only.
    """
    fields = _fields(form)
    if not opens(fields.get("key"), key_digest(key)):
        return _page(_next(fields), '<p role="alert">That is not the API key.</p>', HTTPStatus.UNAUTHORIZED)
    response = RedirectResponse(_next(fields), HTTPStatus.SEE_OTHER)
    response.set_cookie(
        COOKIE,
        session(key, int(now) + SESSION_SECONDS),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=secure,
    )
    return response


def sent_to(path: str, query: bytes) -> Response:
    """The way to the page for a browser that came without a session."""
    wanted = f"{path}?{query.decode('latin-1')}" if query else path
    return RedirectResponse(f"{PATH}?next={quote(wanted, safe='')}", HTTPStatus.SEE_OTHER)


def _page(following: str, said: str, status: HTTPStatus) -> Response:
    return HTMLResponse(_PAGE.format(path=PATH, said=said, next=escape(following)), status, _POLICY)


def _fields(encoded: bytes) -> Mapping[str, str]:
    try:
        return {name: values[0] for name, values in parse_qs(encoded.decode("latin-1"), max_num_fields=10).items()}
    except ValueError:
        return {}


def _next(fields: Mapping[str, str]) -> str:
    """Where to go on to: a path of this server, and never another one."""
    wanted = fields.get("next", "/")
    return wanted if wanted.startswith("/") and wanted[1:2] not in ("/", "\\") and wanted.isprintable() else "/"
