"""Adam, AdamW and AMSGrad as gradient transformations, with the signatures of `optax.adam`, `adamw` and `amsgrad`."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from adamkit import moments, rounding, rule, variants
from adamkit.optax.automatic import check_auto, with_found_rate
from adamkit.optax.guard import guarded
from adamkit.optax.state import (
    Float32Parameters,
    ScheduleFree,
    Stored,
    arithmetic_dtype,
    begun,
    leaves_of,
    read,
    state_of,
    written,
)
from adamkit.variants import Variant

_ROUNDINGS = ("nearest", "compensated")


def adam(
    learning_rate: optax.ScalarOrSchedule | str,
    b1: jax.typing.ArrayLike = 0.9,
    b2: jax.typing.ArrayLike = 0.999,
    eps: jax.typing.ArrayLike = 1e-8,
    eps_root: jax.typing.ArrayLike = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
    rectified: bool = False,
    cautious: bool = False,
    adopt: bool = False,
    schedule_free: bool = False,
    blockwise: bool = False,
    momentum_decay: float | None = None,
    moment_dtype: str = "float32",
    parameter_rounding: str = "nearest",
    on_nonfinite: str = "propagate",
) -> optax.GradientTransformationExtraArgs:
    """Adam: Kingma and Ba 2015 (arXiv:1412.6980), Algorithm 1, with the arguments and the state of `optax.adam`.

    It differs from `optax.adam` in its numbers: arithmetic and moments are float32 (float64 for float64 parameters)
    also where parameters and gradients are bfloat16 or float16, and bias correction loses no digits. Updates have the
    dtype of the gradients, as in optax.

    Args:
        learning_rate: η >= 0, or a schedule: a function of the number of steps done. Or "auto": it is found while
            training (Prodigy, Mishchenko and Defazio 2023, arXiv:2306.06101; `optax.contrib.prodigy`), from 1e-6
            upwards. The state, a `Prodigy`, has it as `distance`, and two more arrays of each parameter; `update` needs
            the parameters.
        b1: 0 <= β₁ < 1, the decay rate of the first moment.
        b2: 0 <= β₂ < 1, the decay rate of the second moment.
        eps: ε >= 0, added to the root of the bias-corrected second moment.
        eps_root: ε̄ >= 0, added below the root; for gradients through the step.
        mu_dtype: The dtype of the first moment; None: as `moment_dtype` says.
        nesterov: NAdam: m̂ = β₁·m/(1 − β₁ᵗ⁺¹) + (1 − β₁)·g/(1 − β₁ᵗ) (Dozat 2016; `optax.nadam`).
        rectified: RAdam (Liu et al. 2020, arXiv:1908.03265; `optax.radam`).
        cautious: Of a step, only what goes against the gradient (Liang et al. 2024, arXiv:2411.16085).
        adopt: ADOPT (Taniguchi et al. 2024, arXiv:2411.02853; `optax.contrib.adopt`).
        schedule_free: Defazio et al. 2024 (arXiv:2405.15682; `optax.contrib.schedule_free_adamw`): no schedule of the
            learning rate is needed. Parameters are y, where gradients are taken; what is to be used is x, which
            `adamkit.optax.schedule_free_eval_params(state, params)` gives.
        blockwise: Adam-mini (Zhang et al. 2024, arXiv:2406.16793): what leads to one output shares one v, the mean of
            its g², so that v is next to nothing: 4 bytes a parameter with float32 moments, 2 with "bfloat16", 1 with
            "int8", which leaves v float32. A block is one index of a parameter's last axis, which is that of outputs in
            flax, and a vector is one block; an embedding (tokens, width) has a block a column. Not with `rectified`.
        momentum_decay: ψ > 0: with `nesterov` the β₁ that looks ahead is β₁·(1 − ½·0.96^(tψ)), Dozat's schedule, with
            ψ = 0.004 in `torch.optim.NAdam`. A Python number or None: it is β₁, as in `optax.nadam`.
        moment_dtype: How the moments are stored: "float32" (8 bytes a parameter; float64 for float64 parameters),
            "bfloat16" (4 bytes) or "int8" (2 bytes; not for float64; arrays of less than 4096 elements stay float32).
        parameter_rounding: "nearest": what rounding drops from a bfloat16 or float16 parameter is lost, as in optax.
            "compensated": the state keeps the float32 that it is rounded from, in 4 more bytes an element, and
            `adamkit.optax.apply_updates` gives the parameters that belong to it.
        on_nonfinite: What a step does where a gradient has a NaN or an infinity: "propagate" what the formula gives,
            or "skip": the updates are 0 and the state stays as it is. "raise" is not for JAX, whose programs cannot.

    Returns:
        A transformation with the state of `optax.adam`: a pair, of an `optax.ScaleByAdamState` and of what the learning
        rate counts. With "int8" the first is an `Int8AdamState`; with "compensated" a third is `Float32Parameters`, and
        with `schedule_free` the last a `ScheduleFree`.
        With "skip" it is a `Guarded`, which has that state and counts `skipped_steps`.

    Raises:
        TypeError: An argument has the wrong type, or a parameter is no array of numbers.
        ValueError: A number is out of range, a name is unknown, switches do not go together, or a parameter cannot be
            stored as `moment_dtype` says.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> optimizer = adam(0.01)
        >>> x = jnp.array([3.0, -2.0])
        >>> state = optimizer.init(x)
        >>> @jax.jit
        ... def step(x, state):  # minimize the sum of x²
        ...     updates, state = optimizer.update(2 * x, state)
        ...     return optax.apply_updates(x, updates), state
        >>> for _ in range(2000):
        ...     x, state = step(x, state)
        >>> bool(jnp.abs(x).max() < 1e-3)
        True
    """
    if check_auto(learning_rate, rectified=rectified, adopt=adopt, schedule_free=schedule_free):
        made = functools.partial(
            adam, b1=b1, b2=b2, eps_root=eps_root, mu_dtype=mu_dtype, nesterov=nesterov, cautious=cautious,
            momentum_decay=momentum_decay, blockwise=blockwise, moment_dtype=moment_dtype,
            parameter_rounding=parameter_rounding,
        )  # fmt: skip
        return guarded(with_found_rate(lambda rate, eps: made(rate, eps=eps), b1, b2, eps), on_nonfinite)  # pyright: ignore[reportArgumentType]
    switches = Variant(nesterov, rectified, cautious, adopt, schedule_free, blockwise)
    variant = variants.check(switches, epsilon=eps)  # pyright: ignore[reportArgumentType]
    numbers = _numbers(learning_rate, b1, b2, eps, eps_root, variant, momentum_decay)
    rest = optax.scale_by_learning_rate(learning_rate)  # pyright: ignore[reportArgumentType]
    made = _transformation(numbers, [rest], None, None, mu_dtype, moment_dtype, parameter_rounding, variant)
    return guarded(made, on_nonfinite)


def adamw(
    learning_rate: optax.ScalarOrSchedule | str,
    b1: jax.typing.ArrayLike = 0.9,
    b2: jax.typing.ArrayLike = 0.999,
    eps: jax.typing.ArrayLike = 1e-8,
    eps_root: jax.typing.ArrayLike = 0.0,
    mu_dtype: Any = None,
    weight_decay: optax.ScalarOrSchedule = 1e-4,
    mask: Any = None,
    *,
    nesterov: bool = False,
    rectified: bool = False,
    cautious: bool = False,
    adopt: bool = False,
    schedule_free: bool = False,
    blockwise: bool = False,
    momentum_decay: float | None = None,
    moment_dtype: str = "float32",
    parameter_rounding: str = "nearest",
    on_nonfinite: str = "propagate",
) -> optax.GradientTransformationExtraArgs:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), as `optax.adamw`.

    Args:
        learning_rate: As in `adam`, and so `b1`, `b2`, `eps`, `eps_root`, `mu_dtype` and what is not named here.
        b1: See `adam`.
        b2: See `adam`.
        eps: See `adam`.
        eps_root: See `adam`.
        mu_dtype: See `adam`.
        weight_decay: λ >= 0, or a schedule: each step takes η·λ of a parameter.
        mask: A tree like the parameters', or the beginning of one, of True where a parameter decays; or a function of
            the parameters that gives one. None: all decay.
        nesterov: See `adam`.
        rectified: See `adam`.
        cautious: See `adam`.
        adopt: See `adam`.
        schedule_free: See `adam`.
        blockwise: See `adam`.
        momentum_decay: See `adam`.
        moment_dtype: See `adam`.
        parameter_rounding: See `adam`.
        on_nonfinite: See `adam`.

    Returns:
        A transformation with the state of `optax.adamw`. Its `update` needs the parameters.

    Raises:
        TypeError: As in `adam`.
        ValueError: As in `adam`.

    Example:
        >>> import jax.numpy as jnp
        >>> optimizer = adamw(0.1, weight_decay=0.5)
        >>> x = jnp.array([4.0])
        >>> updates, _ = optimizer.update(jnp.zeros(1), optimizer.init(x), x)
        >>> round(float(updates[0]), 4)  # -0.1 · 0.5 · 4
        -0.2
    """
    if check_auto(learning_rate, rectified=rectified, adopt=adopt, schedule_free=schedule_free):
        made = functools.partial(
            adamw, b1=b1, b2=b2, eps_root=eps_root, mu_dtype=mu_dtype, nesterov=nesterov, cautious=cautious,
            weight_decay=weight_decay, mask=mask,
            momentum_decay=momentum_decay, blockwise=blockwise, moment_dtype=moment_dtype,
            parameter_rounding=parameter_rounding,
        )  # fmt: skip
        return guarded(with_found_rate(lambda rate, eps: made(rate, eps=eps), b1, b2, eps), on_nonfinite)  # pyright: ignore[reportArgumentType]
    switches = Variant(nesterov, rectified, cautious, adopt, schedule_free, blockwise)
    variant = variants.check(switches, epsilon=eps)  # pyright: ignore[reportArgumentType]
    numbers = _numbers(learning_rate, b1, b2, eps, eps_root, variant, momentum_decay)
    if not callable(weight_decay):
        weight_decay = _number("weight_decay", weight_decay)
    decays = optax.add_decayed_weights(weight_decay, mask)
    rest = [decays, optax.scale_by_learning_rate(learning_rate)]  # pyright: ignore[reportArgumentType]
    made = _transformation(numbers, rest, weight_decay, mask, mu_dtype, moment_dtype, parameter_rounding, variant)
    return guarded(made, on_nonfinite)


