"""What `adamkit compare --audit` shows: how far it is; at the end where each untuned optimizer stands."""

from typing import TYPE_CHECKING, Any

from adamkit.cli.compare_display import CompareDisplay, known, setting
from adamkit.cli.display import figure
from adamkit.lab.hyperparameters import HYPERPARAMETERS

if TYPE_CHECKING:
    from adamkit.lab.comparing.audited import Audit


class AuditDisplay(CompareDisplay):
    """Shows an audit, as `CompareDisplay` a comparison."""

    def plan_in_words(self) -> str:
        """What is trained."""
        plan = self.plan
        return (
            f"untuned, among {plan.budget} settings of adam; {plan.settings.epochs} epochs, batches of "
            f"{plan.settings.batch_size}, {plan.seeds} seeds of all"
        )

    def show_tables(self, result: "Audit") -> None:
        """The table."""
        metric = f"test_{result.metric}"
        others = [str(c) for c in result.summary if str(c).startswith("test_") and c != metric]
        head = ["optimizer", "percentile", "from", "to", metric.replace("_", " "), "cost", "from", "to"]
        rows = []
        for row in result.summary.to_dict(orient="records"):
            places = [f"{row[name]:.0f}" for name in ("percentile", "lowest", "highest")]
            figures = [
                known(row[name], figure(row[name])) for name in (metric, "cost", "cost_low", "cost_high", *others)
            ]
            rows.append([row["optimizer"], *places, *figures])
        self.wrapped(
            "stands",
            "among the settings of adam on the test part, over seeds; cost: how much worse than tuned, and a 95 % band",
        )
        self.table([*head, *(name.replace("_", " ") for name in others)], rows)
        self.wrapped("set to", "the defaults")
        for row in result.summary.to_dict(orient="records"):
            own = [name for name in HYPERPARAMETERS if name in row and row[name] == row[name]]
            if own:
                self.wrapped("", f"{row['optimizer']}: {', '.join(f'{name} {setting(row[name])}' for name in own)}")

    def json_rows(self, result: "Audit") -> list[dict[str, Any]]:
        """A line an optimizer, with the percentile of each seed."""
        by_seed = result.by_seed
        return [
            row | {"percentiles": by_seed.percentile[by_seed.optimizer == row["optimizer"]].tolist()}
            for row in result.summary.to_dict(orient="records")
        ]
