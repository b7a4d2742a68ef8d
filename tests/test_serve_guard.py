"""What `charloom serve` refuses before it does anything, on every route."""

import inspect
import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from charloom import cli
from charloom.serve import guard
from serving import serving, write_run

KEY = "secret-of-the-tests"
GOOD_HOSTS = ["localhost", "127.0.0.1", "[::1]", "LocalHost", "127.0.0.1:8321", "[::1]:80"]
BAD_HOSTS = [
    *("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "localhost@evil"),
    *("", "localhost.", "127.0.0.1:", "localhost:80:80", "[::1", "local host", "0.0.0.0"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("guarded") / "verse").path


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder) as server:
        yield server


@pytest.fixture(scope="module")
def keyed(folder):
    with serving(folder, key=KEY) as server:
        yield server


def routes(server):
    """A request for each route, and for what is none."""
    app = server.config.app._app
    found = []
    for route in app.routes:
        path = route.path.replace("{name:path}", "verse")
        found += [(method, path or "/") for method in sorted(getattr(route, "methods", ["GET"]))]
    assert len(found) > 8
    static = [("GET", "/static/none.js"), ("OPTIONS", "/v1/completions"), ("GET", "/none")]
    return [*found, *static, ("HEAD", "/"), ("DELETE", "/v1/models/verse")]


def raw(server, request):
    """Send bytes; return the status, the head and the body of the answer."""
    port = int(server.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        answer = b""
        while data := connection.recv(2**16):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, head.lower(), body


def ask(server, method, target, headers):
    content = b"{}" if method == "POST" else b""
    kind = "octet-stream" if target.startswith("/v1/charloom/texts") else "json"
    lines = [f"{method} {target} HTTP/1.1", *headers, "Connection: close"]
    if content:
        lines += [f"Content-Type: application/{kind}", f"Content-Length: {len(content)}"]
    return raw(server, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content)


def test_every_route_is_served_by_a_name_of_this_machine(server):
    for method, path in routes(server):
        for host in GOOD_HOSTS:
            own = [f"Host: {host}", f"Origin: http://{host}"]
            status, head, _ = ask(server, method, path, own)
            assert status in (200, 307, 400, 404, 405, 409), (method, path, host)
            assert b"access-control-allow" not in head
            assert b"x-content-type-options: nosniff" in head


def test_every_route_refuses_other_names(server):
    for method, path in routes(server):
        for host in BAD_HOSTS:
            status, _, body = ask(server, method, path, [f"Host: {host}"])
            assert status in (400, 403), (method, path, host)
            if method != "HEAD":
                assert b"error" in body or b"Invalid" in body
        for headers in ([], ["Host: localhost", "Host: evil.example"]):
            assert ask(server, method, path, headers)[0] == 400
        assert ask(server, method, f"http://localhost{path}", ["Host: localhost"])[0] == 400


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://localhost:1", "file://"])
def test_every_route_refuses_pages_of_other_origins(server, origin):
    for method, path in routes(server):
        headers = ["Host: localhost:8321", f"Origin: {origin}"]
        assert ask(server, method, path, headers)[0] == 403, (method, path)


def test_its_own_page_is_served(server):
    for origin in ("http://localhost:8321", "https://localhost:8321"):
        headers = ["Host: localhost:8321", f"Origin: {origin}"]
        assert ask(server, "GET", "/v1/models", headers)[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_leads_to_the_page_and_not_to_the_api(server, site):
    headers = ["Host: localhost", f"Sec-Fetch-Site: {site}"]
    assert ask(server, "GET", "/", headers)[0] == 200
    assert ask(server, "GET", "/v1/models", headers)[0] == 403
    assert ask(server, "POST", "/v1/completions", headers)[0] == 403


def test_without_the_key_no_route_of_the_api_answers(keyed):
    wrong = [[], ["Authorization: Bearer wrong"], [f"Authorization: Basic {KEY}"]]
    wrong += [[f"Authorization: Bearer {KEY}x"], [f"Authorization: Bearer {KEY}"] * 2]
    for method, path in routes(keyed):
        needed = path.startswith(("/v1", "/metrics"))
        for headers in wrong:
            for target in (path, f"{path}?key={KEY}&api_key={KEY}"):
                status, head, body = ask(keyed, method, target, ["Host: localhost", *headers])
                assert (status == 401) == needed, (method, target)
                if needed:
                    assert b"www-authenticate: bearer" in head
                    error = json.loads(body or b'{"error": {"code": "invalid_api_key"}}')["error"]
                    assert error["code"] == "invalid_api_key"
        right = ["Host: localhost", f"Authorization: Bearer {KEY}"]
        assert ask(keyed, method, path, right)[0] != 401


def changes(server):
    """The requests that change something on the disk, or start or stop a process."""
    found = [(method, path) for method, path in routes(server) if "/charloom/" in path]
    found = [one for one in found if one[0] in ("POST", "DELETE")]
    reading = ("next", "learn", "cells", "step", "copies")
    return [one for one in found if one[1].split("/")[3] not in reading]


def test_only_the_page_changes_runs(server):
    assert {path.split("/")[3] for _, path in changes(server)} == {
        *("runs", "trash", "texts", "training")
    }
    for method, path in changes(server):
        status, _, body = ask(server, method, path, ["Host: localhost:8321"])
        assert (status, json.loads(body)["error"]["code"]) == (403, "not_allowed"), (method, path)
        status, _, body = ask(server, method, path, ["Host: localhost", "Origin: null"])
        assert (status, json.loads(body)["error"]["code"]) == (403, "bad_origin"), (method, path)


def test_under_another_name_runs_are_changed_with_a_key_alone(folder):
    own = ["Host: mine.example", "Origin: https://mine.example"]
    with serving(folder, hosts=["mine.example"]) as server:
        assert ask(server, "GET", "/v1/charloom/runs", own)[0] == 200
        for method, path in changes(server):
            status, _, body = ask(server, method, path, own)
            assert (status, json.loads(body)["error"]["code"]) == (403, "not_allowed")
    with serving(folder, hosts=["mine.example"], key=KEY) as server:
        for method, path in changes(server):
            status, _, _ = ask(server, method, path, [*own, f"Authorization: Bearer {KEY}"])
            assert status in (200, 400, 404, 409), (method, path)


def test_a_text_may_be_large_and_not_without_end(server):
    head = "POST /v1/charloom/texts HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
    head += "Content-Type: application/octet-stream\r\n"
    lengthy = f"{head}Content-Length: {2**28 + 1}\r\n\r\n".encode()
    status, _, body = raw(server, lengthy)
    assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")


def test_keys_are_compared_in_constant_time():
    source = inspect.getsource(guard.Guard._check_key)
    assert "compare_digest" in source
    assert "==" not in source.replace("len(found) == 1", "")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 400),
    ],
)
def test_only_json_is_read(server, headers, status):
    answer = server.http.post("/v1/completions", content=b"{}", headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(server):
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for length in (2**20 + 1, 10**12, 10**18):
        lengthy = f"{head}Content-Length: {length}\r\n\r\n".encode()
        status, _, body = raw(server, lengthy)
        assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")
    chunk = b"10000\r\n" + b" " * 2**16 + b"\r\n"
    status, _, _ = raw(server, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 17)
    assert status == 413


def test_what_is_no_http_is_refused(server):
    for request in (
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2**20 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ):
        try:
            assert raw(server, request)[0] == 400
        except ConnectionResetError:
            assert len(request) > 2**16  # it was closed before all was sent
    assert server.http.get("/healthz").status_code == 200


def test_pages_may_load_nothing_from_elsewhere(server):
    answer = server.http.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy


def charloom(*arguments, **environment):
    return CliRunner(env=environment).invoke(cli.charloom, ["serve", *map(str, arguments)])


def test_other_machines_are_not_served_without_a_key(folder):
    for host in ("0.0.0.0", "192.168.1.7", "::", "example.com"):
        result = charloom(folder, "--host", host)
        assert result.exit_code == 2
        assert "--api-key-file" in result.stderr


def test_a_key_is_one_line_of_a_file_or_the_environment(folder, tmp_path: Path):
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert "is empty" in charloom(folder, "--api-key-file", empty).stderr
    assert "printable" in charloom(folder, CHARLOOM_API_KEY="a key").stderr
    assert "No such option" in charloom(folder, "--api-key", KEY).stderr


def test_what_cannot_be_served_is_named(folder, tmp_path):
    assert "nowhere" in charloom(tmp_path / "nowhere").stderr
    other = write_run(tmp_path / "verse").path
    assert "'verse'" in charloom(folder, other).stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert str(port) in charloom(folder, "--port", port).stderr
