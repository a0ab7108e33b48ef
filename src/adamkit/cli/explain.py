"""`adamkit explain`: claims about Adam as experiments, and which part of it does the work on one's own data."""

import json as json_module
import shlex
import shutil
import sys
import textwrap
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adamkit.cli import options
from adamkit.cli.options import ADAM, OUTPUT, TRAINING

if TYPE_CHECKING:
    from adamkit.lab.insight.experiments import Shown
    from adamkit.lab.runs.folder import RunFolder

_OF_DATA = "On your own data"
_WIDEST = 100  # columns of text
_NO_SETTINGS = ("name", "seeds", "rates", "png", "svg", "out", "json")


def explain(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[EXPERIMENT]", help="Which to run. Default: list them all.")
    ] = None,
    data: options.Data = "random",
    target: options.Target = None,
    validation_split: options.ValidationSplit = 0.2,
    model: options.Model = "mlp",
    loss: options.Loss = None,
    weight_decay: Annotated[
        float, typer.Option(help="λ: the decay that is left out in one variant; 0: none is.", rich_help_panel=ADAM)
    ] = 0.01,
    epochs: options.Epochs = 20,
    batch_size: Annotated[int, typer.Option(help="Rows a step.", rich_help_panel=TRAINING)] = 32,
    seed: options.Seed = 0,
    seeds: Annotated[
        int, typer.Option(metavar="N", help="Runs of each variant at its best.", rich_help_panel=_OF_DATA)
    ] = 8,
    rates: Annotated[
        int, typer.Option(metavar="N", help="Learning rates tried for each variant.", rich_help_panel=_OF_DATA)
    ] = 16,
    png: Annotated[bool, typer.Option("--png", help="Write the charts as PNG too.", rich_help_panel=OUTPUT)] = False,
    svg: Annotated[bool, typer.Option("--svg", help="Write the charts as SVG too.", rich_help_panel=OUTPUT)] = False,
    out: options.Out = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print one line of JSON; all else goes to standard error.", rich_help_panel=OUTPUT),
    ] = False,
) -> None:
    """Run an experiment on a claim about Adam, or find which part of Adam does the work on your own data.

    Without arguments: the list of experiments. With the name of one: a paragraph, its figures and its chart.

    With --data or --model: momentum, adaptivity, bias correction, ε and decay are left out one at a time, the learning
    rate of each variant is tuned alike, and the differences are shown with what of them could be luck.
    """
    given = options.given(context, *_NO_SETTINGS)
    own_data = {option: value for option, value in given.items() if option != "seed"}
    if name is None and not own_data:
        _list(as_json=json)
        return

    from adamkit.lab.errors import InputError
    from adamkit.lab.insight import experiments
    from adamkit.lab.runs.folder import RunFolder

    typed = options.given(context, "png", "svg", "out", "json")
    record: dict[str, Any] = {}
    heading: dict[str, str] = {}
    if name is not None:
        experiment = experiments.find(name)
        extra = [option for option in typed if option not in ("name", "seed")]
        if extra:
            raise InputError(f"--{extra[0].replace('_', '-')} must be given without the name of an experiment: {name}")
        record = {"settings": {}, "explain": {"name": name, "seed": seed}}
        heading = {"name": name, "claim": experiment.claim, "source": experiment.source}
    options.use_backend("jax")
    formats = ["html", *(["png"] if png else []), *(["svg"] if svg else [])]
    command = _command(typed)
    try:
        with RunFolder.create(out, "explain") as folder:
            started = datetime.now(UTC).isoformat(timespec="seconds")
            if name is not None:
                shown = experiments.run(name, seed=seed)
            else:
                shown, record, heading = _on_own_data(given, context.params, seeds, rates, as_json=json)
            files = _save(shown, folder, record | {"status": "done", "started": started, "command": command}, formats)
    except InputError as error:
        raise InputError(options.as_typed(str(error), [*given, "seeds", "rates"])) from error
    _show(heading, shown, command, files, as_json=json)


def _on_own_data(
    given: dict[str, Any], defaults: dict[str, Any], seeds: int, rates: int, *, as_json: bool
) -> "tuple[Shown, dict[str, Any], dict[str, str]]":
    from adamkit.lab import runs
    from adamkit.lab.insight.experiments import own_data

    own = {name: defaults[name] for name in ("validation_split", "weight_decay", "epochs")}
    settings = runs.Settings(**own | given)
    stream = sys.stderr if as_json else sys.stdout
    shown = own_data.show(
        settings, seeds=seeds, rates=rates, on_progress=lambda line: print(line, file=stream, flush=True)
    )
    record = {"settings": asdict(settings), "explain": {"seeds": seeds, "rates": rates}}
    heading = {"name": settings.data, "claim": f"Which part of Adam does the work: {settings.model} on {settings.data}"}
    return shown, record, heading


def _list(*, as_json: bool) -> None:
    """The names and claims."""
    from adamkit.lab.insight.experiments.catalog import EXPERIMENTS

    if as_json:
        for known in EXPERIMENTS.values():
            print(json_module.dumps(asdict(known)))
        return
    width = max(map(len, EXPERIMENTS)) + 2
    for known in EXPERIMENTS.values():
        room = _width() - width
        lines = textwrap.wrap(known.claim, max(room, 20))
        if room >= 30:
            print(f"{known.name:{width}}" + f"\n{'':{width}}".join(lines))
        else:  # a narrow terminal: the claim below the name
            print(
                "\n".join(
                    [known.name, *textwrap.wrap(known.claim, _width(), initial_indent="  ", subsequent_indent="  ")]
                )
            )
    print(
        "\n"
        + _wrapped("adamkit explain NAME runs one; adamkit explain --data table.csv --target y asks your own data.")
    )


def _save(shown: "Shown", folder: "RunFolder", record: dict[str, Any], formats: list[str]) -> list[Path]:
    """`run.json`, the paragraph, the figures and the charts."""
    from adamkit.lab.insight.charts import theme

    folder.write_record(record)
    folder.replace("figures.csv", lambda path: shown.figures.to_csv(path, index=False))
    folder.replace("explanation.txt", lambda path: path.write_text(shown.paragraph + "\n", encoding="utf-8"))
    kinds: Any = formats
    return [path for name, chart in shown.charts.items() for path in theme.save(chart, folder.path, name, kinds)]


def _show(heading: dict[str, str], shown: "Shown", command: str, files: list[Path], *, as_json: bool) -> None:
    if as_json:
        rows = json_module.loads(shown.figures.to_json(orient="records", double_precision=12))
        found = {"paragraph": shown.paragraph, "figures": rows, "command": command, "files": list(map(str, files))}
        print(json_module.dumps(heading | found))
        return
    from adamkit.lab.insight.experiments.shown import number

    print(_wrapped(heading["claim"]))
    if "source" in heading:
        print(_wrapped(f"({heading['source']})"))
    print(f"\n{_wrapped(shown.paragraph)}\n")
    # A terminal that is too narrow for a row gets the columns in groups, one below the other.
    table = shown.figures.to_string(index=False, line_width=_width(), float_format=number, na_rep="")
    print("\n".join(line.rstrip() for line in table.splitlines()))
    print()
    for path in files:
        print(f"chart  {path}")
    print(f"again  {command}")


def _command(typed: dict[str, Any]) -> str:
    """What repeats it."""
    words = ["adamkit", "explain", *([typed["name"]] if "name" in typed else [])]
    for option, value in typed.items():
        words += [] if option == "name" else [f"--{option.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _width() -> int:
    return min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _width(), break_long_words=False, break_on_hyphens=False)
