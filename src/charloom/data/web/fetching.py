"""Pages over HTTP: from public addresses only, within limits, and kept in a cache.

Whatever leads elsewhere, a redirect too, is checked before it is asked for anything: an address
that a stranger's page names must not reach what only this machine or its network can see.
"""

import hashlib
import ipaddress
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

import msgspec

from charloom.data.parts import shown
from charloom.errors import CharloomError, needs_extra
from charloom.files import read_bytes, replace_file

if TYPE_CHECKING:
    import requests

PAGE_BYTES = 2**26  # of one page, unpacked
CONNECT_SECONDS, READ_SECONDS, PAGE_SECONDS = 10.0, 30.0, 120.0
REDIRECTS = 10
FRESH_SECONDS = 24 * 3600.0  # a page in the cache is not asked for again before
PAUSE_SECONDS = 1.0  # between two pages of a site
RETRY_SECONDS = (2.0, 10.0)  # before asking again, unless the server says when
LONGEST_WAIT = 60.0  # seconds that a server may ask for
_BUSY = {429, 500, 502, 503, 504}
_MOVED = {301, 302, 303, 307, 308}


class Page(NamedTuple):
    """What an address gave: where it was found after redirects, its bytes and media type."""

    url: str
    content: bytes
    media_type: str = ""


class _Kept(msgspec.Struct):
    """A page in the cache, beside its content."""

    url: str
    media_type: str
    tag: str
    modified: str
    seconds: Annotated[float, msgspec.Meta(ge=0)]  # since the epoch, when it was last asked for
    sha256: str


