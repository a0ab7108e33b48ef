"""Adam for Keras 3, on the JAX, TensorFlow and PyTorch backends."""

import contextlib
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from adamkit import moments, prodigy, rounding, rule, variants
from adamkit.blockwise import LAST, axes_of_blocks, shape_of_blocks
from adamkit.description import Description, described
from adamkit.guards import check_nonfinite, not_finite
from adamkit.keras import conversion
from adamkit.keras.arithmetic import arithmetic_dtype, dtype_of, int32, learning_rate_in_float32, namespace, number
from adamkit.keras.automatic import check_auto, step_with_found_rate
from adamkit.keras.averages import let_models_follow
from adamkit.keras.coefficients import coefficients, numbers_of
from adamkit.keras.describing import row
from adamkit.keras.groups import Groups, with_schedules
from adamkit.keras.guards import apply_guarded
from adamkit.keras.internals import averages_of, layout_of_blocks, layout_of_rows, layout_without, trained_by
from adamkit.keras.lookups import let_training_be_sparse, sparse_lookups
from adamkit.keras.one_pass import step_as_one_program, step_in_one_pass, step_large_as_one_program
from adamkit.keras.rows import catch_up, step_rows, step_sparse
from adamkit.keras.sparse import Rows, checked_lazy, dense, is_sparse, once, widened, with_values
from adamkit.keras.state import MOMENT_NAMES, Slot, loaded
from adamkit.variants import Variant


