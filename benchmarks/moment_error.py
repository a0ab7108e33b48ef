"""The picture of `docs/memory.md`: how far a stored moment is from the moment, by size. Writes docs/images/.

python -m benchmarks.moment_error
"""

from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd

from adamkit import arrays, moments

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "moment_error.svg"
STEPS = 200
_KIND = {
    "first": (moments.encode_first, moments.decode_first),
    "second": (moments.encode_second, moments.decode_second),
}


def main() -> None:
    """Draw it, as SVG."""
    chart = (
        alt.Chart(errors())
        .mark_line(strokeWidth=2, clip=True)
        .encode(
            x=alt.X("octave:Q", title="size of the number: its block's largest × 2ˣ", scale=alt.Scale(nice=False)),
            y=alt.Y(
                "error:Q",
                title="error, relative (root mean square)",
                scale=alt.Scale(type="log", domain=[0.001, 10]),
                axis=alt.Axis(format="~%", values=[0.001, 0.01, 0.1, 1, 10]),
            ),
            color=alt.Color("format:N", title=None, sort=None, legend=alt.Legend(orient="top", labelLimit=0)),
            strokeDash=alt.StrokeDash("format:N", title=None, sort=None),
        )
        .properties(width=640, height=300)
    )
    PICTURE.parent.mkdir(exist_ok=True)
    chart.save(PICTURE)


def errors() -> pd.DataFrame:
    """The relative error at each size: root mean square over `STEPS` steps and the places of a block."""
    curves = {
        "m in int8": lambda x, t: _in_block(x, t, "first"),
        "v in int8": lambda x, t: _in_block(x, t, "second"),
        "both in bfloat16": lambda x, t: moments.round_to_bfloat16(x, np.int32(t), arrays.namespace(np)),
        "v in linear 8-bit steps, for comparison": _linear,
    }
    octaves = np.arange(-20, 0.01, 0.125)
    rows = []
    for name, stored in curves.items():
        for octave in octaves:
            # The numbers of an eighth of a power of two, each next to the block's largest, 1.
            value = np.float32(2.0 ** (octave - np.arange(1, moments.BLOCK) / moments.BLOCK / 8))
            block = np.concatenate([[np.float32(1)], value])
            relative = [stored(block, step)[1:] / value - 1.0 for step in range(1, STEPS + 1)]
            rows.append({"format": name, "octave": octave, "error": np.sqrt(np.mean(np.square(relative)))})
    return pd.DataFrame(rows)


def _in_block(block: np.ndarray, step: int, kind: str) -> np.ndarray:
    encode, decode = _KIND[kind]
    return decode(*encode(block, step, np), np)


def _linear(block: np.ndarray, step: int) -> np.ndarray:
    del step
    return np.round(block * 255) / 255


if __name__ == "__main__":
    main()
