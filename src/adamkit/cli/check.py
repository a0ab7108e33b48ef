"""`adamkit check`: what commonly goes wrong with Adam, in a run."""

from pathlib import Path
from typing import Annotated

import typer

from adamkit.cli import options


def check(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    trust_code: options.TrustCode = False,
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON a finding.")] = False,
) -> None:
    """Say what commonly goes wrong with Adam and shows in a run, with the figure and the remedy.

    Two more steps are taken after its latest checkpoint, which are not kept. Exit code 1 where there is a finding.
    """
    from adamkit.lab import runs
    from adamkit.lab.runs.folder import RunFolder

    folder = RunFolder.open(run)
    settings = runs.again(folder, trust_code=trust_code)
    options.use_backend(settings.backend)

    from adamkit.cli.display import Output
    from adamkit.lab.insight.check import check_run

    output = Output(as_json=json)
    found = check_run(runs.prepare(settings), folder)
    for finding in found:
        if json:
            output.json_line(finding.__dict__)
        else:
            output.note(f"{finding.kind:13}{finding.where}: {finding.says}")
            output.note(f"{'':13}{finding.remedy}")
    if found:
        raise typer.Exit(1)
    if not json:
        output.note("nothing wrong was found")