class Fetcher:
    """Fetches pages, with a pause between two that are not in the cache.

    `private` allows addresses of this machine and its network. Close it after use.
    """

    def __init__(
        self,
        private: bool = False,
        folder: Path | None = None,
        pause: float = PAUSE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        with needs_extra("text", "reading a site"):
            import protego  # noqa: F401  (which the robots.txt is read with)
        self.private, self._sleep, self.pause = private, sleep, pause
        self._folder = folder or cache_folder()
        self._session = _session(private)
        self._asked = self._is_public = False

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def get(self, url: str) -> Page:
        """Return a page, from the cache if it is there and fresh.

        Raises CharloomError: "not-found" for an address without a page, "unreadable" for one that
        is not answered, "unsupported" for one that is refused, or too large a page.
        """
        self._is_public = check(url, self.private)
        name = f"{self.private} {url}".encode("utf-8", "backslashreplace")
        place = self._folder / hashlib.sha256(name).hexdigest()[:32]
        known, headers = self._kept(place), {}
        if known is not None:
            kept, page = known
            if 0 <= time.time() - kept.seconds < FRESH_SECONDS:
                return page
            named = {"If-None-Match": kept.tag, "If-Modified-Since": kept.modified}
            headers = {name: value for name, value in named.items() if value}
        with closing(self._ask(url, headers)) as answer:
            if answer.status_code == 304 and known is not None:
                tag, modified = kept.tag, kept.modified
            else:
                content = b"".join(_bounded(answer, url))
                kind, _, _ = answer.headers.get("Content-Type", "").partition(";")
                page = Page(answer.url, content, kind.strip().lower())
                tag = answer.headers.get("ETag", "")
                modified = answer.headers.get("Last-Modified", "")
        self._keep(place, page, tag, modified)
        return page

    def _ask(self, url: str, headers: dict[str, str]) -> "requests.Response":
        """Return the answer that is a page, after redirects and second tries."""
        for _ in range(REDIRECTS):
            answer = self._answer(url, headers)
            if answer.status_code not in _MOVED or "Location" not in answer.headers:
                break
            answer.close()
            url = without_fragment(urljoin(url, answer.headers["Location"]))
            self._is_public = check(url, self.private)
        else:
            message = f"{shown(url)} leads on and on: give the address that a browser ends at"
            raise CharloomError(message, "unreadable", why="too many redirects", url=url)
        if answer.status_code >= 400:
            answer.close()
            raise _refused(url, answer.status_code)
        return answer

    def _answer(self, url: str, headers: dict[str, str]) -> "requests.Response":
        import requests

        for wait in (*RETRY_SECONDS, None):
            if self._asked and self._is_public:  # one's own server needs no rest
                self._sleep(self.pause)
            self._asked = True
            try:
                answer = self._session.get(
                    url,
                    headers=headers,
                    stream=True,
                    allow_redirects=False,
                    timeout=(CONNECT_SECONDS, READ_SECONDS),
                )
            except CharloomError:
                raise
            except (requests.RequestException, OSError, ValueError) as error:
                is_passing = isinstance(error, requests.ConnectionError)
                if (
                    wait is None
                    or not is_passing
                    or isinstance(error, requests.exceptions.SSLError)
                ):
                    raise no_answer(url, error) from None
                self._sleep(wait)
                continue
            if answer.status_code not in _BUSY or wait is None:
                return answer
            answer.close()
            self._sleep(_asked_wait(answer, wait))
        raise AssertionError("the last try returns or raises")

    def _kept(self, place: Path) -> tuple[_Kept, Page] | None:
        try:
            kept = msgspec.json.decode(read_bytes(place.with_suffix(".json"), 2**16), type=_Kept)
            content = read_bytes(place.with_suffix(".page"), PAGE_BYTES)
        except (CharloomError, msgspec.MsgspecError):
            return None
        whole = hashlib.sha256(content).hexdigest() == kept.sha256
        return (kept, Page(kept.url, content, kept.media_type)) if whole else None

    def _keep(self, place: Path, page: Page, tag: str, modified: str) -> None:
        digest = hashlib.sha256(page.content).hexdigest()
        kept = _Kept(page.url, page.media_type, tag, modified, time.time(), digest)
        with suppress(OSError):  # without a cache, pages are asked for again
            place.parent.mkdir(parents=True, exist_ok=True)
            replace_file(place.with_suffix(".page"), page.content)
            replace_file(place.with_suffix(".json"), msgspec.json.encode(kept))


def cache_folder() -> Path:
    """Return where pages are kept: below CHARLOOM_CACHE, or in the user's cache folder."""
    import pooch

    return Path(os.environ.get("CHARLOOM_CACHE") or pooch.os_cache("charloom"), "pages")


def is_address(source: str) -> bool:
    """Return whether a source is an address with a scheme, of whatever kind, and no file."""
    return "://" in source and urlsplit_safely(source).scheme.isalpha()


def check(url: str, private: bool) -> bool:
    """Return whether an address is public.

    Raises CharloomError for one that is not asked: not HTTP, or not public unless `private`.
    """
    check_scheme(url)
    parts = urlsplit_safely(url)
    try:
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        host = None
    if not host:
        raise CharloomError(f"{shown(url)} names no site: check it", "unsupported", url=url)
    if parts.username is not None:
        message = f"{host} is given with a user's name, which a run would keep: leave it out"
        raise CharloomError(message, "unsupported", why="a password", url=host)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise no_answer(url, error) from None
    public = all(_is_public(str(address[0])) for *_, address in found)
    if not public and not private:
        raise _is_private(url)
    return public


def check_scheme(url: str) -> None:
    """Raise CharloomError for an address that is not HTTP."""
    if urlsplit_safely(url).scheme not in ("http", "https"):
        message = f"{shown(url)} is neither http:// nor https://: name a file or folder as it is"
        raise CharloomError(message, "unsupported", why="not HTTP", url=url)


def urlsplit_safely(url: str) -> SplitResult:
    """Return the parts of an address; those of nothing for one that is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def without_fragment(url: str) -> str:
    """Return an address without #... ."""
    return urlunsplit(urlsplit_safely(url)._replace(fragment=""))


def no_answer(url: str, error: Exception) -> CharloomError:
    """Return the error for a site that cannot be reached."""
    import requests

    reason, cure = "no connection", "check the address and try again"
    if isinstance(error, requests.Timeout):
        reason = "no answer in time"
    elif isinstance(error, requests.exceptions.SSLError):
        reason = "its certificate is not trusted"
        cure = "if you trust it, name the file with it in the environment as REQUESTS_CA_BUNDLE"
    elif isinstance(error, socket.gaierror):
        reason = "there is no site of that name, or no internet"
    message = f"{shown(url)} cannot be read: {reason}; {cure}"
    return CharloomError(message, "unreadable", why=reason, url=url)


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast


def _is_private(url: str) -> CharloomError:
    message = (
        f"{shown(url)} is an address of this machine or its network: if you mean it, add "
        "--allow-private"
    )
    return CharloomError(message, "unsupported", why="a private address", url=url)


def _session(private: bool) -> "requests.Session":
    """Return a session whose connections look at whom they reached before they ask for anything.

    A name may lead elsewhere the second time that it is looked up.
    """
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection

    from charloom import __version__

    def look(connection: HTTPConnection) -> None:
        if private or connection.proxy is not None or connection.sock is None:
            return
        if not _is_public(connection.sock.getpeername()[0]):
            connection.close()
            raise _is_private(f"{connection.host}:{connection.port}")

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            look(self)

    class Encrypted(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            look(self)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    class Looking(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            pools = {"http": PlainPool, "https": EncryptedPool}
            self.poolmanager.pool_classes_by_scheme = pools

    session = requests.Session()
    session.headers["User-Agent"] = f"charloom/{__version__} (reads a site to train on its text)"
    for scheme in ("http://", "https://"):
        session.mount(scheme, Looking())
    return session


def _bounded(answer: "requests.Response", url: str) -> Iterator[bytes]:
    import requests
    from urllib3.exceptions import HTTPError

    size, begun = 0, time.monotonic()
    try:
        for piece in answer.iter_content(2**16):
            size += len(piece)
            if size > PAGE_BYTES:
                message = (
                    f"{shown(url)} is larger than {PAGE_BYTES:,} bytes: save it, and name that"
                )
                raise CharloomError(message, "unsupported", why="too large", url=url)
            if time.monotonic() - begun > PAGE_SECONDS:
                raise no_answer(url, requests.Timeout())
            yield piece
    except (requests.RequestException, HTTPError, OSError) as error:
        raise no_answer(url, error) from None


def _asked_wait(answer: "requests.Response", usual: float) -> float:
    """Return how many seconds to wait: what the server says, if that is not too long."""
    try:
        return min(LONGEST_WAIT, max(0.0, float(answer.headers["Retry-After"])))
    except (KeyError, ValueError):
        return usual


def _refused(url: str, status: int) -> CharloomError:
    if status in (404, 410):
        message = f"there is no page {shown(url)} (the server says {status}): check the address"
        return CharloomError(message, "not-found", why=f"status {status}", url=url, status=status)
    cure = "it may want a password, or no programs" if status in (401, 403) else "try again later"
    message = f"{shown(url)} is not given (the server says {status}): {cure}"
    return CharloomError(message, "unreadable", why=f"status {status}", url=url, status=status)
