"""The code in the documentation runs, and prints what the page says.

The ```python blocks of a page run in order in one namespace, on the JAX backend. A block that begins with
```python no-run is skipped. A ```text block right after a Python block is what it prints.
"""

import contextlib
import io
import re
from pathlib import Path

import pytest

from tests import tried

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$(?P<after>\n\n```text\n(?P<printed>.*?)^```$)?", re.M | re.S
)

# What a page supposes that its reader has.
GIVEN = {
    "pytorch.md": """
import torch
model = torch.nn.Linear(3, 1)
torch_optimizer = torch.optim.AdamW(model.parameters())
""",
    "train.md": """
from typer.testing import CliRunner
from adamkit.cli import app
command = "train --data breast_cancer --validation-split 0.2 --epochs 20 --out runs/cancer"
assert CliRunner().invoke(app, command).exit_code == 0
""",
}


def blocks(page: Path) -> list[re.Match[str]]:
    return [block for block in BLOCK.finditer(page.read_text(encoding="utf-8")) if block["language"] == "python"]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
@pytest.mark.slow
def test_code_runs_and_prints_what_the_page_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    exec(GIVEN.get(page.name, ""), namespace)
    text = page.read_text(encoding="utf-8")
    for block in blocks(page):
        line = text.count("\n", 0, block.start()) + 1
        code = compile("\n" * line + block["text"], str(page), "exec")  # so that errors name the page's own lines
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        if block["after"]:
            assert words(printed.getvalue()) == words(block["printed"]), f"{page.name}, line {line}"


def words(text: str) -> list[list[str]]:
    """Lines without the spacing."""
    return [line.split() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:examples|benchmarks|tests|src)/[\w/]+\.py)`", text):
        assert (ROOT / name).is_file(), name


def test_the_table_of_what_was_tried_is_that_of_the_tests_marks():
    """`python -m tests.tried` writes it."""
    text = tried.PAGE.read_text(encoding="utf-8")
    assert len(tried.marks()) > 10
    assert tried.with_table(text) == text
