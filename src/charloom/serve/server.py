"""The application on a socket: deadlines for what is sent, signals, and an orderly end."""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from charloom.errors import CharloomError
from charloom.files import writing
from charloom.serve.api import Api
from charloom.serve.engine import Engine
from charloom.serve.guard import ABORT, LOCAL, Guard, is_loopback
from charloom.serve.models import Models

HOME = "runs"  # the folder of runs if none is named
HEADER_SECONDS = 10.0  # in which the head of a request must arrive
LARGEST_HEAD = 2**14  # bytes
SLOTS, QUEUE = 256, 512
SWITCH_SECONDS = 0.001  # between threads: the engine's and the one that sends


@dataclass(frozen=True)
class Settings:
    """Where to listen, and within which limits; `grace` is how many seconds texts have to end."""

    host: str = "127.0.0.1"
    port: int = 8321
    key: str | None = None
    hosts: Collection[str] = ()  # other names that the server may be called by
    slots: int = SLOTS
    queue: int = QUEUE
    grace: float = 10.0


class Server(uvicorn.Server):
    """A server that ends with status 0 when it is told to, once the texts have ended.

    It opens runs once it listens: until then /healthz says that it is not ready. A run that it
    trains is saved when it ends.
    """

    def __init__(self, config: uvicorn.Config, api: Api, settings: Settings) -> None:
        super().__init__(config)
        self._engine, self._models, self._trainer = api.engine, api.models, api.trainer
        self._settings = settings
        self._opening: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in an orderly way, or, told again, at once. This is called in a signal handler."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.end)

    def end(self) -> None:
        """Refuse what is new; exit when all texts have ended, or after `grace` seconds."""
        if self._ending is not None:
            self.should_exit = self.force_exit = True
            return
        self._engine.refuse()
        self._trainer.end()
        self._ending = asyncio.get_running_loop().create_task(self._end())

    async def _end(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time() + self._settings.grace
        while not self._engine.idle and loop.time() < last and not self.should_exit:
            await asyncio.sleep(0.05)
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._opening = self._loop.create_task(self._models.prepare())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let go of what is left, and close all connections."""
        if self._opening is not None:
            self._opening.cancel()
        await asyncio.to_thread(self._engine.close)
        await asyncio.to_thread(self._trainer.close, self._settings.grace)
        await super().shutdown(sockets)


class Protocol(H11Protocol):
    """uvicorn's HTTP, which has no time limit for the head of a request, with one."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came: the time limit is for all of a head, not for each piece of it."""
        self._watch()
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # nonsense amid an answer
            self.transport.abort()
        if self.conn.their_state is not h11.IDLE:
            self._unwatch()

    def handle_events(self) -> None:
        """Let a request close its connection at once, whatever was not sent yet."""
        super().handle_events()
        if self.scope is not None:
            self.scope["extensions"] = {ABORT: {"call": self.transport.abort}}

    def _watch(self) -> None:
        if self._late is None and self.conn.their_state is h11.IDLE:
            self._late = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens; raises CharloomError if that is not allowed or not possible."""
    if settings.key is None and not is_loopback(settings.host):
        message = (
            f"{settings.host} can be reached from other machines, which needs a key: give one by "
            "--api-key-file FILE or in CHARLOOM_API_KEY, or listen on 127.0.0.1"
        )
        raise CharloomError(message, "bad-setting", field="host")
    host, flags = settings.host.strip("[]"), socket.AI_PASSIVE
    try:
        found = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM, flags=flags)
        family, kind, _, _, address = found[0]
        # Named as TCP, or asyncio would leave it to Nagle's algorithm, which waits for 40 ms.
        listening = socket.socket(family, kind, socket.IPPROTO_TCP)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(1024)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        message = (
            f"cannot listen on {settings.host}, port {settings.port} ({error.strerror}): "
            "choose another --port or --host"
        )
        raise CharloomError(message, "taken", field="port") from None
    return listening


def address(listening: socket.socket) -> str:
    """Return where a page is opened."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def make(models: Models, settings: Settings, port: int) -> Server:
    """Return a server for a socket on that port; it runs when its `serve` is awaited."""
    engine = Engine(settings.slots, settings.queue)
    hosts = None
    if is_loopback(settings.host) or settings.hosts:
        own = f"[{settings.host}]" if ":" in settings.host.strip("[]") else settings.host
        hosts = {*LOCAL, own.replace("[[", "[").replace("]]", "]"), *map(str.lower, settings.hosts)}
    api = Api(models, engine)
    app = Guard(api.app(), hosts, settings.key)
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=LARGEST_HEAD,
        timeout_graceful_shutdown=2,
        backlog=1024,
    )
    return Server(config, api, settings)


def serve(
    sources: Sequence[Path], settings: Settings, ready: Callable[[str, Models], None]
) -> None:
    """Serve runs until a signal ends it; `ready` is told the address once it listens.

    Without `sources` they are those in HOME, which is made if it is missing. Raises CharloomError.
    """
    if not sources:
        sources = [Path(HOME)]
        with writing(sources[0]):
            sources[0].mkdir(exist_ok=True)
    models = Models(sources)
    listening = listen(settings)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        server = make(models, settings, listening.getsockname()[1])
        ready(address(listening), models)
        asyncio.run(server.serve([listening]))
    finally:
        sys.setswitchinterval(before)
        listening.close()
