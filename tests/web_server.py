"""A site on this machine, for tests: pages by path, and what was asked for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple


class Answer(NamedTuple):
    content: bytes | str = b""
    kind: str = "text/html"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    missing: int = 0  # bytes that are announced and do not come


Page = Answer | Callable[[BaseHTTPRequestHandler], Answer]


@dataclass
class Site:
    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def serve() -> Iterator[Site]:
    """Serve `pages` of the site, by path with query, until the block ends."""
    site = Site("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            site.asked.append(self.path)
            page = site.pages.get(self.path, Answer("gone", status=404))
            answer = page if isinstance(page, Answer) else page(self)
            content = answer.content
            body = content.encode() if isinstance(content, str) else content
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(body) + answer.missing))
            for header in answer.headers:
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
