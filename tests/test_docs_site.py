"""What the hook of the documentation site makes of the commands and of links between the repository's files."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import typer

from defect_synth.cli import app

docs_site = pytest.importorskip("tools.docs_site", reason="needs the docs extra", exc_type=ImportError)
REPOSITORY = "https://example.org/repository"


def test_the_reference_has_every_command_with_every_option():
    text = docs_site.command_line()
    commands = typer.main.get_command(app).commands
    sections = dict(section.split("\n", 1) for section in text.split("\n## ")[1:])
    assert sections.keys() == commands.keys()
    for name, command in commands.items():
        for parameter in command.params:
            for option in parameter.opts:
                assert option in sections[name], f"{name} {option}"


@pytest.mark.parametrize(
    ("page", "link", "on_the_site"),
    [
        ("painter.md", "../benchmarks/results/speed.md", "reports/speed.md"),
        ("results/summary.md", "../../benchmarks/results/speed.md#rows", "../reports/speed.md#rows"),
        ("index.md", "../CONTRIBUTING.md", "contributing.md"),
        ("contributing.md", "docs/glossary.md", "glossary.md"),
        ("reports/speed.md", "../../docs/benchmark.md", "../benchmark.md"),
        ("painter.md", "images/preview.jpg", "images/preview.jpg"),
        ("cluster.md", "../examples/slurm_train.sh", f"{REPOSITORY}/blob/main/examples/slurm_train.sh"),
        ("benchmark.md", "../benchmarks/protocols", f"{REPOSITORY}/tree/main/benchmarks/protocols"),
        ("painter.md", "https://arxiv.org/abs/2303.02389", "https://arxiv.org/abs/2303.02389"),
        ("painter.md", "#speed", "#speed"),
    ],
)
def test_a_link_leads_to_the_same_file_on_the_site(page, link, on_the_site):
    source = docs_site.repository_path(page)
    assert docs_site.relink(f"see [it]({link}).", source, page, REPOSITORY) == f"see [it]({on_the_site})."


def test_code_keeps_its_brackets():
    page = SimpleNamespace(file=SimpleNamespace(src_uri="painter.md"))
    markdown = "```\n[a](../tests/test_docs.py)\n```\n"
    assert docs_site.on_page_markdown(markdown, page, {"repo_url": REPOSITORY}, None) == markdown
