"""What the server promises against pages of other sites, strangers, floods and slow clients."""

import json
import secrets
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from serving import FORM, POST, TOKEN, Reply, Site, running, status_of

from alld.errors import ConfigError
from alld.inference.predictor import Predictor
from alld.serve import app, server, uploads
from alld.serve.auth import HEADERS, POLICY


@pytest.fixture(scope="module")
def site(untrained: Path) -> Iterator[Site]:
    """A server on this machine's own address."""
    with running(untrained) as site:
        yield site


@pytest.fixture(scope="module")
def locked(untrained: Path) -> Iterator[Site]:
    """A server that wants a token."""
    with running(untrained, TOKEN) as site:
        yield site


def test_it_listens_to_this_machine_alone(site: Site) -> None:
    """127.0.0.1, unless another address is named."""
    [listening] = site.server.servers
    assert [one.getsockname()[0] for one in listening.sockets] == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_need_a_token(host: str) -> None:
    """Without one, or with a short one, it does not start."""
    with pytest.raises(ConfigError, match="give a token of 16 characters"):
        server.listen(host, 0, None)
    with pytest.raises(ConfigError, match="has 5 characters"):
        server.listen(host, 0, "short")


def test_an_address_that_it_cannot_have_is_one_line(site: Site) -> None:
    """A port that is taken, an unknown name, an address of another machine: no traceback."""
    with pytest.raises(ConfigError, match=f"--port {site.port}: another program .* --port 0"):
        server.listen("127.0.0.1", site.port, None)
    for host in ("no such name", "192.0.2.1"):
        with pytest.raises(ConfigError, match=f"--host {host}"):
            server.listen(host, 0, TOKEN)


def test_without_the_token_there_is_only_the_page_that_asks_for_it(
    locked: Site, cell: bytes
) -> None:
    """No fact of the model and no verdict; a wrong token is as good as none."""
    assert locked.ask("/").status == 200
    assert locked.ask("/health").json["token_needed"] is True
    for given in ({}, bearer("wrong"), bearer(""), bearer("é"), {"Cookie": "alld-1=x; a"}):
        assert locked.ask("/model", headers=given).status == 401
        assert locked.ask("/predict", "POST", cell, {**POST, **given}).status == 401
        assert locked.ask("/nothing", headers=given).status == 401


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_the_document_says_that_a_token_is_needed(locked: Site) -> None:
    """It is readable without one, and asks for one where the server does."""
    paths = locked.ask("/openapi.json").json["paths"]
    assert paths["/predict"]["post"]["security"] == [{"token": []}]
    assert "401" in paths["/model"]["get"]["responses"]


def test_a_program_brings_the_token_in_a_header(locked: Site, cell: bytes) -> None:
    """As `Authorization: Bearer`."""
    assert locked.ask("/predict", "POST", cell, {**POST, **bearer(TOKEN)}).json["verdict"]
    assert locked.ask("/health", headers=bearer(TOKEN)).json["token_needed"] is False


def login(site: Site, token: object) -> Reply:
    return site.ask("/login", "POST", json.dumps({"token": token}).encode(), POST)


def test_a_browser_gets_a_cookie_that_no_other_site_can_use(locked: Site) -> None:
    """HttpOnly, SameSite=Strict, and not the token itself."""
    given = login(locked, TOKEN).headers["set-cookie"]
    name_value, *flags = given.split("; ")
    assert {flag.lower() for flag in flags} == {"httponly", "path=/", "samesite=strict"}
    assert TOKEN not in given
    assert locked.ask("/model", headers={"Cookie": name_value}).status == 200
    altered = name_value[:-1] + ("A" if name_value[-1] != "A" else "B")
    assert locked.ask("/model", headers={"Cookie": altered}).status == 401


@pytest.mark.parametrize("token", ["wrong", "", None, 5, [], TOKEN + " "])
def test_a_wrong_token_gets_no_cookie(locked: Site, token: object) -> None:
    """Whatever JSON it is."""
    reply = login(locked, token)
    assert reply.status == 401
    assert "set-cookie" not in reply.headers


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"{}", b"[" * 4000, b"\xff"])
def test_a_login_that_is_no_login_is_refused(locked: Site, body: bytes) -> None:
    """In words, not as a fault."""
    assert locked.ask("/login", "POST", body, POST).status == 400
    assert locked.ask("/login", "POST", b"x" * 5000, POST).status == 413


def test_a_server_without_a_token_admits_nobody_by_an_empty_one(site: Site) -> None:
    """There is nothing to log in to."""
    assert login(site, "").status == 401


