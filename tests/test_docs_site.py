"""The documentation as pages: complete, without dead links, and readable without a network."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import REPOSITORY

from alld.commands import COMMANDS, load_command
from alld.config.schema import setting_keys


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    """The hook that writes the pages of commands and settings."""
    file = REPOSITORY / "scripts" / "docs_site.py"
    spec = importlib.util.spec_from_file_location("docs_site", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; mkdocs ends with an error for a dead link or a page outside the menu."""
    if importlib.util.find_spec("material") is None or importlib.util.find_spec("mkdocs") is None:
        pytest.skip("needs mkdocs: pip install -c constraints.txt '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(out)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_site_loads_nothing_from_another_host(site: Path) -> None:
    """No font, script, style sheet or picture; links to read further are no part of a page."""
    foreign = []
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?([^\"\s>]+)", text)
        loaded += re.findall(r"<link[^>]*rel=\"?(?:stylesheet|icon|preload)[^>]*", text)
        foreign += [f"{page.name}: {one}" for one in loaded if re.search(r"(https?:)?//", one)]
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        foreign += re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)\"']+", text)
    assert foreign == []


def test_every_page_of_the_documentation_is_in_the_site(site: Path) -> None:
    """Those of docs/, those of the root, and those that ALLD writes itself."""
    docs = REPOSITORY / "docs"
    wanted = {str(page.relative_to(docs).with_suffix(".html")) for page in docs.rglob("*.md")}
    wanted |= {"index.html", "security.html", "reference/commands.html", "reference/settings.html"}
    wanted |= {"start/tutorial.html"}
    assert wanted <= {str(page.relative_to(site)) for page in site.rglob("*.html")}


def test_the_page_of_commands_has_every_option_of_every_command(pages: ModuleType) -> None:
    """With the words of its help."""
    sections = pages.commands_page().split("\n## alld ")
    assert [section.split()[0] for section in sections[1:]] == list(COMMANDS)
    for name, section in zip(COMMANDS, sections[1:], strict=True):
        for parameter in load_command(name).params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                assert f"{parameter.opts[0]}" in section
        assert "  " not in section.split("\n\n")[1]


def test_the_page_of_settings_has_every_setting_with_its_reason(pages: ModuleType) -> None:
    """Its values, its default, and the comment of configs/resnet50.yaml, whole."""
    rows = re.findall(
        r"^\| `([\w.]+)` \| (.+?) \| `(.+?)` \| (.+) \|$", pages.settings_page(), re.M
    )
    assert {key for key, *_ in rows} == set(setting_keys())
    row = {key: rest for key, *rest in rows}
    assert row["train.max_lr"][:2] == ["number, above 0, at most 1", "0.001"]
    assert row["split.kind"][0].startswith("`grouped`, `session`")
    assert row["data.session_gap"][2].endswith("the next ones are 8.6 and more")


@pytest.mark.parametrize(
    ("page", "link", "wanted"),
    [
        ("how-to/serve.md", "[it](../../SECURITY.md)", "[it](../security.md)"),
        ("index.md", "[it](docs/how-to/serve.md#programs)", "[it](how-to/serve.md#programs)"),
        ("index.md", "![cells](docs/look-alike.png)", "![cells](look-alike.png)"),
        ("contributing.md", "[it](alld/stats/metrics.py)", "`alld/stats/metrics.py`"),
        ("how-to/serve.md", "[it](https://example.org/x)", "[it](https://example.org/x)"),
    ],
)
def test_links_of_the_repository_lead_to_pages_of_the_site(
    pages: ModuleType, page: str, link: str, wanted: str
) -> None:
    """A page is read in both; code has no page, so that its path is named."""

    class Page:
        class file:  # noqa: N801 - as mkdocs calls it
            src_uri = page

    assert pages.on_page_markdown(f"See {link}.", Page, None, None) == f"See {wanted}."
