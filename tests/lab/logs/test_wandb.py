"""W&B's offline files, which `wandb sync` sends, have what was sent: records of its own protocol buffers."""

import json
import struct

import pytest

from tests.lab.logs.conftest import EPOCHS

BLOCK, HEADER = 32768, 7  # bytes; LevelDB's log format, after 7 bytes of W&B's own


def records(path):
    """The records of a file: each in one piece, or in several where it crosses the end of a block."""
    from wandb.proto.wandb_internal_pb2 import Record

    content = path.read_bytes()
    assert content[:4] == b":W&B"
    at, parts = HEADER, b""
    while at + HEADER <= len(content):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + HEADER])
        parts += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def decoded(items):
    return {item.key or item.nested_key[0]: json.loads(item.value_json) for item in items}


@pytest.fixture(scope="module")
def runs(sent):
    """By name: the run, its configuration, its history and the names of its artefact's files."""
    found = {}
    for path in (sent.folder / "wandb").glob("offline-run-*/run-*.wandb"):
        run, config, history, files = None, {}, [], []
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run = record.run
                config |= decoded(record.run.config.update)
            elif kind == "history":
                history.append(decoded(record.history.item))
            elif kind == "request" and record.request.HasField("log_artifact"):
                files += [entry.path for entry in record.request.log_artifact.artifact.manifest.contents]
            elif kind == "artifact":
                files += [entry.path for entry in record.artifact.manifest.contents]
        found[run.display_name] = run, config, history, sorted(files)
    return found


def test_a_training_has_its_configuration_curves_and_files(sent, runs):
    run, config, history, files = runs["one"]
    assert run.project == "adamkit"
    assert config["learning_rate"] == 0.1
    assert [row["_step"] for row in history] == list(range(1, EPOCHS + 1))
    assert [row["loss"] for row in history] == sent.trained.loss.to_list()
    assert files == ["history.parquet", "model.keras"]


def test_the_runs_of_a_sweep_are_a_group(sent, runs):
    assert {name for name, (run, *_) in runs.items() if run.run_group == "many"} == {
        "many",
        *(f"setting {setting} seed {seed}" for setting in range(2) for seed in range(2)),
    }
    for (setting, seed), own in sent.swept.history.groupby(["setting", "seed"]):
        run, config, history, _ = runs[f"setting {setting} seed {seed}"]
        assert run.job_type == "run"
        assert config["learning_rate"] == own.learning_rate.iloc[0]
        assert [row["loss"] for row in history] == own.loss.to_list()
