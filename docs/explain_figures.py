"""Runs every experiment and writes `docs/explain.md` and its charts: `python docs/explain_figures.py [NAME …]`.

The page's sentences and figures are those that the experiments computed; none is typed. With names, only those are run
again, with `--page` none, and the page is made from what is there.
"""

import json
import sys
from pathlib import Path

from adamkit.lab.insight import experiments
from adamkit.lab.insight.charts import theme

DOCS = Path(__file__).parent
KEPT = DOCS / "images" / "explain.json"  # the paragraphs, by name


def main(names: list[str]) -> None:
    """Run what was asked for, and write the page."""
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    for name in [] if names == ["--page"] else names or experiments.EXPERIMENTS:
        shown = experiments.run(name)
        charts = [f"explain_{chart}" for chart in shown.charts]
        for file, chart in zip(charts, shown.charts.values(), strict=True):
            theme.save(chart, DOCS / "images", file, ["svg"])
        kept[name] = {"paragraph": shown.paragraph, "charts": charts}
        KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (DOCS / "explain.md").write_text(page(kept), encoding="utf-8")


def page(kept: dict) -> str:
    """`docs/explain.md`: an introduction, and a section an experiment."""
    introduction = (DOCS / "explain.md").read_text(encoding="utf-8").partition("## adaptive-rates")[0]
    sections = [
        "\n\n".join(
            [
                f"## {known.name}",
                f"**The claim:** {known.claim} ({known.source})",
                kept[known.name]["paragraph"],
                *(f"![{known.name}](images/{chart}.svg)" for chart in kept[known.name]["charts"]),
                f"Again: `adamkit explain {known.name}`",
            ]
        )
        for known in experiments.EXPERIMENTS.values()
        if known.name in kept
    ]
    return introduction + "\n\n".join(sections) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
