"""What narrow moments and narrow parameters do to the loss: each format against float32, on three tasks.

    python -m benchmarks.precision [--quick]

- digits: a classifier of scikit-learn's handwritten digits, one hidden layer.
- text: a character-level transformer, on the source of Python's standard library.
- ratings: a matrix factorization; few users and items are frequent, columns differ in scale by a thousand times.

Each task is trained with `adamkit.optax.adam` by each format from the same seeds (at least 5; more where a training
takes a second): the same initial weights, the same batches. Losses are given with their spread over the seeds. The
difference is that of a format's loss from float32's of the same seed, in percent, with the standard error of its mean.
The row "float32, weights shaken" is float32 from initial weights that were changed by a millionth of their size: what
it differs by is chance, whatever the format. bfloat16 parameters are kept by `adamkit.rounding`, as
`adamkit.keras.Adam` and `adamkit.torch.Adam` do, around the same step; the model computes in float32 with them.
4 bits are an experiment, no format of adamkit: moments are rounded to what 4 bits would hold, and kept as float32.
"""

import argparse
import functools
import math
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from adamkit import moments, rounding
from adamkit.optax import adam
from benchmarks.report import machine, show, versions, write


class Format(NamedTuple):
    """What is stored between two steps."""

    name: str
    moments: str = "float32"
    rounding: str | None = None  # of bfloat16 parameters; None: the parameters are float32
    shaken: float = 0.0  # relative change of the initial weights
    four_bits: tuple[str, ...] = ()  # the moments that are rounded to 4 bits


FLOAT32 = Format("float32")
FORMATS = [
    FLOAT32,
    Format("float32, weights shaken", shaken=1e-6),
    Format("moments bfloat16", "bfloat16"),
    Format("moments int8", "int8"),
    Format("m in 4 bits", four_bits=("mu",)),
    Format("v in 4 bits", four_bits=("nu",)),
    Format("moments in 4 bits", four_bits=("mu", "nu")),
    Format("parameters bfloat16, compensated", rounding="compensated"),
    Format("parameters bfloat16, compensated8", rounding="compensated8"),
    Format("parameters bfloat16, stochastic", rounding="stochastic"),
    Format("parameters bfloat16, nearest", rounding="nearest"),
    Format("parameters bfloat16, compensated; moments int8", "int8", "compensated"),
]


class Task(NamedTuple):
    """A model, its data, and how long to train."""

    initial: Callable  # key -> parameters
    loss: Callable  # parameters, examples -> mean loss
    batch: Callable  # key -> examples
    training: Any  # examples to measure the training loss on
    validation: Any
    learning_rate: float
    steps: int
    seeds: int


