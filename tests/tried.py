"""What was tried to make runs, sweeps and files fail, and what came of it: a table of `docs/reliability.md`.

    python -m tests.tried

runs the tests with the mark `tried` and, where all of them pass, writes the table from their marks. Each has two texts:
what is tried, and what comes of it, which the test asserts.
"""

import ast
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- tried: begin -->\n", "<!-- tried: end -->"


class Tried(NamedTuple):
    """A test's mark."""

    what: str
    outcome: str
    file: str


def marks() -> list[Tried]:
    """Of all tests, in the order of their files; read from their source, so that nothing is imported."""
    found = []
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.tried":
                    what, outcome = (ast.literal_eval(text) for text in mark.args)
                    found.append(Tried(what, outcome, str(file.relative_to(ROOT).as_posix())))
    return found


def table(tried: list[Tried]) -> str:
    """In Markdown."""
    rows = [("tried", "in", "comes of it"), ("---",) * 3]
    rows += [(one.what, f"`{one.file}`", one.outcome) for one in tried]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def with_table(text: str) -> str:
    """The page's text with the table that the marks give."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table(marks())}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Run the tests, and rewrite the page."""
    import pytest

    files = dict.fromkeys(str(ROOT / one.file) for one in marks())
    if code := pytest.main(["-m", "tried", *files]):
        sys.exit(int(code))
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
