"""Pages of the documentation that ALLD writes itself, as a hook of mkdocs (mkdocs.yml names it).

Commands come from their own help, settings from their schema and the comments of
configs/resnet50.yaml. The README and other pages of the repository's root are pages of the site.
"""

import html
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from alld.commands import COMMANDS, load_command
from alld.config.schema import Config

ROOT = Path(__file__).resolve().parents[1]
# Pages of the root and where they stand in the site.
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
_SETTING = re.compile(r"  (\w+): .*?(?:  # (.*))?")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are no files of docs/."""
    from mkdocs.structure.files import File

    pages = {page: (ROOT / name).read_text(encoding="utf-8") for name, page in ROOT_PAGES.items()}
    pages |= {"reference/commands.md": commands_page(), "reference/settings.md": settings_page()}
    pages |= {"start/tutorial.md": notebook_page(ROOT / "docs" / "tutorial.ipynb")}
    for page, content in pages.items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links of the repository lead to pages of the site; links to code become its name."""
    home = "" if page.file.src_uri in ROOT_PAGES.values() else f"docs/{page.file.src_uri}"
    return _LINK.sub(
        lambda found: _link(found, posixpath.dirname(home), page.file.src_uri), markdown
    )


def _link(found: "re.Match[str]", folder: str, page: str) -> str:
    mark, text, place, anchor = found[1], found[2], found[3], found[4] or ""
    if re.match(r"[a-z]+:", place):
        return found[0]
    target = posixpath.normpath(posixpath.join(folder, place))
    if target.startswith("docs/"):
        target = target.removeprefix("docs/")
    elif target in ROOT_PAGES:
        target = ROOT_PAGES[target]
    else:
        return text if text.startswith("`") else f"`{target}`"
    return f"{mark}[{text}]({posixpath.relpath(target, posixpath.dirname(page) or '.')}{anchor})"


def commands_page() -> str:
    """Return a section for each command: what it does, its options, its examples."""
    parts = ["# Commands", "`alld COMMAND --help` prints the same.", ""]
    for name in COMMANDS:
        parts += _command(name, load_command(name))
    return "\n".join(parts)


def _command(name: str, command: Any) -> Iterator[str]:
    context = click.Context(command, info_name=f"alld {name}")
    text = (command.help or "").replace("\b", "")
    examples = re.findall(r"^Example: (.*)$", text, flags=re.MULTILINE)
    yield f"\n## alld {name}\n"
    yield re.sub(r"^Example: .*$", "", text, flags=re.MULTILINE).strip() + "\n"
    yield f"```text\n{' '.join(command.collect_usage_pieces(context))}\n```\n".replace(
        "```text\n", f"```text\nalld {name} "
    )
    sections: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        kind = f"{parameter.param_type_name.capitalize()}s"
        if record := parameter.get_help_record(context):
            title = getattr(parameter, "rich_help_panel", None) or kind
            sections.setdefault(title, []).append(record)
    for title, records in sections.items():
        yield f"| {title} | |\n|---|---|"
        yield from (f"| {_code(option)} | {_cell(meaning)} |" for option, meaning in records)
        yield ""
    if examples:
        yield "```sh\n" + "\n".join(examples) + "\n```"


def notebook_page(notebook: Path) -> str:
    """Return a notebook to read: its texts, and its code without results."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = [("".join(cell["source"]), cell["cell_type"] == "code") for cell in cells]
    return "\n\n".join(f"```python\n{text}\n```" if code else text for text, code in texts)


def settings_page() -> str:
    """Return a table for each section of the settings."""
    reasons, introductions = _comments()
    schema = Config.model_json_schema()
    lines = [
        "# Settings",
        "`--config FILE` takes a YAML file of them, `--set section.key=value` any one, and "
        "`RUN/config.yaml` keeps all of a run.",
        "",
    ]
    alone = {k: v for k, v in schema["properties"].items() if "$ref" not in v}
    sections = {"": alone}
    for name, field in schema["properties"].items():
        if "$ref" in field:
            sections[name] = schema["$defs"][field["$ref"].rpartition("/")[2]]["properties"]
    for name, fields in sections.items():
        lines += [f"\n## {name}\n", introductions.get(name, ""), ""] if name else []
        lines.append("| Setting | Values | Default | What it does, and why so |\n|---|---|---|---|")
        for key, field in fields.items():
            dotted = f"{name}.{key}" if name else key
            reason = _cell(reasons[dotted])
            lines.append(f"| `{dotted}` | {_values(field)} | `{_default(field)}` | {reason} |")
    return "\n".join(lines)


def _values(field: Mapping[str, Any]) -> str:
    """Return the type of a setting with its choices or its range."""
    kinds = [one for one in field.get("anyOf", [field]) if one.get("type") != "null"]
    kind = kinds[0]
    if "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind["enum"])
    if kind.get("pattern"):
        return "text"
    bounds = {
        "minimum": "at least", "exclusiveMinimum": "above",
        "maximum": "at most", "exclusiveMaximum": "below",
    }  # fmt: skip
    limits = [f"{word} {kind[key]:.10g}" for key, word in bounds.items() if key in kind]
    names = {"array": "list", "boolean": "true, false", "string": "text"}
    return ", ".join([names.get(kind["type"], kind["type"]), *limits])


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default")
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false"}.get(bool(value), "") if value is not None else "null"
    return f"{value}"


def _comments() -> tuple[dict[str, str], dict[str, str]]:
    """Return the comment of each setting, and of each section, in configs/resnet50.yaml."""
    reasons: dict[str, str] = {}
    introductions: dict[str, str] = {}
    section, key, above = "", "", ""
    text = (ROOT / "configs" / "resnet50.yaml").read_text(encoding="utf-8")
    for line in text.partition("\n\n")[2].splitlines():
        if line.startswith("# "):
            above = f"{above} {line[2:]}"
        elif found := re.fullmatch(r"(\w+):", line):
            section = found[1]
            introductions[section], above = above.strip(), ""
        elif found := re.fullmatch(r"(  )?(\w+): .*?\s+# (.*)", line):
            key = f"{section}.{found[2]}" if found[1] else found[2]
            reasons[key] = found[3]
        elif found := re.fullmatch(r"\s+# (.*)", line):
            reasons[key] += f" {found[1]}"
    return reasons, introductions


def _code(text: str) -> str:
    """Return an option with its values for a cell of a Markdown table, whose borders are |."""
    text = re.sub(r" <list\[\w+\]>| range(?=>)", "", text)
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>"


def _cell(text: str) -> str:
    """Return text for a cell of a Markdown table."""
    text = " ".join(text.split())
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
