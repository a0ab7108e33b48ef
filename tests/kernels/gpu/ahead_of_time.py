"""Compile the GPU kernel for devices that are not there: `python -m tests.kernels.gpu.ahead_of_time FOLDER`.

In a process of its own, without Triton's interpreter. The folder gets the code of each case, and on standard output is
what the assembler says of its registers, as JSON.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import triton
from triton import compiler
from triton.backends.compiler import GPUTarget

from adamkit.kernels.form import Form
from adamkit.kernels.gpu.launch import constants, options
from adamkit.kernels.gpu.source import adam

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
WIDE, NARROW = Form(), Form("bfloat16", "int8", "compensated8", amsgrad=True)
CASES = [(form, target) for form in (WIDE, NARROW) for target in TARGETS]
CASES += [(Form("float16", "bfloat16", "stochastic"), "sm_80")]


def compiled(form, target, **changed):
    """The kernel for a form, as a launch has it compiled."""
    fixed = {**constants(form), "ON_DEVICE": False}
    names = adam.arg_names
    pointers = {"owners": "*i32", "table": "*i64", "numbers": "*i32", "scalars": "*i64"}
    types = dict.fromkeys(names, "fp32") | pointers | {"number": "i32", "seed": "i32"}
    source = compiler.ASTSource(
        fn=adam,
        signature=types | dict.fromkeys(fixed, "constexpr"),
        constexprs={(names.index(name),): value for name, value in fixed.items()},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in pointers},
    )
    return compiler.compile(source, target=target, options={**options(target.warp_size), **changed})


def resources(kernel, folder):
    """Bytes that did not fit into registers."""
    if "amdgcn" in kernel.asm:
        return sum(map(int, re.findall(r"\.[vs]gpr_spill_count:\s*(\d+)", kernel.asm["amdgcn"])))
    path = folder / "kernel.cubin"
    path.write_bytes(kernel.asm["cubin"])
    command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", path]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sum(map(int, re.findall(r"\b(?:STACK|LOCAL):(\d+)", text)))


def main(folder):
    spilled = {}
    for form, target in CASES:
        kernel = compiled(form, TARGETS[target])
        assembly = kernel.asm["amdgcn" if target.startswith("gfx") else "ptx"]
        (folder / f"{form.name()}-{target}").write_text(assembly)
        spilled[f"{form.name()}-{target}"] = resources(kernel, folder)
    for target, kind in (("sm_80", "ptx"), ("gfx942", "amdgcn")):
        fused = compiled(WIDE, TARGETS[target], enable_fp_fusion=True).asm[kind]
        (folder / f"fused-{target}").write_text(fused)
    print(json.dumps(spilled))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
