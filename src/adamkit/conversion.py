"""A run that goes on in another framework: `adamkit.convert`."""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

FRAMEWORKS = ("keras", "torch", "optax")


def convert(state: Any, to: str, *, like: Any, names: Mapping[str, Any] | None = None) -> Any:
    """Adam's state for another framework, so that a run goes on there: both moments and the step count.

    The weights are yours to move, and first: where rounding keeps something beside a bfloat16 or float16 parameter, it
    belongs to the parameter's value. Hyperparameters are not moved either. The next step is then the same, to the bit
    where the two frameworks step to the same bits.

    Args:
        state: Where the state is: a built `adamkit.keras.Adam`, `keras.optimizers.Adam` or `Nadam`, an
            `adamkit.torch.Adam` or a `torch.optim.Adam`, `AdamW` or `NAdam`, or a state of `adamkit.optax.adam`,
            `adamw` or `amsgrad`, also inside of a chain. Moments may be of any format. It is left as it is.
        to: "keras", "torch" or "optax", where it is to go.
        like: What it is to go into, and is left as it is too: an `adamkit.keras.Adam`, built on its variables; an
            `adamkit.torch.Adam`; or a state of `adamkit.optax`, as `init` gives it. Its moments may have any format.
        names: For each parameter of `like` that of `state`: `{"0.weight": "dense/kernel"}`; or, where a framework has
            its axes in another order, a pair with their order, as `numpy.transpose` takes it:
            `{"0.weight": ("dense/kernel", (1, 0))}`. A parameter's name is its `path` in Keras, its name or its number
            ("0") in PyTorch, and its place in the tree in optax ("dense/kernel"). None: found by shape and order, that
            is as they come where all shapes fit so, else by the shape alone where no two have the same.

    Returns:
        For "keras" what `like.load_own_variables` takes, for "torch" what `like.load_state_dict` takes, and for "optax"
        a state like `like`.

    Raises:
        TypeError: `state` or `like` is something else.
        ValueError: `to` is unknown, one side is `schedule_free`, or the parameters, AMSGrad, the step counts or the
            weights do not fit; the message names the first that does not.

    Warns:
        UserWarning: `state` has one v for a block of elements and `like` several, which begin at that one: with "optax"
            here, else when it is loaded.

    Example:
        >>> import jax.numpy as jnp, torch
        >>> import adamkit
        >>> from adamkit.optax import adam
        >>> weight = torch.nn.Parameter(torch.ones(3))
        >>> weight.grad = torch.tensor([1.0, 2.0, 3.0])
        >>> from adamkit.torch import Adam
        >>> optimizer = Adam([weight], lr=0.1)
        >>> optimizer.step()
        >>> state = adamkit.convert(optimizer, to="optax", like=adam(0.1).init({"w": jnp.ones(3)}))
        >>> int(state[0].count), [round(float(x), 3) for x in state[0].mu["w"]]
        (1, [0.1, 0.2, 0.3])
    """
    if to not in FRAMEWORKS:
        raise ValueError(f"to must be one of {', '.join(map(repr, FRAMEWORKS))}. Received: to={to!r}")
    source, target = (import_module(f"adamkit.{name}.exchange") for name in (_framework_of(state), to))
    carried = source.carried(state)
    return target.converted(carried, like, names)


def _framework_of(state: Any) -> str:
    """Where a state is from; no framework is imported to tell."""
    kinds = {"keras": "keras.optimizers", "torch": "torch.optim", "optax": "optax"}
    for name, module in kinds.items():
        if module in sys.modules and import_module(f"adamkit.{name}.exchange").has(state):
            return name
    raise TypeError(
        "state must be a keras.optimizers.Adam or Nadam, a torch.optim.Adam, AdamW or NAdam, one of adamkit's, or a "
        "state of "
        f"adamkit.optax. Received: {type(state).__module__}.{type(state).__name__}"
    )
