"""What a chunk of a sweep costs on Ray beside its training, and what 1,000 workers would reach. Takes some minutes.

    python -m benchmarks.cluster [--quick]

Seconds are those of the processor, which do not change with what else the machine does: of a chunk's training in a
worker, of what the worker does besides, and of the process that hands out chunks and writes what comes back. `idle` is
the median share of the clock's time that passes between two chunks on a worker, and does change.

`simulated` rows are no measurements. They are a model: one process hands out 10⁶ settings in chunks and writes them,
one after the other, and workers train them, with the measured seconds or a training of 10 or 100 times as long; each
worker starts with those of its first chunk, imports and compilation. `saturated from` is how many workers the process
can keep busy.
"""

import argparse
import heapq
import itertools
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
import ray

from adamkit import lab
from adamkit.lab import runs
from adamkit.lab.sweeping import worker
from benchmarks.report import machine, show, update_page, versions, write

SETTINGS, EPOCHS = 1056, 40  # of the example: 16 chunks of about half a second
SIMULATED, MANY, LONGER = 1_000_000, (10, 30, 100, 300, 1000), (1, 10, 100)
_train = worker.train


def timed(key: str, references: list, work: Any, size: int) -> Any:
    """`worker.train`, which notes when it began and ended, and what it took, in a file beside the sweep."""
    began, own = time.time(), time.process_time()
    trained = _train(key, references, work, size)
    note = {"pid": os.getpid(), "began": began, "ended": time.time(), "before": own, "after": time.process_time()}
    folder = Path(os.environ["ADAMKIT_BENCHMARK"])
    (folder / f"{work.chunk.name}.json").write_text(json.dumps(note | {"runs": len(work.chunk.runs)}))
    return trained


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few settings; nothing is written")
    quick = parser.parse_args(argv).quick
    worker.train = timed
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ADAMKIT_BENCHMARK"] = folder
        rows = [_measured(workers, SETTINGS // (4 if quick else 1), Path(folder)) for workers in (1, 2)]
    gigabytes, tasks = _of_ray()
    rows += [_simulated(rows[1], longer, workers) for longer in LONGER for workers in MANY]
    show("Sweeps on Ray", rows)
    print(f"object store: {gigabytes:.2f} GB/s put; {tasks:,.0f} empty tasks a second of the processor")
    if not quick:
        of_ray = {"object_store_gigabytes_a_second": gigabytes, "empty_tasks_a_second": tasks}
        write("cluster", {"machine": machine(), "versions": versions(), **of_ray, "rows": rows})
        update_page()


def _measured(workers: int, settings: int, folder: Path) -> dict[str, Any]:
    """A sweep of the example on so many workers of this machine."""
    for path in folder.glob("*.json"):
        path.unlink()
    ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        prepared = runs.prepare(runs.Settings(epochs=EPOCHS))
        space = {"learning_rate": f"1e-5..1e-1:log:{settings}"}
        with tempfile.TemporaryDirectory() as kept:
            laps: list[float] = []  # of this process, whenever a chunk is written
            lab.sweep(
                prepared.model, prepared.train.x, prepared.train.y, space=space, epochs=EPOCHS, folder=kept,
                report=False, executor=lab.Ray(), on_progress=lambda _: laps.append(time.process_time()),
            )  # fmt: skip
    finally:
        ray.shutdown()
    notes = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    gaps, besides, first = [], [], []
    for pid in {note["pid"] for note in notes}:
        mine = sorted((note for note in notes if note["pid"] == pid), key=lambda note: note["began"])
        first.append(mine[0]["after"])
        for before, after in itertools.pairwise(mine):
            gaps.append((after["began"] - before["ended"]) / (after["ended"] - before["ended"]))
            besides.append(after["before"] - before["after"])
    trained = statistics.median(note["after"] - note["before"] for note in notes)  # most are no worker's first
    of_worker, handing_out = statistics.median(besides), (laps[-1] - laps[0]) / (len(laps) - 1)
    return {
        "what": "measured", "workers": workers, "settings_a_chunk": max(note["runs"] for note in notes),
        "training": trained, "worker_besides": of_worker, "overhead": of_worker / trained,
        "handing_out": handing_out, "idle": statistics.median(gaps), "first_chunk": statistics.median(first),
        "hours": "", "times_one_worker": "", "saturated_from": trained / handing_out,
    }  # fmt: skip


def _of_ray() -> tuple[float, float]:
    """Gigabytes a second into the object store, and empty tasks a second from one process."""
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        empty = ray.remote(lambda: None)
        ray.get([empty.remote() for _ in range(100)])
        own = time.process_time()
        ray.get([empty.remote() for _ in range(2000)])
        tasks = 2000 / (time.process_time() - own)
        data = np.ones(2**26)
        laps = []
        for _ in range(7):
            began = time.perf_counter()
            ray.put(data)
            laps.append(time.perf_counter() - began)
        return data.nbytes / statistics.median(laps) / 1e9, tasks
    finally:
        ray.shutdown()


def _simulated(measured: dict[str, Any], longer: int, workers: int) -> dict[str, Any]:
    """Each chunk is handed out and written by one process, which does one thing at a time, and trained by a worker.

    Its training takes so many times as long as what was measured: more epochs, more rows or a larger model.
    """
    chunks = -(-SIMULATED // measured["settings_a_chunk"])
    training, handing_out = longer * measured["training"], measured["handing_out"]
    each = training + measured["worker_besides"]
    first = measured["first_chunk"] - measured["training"] + training
    working = [first] * workers  # when what each worker is at ends
    heapq.heapify(working)
    written = 0.0
    for _ in range(chunks - workers):
        written = max(written, heapq.heappop(working)) + handing_out
        heapq.heappush(working, written + each)
    for end in sorted(working):
        written = max(written, end) + handing_out
    one = first + chunks * handing_out + (chunks - 1) * each
    return measured | {
        "what": "simulated", "workers": workers, "training": training,
        "overhead": measured["worker_besides"] / training,
        "idle": 1 - chunks * each / (workers * written), "first_chunk": first, "hours": written / 3600,
        "times_one_worker": one / written, "saturated_from": each / handing_out,
    }  # fmt: skip


if __name__ == "__main__":
    main()