def amsgrad(
    learning_rate: optax.ScalarOrSchedule,
    b1: jax.typing.ArrayLike = 0.9,
    b2: jax.typing.ArrayLike = 0.999,
    eps: jax.typing.ArrayLike = 1e-8,
    eps_root: jax.typing.ArrayLike = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
    cautious: bool = False,
    blockwise: bool = False,
    momentum_decay: float | None = None,
    moment_dtype: str = "float32",
    parameter_rounding: str = "nearest",
    on_nonfinite: str = "propagate",
) -> optax.GradientTransformationExtraArgs:
    """AMSGrad (Reddi et al. 2018, arXiv:1904.09237): Adam, divided by the root of the largest v so far.

    The largest is that of v, and bias correction follows, as in PyTorch and Keras. `optax.amsgrad` takes the largest of
    the bias-corrected v, which is that of the first steps for long; `from_optax` says how its state is taken over.

    Args:
        learning_rate: As in `adam`, and so all others.
        b1: See `adam`.
        b2: See `adam`.
        eps: See `adam`.
        eps_root: See `adam`.
        mu_dtype: See `adam`.
        nesterov: See `adam`.
        cautious: See `adam`.
        blockwise: See `adam`.
        momentum_decay: See `adam`.
        moment_dtype: See `adam`. With "int8" v and its largest are bfloat16: 5 bytes a parameter in all.
        parameter_rounding: See `adam`.
        on_nonfinite: See `adam`.

    Returns:
        A transformation whose state is a pair as `optax.amsgrad`'s, with an `optax.ScaleByAmsgradState`.

    Raises:
        TypeError: As in `adam`.
        ValueError: As in `adam`.

    Example:
        >>> import jax.numpy as jnp
        >>> optimizer = amsgrad(0.1)
        >>> state = optimizer.init(jnp.zeros(1))
        >>> for gradient in (3.0, 1.0):
        ...     _, state = optimizer.update(jnp.array([gradient]), state)
        >>> bool(state[0].nu_max[0] >= state[0].nu[0])
        True
    """
    variant = variants.check(Variant(nesterov=nesterov, cautious=cautious, blockwise=blockwise), amsgrad=True)
    numbers = _numbers(learning_rate, b1, b2, eps, eps_root, variant, momentum_decay)
    rest = optax.scale_by_learning_rate(learning_rate)
    made = _transformation(
        numbers, [rest], None, None, mu_dtype, moment_dtype, parameter_rounding, variant, amsgrad=True
    )
    return guarded(made, on_nonfinite)


