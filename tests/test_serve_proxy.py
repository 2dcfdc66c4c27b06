"""Behind a proxy: the names that it has for the server, and the path where it puts the page."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import POST, TOKEN, Site, running

from alld.errors import ConfigError
from alld.serve import server
from alld.serve.app import PAGE

NAMES = ("Cells.lab.org", "other.org:8443", "[fd00::1]")


@pytest.fixture(scope="module")
def site(untrained: Path) -> Iterator[Site]:
    """A server that a proxy serves under three names, below a path."""
    with running(untrained, public_names=NAMES, root_path="/lab/cells/") as site:
        yield site


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("cells.lab.org", 200),
        ("CELLS.lab.org:444", 200),
        ("other.org:8443", 200),
        ("[fd00::1]:80", 200),
        ("127.0.0.1:{port}", 200),
        ("other.org", 403),
        ("cells.lab.org.evil.example", 403),
        ("evil.example", 403),
        ("", 403),
    ],
)
def test_a_proxy_that_keeps_the_name_is_answered(site: Site, host: str, status: int) -> None:
    """If the name was given; the page's Origin is then the same name."""
    host = host.format(port=site.port)
    for origin in ({}, {"Origin": f"https://{host}"}):
        assert site.ask("/model", headers={"Host": host, **origin}).status == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://cells.lab.org", 200),
        ("http://cells.lab.org:444", 200),
        ("https://other.org:8443", 200),
        ("https://other.org", 403),
        ("ftp://cells.lab.org", 403),
        ("https://cells.lab.org.evil.example", 403),
        ("https://evil.example#@cells.lab.org", 403),
        ("https://", 403),
        ("cells.lab.org", 403),
        ("null", 403),
    ],
)
def test_a_proxy_that_does_not_keep_the_name_is_answered(
    site: Site, cell: bytes, origin: str, status: int
) -> None:
    """The page's Origin is the public name, while Host is the server's address."""
    reply = site.ask("/predict", "POST", cell, {**POST, "Origin": origin})
    assert reply.status == status


def test_a_public_name_does_not_replace_the_header(site: Site, cell: bytes) -> None:
    """A form of another page under the same name gets no answer, and what a proxy adds no trust."""
    named = {"Host": "cells.lab.org", "Origin": "https://cells.lab.org"}
    assert site.ask("/predict", "POST", cell, named).status == 403
    forwarded = {"Host": "evil.example", "X-Forwarded-Host": "cells.lab.org"}
    assert site.ask("/model", headers=forwarded).status == 403


@pytest.mark.parametrize(
    ("headers", "option"),
    [
        ({"Host": "Cells.org:444"}, "--public-name cells.org"),
        ({"Origin": "https://cells.org:444"}, "--public-name cells.org:444"),
        ({"Host": "<b>.org"}, "--public-name HOST"),
        ({"Origin": "null"}, "--public-name HOST"),
    ],
)
def test_a_refusal_names_the_option(site: Site, headers: dict[str, str], option: str) -> None:
    """With the name that was sent, where it is one."""
    reply = site.ask("/model", headers=headers)
    assert (reply.status, reply.json["error"].endswith(option)) == (403, True)


@pytest.mark.parametrize("root", ["", "/lab/cells"])
def test_a_proxy_may_keep_the_path_or_take_it_away(site: Site, cell: bytes, root: str) -> None:
    """The page, its files and the interface answer at both."""
    for path in (*PAGE, "/health", "/model"):
        assert site.ask(root + path).status == 200
    assert site.ask(f"{root}/predict", "POST", cell, POST).json["verdict"]
    assert site.ask(f"{root}/lab/cells/health").status == (404 if root else 200)


def test_the_path_without_a_slash_leads_to_the_page(site: Site) -> None:
    """By a path alone, so that the proxy's own scheme and name stay."""
    reply = site.ask("/lab/cells")
    assert (reply.status, reply.headers["location"]) == (307, "/lab/cells/")
    assert site.ask("/lab/cellsx").status == site.ask("/model/").status == 404


def test_a_root_path_opens_nothing(untrained: Path) -> None:
    """Behind it, and with the name of a route, everything needs the token as before."""
    with running(untrained, TOKEN, root_path="/model") as site:
        paths = ("/model", "/model/model", "/model/x")
        assert [site.ask(path).status for path in paths] == [401] * 3
        cookie = site.ask("/login", "POST", b'{"token": "%s"}' % TOKEN.encode(), POST)
        assert "; Path=/model/;" in cookie.headers["set-cookie"]


def test_every_address_in_the_page_is_relative() -> None:
    """So that it works below any path."""
    for file in PAGE.values():
        text = file.read_text(encoding="utf-8")
        assert not re.search(
            r"""(href|src)=["']?/|(ask|fetch)\([`"']/|from ["']/|url\(/""", text
        ), file


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"public_names": ["https://cells.org"]}, "--public-name https://cells.org: .* cells.lab"),
        ({"public_names": ["a.org", "*"]}, "--public-name \\*: "),
        ({"public_names": [""]}, "--public-name : "),
        ({"root_path": "cells"}, "--root-path cells: .* /cells"),
        ({"root_path": "/a/../b"}, "--root-path /a/../b: "),
        ({"root_path": "/a;b"}, "--root-path /a;b: "),
        ({"root_path": "//evil.example"}, "--root-path //evil.example: "),
    ],
)
def test_what_is_no_name_or_path_is_one_line(given: dict[str, object], said: str) -> None:
    """With the value, and how it is written."""
    with pytest.raises(ConfigError, match=said):
        server.listen("127.0.0.1", 0, None, **given)  # type: ignore[arg-type]
