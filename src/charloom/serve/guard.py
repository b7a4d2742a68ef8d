"""What every request passes before anything else looks at it: one layer that no route misses.

Host and Origin (a page of another site must not reach a server on this machine, whatever name it
gives it: DNS rebinding), the key, the content type, and the size of the body and the time it takes.
"""

import asyncio
import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from charloom.serve.errors import Refused

LARGEST_BODY = 2**20  # bytes
BODY_SECONDS = 30.0  # in which a body must arrive
SEND_SECONDS = 30.0  # in which a client must take what is sent

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ABORT = "charloom.abort"  # an extension in scopes: closes the connection at once

LOCAL = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?", re.ASCII)
_KEYED = ("/v1", "/metrics")  # what needs the key, with all below
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Guard:
    """An ASGI application around another.

    `hosts` are the names that the server may be called by; None is any, for a server that others
    reach, which has a key.
    """

    def __init__(self, app: App, hosts: Collection[str] | None, key: str | None) -> None:
        self._app, self._hosts = app, hosts
        self._key = None if key is None else key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it through with its whole body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        try:
            self._check(scope)
            body = await _body(scope, receive)
        except Refused as refused:
            await respond(timed, refused, scope["method"])
            return
        except _Gone:
            return
        began = False

        async def again() -> Message:
            nonlocal began
            if began:
                return await receive()
            began = True
            return {"type": "http.request", "body": body, "more_body": False}

        try:
            await self._app(scope, again, timed)
        except TimeoutError:  # the client takes nothing
            if ABORT in scope.get("extensions", {}):
                scope["extensions"][ABORT]["call"]()
                await asyncio.sleep(0)  # now it is closed

    def _check(self, scope: Scope) -> None:
        """Raise Refused for a request that must not be served."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        host = self._host(headers.get(b"host", []))
        if not scope.get("raw_path", b"/").startswith(b"/"):
            raise Refused(400, "the target of the request is not a path", "bad_target")
        for origin in headers.get(b"origin", []):
            if origin.lower() not in (b"http://" + host, b"https://" + host):
                raise Refused(403, "requests from pages of other sites are refused", "bad_origin")
        foreign = headers.get(b"sec-fetch-site", [b"none"])[0] not in (b"none", b"same-origin")
        reads = scope["method"] in ("GET", "HEAD") and not scope["path"].startswith(_KEYED)
        if foreign and not reads:  # a link to the page is no request to the API
            raise Refused(403, "requests from pages of other sites are refused", "bad_origin")
        if scope["path"].startswith(_KEYED):
            self._check_key(headers.get(b"authorization", []))
        if scope["method"] in ("POST", "PUT", "PATCH"):
            _check_content(headers)

    def _host(self, found: list[bytes]) -> bytes:
        """Return the Host; raises Refused unless there is one, of a name that is allowed."""
        host = found[0].decode("latin-1").lower() if len(found) == 1 else ""
        match = _HOST.fullmatch(host)
        if match is None:
            raise Refused(400, "the request needs one Host, a name or an address", "bad_host")
        if self._hosts is not None and match[1] not in self._hosts:
            message = "this server is not called that: start it with --allow-host NAME if it is"
            raise Refused(403, message, "bad_host")
        return host.encode()

    def _check_key(self, found: list[bytes]) -> None:
        if self._key is None:
            return
        scheme, _, given = (found[0] if len(found) == 1 else b"").partition(b" ")
        right = hmac.compare_digest(given.strip(), self._key)
        if not right or scheme.lower() != b"bearer":
            message = "the API key is missing or wrong: send it as Authorization: Bearer KEY"
            raise Refused(401, message, "invalid_api_key")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_content(headers: dict[bytes, list[bytes]]) -> None:
    kind = headers.get(b"content-type", [b""])[0].split(b";")[0].strip().lower()
    if kind != b"application/json":
        message = "the content type must be application/json"
        raise Refused(415, message, "unsupported_media_type")
    if headers.get(b"content-encoding", [b"identity"])[0].lower() != b"identity":
        raise Refused(415, "a compressed body is not read", "unsupported_media_type")
    length = headers.get(b"content-length", [b"0"])[0]
    if length.isdigit() and (len(length) > 12 or int(length) > LARGEST_BODY):
        raise _too_large()


def _too_large() -> Refused:
    return Refused(413, f"the body has more than {LARGEST_BODY:,} bytes", "too_large")


class _Gone(Exception):  # noqa: N818 -- it is no error
    """The client has left."""


async def _body(scope: Scope, receive: Receive) -> bytes:
    """Return the whole body; raises Refused if it is too large or too late, and _Gone."""
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > LARGEST_BODY:
                    raise _too_large()
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        told = f"the body did not arrive within {BODY_SECONDS:.0f} seconds"
        raise Refused(408, told, "too_slow") from None


async def respond(send: Send, refused: Refused, method: str = "GET") -> None:
    """Answer with an error, and close the connection: what is left of the body is not read."""
    body = refused.encoded()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *((name.encode(), value.encode()) for name, value in refused.headers.items()),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