def _numbers(
    learning_rate: Any, b1: Any, b2: Any, eps: Any, eps_root: Any, variant: Variant, momentum_decay: Any
) -> Callable[..., Any]:
    """A function of the steps done, of λ and of the sum of η² before, to a step's coefficients and the new sum."""
    if not callable(learning_rate):
        learning_rate = _number("learning_rate", learning_rate)
    first, second = _decay("b1", b1), _decay("b2", b2)
    eps, eps_root = _number("eps", eps), _number("eps_root", eps_root)
    momentum_decay = rule.check_momentum_decay(momentum_decay, nesterov=variant.nesterov)

    def numbers(count: Any, weight_decay: Any, weight_sum: Any) -> tuple[rule.Coefficients, Any]:
        eta = learning_rate(count) if callable(learning_rate) else learning_rate
        step = jnp.asarray(optax.safe_increment(count), float)
        c = rule.averaging(eta, weight_sum, jnp) if variant.schedule_free else 0.0
        k = rule.coefficients(
            step,
            eta,
            first,
            second,
            eps,
            weight_decay,
            root_epsilon=eps_root,
            variant=variant,
            averaging=c,
            momentum_decay=momentum_decay,
            xp=jnp,
        )
        return k, weight_sum + rule.averaging_weight(eta) if variant.schedule_free else weight_sum

    return numbers


