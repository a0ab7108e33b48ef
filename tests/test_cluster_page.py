"""The scripts of docs/cluster.md have the form that Slurm, Kubernetes and `adamkit sweep` read."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from adamkit.cli.sweep import _plan

PAGE = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text(encoding="utf-8")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # of Kubernetes' names, RFC 1123
QUANTITY = re.compile(r"[0-9]+(m|Ki|Mi|Gi)?")


def block(language):
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)
    return text


def settings_of(command):
    """The settings of a sweep's command line, without `--ray` and `--out`."""
    words = shlex.split(command)
    words = words[words.index("sweep") + 1 :] if "sweep" in words else words
    given = {}
    pairs = list(zip(words, [*words[1:], "--"], strict=True))
    for word, after in pairs:
        if word.startswith("--"):
            given[word[2:].replace("-", "_")] = None if after.startswith("--") else after
    assert given.pop("out")
    given.pop("ray", None)
    numbers = {name: int(given.pop(name)) for name in ("sobol", "epochs")}
    return len(_plan(given | numbers, ask=False).space)


def test_the_job_script_is_one_of_bash():
    script = block("bash")
    if (bash := shutil.which("bash")) is None:
        pytest.skip("there is no bash")
    checked = subprocess.run([bash, "-n"], input=script, text=True, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    lines = script.splitlines()
    assert lines[0] == "#!/bin/bash"
    directives = [line for line in lines if line.startswith("#SBATCH")]
    assert lines[1 : 1 + len(directives)] == directives  # Slurm reads them before the first command
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+=\S+", line) for line in directives)
    (options,) = re.findall(r"set -- (--data .*)$", script, re.M)
    assert settings_of(options) == 8192


def test_the_manifest_is_a_ray_job():
    yaml = pytest.importorskip("yaml")
    manifest = yaml.safe_load(block("yaml"))
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    assert LABEL.fullmatch(manifest["metadata"]["name"])
    spec = manifest["spec"]
    assert settings_of(spec["entrypoint"]) == 8192
    cluster = spec["rayClusterSpec"]
    assert re.search(
        rf"^ray=={re.escape(cluster['rayVersion'])}$", (Path(__file__).parents[1] / "constraints.txt").read_text(), re.M
    )
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())  # as the operator has it
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        for container in pod["containers"]:
            assert LABEL.fullmatch(container["name"])
            assert ":" in container["image"]
            for limits in container["resources"].values():
                assert all(QUANTITY.fullmatch(value) for value in limits.values())
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
    for group in groups[1:]:
        assert LABEL.fullmatch(group["groupName"])
        assert 0 < group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
