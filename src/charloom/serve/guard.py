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
LARGEST_TEXT = 2**28  # of a text that is sent in to be trained on
BODY_SECONDS = 30.0  # in which a body must arrive, or of a text any more of it
TEXT_SECONDS = 600.0  # in which a text must arrive
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
_TEXTS = "/v1/charloom/texts"
_CHANGED = tuple(f"/v1/charloom/{what}" for what in ("runs", "trash", "texts", "training"))
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
        """Answer a request, or let it through with its whole body, or a text as it comes."""
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
            body = None if _is_text(scope) else await _body(receive)
        except Refused as refused:
            await respond(timed, refused, scope["method"])
            return
        except _Gone:
            return
        began, text = False, _bounded(receive)

        async def again() -> Message:
            nonlocal began
            if body is None:
                return await text()
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
        if scope["method"] not in ("GET", "HEAD") and scope["path"].startswith(_CHANGED):
            self._check_change(host, headers)
        if scope["method"] in ("POST", "PUT", "PATCH"):
            _check_content(headers, _is_text(scope))

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

    def _check_change(self, host: bytes, headers: dict[bytes, list[bytes]]) -> None:
        """Raise Refused unless there is a key, or it is a page of this machine that asks."""
        name = host.decode().rsplit(":", 1)[0] if not host.endswith(b"]") else host.decode()
        if self._key is None and not (is_loopback(name) and headers.get(b"origin")):
            message = (
                "runs are changed by the page on this machine alone, or with an API key: "
                "start the server with --api-key-file FILE"
            )
            raise Refused(403, message, "not_allowed")

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


def _is_text(scope: Scope) -> bool:
    """Whether a request sends in a text, which may be large."""
    return bool(scope["path"] == _TEXTS and scope["method"] == "POST")


def _check_content(headers: dict[bytes, list[bytes]], is_text: bool) -> None:
    kind = headers.get(b"content-type", [b""])[0].split(b";")[0].strip().lower()
    wanted = "application/octet-stream" if is_text else "application/json"
    if kind != wanted.encode():
        message = f"the content type must be {wanted}"
        raise Refused(415, message, "unsupported_media_type")
    if headers.get(b"content-encoding", [b"identity"])[0].lower() != b"identity":
        raise Refused(415, "a compressed body is not read", "unsupported_media_type")
    length, most = headers.get(b"content-length", [b"0"])[0], _most(is_text)
    if length.isdigit() and (len(length) > 12 or int(length) > most):
        raise _too_large(most)


def _most(is_text: bool) -> int:
    return LARGEST_TEXT if is_text else LARGEST_BODY


def _too_large(most: int) -> Refused:
    return Refused(413, f"the body has more than {most:,} bytes", "too_large")


def _too_slow(seconds: float) -> Refused:
    told = f"the body did not arrive within {seconds:.0f} seconds"
    return Refused(408, told, "too_slow")


class _Gone(Exception):  # noqa: N818 -- it is no error
    """The client has left."""


async def _body(receive: Receive) -> bytes:
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
                    raise _too_large(LARGEST_BODY)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise _too_slow(BODY_SECONDS) from None


def _bounded(receive: Receive) -> Receive:
    """Return what receives a text, piece by piece; it raises Refused if it is too large or late.

    That closes the connection: what is left is not read.
    """
    size, ended = 0, False
    last = asyncio.get_running_loop().time() + TEXT_SECONDS

    async def next_piece() -> Message:
        nonlocal size, ended
        if ended:
            return await receive()
        refused: Refused | None = None
        try:
            async with asyncio.timeout_at(min(last, _now() + BODY_SECONDS)):
                message = await receive()
        except TimeoutError:
            refused = _too_slow(TEXT_SECONDS if _now() >= last else BODY_SECONDS)
        else:
            size += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if size <= LARGEST_TEXT:
                return message
            refused = _too_large(LARGEST_TEXT)
        refused.headers["connection"] = "close"
        raise refused

    return next_piece


def _now() -> float:
    return asyncio.get_running_loop().time()


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