def main(argv: list[str] | None = None) -> None:
    """Train, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the steps; nothing is written")
    options = parser.parse_args(argv)
    rows = []
    for name, make in (("digits", digits), ("text", text), ("ratings", ratings)):
        task = make()
        task = task._replace(steps=task.steps // 5 if options.quick else task.steps)
        losses = {format_.name: train(task, format_) for format_ in FORMATS}
        rows += [_row(f"{name}, {task.seeds} seeds", format_, losses) for format_ in losses]
        show(f"Final loss: {name}", rows[-len(FORMATS) :])
    if not options.quick:
        write("precision", {"machine": machine(), "versions": versions(), "rows": rows})


def train(task: Task, format_: Format) -> np.ndarray:
    """Final training and validation loss of each seed, (seeds, 2)."""
    # One after the other: of matrices that are stacked, the products of XLA on the CPU are slower.
    program = jax.jit(functools.partial(_train, task, format_))
    return np.asarray([program(seed) for seed in range(task.seeds)], np.float64)


def _train(task: Task, format_: Format, seed: jax.Array) -> jax.Array:
    weights_key, batches_key, shake_key = jax.random.split(jax.random.key(seed), 3)
    leaves, structure = jax.tree.flatten(task.initial(weights_key))
    leaves = [
        x * (1 + format_.shaken * jax.random.normal(jax.random.fold_in(shake_key, i), x.shape))
        for i, x in enumerate(leaves)
    ]
    optimizer = adam(lambda count: task.learning_rate * (1 - count / task.steps), moment_dtype=format_.moments)

    def step(state: Any, t: jax.Array) -> Any:
        stored, optimizer_state = state
        # The gradient is that of the narrow parameters, the step is that of what they stand for.
        loss = functools.partial(_loss, task, structure, task.batch(jax.random.fold_in(batches_key, t)))
        gradients = jax.grad(loss)([_value(parameter) for parameter, _ in stored])
        wide = [_wide(parameter, remainder) for parameter, remainder in stored]
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, wide)
        optimizer_state = _in_four_bits(optimizer_state, format_.four_bits, jax.random.fold_in(batches_key, -t))
        stored = [_stored(format_, x + u, t, i) for i, (x, u) in enumerate(zip(wide, updates, strict=True))]
        return stored, optimizer_state

    def body(state: Any, t: jax.Array) -> tuple[Any, None]:
        return step(state, t), None

    start = [_stored(format_, x, jnp.int32(0), i) for i, x in enumerate(leaves)]
    (stored, _), _ = jax.lax.scan(body, (start, optimizer.init(leaves)), jnp.arange(1, task.steps + 1, dtype=jnp.int32))
    final = [_value(parameter) for parameter, _ in stored]
    return jnp.stack([_loss(task, structure, examples, final) for examples in (task.training, task.validation)])


def _loss(task: Task, structure: Any, examples: Any, leaves: list) -> jax.Array:
    return task.loss(structure.unflatten(leaves), examples)


def _value(parameter: jax.Array) -> jax.Array:
    return parameter.astype(jnp.float32)


def _wide(parameter: jax.Array, remainder: jax.Array | None) -> jax.Array:
    return parameter if parameter.dtype == jnp.float32 else rounding.restore(parameter, remainder, jnp)


def _stored(format_: Format, value: jax.Array, t: jax.Array, index: int) -> tuple[jax.Array, jax.Array | None]:
    if format_.rounding is None:
        return value, None
    return rounding.store(value, "bfloat16", format_.rounding, rounding.random_key(0, t, index, jnp), jnp)


# What 4 bits hold, by blocks as int8 is (`adamkit.moments`), as shares of the block's largest: of m a sign and 7 sizes
# over 6 powers of two, of v 15 sizes over 10 powers of two.
_SIZES = {"mu": 2.0 ** np.linspace(-6, 0, 7), "nu": 2.0 ** np.linspace(-10, 0, 15)}


def _in_four_bits(state: tuple, names: tuple[str, ...], key: jax.Array) -> tuple:
    """The optimizer's state with these of its moments rounded, at random, so that nothing is lost on average."""
    first, *others = state
    for name in names:
        rounded = [
            x if x.size < moments.MIN_SIZE else _rounded(x, name, jax.random.fold_in(key, 2 * i + (name == "nu")))
            for i, x in enumerate(getattr(first, name))
        ]
        first = first._replace(**{name: rounded})
    return (first, *others)


def _rounded(moment: jax.Array, name: str, key: jax.Array) -> jax.Array:
    blocks = jnp.pad(moment.reshape(-1), (0, -moment.size % moments.BLOCK)).reshape(-1, moments.BLOCK)
    largest = jnp.abs(blocks).max(axis=1, keepdims=True)
    share = jnp.abs(blocks) / jnp.where(largest > 0, largest, 1)
    sizes = jnp.asarray([0, *_SIZES[name]], jnp.float32)
    below = jnp.clip(jnp.searchsorted(sizes, share, side="right") - 1, 0, len(sizes) - 2)
    low, high = sizes[below], sizes[below + 1]
    share = jnp.where(jax.random.uniform(key, share.shape) < (share - low) / (high - low), high, low)
    if name == "nu":  # m / sqrt(v) would throw the parameter
        share = jnp.where((share == 0) & (blocks != 0), sizes[1], share)
    return (jnp.sign(blocks) * share * largest).reshape(-1)[: moment.size].reshape(moment.shape)


def _row(task: str, name: str, losses: dict[str, np.ndarray]) -> dict:
    loss = losses[name]
    difference = 100 * (loss / losses[FLOAT32.name] - 1)
    error = difference.std(axis=0, ddof=1) / math.sqrt(len(loss))
    row: dict[str, Any] = {"task": task, "stored as": name}
    for i, part in enumerate(("training", "validation")):
        row[f"{part} loss"] = f"{loss[:, i].mean():.4f} ± {loss[:, i].std(ddof=1):.4f}"
        row[f"{part}, difference in %"] = f"{difference[:, i].mean():+.2f} ± {error[i]:.2f}"
    return row


# The tasks ------------------------------------------------------------------------------------------------------------