def _transformation(
    numbers: Callable[..., Any],
    rest: list[optax.GradientTransformation],  # whose states are kept as optax keeps them: counts of steps
    weight_decay: Any,
    mask: Any,
    mu_dtype: Any,
    moment_dtype: str,
    parameter_rounding: str,
    variant: Variant,
    *,
    amsgrad: bool = False,
) -> optax.GradientTransformationExtraArgs:
    moments.check_format("moment_dtype", moment_dtype)
    if parameter_rounding not in _ROUNDINGS:
        accepted = " or ".join(map(repr, _ROUNDINGS))
        raise ValueError(f"parameter_rounding must be {accepted}. Received: {parameter_rounding!r}")
    if mu_dtype is not None:
        mu_dtype = jax.dtypes.canonicalize_dtype(mu_dtype)
        if moment_dtype != "float32":
            raise ValueError(
                f"mu_dtype is for moment_dtype='float32', which leaves it a choice. Received: mu_dtype={mu_dtype} with "
                f"moment_dtype={moment_dtype!r}"
            )
    keeps = parameter_rounding == "compensated"

    def init(params: optax.Params) -> Any:
        counts = [transformation.init(params) for transformation in rest]
        exact = [Float32Parameters(jax.tree.map(_exact, params))] if keeps else []
        averages = [ScheduleFree(jnp.zeros((), jnp.float32))] if variant.schedule_free else []
        adam = begun(params, moment_dtype, mu_dtype, amsgrad=amsgrad, in_blocks=variant.blockwise)
        return (adam, *counts, *exact, *averages)

    def update(updates: optax.Updates, state: Any, params: optax.Params | None = None, **_: Any) -> Any:
        kept, *counts = state
        if params is None and (keeps or weight_decay is not None):
            raise ValueError("update needs params: weight decay and parameter_rounding='compensated' read them")
        weight_sum = counts.pop().weight_sum if variant.schedule_free else 0.0
        exact = counts.pop() if keeps else None
        decay = 0.0 if weight_decay is None else weight_decay(kept.count) if callable(weight_decay) else weight_decay
        k, weight_sum = numbers(kept.count, decay, weight_sum)
        count = optax.safe_increment(kept.count)
        gradients, structure = jax.tree.flatten(updates)
        parameters = [None] * len(gradients) if params is None else structure.flatten_up_to(params)
        wide = [None] * len(gradients) if exact is None else structure.flatten_up_to(exact.values)
        decays = [True] * len(gradients) if mask is None else _decays(mask, params, structure)
        columns = leaves_of(kept, structure)
        steps = [
            _step(gradient, parameter, value, dict(zip(columns, stored, strict=True)), count, _of_leaf(k, decays))
            for gradient, parameter, value, decays, *stored in zip(
                gradients, parameters, wide, decays, *columns.values(), strict=True
            )
        ]
        trees = {name: structure.unflatten([new[name] for _, _, new in steps]) for name in columns}
        counts = [jax.tree.map(optax.safe_increment, old) for old in counts]
        if keeps:
            counts.append(Float32Parameters(structure.unflatten([value for _, value, _ in steps])))
        if variant.schedule_free:
            counts.append(ScheduleFree(jnp.asarray(weight_sum, jnp.float32)))
        changes = structure.unflatten([change for change, _, _ in steps])
        return changes, (state_of(type(kept), count, trees), *counts)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


