"""What mkdocs cannot do by itself; `mkdocs.yml` names this file as a hook.

The pages in docs/ are written to be read in the repository too, so their links to other folders are paths there. Here
those files become pages of the site (results, the changelog, the guide for contributors) or addresses of the
repository. The reference of the command line is generated from the commands themselves.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "README.md": "index.md"}
RESULTS = "benchmarks/results/"
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside of docs/."""
    outside = {name: page for name, page in PAGES.items() if name != "README.md"}
    outside |= {f"{RESULTS}{path.name}": f"reports/{path.name}" for path in (ROOT / RESULTS).glob("*.md")}
    for source, page in outside.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Insert the reference of the command line and point links at where their files are on the site."""
    if page.file.src_uri == "reference/cli.md":
        markdown += command_line()
    source = repository_path(page.file.src_uri)
    plain, parts = 0, []
    for fence in FENCE.finditer(markdown):  # what stands in code is no link
        parts += [relink(markdown[plain : fence.start()], source, page.file.src_uri, config["repo_url"]), fence[0]]
        plain = fence.end()
    return "".join([*parts, relink(markdown[plain:], source, page.file.src_uri, config["repo_url"])])


def repository_path(page: str) -> str:
    """Where a page of the site lies in the repository."""
    for name, target in PAGES.items():
        if page == target and name != "README.md":
            return name
    return f"{RESULTS}{page.removeprefix('reports/')}" if page.startswith("reports/") else f"docs/{page}"


def site_path(path: str) -> str | None:
    """Where a file of the repository lies on the site; None if it is not on it."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith(RESULTS) and path.endswith(".md"):
        return f"reports/{path.removeprefix(RESULTS)}"
    return None


def relink(markdown: str, source: str, page: str, repository: str) -> str:
    """Paths that are right in the repository -> paths that are right on the site."""

    def replace(link: re.Match[str]) -> str:
        before, target, after = link.groups()
        if "://" in target or target.startswith("mailto:"):
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        found = site_path(path)
        if found is None:
            kind = "tree" if (ROOT / path).is_dir() else "blob"
            return f"{before}{repository}/{kind}/main/{path}{after}"
        return f"{before}{posixpath.relpath(found, posixpath.dirname(page) or '.')}{after}"

    return LINK.sub(replace, markdown)


def command_line() -> str:
    """Every command with its arguments, options and defaults, as Markdown."""
    from defect_synth.cli import app

    os.environ.setdefault("NO_COLOR", "1")
    group: Any = typer.main.get_command(app)
    with typer.Context(group, info_name="defect-synth") as parent:
        return "\n".join(_command(group.commands[name], name, parent) for name in group.list_commands(parent))


def _command(command: Any, name: str, parent: Any) -> str:
    context = command.context_class(command, info_name=name, parent=parent)
    usage = " ".join(["defect-synth", name, *command.collect_usage_pieces(context)])
    rows = []
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in record[0]:
            left, right = (" ".join(text.split()).replace("|", "\\|") for text in record)
            rows.append(f"| `{left}` | {right.replace('<', '&lt;')} |")
    table = ["", "| | |", "|---|---|", *rows] if rows else []
    return "\n".join([f"\n## {name}\n", str(command.help or "").strip(), f"\n```\n{usage}\n```", *table, ""])