def digits() -> Task:
    """Handwritten digits: 64 pixels, 128 hidden units, 10 classes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.data))
    pixels = jnp.asarray(data.data[order] / 16, jnp.float32)
    labels = jnp.asarray(data.target[order], jnp.int32)
    examples = pixels[:1400], labels[:1400]

    def initial(key: jax.Array) -> dict:
        keys = jax.random.split(key)
        weights = {"hidden": _dense(keys[0], 64, 128), "output": _dense(keys[1], 128, 10)}
        return weights | {"hidden_bias": jnp.zeros(128), "output_bias": jnp.zeros(10)}

    def loss(p: dict, examples: Any) -> jax.Array:
        x, y = examples
        hidden = jax.nn.relu(x @ p["hidden"] + p["hidden_bias"])
        return _cross_entropy(hidden @ p["output"] + p["output_bias"], y)

    def batch(key: jax.Array) -> Any:
        rows = jax.random.randint(key, (128,), 0, 1400)
        return examples[0][rows], examples[1][rows]

    return Task(initial, loss, batch, examples, (pixels[1400:], labels[1400:]), learning_rate=2e-3, steps=600, seeds=20)


def text() -> Task:
    """The next character of Python's library source: one block of attention and a hidden layer, 64 wide."""
    length, width, heads = 48, 64, 2
    library = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    source = "".join(file.read_text(encoding="utf-8", errors="ignore") for file in library)
    characters = np.frombuffer(source.encode("ascii", errors="ignore"), np.uint8)
    alphabet, codes = np.unique(characters, return_inverse=True)
    codes, split = jnp.asarray(codes, jnp.int32), len(codes) * 9 // 10
    causal = jnp.tril(jnp.ones((length, length), bool))

    def windows(begin: jax.Array) -> jax.Array:
        return codes[begin[:, None] + jnp.arange(length + 1)]

    def initial(key: jax.Array) -> dict:
        keys = iter(jax.random.split(key, 8))
        return {
            "characters": 0.1 * jax.random.normal(next(keys), (len(alphabet), width)),
            "positions": 0.1 * jax.random.normal(next(keys), (length, width)),
            "attention": _dense(next(keys), width, 3 * width),
            "mixed": _dense(next(keys), width, width) / 2,
            "hidden": _dense(next(keys), width, 4 * width),
            "back": _dense(next(keys), 4 * width, width) / 2,
            "output": _dense(next(keys), width, len(alphabet)) / 8,
            "scales": jnp.ones((3, width)),
        }

    def loss(p: dict, examples: jax.Array) -> jax.Array:
        h = p["characters"][examples[:, :-1]] + p["positions"]
        split_heads = (*h.shape[:2], heads, width // heads)
        query, key, value = (
            x.reshape(split_heads) for x in jnp.split(_normalized(h, p["scales"][0]) @ p["attention"], 3, -1)
        )
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(width // heads)
        weights = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf))
        h = h + jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(h.shape) @ p["mixed"]
        h = h + jax.nn.gelu(_normalized(h, p["scales"][1]) @ p["hidden"]) @ p["back"]
        return _cross_entropy(_normalized(h, p["scales"][2]) @ p["output"], examples[:, 1:])

    def batch(key: jax.Array) -> jax.Array:
        return windows(jax.random.randint(key, (8,), 0, split - length - 1))

    places = np.arange(200)
    training = windows(jnp.asarray(places * ((split - length - 1) // 200)))
    validation = windows(jnp.asarray(split + places * ((len(codes) - split - length - 1) // 200)))
    return Task(initial, loss, batch, training, validation, learning_rate=3e-3, steps=500, seeds=5)


def ratings() -> Task:
    """Users' ratings of items, made up: a product of 6 hidden traits, plus noise; most users and items are rare."""
    users, items, rank, known = 1000, 600, 16, 30_000
    random = np.random.default_rng(0)
    user = random.choice(users, 2 * known, p=_zipf(users))
    item = random.choice(items, 2 * known, p=_zipf(items))
    traits = random.normal(size=(users, 6)), random.normal(size=(items, 6))
    rating = (traits[0][user] * traits[1][item]).sum(axis=1) / math.sqrt(6) + 0.5 * random.normal(size=2 * known)
    triples = jnp.asarray(user, jnp.int32), jnp.asarray(item, jnp.int32), jnp.asarray(rating, jnp.float32)
    scales = jnp.asarray(10.0 ** np.linspace(-1.5, 1.5, rank), jnp.float32)

    def initial(key: jax.Array) -> dict:
        keys = jax.random.split(key)
        return {
            "users": 0.3 * jax.random.normal(keys[0], (users, rank)) / scales,
            "items": 0.3 * jax.random.normal(keys[1], (items, rank)),
        }

    def loss(p: dict, examples: Any) -> jax.Array:
        user, item, rating = examples
        return jnp.mean(((p["users"][user] * scales * p["items"][item]).sum(-1) - rating) ** 2)

    def batch(key: jax.Array) -> Any:
        rows = jax.random.randint(key, (256,), 0, known)
        return tuple(part[rows] for part in triples)

    training, validation = (tuple(part[half] for part in triples) for half in (slice(known), slice(known, None)))
    return Task(initial, loss, batch, training, validation, learning_rate=3e-3, steps=3000, seeds=10)


def _zipf(n: int) -> np.ndarray:
    weight = 1 / np.arange(1, n + 1)
    return weight / weight.sum()


def _dense(key: jax.Array, inputs: int, outputs: int) -> jax.Array:
    return jax.random.normal(key, (inputs, outputs)) * math.sqrt(2 / inputs)


def _normalized(x: jax.Array, scale: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    return scale * centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1))


if __name__ == "__main__":
    main()