@keras.saving.register_keras_serializable(package="adamkit")
class Adam(keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, Algorithm 1), a drop-in for `keras.optimizers.Adam`.

    For step t = 1, 2, …, gradient g and variable θ:

        m ← β₁·m + (1 − β₁)·g
        v ← β₂·v + (1 − β₂)·g²
        θ ← θ − η · m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + ε)

    It differs from Keras's in two things. ε is added after bias correction, as in the paper; Keras adds it before,
    where it weighs 32 times as much on the first step (`epsilon_hat=True` does as Keras does). And every dtype trains:
    arithmetic is float32 for float16 and bfloat16 variables, float64 for float64 ones, and what rounding drops from a
    variable is kept beside it.

    Args:
        learning_rate: η, a float >= 0, a `keras.optimizers.schedules.LearningRateSchedule` or a callable without
            arguments. Or `"auto"`: it is found while training (Prodigy, Mishchenko and Defazio 2023, arXiv:2306.06101),
            from 1e-6 upwards; `optimizer.learning_rate` is always what it is now. Two more arrays are kept of each
            variable. Defaults to 0.001.
        beta_1: 0 <= β₁ < 1, the decay rate of the first moment. Defaults to 0.9.
        beta_2: 0 <= β₂ < 1, the decay rate of the second moment. Defaults to 0.999.
        epsilon: ε >= 0. Defaults to 1e-7.
        amsgrad: Divide by the largest second moment so far (Reddi et al. 2018, arXiv:1904.09237). Defaults to False.
        weight_decay: λ >= 0 or None. Decoupled: θ shrinks by η·λ each step (Loshchilov and Hutter 2019,
            arXiv:1711.05101), as in Keras. Defaults to None.
        clipnorm: Clip the gradient of each variable to this norm. At most one of the three kinds of clipping.
        clipvalue: Clip each element of the gradients to this absolute value.
        global_clipnorm: Clip all gradients together to this norm.
        use_ema: Keep an exponential moving average of the variables. Defaults to False.
        ema_momentum: The average's decay rate, in [0, 1]. Defaults to 0.99.
        ema_overwrite_frequency: Overwrite the variables by their average every so many steps; None: at the end of
            `fit`, or when `finalize_variable_values` is called.
        loss_scale_factor: The loss was multiplied by this number; the gradients are divided by it.
        gradient_accumulation_steps: Average the gradients of so many (>= 2) calls into one step.
        name: The optimizer's name.
        epsilon_hat: Add ε before bias correction ("epsilon hat" in the paper), as Keras and TensorFlow do: for a run
            that began there. Defaults to False.
        moment_dtype: How the two moments are stored: `"float32"` (8 bytes a parameter), `"bfloat16"` (4 bytes) or
            `"int8"` (2 bytes; variables of less than 4096 elements stay float32, and a float64 variable is a
            ValueError when the optimizer is built). Arithmetic is the same. Defaults to `"float32"`.
        parameter_rounding: How a bfloat16 or float16 variable keeps what a step adds to it; no effect on others.
            `"compensated"`: all of it, in 2 more bytes an element for bfloat16 and 4 for float16, so that training is
            that of a float32 variable to the bit. `"compensated8"`: to 1/256 of the variable's ulp, in 1 byte.
            `"stochastic"`: on average, in none. `"nearest"`: rounded to the nearest; small steps are lost.
            Defaults to `"compensated"`.
        rounding_seed: A whole number, 0 <= seed < 2³², from which the random bits of `"compensated8"` and
            `"stochastic"` are made: the same seed, the same bits. Defaults to 0.
        on_nonfinite: What a step does where a gradient has a NaN or an infinity. `"propagate"`: what the formula gives,
            NaN. `"skip"`: nothing; variables, moments and step count stay exactly as they are, and `skipped_steps`
            counts it. `"raise"`: a FloatingPointError that names the variable and the step, before which all is left;
            in a compiled program no further step is taken, and the error comes after it: from `lab.train` after the
            epoch, from `fit` at its end, else from `raise_nonfinite`. Defaults to `"propagate"`.
        bias_correction: False leaves bias correction out, to see what it is for: m and v themselves are used, which
            begin at 0. Defaults to True.
        adaptivity: False leaves out the division by √v̂ + ε: the step is η·m̂, gradient descent with momentum, and
            wants a larger η. `beta_2`, `epsilon` and `amsgrad` then have no part in it. Defaults to True.
        nesterov: NAdam (Dozat 2016): m̂ = β₁·m/(1 − β₁ᵗ⁺¹) + (1 − β₁)·g/(1 − β₁ᵗ). Defaults to False.
        rectified: RAdam (Liu et al. 2020, arXiv:1908.03265): the first steps are momentum alone, and the next smaller,
            while v knows too little. Defaults to False.
        cautious: Of a step, only what goes against the gradient (Liang et al. 2024, arXiv:2411.16085). Defaults to
            False.
        adopt: ADOPT (Taniguchi et al. 2024, arXiv:2411.02853), which converges for any β₂: the gradient is divided by
            the root of the v before it, and m is the mean of that. The first step only sets v. Its paper has β₂ =
            0.9999 and ε = 1e-6. Defaults to False.
        schedule_free: Defazio et al. 2024 (arXiv:2405.15682): no schedule of the learning rate is needed. Gradients are
            taken at y; what is to be used is x, a mean over the way. In `fit` the variables are y; around `evaluate`,
            validation, `predict` and `save`, and after `fit`, they are x, without a call. In a loop of one's own,
            `eval()` and `train()` change them. Defaults to False.
        blockwise: Adam-mini (Zhang et al. 2024, arXiv:2406.16793): what leads to one output shares one v, the mean of
            its g², so that v is next to nothing: 4 bytes a parameter with float32 moments, 2 with `"bfloat16"`, 1 with
            `"int8"`, which leaves v float32. A block is one index of a kernel's last axis, and a vector is one block;
            an `Embedding`, whose table has the shape of a kernel, has a block a column. Not with `rectified` or `lazy`.
            Defaults to False.
        momentum_decay: ψ > 0: with `nesterov` the β₁ that looks ahead is β₁·(1 − ½·0.96^(tψ)), Dozat's schedule:
            `keras.optimizers.Nadam` has ψ = 1, `torch.optim.NAdam` ψ = 0.004. Defaults to None: it is β₁.
        lazy: Of a sparse gradient step only the rows that it has, and their moments, so that a step over a large
            embedding takes the time of the rows of a batch. Bias correction goes by the steps of the whole variable,
            and the other rows stay: neither their momentum nor weight decay moves them. True: their moments stay, too.
            `"exact"`: a row's moments first decay for the steps that it missed, so that they are dense Adam's; the
            last step of each row is kept in 4 bytes. On TensorFlow wherever gradients are sparse; on JAX and PyTorch
            for `Embedding` layers in `fit`, `train_on_batch` and the lab, and on PyTorch in `sparse_gradients`. Not
            with `moment_dtype="int8"`, `gradient_accumulation_steps`, `schedule_free`, `blockwise` or
            `learning_rate="auto"`. Defaults to False: every row is stepped, as its moments say.
        groups: Learning rates and weight decay of their own for some variables: a dict from patterns on
            `variable.path`, as of `fnmatch` (`"encoder/*"`, `"*/bias"`), to dicts with `learning_rate` (a float or a
            schedule, in place of the optimizer's) or `learning_rate_multiplier` (times it), and `weight_decay`. A
            pattern may begin after any slash of a path; where several match, the later one decides. One that matches
            nothing is an error when the optimizer is built. `adamkit.keras.without_decay` makes some. Defaults to None.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range, unknown, or does not go with another; when the optimizer is built,
            no variable matches a pattern of `groups`.

    Example:
        >>> import keras
        >>> from adamkit.keras import Adam
        >>> variable = keras.Variable([1.0, -2.0])
        >>> optimizer = Adam(learning_rate=0.1)
        >>> optimizer.apply([keras.ops.array([0.5, -3.0])], [variable])
        >>> [round(float(x), 4) for x in variable.numpy()]  # the first step is η in each coordinate
        [0.9, -1.9]
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        *,
        epsilon_hat: bool = False,
        moment_dtype: str = "float32",
        parameter_rounding: str = "compensated",
        rounding_seed: int = 0,
        bias_correction: bool = True,
        adaptivity: bool = True,
        on_nonfinite: str = "propagate",
        nesterov: bool = False,
        rectified: bool = False,
        cautious: bool = False,
        adopt: bool = False,
        schedule_free: bool = False,
        blockwise: bool = False,
        momentum_decay: float | None = None,
        lazy: bool | str = False,
        groups: Any = None,
        **kwargs: Any,
    ):
        is_auto = isinstance(learning_rate, str) and learning_rate == "auto"
        if is_auto:
            learning_rate = prodigy.START
        checked: Any = learning_rate
        if not callable(learning_rate):  # a schedule is callable
            checked = rule.check_number("learning_rate", number(learning_rate))
        with learning_rate_in_float32():
            super().__init__(
                learning_rate=checked,
                beta_1=rule.check_number("beta_1", number(beta_1), below=1),
                beta_2=rule.check_number("beta_2", number(beta_2), below=1),
                epsilon=rule.check_number("epsilon", number(epsilon)),
                amsgrad=rule.check_flag("amsgrad", amsgrad),
                weight_decay=None if weight_decay is None else rule.check_number("weight_decay", number(weight_decay)),
                clipnorm=clipnorm,
                clipvalue=clipvalue,
                global_clipnorm=global_clipnorm,
                use_ema=use_ema,
                ema_momentum=ema_momentum,
                ema_overwrite_frequency=ema_overwrite_frequency,
                loss_scale_factor=loss_scale_factor,
                gradient_accumulation_steps=gradient_accumulation_steps,
                name=name,
                **kwargs,
            )
        self.epsilon_hat = rule.check_flag("epsilon_hat", epsilon_hat)
        self.moment_dtype = moments.check_format("moment_dtype", moment_dtype)
        self.parameter_rounding = rounding.check_rounding("parameter_rounding", parameter_rounding)
        self.rounding_seed = rounding.check_seed("rounding_seed", rounding_seed)
        self.on_nonfinite = check_nonfinite("on_nonfinite", on_nonfinite)
        self._guard: Any = None  # with "skip" the number of skipped steps, with "raise" a step and a variable
        self.bias_correction = rule.check_flag("bias_correction", bias_correction)
        self.adaptivity = rule.check_flag("adaptivity", adaptivity)
        self._averages: Any = None  # schedule-free: the sum of η², and 1 while the model's variables are x
        if schedule_free and use_ema:
            raise ValueError("schedule_free=True does not go with use_ema=True: x is a mean already. Received: both")
        checked = variants.check(
            Variant(nesterov, rectified, cautious, adopt, schedule_free, blockwise),
            amsgrad=amsgrad,
            epsilon_hat=epsilon_hat,
            bias_correction=bias_correction,
            adaptivity=adaptivity,
            epsilon=self.epsilon,
        )
        self.nesterov, self.rectified, self.cautious, self.adopt, self.schedule_free, self.blockwise = checked
        self.momentum_decay = rule.check_momentum_decay(number(momentum_decay), nesterov=nesterov)
        if schedule_free:
            let_models_follow()
        self.finds_rate = is_auto
        self._estimate: Any = None  # learning_rate="auto": r of `prodigy.Estimate`
        self.lazy = checked_lazy(
            lazy,
            schedule_free="schedule_free=True" if schedule_free else None,
            blockwise="blockwise=True" if blockwise else None,
            auto='learning_rate="auto"' if is_auto else None,
            int8="moment_dtype='int8'" if moment_dtype == "int8" else None,
            accumulation="gradient_accumulation_steps" if gradient_accumulation_steps else None,
        )
        if lazy and keras.backend.backend() == "torch":
            let_training_be_sparse()
        if lazy and keras.backend.backend() == "jax":
            from adamkit.keras import lookups_on_jax

            lookups_on_jax.let_training_be_sparse()
        self._grouping = groups if isinstance(groups, Groups) else Groups(groups)
        if is_auto:
            check_auto(self)

    @property
    def groups(self) -> dict[str, dict[str, Any]] | None:
        """The settings of their own that some variables have, by pattern, as they were given."""
        return self._grouping.as_given()

    def build(self, var_list):
        """Make the optimizer's variables: for each variable of the model the moments, and what rounding it drops."""
        if self.built:
            return
        for variable in var_list if self.moment_dtype == "int8" else ():
            if dtype_of(variable) == "float64":
                raise ValueError(
                    "moment_dtype='int8' is for variables of float32, bfloat16 or float16; float64 ones need "
                    f"moment_dtype='float32', which keeps float64. Received: {variable.path} of dtype float64"
                )
        self._own = self._grouping.resolve([_path(variable) for variable in var_list])
        super().build(var_list)
        self._scales = self._add_scales(var_list)
        self._remainders = [self._add_remainder(variable) for variable in var_list]
        self._last_steps = [self._add_last_steps(variable) for variable in var_list]
        if self.on_nonfinite != "propagate":
            self._guard = super().add_variable((2,), dtype="int32", name="nonfinite")
        if self.schedule_free:
            self._averages = super().add_variable((2,), dtype="float32", name="averages")
        if self.finds_rate:
            self._estimate = super().add_variable((1,), dtype="float32", name="agreement")
            trained = [variable for variable in var_list if not self._overwrite_variable_with_gradient(variable)]
            added = self.add_variable_from_reference
            self._starts = {id(variable): added(variable, name="start") for variable in trained}
            self._sums = {id(variable): added(variable, name="sum") for variable in trained}

    def _add_scales(self, variables: Any) -> list[list]:
        """For each variable and each of its moments the variable that holds its scales, or None."""
        scales: list[list] = [[None] * len(MOMENT_NAMES) for _ in variables]
        for kinds in (MOMENT_NAMES[:2], MOMENT_NAMES[2:] if self.amsgrad else ()):  # the order of the moments
            for own, variable in zip(scales, variables, strict=True):
                size = math.prod(variable.shape)
                if self._overwrite_variable_with_gradient(variable):
                    continue
                prefix = _path(variable).replace("/", "_").replace(":", "_")
                for name in kinds:
                    if self._moment_format(name, size) != "int8":
                        continue
                    layout = layout_of_blocks(variable, moments.BLOCK)
                    own[MOMENT_NAMES.index(name)] = self.add_variable(
                        moments.shape_of_scales(tuple(variable.shape), shaped=layout is not None),
                        dtype="uint8",
                        layout=layout,
                        name=f"{prefix}_{name}_scale",
                    )
        return scales

    def _add_remainder(self, variable: Any) -> Any:
        kept = rounding.remainder_dtype(dtype_of(variable), self.parameter_rounding)
        if kept is None or self._overwrite_variable_with_gradient(variable):
            return None
        return self.add_variable_from_reference(variable, name="remainder")

    def _add_last_steps(self, variable: Any) -> Any:
        """With `lazy="exact"`, what holds the last step of each row: m and v of the row are as of then."""
        if self.lazy != "exact" or not variable.shape or self._overwrite_variable_with_gradient(variable):
            return None
        name = f"{_path(variable).replace('/', '_').replace(':', '_')}_last_step"
        return super().add_variable((variable.shape[0],), dtype="int32", layout=layout_of_rows(variable), name=name)

    def add_variable(self, shape, initializer="zeros", dtype=None, *args: Any, name: str | None = None, **kwargs: Any):
        """As in Keras, but never narrower than float32, apart from what is stored in fewer bits."""
        kind = (name or "").rpartition("_")[2] if not (name or "").endswith("_velocity_hat") else "velocity_hat"
        if kind == "remainder":
            dtype = rounding.remainder_dtype(str(dtype), self.parameter_rounding)
        if dtype is not None and keras.backend.standardize_dtype(dtype) in rounding.NARROW:
            dtype = "float32"
        if kind in MOMENT_NAMES:
            stored = self._moment_format(kind, math.prod(shape))
            dtype = {"float32": dtype, "int8": "uint8"}.get(stored, stored)
            if self.blockwise and kind != "momentum":
                kwargs["layout"] = layout_without(kwargs.get("layout"), axes_of_blocks(shape, LAST))
                shape = shape_of_blocks(shape, LAST)
        return super().add_variable(shape, initializer, dtype, *args, name=name, **kwargs)

    def _moment_format(self, name: str, size: int) -> str:
        """How a moment of a variable of that many elements is stored, one of `moments.FORMATS`."""
        stored = moments.format_of(size, self.moment_dtype)
        return stored if name == "momentum" else moments.second_format(stored, self.amsgrad, self.blockwise)

    def apply(self, grads, trainable_variables=None):
        """One step: update the variables by their gradients.

        Args:
            grads: List of gradients, one a variable; tensors of the variable's shape, or None where there is none.
            trainable_variables: List of the variables, in the same order. May be left out once the optimizer is built.
        """
        # Widened first, so that unscaling, clipping and accumulation do not overflow or round either.
        grads = [widened(gradient) for gradient in grads]
        grads = [dense(one) if isinstance(one, Rows) and not self.lazy else one for one in grads]
        if self.on_nonfinite == "propagate":
            return super().apply(grads, trainable_variables)
        return apply_guarded(self, super().apply, grads, trainable_variables)

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        """As in Keras: what `apply` would make of these values of the variables."""
        if self.lazy and keras.backend.backend() == "jax":
            from adamkit.keras import lookups_on_jax

            grads, trainable_variables = lookups_on_jax.in_rows(grads, trainable_variables)
        return super().stateless_apply(optimizer_variables, grads, trainable_variables)

    @property
    def skipped_steps(self) -> int:
        """How many steps were skipped, with `on_nonfinite="skip"`, since a gradient was not finite."""
        return 0 if self._guard is None or self.on_nonfinite != "skip" else int(self._guard_now()[0])

    @property
    def has_stopped(self) -> bool:
        """With `on_nonfinite="raise"`: whether a compiled program met one, which `raise_nonfinite` tells."""
        return self._guard is not None and self.on_nonfinite == "raise" and bool(self._guard_now()[0])

    def raise_nonfinite(self) -> None:
        """With `on_nonfinite="raise"`: the FloatingPointError of a step in a compiled program, if there was one."""
        if self.has_stopped:
            step, place = (int(number) for number in self._guard_now())
            self._guard.assign(np.zeros(2, "int32"))  # told once
            raise not_finite(trained_by(self)[place].path, step)

    def describe(self) -> Description:
        """Which variables are stepped by which settings, how they and their moments are stored, and in how many bytes.

        Returns:
            A table when printed; its `rows` have the figures. A variable is in the row of the patterns of `groups`
            that decide its settings, or in that of all others.

        Raises:
            ValueError: The optimizer is not built yet, as it is after `fit`, or after
                `optimizer.build(model.trainable_variables)`.
        """
        if not self.built:
            raise ValueError(
                f"{self.name} must be built before it is described: optimizer.build(model.trainable_variables)"
            )
        trained = (v for v in trained_by(self) if not self._overwrite_variable_with_gradient(v))
        return described(row(self, variable) for variable in trained)

    def finalize_variable_values(self, var_list):
        """As in Keras, at the end of `fit`; with `on_nonfinite="raise"` also the error of a step in it."""
        super().finalize_variable_values(var_list)
        self.eval()
        self.raise_nonfinite()

    def eval(self) -> None:
        """With `schedule_free`: make the model's variables x, to evaluate, to use and to save them; else nothing.

        `fit`, `evaluate`, `predict`, `save` and the like do so by themselves; a loop of one's own has to. Statistics of
        batch normalization are those at y until `adamkit.keras.recalibrate` computes them anew.

        Example:
            >>> import keras
            >>> from adamkit.keras import Adam
            >>> variable = keras.Variable([3.0])
            >>> optimizer = Adam(0.1, schedule_free=True)
            >>> for _ in range(500):  # minimize x²
            ...     optimizer.apply([2 * variable], [variable])
            >>> optimizer.eval()
            >>> abs(float(variable.numpy()[0])) < 0.05
            True
            >>> optimizer.train()  # before the next step
        """
        self.use_averages(True)

    def sparse_gradients(self) -> contextlib.AbstractContextManager:
        """With `lazy` on PyTorch: a context in which `Embedding` layers have sparse gradients.

        `fit` and `train_on_batch` make it by themselves; in a loop of one's own the loss is to be computed in it, with
        the optimizer built. On other backends it changes nothing.

        Example:
            >>> from adamkit.keras import Adam
            >>> optimizer = Adam(lazy=True)
            >>> with optimizer.sparse_gradients():
            ...     pass  # loss = loss_of(model(x, training=True), y)
        """
        is_needed = self.lazy and keras.backend.backend() == "torch"
        return sparse_lookups(self) if is_needed else contextlib.nullcontext()

    def train(self) -> None:
        """With `schedule_free`: make the model's variables y again, which a step needs; see `eval`."""
        self.use_averages(False)

    @property
    def is_averaged(self) -> bool:
        """With `schedule_free`: whether the model's variables are x now, and no step can be taken."""
        return self._averages is not None and bool(np.asarray(ops.convert_to_numpy(self._averages.value))[1])

    def use_averages(self, on: bool) -> None:
        """`eval`, or `train` where `on` is False."""
        if self._averages is None or self.is_averaged == on:
            return
        for variable in trained_by(self):
            if (lead := self._lead(variable)) is not None:
                wide = self._wide(variable)
                self._assign_wide(variable, wide + lead if on else wide - lead)
        flag = np.array([0, 1], "float32")
        self._averages.assign(self._averages + flag if on else self._averages - flag)

    def averages(self) -> list:
        """With `schedule_free`: x of each variable, as arrays of its dtype, whatever the variables are now."""
        found = []
        for variable in trained_by(self):
            wide, lead = self._wide(variable), self._lead(variable)
            x = wide if lead is None else wide + lead * ops.cast(1.0 - self._averages[1], lead.dtype)
            found.append(ops.cast(x, dtype_of(variable)))
        return found

    def averaged_state(self) -> list:
        """What `eval` and `train` change."""
        remainders = [remainder for remainder in self._remainders if remainder is not None]
        return [*trained_by(self), *remainders, self._averages]

    def _lead(self, variable: Any) -> Any:
        """With `schedule_free`: x - y, which is kept in place of m; None where a step does not train the variable."""
        slot = self._slots(variable)[0]
        return None if slot.values is None else slot.read(arithmetic_dtype(variable))

    def _guard_now(self) -> np.ndarray:
        return np.asarray(ops.convert_to_numpy(self._guard.value))

    def update_step(self, gradient, variable, learning_rate):
        """One step of one variable."""
        dtype = arithmetic_dtype(variable)
        k = numbers_of(self, variable, coefficients(self, learning_rate))
        if self.lazy and is_sparse(gradient):
            step_rows(self, gradient, variable, k, dtype)
            return
        catch_up(self, variable)
        slots = self._slots(variable)
        first, second, *maximum = (slot.read(dtype) for slot in slots)
        new = rule.update(
            self._wide(variable),
            ops.cast(dense(gradient), dtype),
            first,
            second,
            maximum[0] if maximum else None,
            k,
            namespace(),
        )
        self._assign_wide(variable, new.parameter)
        for slot, moment in zip(slots, new[1:], strict=False):
            slot.write(moment, self._step(), self.assign)

    def missed_steps(self, variable: Any) -> Any:
        """With `lazy="exact"`: how many steps, (rows,), have been made since m and v of each row; else None."""
        last = self._last_steps[self._get_variable_index(variable)]
        return None if last is None else int32(self.iterations) - ops.convert_to_tensor(last)

    def _wide(self, variable: Any) -> Any:
        """The number that a variable and its remainder stand for, in the dtype of the arithmetic."""
        if dtype_of(variable) not in rounding.NARROW:
            return ops.cast(variable, arithmetic_dtype(variable))
        remainder = self._remainders[self._get_variable_index(variable)]
        kept = None if remainder is None else ops.convert_to_tensor(remainder)
        return rounding.restore(ops.convert_to_tensor(variable), kept, ops)

    def _assign_wide(self, variable: Any, value: Any) -> None:
        """Give a variable, and its remainder, a value of the dtype of the arithmetic."""
        dtype = dtype_of(variable)
        if dtype not in rounding.NARROW:
            self.assign(variable, value)
            return
        index = self._get_variable_index(variable)
        key = rounding.random_key(self.rounding_seed, self._step(), index, ops)
        narrow, remainder = rounding.store(value, dtype, self.parameter_rounding, key, ops)
        self.assign(variable, narrow)
        if remainder is not None:
            self.assign(self._remainders[index], remainder)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if self._estimate is not None:
            step_with_found_rate(self, super()._backend_update_step, grads, trainable_variables, learning_rate)
            return
        self._step_all(grads, trainable_variables, learning_rate)
        if self._averages is not None:
            weight = rule.averaging_weight(ops.cast(learning_rate, "float32"))
            self._averages.assign(self._averages + ops.stack([weight, ops.zeros_like(weight)]))

    def _step_all(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        backend = keras.backend.backend()
        if backend == "torch" and self.lazy:
            grads, trainable_variables = step_sparse(self, grads, trainable_variables, learning_rate)
            if not grads:
                return
        if backend == "torch" and step_in_one_pass(self, grads, trainable_variables, learning_rate):
            return
        if backend == "jax" and step_as_one_program(self, grads, trainable_variables, learning_rate):
            return
        if backend != "tensorflow" or not _is_distributed():  # else each replica is given the learning rate alone
            learning_rate = coefficients(self, learning_rate)
            if backend == "tensorflow":
                grads, trainable_variables = step_large_as_one_program(self, grads, trainable_variables, learning_rate)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _clip_gradients(self, grads):
        if not (self.clipnorm or self.global_clipnorm or self.clipvalue):
            return grads
        grads = [once(g) if is_sparse(g) else g for g in grads]
        clipped = super()._clip_gradients([g.values if is_sparse(g) else g for g in grads])
        return [with_values(g, new) if is_sparse(g) else new for g, new in zip(grads, clipped, strict=True)]

    def _step(self) -> Any:
        """The number t of the step in progress, from 1."""
        return ops.add(self.iterations, 1)

    def _slots(self, variable: Any) -> list[Slot]:
        """The moments of one variable of the model."""
        index = self._get_variable_index(variable)
        kept = [self._momentums[index], self._velocities[index]]
        kept += [self._velocity_hats[index]] if self.amsgrad else []
        return [Slot(*parts) for parts in zip(MOMENT_NAMES, kept, self._scales[index], strict=False)]

    def _state(self, variables: Any) -> list:
        """The optimizer's variables that belong to these variables of the model."""
        kept = [part for variable in variables for slot in self._slots(variable) for part in slot.variables]
        indices = [self._get_variable_index(variable) for variable in variables]
        others = [self._remainders[index] for index in indices] + [self._last_steps[index] for index in indices]
        return kept + [one for one in others if one is not None]

    def _apply_weight_decay(self, variables):
        """Nothing: `update_step` does it, so that a step rounds once."""

    def _backend_apply_gradients(self, grads, trainable_variables):
        frequency = self.ema_overwrite_frequency
        if keras.backend.backend() != "jax" or not self.use_ema or frequency is None:
            super()._backend_apply_gradients(grads, trainable_variables)
            return
        # Keras's own code for JAX would overwrite the variables, but not what is kept beside them.
        self.ema_overwrite_frequency = None
        try:
            super()._backend_apply_gradients(grads, trainable_variables)
        finally:
            self.ema_overwrite_frequency = frequency
        due = ops.equal(ops.mod(self._step(), frequency), 0)
        for variable, average in zip(trained_by(self), averages_of(self), strict=True):
            if average is not None:
                wide = self._wide(variable)
                self._assign_wide(variable, ops.where(due, ops.cast(average, wide.dtype), wide))

    def _update_model_variables_moving_average(self, trainable_variables):
        for variable, average in zip(trainable_variables, averages_of(self), strict=True):
            if average is not None:
                value = ops.cast(self._wide(variable), average.dtype)
                weight = ops.cast(ops.where(ops.equal(self.iterations, 0), 1.0, 1.0 - self.ema_momentum), average.dtype)
                average.assign(average + weight * (value - average))

    def _overwrite_model_variables_with_average_value(self, trainable_variables):
        narrow = any(dtype_of(variable) in rounding.NARROW for variable in trainable_variables)
        if keras.backend.backend() == "tensorflow" and not narrow:  # which knows what to do on several devices
            super()._overwrite_model_variables_with_average_value(trainable_variables)
            return
        for variable, average in zip(trainable_variables, averages_of(self), strict=True):
            if average is not None:
                # A copy: on JAX the next `fit` gives away both buffers, and cannot give away one twice.
                self._assign_wide(variable, ops.copy(ops.cast(average, arithmetic_dtype(variable))))

    def load_own_variables(self, store):
        """Set the state to one that was saved, by this class, Keras's Adam or Nadam, in any `moment_dtype`.

        Args:
            store: Arrays by their numbers, as `save_own_variables` gave them.

        Warns:
            UserWarning: It is `blockwise` and this optimizer is not, so that the elements of a block begin with one v;
                or one of them is `schedule_free`, and m or x − y begins at 0.
        """
        arrays = [np.asarray(store[str(i)]) for i in range(len(store.keys()))]
        has_product = self.nesterov and bool(arrays) and arrays[-1].shape == ()  # of Nadam's momenta
        if not (self.built and (loaded(self, arrays) or (has_product and loaded(self, arrays[:-1])))):
            super().load_own_variables(store)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this optimizer again, without its state."""
        own = {name: getattr(self, name) for name in conversion.OWN_ARGUMENTS}
        if self.groups is not None:
            own |= {"groups": self._grouping.config(), "groups_made_for": self._own.paths if self.built else []}
        found = {"learning_rate": "auto"} if self.finds_rate else {}
        return super().get_config() | own | found

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The optimizer with the arguments that `get_config` gave."""
        if "groups" in config:
            config = dict(config)
            config["groups"] = Groups(with_schedules(config["groups"]), config.pop("groups_made_for", []))
        return super().from_config(config, custom_objects)

    @classmethod
    def from_keras(
        cls,
        optimizer: keras.optimizers.Optimizer,
        *,
        moment_dtype: str = "float32",
        parameter_rounding: str = "compensated",
        rounding_seed: int = 0,
    ) -> "Adam":
        """An optimizer that continues the run of a `keras.optimizers.Adam`, `AdamW` or `Nadam` as that would have.

        Its hyperparameters, step count, moments and averages are taken over, and `epsilon_hat=True` puts ε where Keras
        has it; of a `Nadam`, which has it where the paper has, `nesterov=True` and `momentum_decay=1.0` stand for what
        it does. `optimizer` is left as it is.
        On TensorFlow rows that a sparse gradient repeats are summed before they are squared, unlike in Keras.

        Args:
            optimizer: The optimizer to take over; built on its variables or not yet.
            moment_dtype: As in the constructor.
            parameter_rounding: As in the constructor.
            rounding_seed: As in the constructor.

        Raises:
            TypeError: `optimizer` is of another class. Of a `LossScaleOptimizer`, give its `inner_optimizer`.
        """
        return conversion.from_keras(cls, optimizer, moment_dtype, parameter_rounding, rounding_seed)

    def to_keras(self) -> keras.optimizers.Adam:
        """A `keras.optimizers.Adam` with these hyperparameters and this state.

        It continues the run as this optimizer would with `epsilon_hat=True`. With `epsilon_hat=False` its steps differ
        by where ε is added, which fades as β₂ᵗ does.

        Raises:
            ValueError: A part of the rule is left out (`bias_correction` or `adaptivity` is False), it is a variant
                (`nesterov` and the like), or it has `groups`: Keras's Adam has none of it.
        """
        return conversion.to_keras(self)


def _path(variable: Any) -> str:
    return getattr(variable, "path", None) or variable.name


def _is_distributed() -> bool:
    import tensorflow as tf

    return tf.distribute.has_strategy()
