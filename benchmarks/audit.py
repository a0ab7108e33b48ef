"""What not tuning costs: `adamkit.lab.audit` of Adam, schedule-free Adam and Adam that finds its rate, on five tasks.

    python -m benchmarks.audit [--quick] [--only TASK]

- digits, breast_cancer, diabetes: scikit-learn's, in `adamkit compare`'s own split, with the example's hidden layer.
- text: the next character of the source of Python's standard library, from the 8 before it; other parts of the source
  to choose and to report on.
- ratings: users' ratings of items, made up; the product of two embeddings. Few users and items are frequent.

Of each, 256 settings of Adam and each untuned optimizer are trained with 5 seeds. `percentile` is the share of the 256
that does better on rows that chose nothing, the mean over seeds, and `from` and `to` the seeds'. `cost` is how much
larger the test loss is than that of the setting that is best on the validation part, with its 95 % band. Nothing is
timed, so that how busy the machine is does not matter.
"""

import argparse
import itertools
import os
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

from adamkit import lab
from adamkit.lab import runs
from adamkit.lab.comparing.audited import TUNED
from benchmarks.report import machine, show, update_page, versions, write

SEEDS, LENGTH, WIDTH = 5, 8, 16  # of the last two: the characters that are seen, and the width of an embedding
ROWS = (6000, 2000, 2000)  # to train, to choose and to report on, of those that are made here
USERS, ITEMS, TRAITS = 300, 200, 4

Parts = tuple[keras.Model, dict[str, Any]]  # and what `lab.audit` takes beside it


def main(argv: list[str] | None = None) -> None:
    """Train, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="16 settings, 2 seeds and one epoch; nothing is written")
    parser.add_argument("--only", choices=sorted({name for name, *_ in TASKS}), help="one task; nothing is written")
    options = parser.parse_args(argv)
    rows = []
    for name, made, epochs in TASKS:
        if options.only not in (None, name):
            continue
        model, given = made(name)
        size = {"budget": 16, "seeds": 2, "epochs": 1} if options.quick else {"seeds": SEEDS, "epochs": epochs}
        audit = lab.audit(model, **given, **size)
        print(f"{name}, {audit.described['seconds']:.0f} s:", *audit.verdict, sep="\n  ", flush=True)
        rows += [
            _row(f"{name}, {audit.described['epochs']} epochs", row) for row in audit.summary.to_dict(orient="records")
        ]
    show("Untuned among 256 settings of Adam", rows)
    if not (options.quick or options.only):
        write("audit", {"machine": machine(), "versions": versions(), "rows": rows})
        update_page()


def _row(task: str, row: dict[str, Any]) -> dict[str, Any]:
    low, high = (
        f"{row[name]:.3g}" if abs(row[name]) < 1000 else f"{row[name]:,.0f}" for name in ("cost_low", "cost_high")
    )
    return {
        "task": task,
        "optimizer": row["optimizer"],
        "test_loss": row["test_loss"],
        "percentile": round(row["percentile"]),
        "from": round(row["lowest"]),
        "to": round(row["highest"]),
        "cost": float(row["cost"]),
        "95_%": "" if row["optimizer"] == TUNED else f"{low} to {high}",
    }


def named(name: str) -> Parts:
    """A data set that `adamkit compare --data` knows, as that prepares it."""
    made = runs.prepare(runs.Settings(data=name, validation_split=0.2, test_split=0.2))
    assert made.validation is not None
    assert made.test is not None
    parts = {"validation_data": (made.validation.x, made.validation.y), "test_data": (made.test.x, made.test.y)}
    return made.model, {"x": made.train.x, "y": made.train.y} | parts


def text(_: str) -> Parts:
    """The next character, from an embedding of each of those before it."""
    library = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    source = "".join(file.read_text(encoding="utf-8", errors="ignore") for file in library)
    alphabet, codes = np.unique(np.frombuffer(source.encode("ascii", errors="ignore"), np.uint8), return_inverse=True)
    ends, rng = [0, len(codes) * 8 // 10, len(codes) * 9 // 10, len(codes)], np.random.default_rng(0)
    parts = []
    for (begin, end), rows in zip(itertools.pairwise(ends), ROWS, strict=True):
        places = rng.integers(begin, end - LENGTH, rows)
        seen = codes[places[:, None] + np.arange(LENGTH + 1)].astype("int32")
        parts.append((seen[:, :-1], seen[:, -1]))
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            layers.Embedding(len(alphabet), WIDTH),
            layers.Flatten(),
            layers.Dense(64, "relu"),
            layers.Dense(len(alphabet), "softmax"),
        ]
    )
    model.compile(loss="sparse_categorical_crossentropy")
    return model, _given(parts)


def ratings(_: str) -> Parts:
    """A product of hidden traits and noise, learnt by two embeddings."""
    rng, rows = np.random.default_rng(0), sum(ROWS)
    user, item = (
        rng.choice(n, rows, p=(1 / np.arange(1, n + 1)) / (1 / np.arange(1, n + 1)).sum()) for n in (USERS, ITEMS)
    )
    traits = rng.normal(size=(USERS, TRAITS)), rng.normal(size=(ITEMS, TRAITS))
    rating = (traits[0][user] * traits[1][item]).sum(axis=1) / TRAITS**0.5 + 0.5 * rng.normal(size=rows)
    x, y = (
        {"user": user.astype("int32")[:, None], "item": item.astype("int32")[:, None]},
        rating.astype("float32")[:, None],
    )
    ends = np.cumsum((0, *ROWS))
    parts = [({k: v[a:b] for k, v in x.items()}, y[a:b]) for a, b in itertools.pairwise(ends)]
    keras.utils.set_random_seed(0)
    codes = {name: keras.Input((1,), dtype="int32", name=name) for name in ("user", "item")}
    vectors = [
        layers.Flatten()(layers.Embedding(n, WIDTH)(codes[name])) for name, n in (("user", USERS), ("item", ITEMS))
    ]
    model = keras.Model(codes, layers.Dot(axes=1)(vectors))
    model.compile(loss="mse")
    return model, _given(parts)


def _given(parts: list[tuple[Any, Any]]) -> dict[str, Any]:
    return {"x": parts[0][0], "y": parts[0][1], "validation_data": parts[1], "test_data": parts[2]}


TASKS: list[tuple[str, Callable[[str], Parts], int]] = [  # and epochs
    ("digits", named, 20),
    ("digits", named, 80),
    ("breast_cancer", named, 50),
    ("diabetes", named, 50),
    ("text", text, 5),
    ("ratings", ratings, 10),
]


if __name__ == "__main__":
    main()
