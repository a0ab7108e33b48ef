"""Who may speak to the server: pages that it has served itself, and programs on this machine."""

import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 65_536  # bytes
_LOCAL = ("127.0.0.1", "localhost")


class Guard:
    """Refuses requests from other sites' pages, to other names of this machine, without the token, and large bodies.

    A name that an attacker's own name server points to this machine is refused by its Host header; a page of another
    site by its Origin, or by what the browser says of where a request is from.

    Args:
        app: What it guards.
        port: Of the server.
        hosts: Names besides 127.0.0.1 and localhost by which the server may be called; `"*"` for any.
        token: Needed for everything, where it is not None: in the address once, then in a cookie.
    """

    def __init__(self, app: ASGIApp, *, port: int, hosts: Sequence[str] = (), token: str | None = None):
        self._app, self._port, self._token = app, port, token
        self._hosts = {*_LOCAL, *hosts}
        self._cookie = f"adamkit-play-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refusal = self._refusal(request)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, _bounded(receive), send)

    def _refusal(self, request: Request) -> JSONResponse | RedirectResponse | None:
        headers = request.headers
        host = headers.get("host", "")
        name, _, port = host.rpartition(":")
        if not (port == str(self._port) and ("*" in self._hosts or name.strip("[]") in self._hosts)):
            return _refused(403, f"this server is called by {' or '.join(sorted(self._hosts))}, not by {host!r}")
        if _is_foreign(headers, host, request):
            return _refused(403, "requests from other sites' pages are refused")
        if request.method == "POST" and headers.get("content-type", "").partition(";")[0] != "application/json":
            return _refused(415, "a body must be application/json")
        if not headers.get("content-length", "0").isdecimal() or int(headers.get("content-length", 0)) > LARGEST_BODY:
            return _refused(413, f"a body must have at most {LARGEST_BODY:,} bytes")
        if self._token is None or self._is_token(request.cookies.get(self._cookie)):
            return None
        if self._is_token(request.query_params.get("token")):
            response = RedirectResponse(request.url.path, status_code=303)
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return response
        return _refused(401, "the address needs the token that the server has printed")

    def _is_token(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), (self._token or "").encode())


def _is_foreign(headers: Headers, host: str, request: Request) -> bool:
    origin = headers.get("origin")
    if origin is not None:
        return origin != f"http://{host}"
    is_visit = headers.get("sec-fetch-mode") == "navigate" and request.method == "GET" and request.url.path == "/"
    return headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not is_visit


def _bounded(receive: Receive) -> Receive:
    """Also a body whose length is not said; what is too long ends there, and is then no JSON."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > LARGEST_BODY:
                return {"type": "http.request", "body": b"", "more_body": False}
        return message

    return bounded


def _refused(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status)
