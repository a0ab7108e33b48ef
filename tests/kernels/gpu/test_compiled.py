"""What the GPU kernel compiles to, for devices that need not be there: exact arithmetic, wide loads, no spills."""

import json
import os
import re
import subprocess
import sys

import pytest

TARGETS = ("sm_80", "sm_90", "gfx942")
FORMS = ("float32-float32-moments", "bfloat16-int8-moments-compensated8-amsgrad")
CASES = [f"{form}-{target}" for form in FORMS for target in TARGETS] + ["float16-bfloat16-moments-stochastic-sm_80"]
FUSED = {"sm_80": r"fma\.rn\.f32", "gfx942": r"v_(?:pk_)?fmac?_f32"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """The assembly of each case, and how many bytes it keeps in memory for want of registers."""
    folder = tmp_path_factory.mktemp("gpu")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-m", "tests.kernels.gpu.ahead_of_time", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    spilled = json.loads(done.stdout.splitlines()[-1])
    return {
        path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.suffix != ".cubin"
    }, spilled


def test_every_case_is_compiled_without_spills(code):
    assert code[1] == dict.fromkeys(CASES, 0)


@pytest.mark.parametrize("case", [case for case in CASES if "sm_" in case])
def test_on_nvidia_every_operation_is_rounded_correctly_and_none_is_fused(case, code):
    found = set(re.findall(r"\b[a-z]+[.\w]*\.f32\b", code[0][case]))
    arithmetic = {name for name in found if name.split(".")[0] not in ("setp", "selp", "mov", "cvt", "ld", "st")}
    exact = {f"{x}.rn.f32" for x in ("add", "sub", "mul", "div", "sqrt")} | {"neg.f32"}
    assert {"div.rn.f32", "sqrt.rn.f32"} <= arithmetic <= exact
    assert not re.search(r"\.ftz|\.approx", code[0][case])


@pytest.mark.parametrize("target", FUSED)
def test_products_and_sums_would_be_fused_if_that_were_allowed(target, code):
    apart, fused = (
        len(re.findall(FUSED[target], code[0][name])) for name in (f"{FORMS[0]}-{target}", f"fused-{target}")
    )
    assert apart < fused
    assert target == "gfx942" or apart == 0  # there, division and root are made of such operations


def test_on_amd_denormal_numbers_are_kept(code):
    for form in FORMS:
        assert re.search(r"\.amdhsa_float_denorm_mode_32 3", code[0][f"{form}-gfx942"])


@pytest.mark.parametrize("target", TARGETS)
def test_a_thread_reads_and_writes_16_bytes_of_float32_at_once(target, code):
    kinds = (r"ld\.global\.v4\.b32", r"st\.global\.v4\.b32")
    if target == "gfx942":
        kinds = (r"(?:buffer|global)_load_dwordx4", r"(?:buffer|global)_store_dwordx4")
    counts = [len(re.findall(kind, code[0][f"{FORMS[0]}-{target}"])) for kind in kinds]
    assert counts == [4, 3]  # θ, g, m and v; θ, m and v
