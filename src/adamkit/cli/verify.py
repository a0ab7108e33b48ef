"""`adamkit verify`: train a run again and say whether it is the same to the bit, or where it first is not."""

from pathlib import Path
from typing import Annotated

import typer

from adamkit.cli import options


def verify(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    from_epoch: Annotated[
        int, typer.Option(min=0, help="Begin after this epoch, from its checkpoint. Default: from the start.")
    ] = 0,
    trust_code: options.TrustCode = False,
) -> None:
    """Train a run again and compare the state after each epoch with the hash that was kept of it. Nothing is written.

    Exit code 0: the same to the bit, weights, moments, random state and figures. 1: another, and what differs first.
    """
    from adamkit.lab import runs
    from adamkit.lab.errors import InputError, listed
    from adamkit.lab.runs.folder import RunFolder

    folder = RunFolder.open(run)
    settings = runs.again(folder, trust_code=trust_code)
    options.use_backend(settings.backend)

    from adamkit.cli.display import Output
    from adamkit.lab.runs import verifying

    output = Output()
    prepared = runs.prepare(settings)
    for difference in runs.changes(folder.read_record(), prepared.record):
        output.warn(f"the result may differ: {difference}")
    try:
        found = verifying.verify(prepared, folder, from_epoch=from_epoch)
    except InputError as error:
        raise InputError(options.as_typed(str(error), ["from_epoch"])) from error
    if found.difference is None:
        if from_epoch == found.last:
            output.note(f"same   the state after epoch {found.last}, to the bit; no further one was kept")
        else:
            output.note(f"same   the state after each of epochs {found.first} to {found.last}, to the bit")
        output.note(f"state  {found.state}")
        return
    first = found.difference
    output.note(f"other  from epoch {first.epoch} on")
    if first.variables:
        output.note(f"       variables {listed(first.variables)}")
    if first.figures:
        output.note(f"       figures   {listed(first.figures)}")
    if not first.variables and not first.figures:
        output.note("       the hashes that were kept are not those of a run")
    raise typer.Exit(1)