def test_tokens_are_compared_in_constant_time(
    locked: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the function that the standard library has for it, header and cookie alike."""
    compared: list[tuple[bytes, bytes]] = []
    real = secrets.compare_digest

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(secrets, "compare_digest", spy)
    locked.ask("/model", headers={**bearer("guess"), "Cookie": f"alld-{locked.port}=other"})
    assert [one for one, _ in compared] == [b"guess", b"other"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("LOCALHOST:{port}", 200),
        ("localhost.:9000", 200),  # through a tunnel
        ("[::1]:{port}", 200),
        ("evil.example:{port}", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("192.168.0.1:{port}", 403),
        ("[::1", 403),
        ("", 403),
        ("@localhost", 403),
    ],
)
def test_only_its_own_names_are_answered(site: Site, host: str, status: int) -> None:
    """A foreign name that somebody points to this machine is refused: no DNS rebinding."""
    reply = site.ask("/model", headers={"Host": host.format(port=site.port)})
    assert reply.status == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:{port}", 200),
        ("https://127.0.0.1:{port}", 200),  # behind a proxy
        ("http://localhost:{port}", 403),
        ("http://127.0.0.1:1", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_an_origin_that_is_sent_must_be_its_own(
    site: Site, cell: bytes, origin: str, status: int
) -> None:
    """For every method."""
    headers = {"Origin": origin.format(port=site.port)}
    assert site.ask("/model", headers=headers).status == status
    assert site.ask("/predict", "POST", cell, {**POST, **headers}).status == status


@pytest.mark.parametrize("path", ["/predict", "/login", "/", "/nothing"])
def test_every_post_needs_the_header(site: Site, path: str) -> None:
    """No form of another site can send it, and a script would have to ask first, in vain."""
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        reply = site.ask(path, method, b"")
        assert (reply.status, "X-ALLD" in reply.json["error"]) == (403, True)


def test_no_other_site_may_read_an_answer(site: Site, cell: bytes) -> None:
    """A preflight is refused, and no answer bears a header of CORS."""
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-alld"}
    replies = [
        site.ask("/predict", "OPTIONS", headers={"Origin": "http://evil.example", **asking}),
        site.ask("/predict", "POST", cell, POST),
        site.ask("/"),
    ]
    assert replies[0].status == 403
    assert not [name for reply in replies for name in reply.headers if "access-control" in name]


def fails(*_given: object) -> None:
    raise ZeroDivisionError("Im001_1.tif")


def test_every_answer_bears_the_strict_headers(
    site: Site, cell: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also refusals, and a fault of our own; no `unsafe-inline`, no other host."""
    replies = [site.ask("/"), site.ask("/nothing"), site.ask("/model", headers={"Origin": "x"})]
    replies += [
        site.ask("/predict", "POST", cell, POST),
        site.ask("/predict?x=1", "POST", b"", POST),
    ]
    monkeypatch.setattr(Predictor, "predict_decoded", fails)
    replies.append(site.predict(cell))
    assert site.faults.pop()
    assert [reply.status for reply in replies] == [200, 404, 403, 200, 400, 500]
    for reply in replies:
        assert {name: reply.headers[name.lower()] for name in HEADERS} == HEADERS
    assert POLICY.startswith("default-src 'none'; ")
    assert "unsafe" not in POLICY
    assert "http" not in POLICY


def test_a_fault_of_ours_is_told_and_tells_nothing_of_the_file(
    site: Site, cell: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 500, the kind of the fault, no name; and the next file is classified."""
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict_decoded", fails)
        reply = site.predict(cell, "Im001_1.tif")
    assert reply.status == 500
    assert "ZeroDivisionError" in reply.json["error"]
    assert "Im001" not in reply.json["error"]
    assert isinstance(site.faults.pop(), ZeroDivisionError)
    assert site.predict(cell).json["verdict"]


def test_a_body_that_declares_too_much_is_refused_unread(site: Site) -> None:
    """By the head of the request alone."""
    with site.connect() as connection:
        head = site.post_head(f"Content-Length: {uploads.MOST_BYTES + 1}")
        connection.sendall(head)
        assert status_of(connection) == 413


def test_a_body_is_counted_while_it_is_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that declares no length ends where the limit is; nothing of it is kept."""
    monkeypatch.setattr(uploads, "MOST_BYTES", 1000)
    with site.connect() as connection:
        connection.sendall(site.post_head("Transfer-Encoding: chunked"))
        connection.sendall(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        connection.sendall(b"1\r\nx\r\n")
        assert status_of(connection) == 413


def test_all_bodies_together_are_bounded(
    site: Site, cell: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies in memory is counted over all requests; beyond it 429, and later it goes on."""
    monkeypatch.setattr(uploads, "MOST_TOGETHER", len(cell) + 500)
    with site.connect() as half:
        half.sendall(site.post_head("Content-Length: 2000") + b"x" * 1000)
        eventually(lambda: site.predict(cell).status == 429)
    eventually(lambda: site.predict(cell).status == 200)


def test_a_form_is_counted_while_it_is_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one body: the sum of its files has the limit of a file."""
    monkeypatch.setattr(uploads, "MOST_BYTES", 1000)
    assert site.send_form(("a.tif", b"x" * 300), ("b.tif", b"x" * 300)).status == 200
    assert site.send_form(("a.tif", b"x" * 500), ("b.tif", b"x" * 500)).status == 413


def test_a_damaged_form_is_the_clients_business(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reaches the server could else fill its log."""
    for body in (b"--wrong\r\n\r\n", b"--xyz\r\n\x00bad: x\r\n\r\n"):
        assert site.ask("/predict", "POST", body, POST | FORM).status == 400
    assert not caplog.records


def test_a_slow_body_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """408, whatever has come of it."""
    monkeypatch.setattr(uploads, "SECONDS", 0.05)
    with site.connect() as connection:
        connection.sendall(site.post_head("Content-Length: 10") + b"x")
        assert status_of(connection) == 408


def test_a_connection_without_a_request_is_closed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that says nothing, one that says half a head, and one that goes on slowly."""
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(server, "CHECK_SECONDS", 0.02)
    for said in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "):
        with site.connect() as connection:
            connection.sendall(said)
            assert closed(connection)


def test_who_does_not_read_the_answer_is_closed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request has its time as a whole, the way back counted in."""
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.1)
    monkeypatch.setattr(server, "CHECK_SECONDS", 0.02)
    with site.connect() as connection:
        connection.sendall(site.post_head("Content-Length: 1000") + b"x")
        assert closed(connection)


def test_connections_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is closed at once; the others live."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    eventually(lambda: not site.server.server_state.connections)
    first = [site.connect() for _ in range(3)]
    eventually(lambda: len(site.server.server_state.connections) == 3)
    with site.connect() as fourth:
        assert closed(fourth)
    for connection in first:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode())
        assert status_of(connection) == 200
        connection.close()


def test_a_small_answer_waits_for_no_other(site: Site) -> None:
    """TCP_NODELAY: else the system holds an answer back for some 40 ms."""
    eventually(lambda: not site.server.server_state.connections)
    with site.connect():
        eventually(lambda: site.server.server_state.connections)
        [protocol] = site.server.server_state.connections
        connection = protocol.transport.get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_queue_is_bounded(site: Site, cell: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread predicts; files for which the queue has no room are told to retry."""
    go_on = threading.Event()
    threads: set[str] = set()
    real = Predictor.predict_decoded

    def waits(self: Predictor, *given: Any) -> Any:
        threads.add(threading.current_thread().name)
        go_on.wait()
        return real(self, *given)

    monkeypatch.setattr(Predictor, "predict_decoded", waits)
    with ThreadPoolExecutor(3 * app.QUEUE) as pool:
        asked = [pool.submit(site.predict, cell) for _ in range(3 * app.QUEUE)]
        try:
            eventually(lambda: sum(one.done() for one in asked) == 2 * app.QUEUE)
            refused = [one.result() for one in asked if one.done()]
        finally:
            go_on.set()
        statuses = [one.result().status for one in asked]
    assert {(one.status, one.headers["retry-after"]) for one in refused} == {(429, "1")}
    assert statuses.count(200) == app.QUEUE
    assert threads == {"alld-model"}


@pytest.mark.parametrize(
    "said",
    [
        b"\0\1\2\3\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000,
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET http://evil.example/model HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_what_is_no_request_harms_nothing(site: Site, said: bytes) -> None:
    """It ends with an answer or a closed connection, and the server goes on."""
    with site.connect() as connection:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    assert site.ask("/health").json["status"] == "ready"


def test_no_upload_touches_the_disk(site: Site, cell: bytes) -> None:
    """While files are classified and logins refused, this process opens none for writing."""
    site.predict(cell, preview=64)  # what is imported at first use is compiled and written then
    before = sorted(Path(tempfile.gettempdir()).iterdir())
    with written_files() as written:
        for _ in range(3):
            site.predict(cell, preview=512)
            site.predict(b"no picture" * 100_000)
            site.send_form(("a.tif", b"no picture" * 200_000), ("b.tif", cell))
            login(site, "x")
    assert written == []
    assert sorted(Path(tempfile.gettempdir()).iterdir()) == before


@contextmanager
def written_files() -> Iterator[list[str]]:
    """Yield the files that this process opens for writing inside the block."""
    found: list[str] = []
    listening = True

    def hear(event: str, given: tuple[Any, ...]) -> None:
        if listening and event == "open" and any(letter in str(given[1]) for letter in "wax+"):
            found.append(str(given[0]))

    sys.addaudithook(hear)  # there is no way to take it away again
    try:
        yield found
    finally:
        listening = False


def test_writing_would_be_noticed(tmp_path: Path) -> None:
    """The hook hears of a file, and of a temporary one."""
    with written_files() as written:
        (tmp_path / "x").write_text("x")
        with tempfile.NamedTemporaryFile():
            pass
    assert len(written) >= 1
    assert str(tmp_path / "x") in written


def closed(connection: socket.socket) -> bool:
    """Whether the other side closes the connection, within the socket's patience."""
    with suppress(ConnectionResetError):
        while connection.recv(65536):
            pass
    return True


def eventually(true: Callable[[], object], tries: int = 500) -> None:
    """Wait for what another thread is about to do."""
    for _ in range(tries):
        if true():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not come true")


def test_who_breaks_off_costs_no_fault(site: Site, cell: bytes) -> None:
    """In the middle of a body, or before its verdict."""
    for sent in (site.post_head("Content-Length: 10") + b"x", site.post_head("X: 1")):
        with site.connect() as connection:
            connection.sendall(sent)
    assert site.predict(cell).json["verdict"]
    assert site.faults == []