def _step(
    gradient: Any, parameter: Any, exact: Any, stored: dict[str, Stored], count: Any, k: rule.Coefficients
) -> tuple[Any, Any, dict[str, Stored]]:
    """The update of a parameter, the float32 that it is rounded from if that is kept, and its new moments."""
    dtype = arithmetic_dtype(gradient)
    held = stored["nu"].values.dtype
    dtype = jnp.promote_types(dtype, held) if held in (jnp.float64, jnp.complex64, jnp.complex128) else dtype
    real = jnp.finfo(dtype).dtype
    k = jax.tree.map(lambda x: x.astype(real) if isinstance(x, jax.Array) else x, k)
    is_complex = jnp.issubdtype(dtype, jnp.complexfloating)
    if is_complex and (k.variant.adopt or k.variant.cautious):
        raise TypeError("adopt and cautious compare signs, which complex parameters do not have")
    g = jnp.asarray(gradient, dtype)
    read_as = {"mu": dtype, "nu": real, "nu_max": real}
    m, v, *largest = (read(moment, name, read_as[name]) for name, moment in stored.items())
    keeps = exact is not None and not isinstance(exact, optax.MaskedNode)
    theta: Any = None if parameter is None else jnp.asarray(parameter, dtype)
    if keeps:
        theta = rounding.restore(parameter, exact, jnp)
    new = rule.change_of(
        theta, g, m, v, largest[0] if largest else None, k, jnp, size=jnp.abs(g) if is_complex else None
    )
    new_moments: Any = new[1:]
    kept = {name: written(moment, stored[name], name, count) for name, moment in zip(stored, new_moments, strict=False)}
    change = -new.change
    if keeps:
        exact = theta - new.change
        narrow = jnp.asarray(parameter)
        change = exact.astype(narrow.dtype).astype(dtype) - narrow.astype(dtype)
    inexact = jnp.issubdtype(jnp.result_type(gradient), jnp.inexact)
    return change.astype(jnp.result_type(gradient)) if inexact else change, exact, kept


def _exact(parameter: Any) -> Any:
    narrow = jnp.result_type(parameter) in (jnp.bfloat16, jnp.float16)
    return jnp.asarray(parameter).astype(jnp.float32) if narrow else optax.MaskedNode()


def _decays(mask: Any, params: Any, structure: Any) -> list[bool]:
    """For each parameter, whether it decays."""
    tree = mask(params) if callable(mask) else mask
    whole = jax.tree.map(lambda on, part: jax.tree.map(lambda _: on, part), tree, params)
    return structure.flatten_up_to(whole)


def _of_leaf(k: rule.Coefficients, decays: Any) -> rule.Coefficients:
    return k if isinstance(decays, bool) and decays else k._replace(shrinkage=k.shrinkage * jnp.asarray(decays, float))


def _number(name: str, value: Any, below: float = float("inf")) -> Any:
    """A checked Python number, or the array that a caller's program (`optax.inject_hyperparams`) passes in."""
    return value if hasattr(value, "dtype") else rule.check_number(name, value, below=below)


def _decay(name: str, beta: Any) -> rule.Decay:
    beta = _number(name, beta, below=1)
    if isinstance(beta, float):
        return _decay_of(beta)
    complement = 1 - beta  # exact for β >= 0.5; a float32 log of β would not be
    return rule.Decay(beta, complement, jnp.log1p(-complement))


_decay_of = functools.lru_cache(rule.Decay.of)
