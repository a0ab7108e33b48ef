"""What all benchmarks share: the machine, the versions, the JSON, and the tables of the docs."""

import importlib.metadata
import json
import os
import platform
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"
PAGES = {
    "kills": DOCS / "reliability.md",
    "block_range": DOCS / "memory.md",
    "audit": DOCS / "compare.md",
}  # of those whose table stands elsewhere than in measurements.md
BACKENDS = ("jax", "tensorflow", "torch")
_PACKAGES = ("adamkit", "keras", "jax", "optax", "torch", "numba", "tensorflow-cpu", "bitsandbytes", "deepspeed")
_PACKAGES += ("pytorch-optimizer", "torchao", "optuna", "keras-tuner", "ray")


def machine() -> dict[str, object]:
    """Processor, cores and system."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {"processor": model, "cores": os.cpu_count(), "system": platform.system()}


def versions() -> dict[str, str]:
    """Python and the packages that were measured, those that are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write(name: str, report: dict) -> None:
    """Write a benchmark's JSON."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")


def show(title: str, rows: list[dict]) -> None:
    """Print rows of equal keys as a table; numbers with three digits."""
    table = Table(title=title)
    for heading in rows[0]:
        table.add_column(heading, justify="right" if isinstance(rows[0][heading], float) else "left")
    for row in rows:
        table.add_row(*(_figure(value) for value in row.values()))
    Console(width=150).print(table)


def update_page() -> None:
    """Rewrite the tables of `docs/measurements.md`, and of `PAGES`, from the JSON of all benchmarks."""
    for path in sorted(RESULTS.glob("*.json")):
        page = PAGES.get(path.stem, DOCS / "measurements.md")
        page.write_text(_with_table(page, path), encoding="utf-8")


def _with_table(page: Path, result: Path) -> str:
    """A page's text with the table of a result between its two lines."""
    begin, end = f"<!-- {result.stem}: begin -->", f"<!-- {result.stem}: end -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    if not after:
        raise RuntimeError(f"{page} must have the lines {begin} and {end}")
    return f"{before}{begin}\n\n{_markdown(json.loads(result.read_text()))}\n{end}{after}"


def _markdown(report: dict) -> str:
    rows = report["rows"]
    heading = [name.replace("_", " ") for name in rows[0]]
    numeric = [isinstance(value, float) for value in rows[0].values()]
    lines = [heading, ["---:" if number else "---" for number in numeric]]
    lines += [[_figure(value) for value in row.values()] for row in rows]
    measured = ", ".join(f"{name} {release}" for name, release in report["versions"].items())
    host = report["machine"]
    note = f"{host['cores']} cores of {host['processor']}, {host['system']}; {measured}."
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{note}\n"


def _figure(value: object) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,.0f}"
        if isinstance(value, (int, float))
        else str(value)
    )
