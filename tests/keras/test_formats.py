"""`moment_dtype` of `adamkit.keras.Adam`: what is stored, that it trains, saves, loads and converts."""

import keras
import numpy as np
import pytest
from keras import ops

from adamkit import arrays, moments, rounding, rule
from adamkit.keras import Adam
from tests.keras.test_exactness import WIDE, as_numpy

pytestmark = [pytest.mark.slow, pytest.mark.optimized]  # most of them compile

LARGE = (moments.MIN_SIZE // 32, 33)  # of no whole number of blocks
FORMATS = moments.FORMATS


def dtype_of(variable):
    return keras.backend.standardize_dtype(variable.dtype)


def read(optimizer, variable):
    """m and v, as float32."""
    return [ops.convert_to_numpy(slot.read("float32")) for slot in optimizer._slots(variable)]


def trained(optimizer, steps=3, seed=0):
    rng = np.random.default_rng(seed)
    variables = [keras.Variable(rng.normal(size=shape), dtype="float32") for shape in (LARGE, (33,))]
    for _ in range(steps):
        gradients = [ops.convert_to_tensor(rng.normal(size=v.shape).astype("float32")) for v in variables]
        optimizer.apply(gradients, variables)
    return variables


def test_int8_keeps_codes_and_scales_of_large_variables_in_2_bytes_a_parameter():
    large, small = (keras.Variable(np.ones(shape), dtype="float32") for shape in ((1024, 1024), (1024,)))
    optimizer = Adam(moment_dtype="int8")
    optimizer.build([large, small])
    kept = [slot.variables for slot in optimizer._slots(large)]
    assert [[dtype_of(v) for v in variables] for variables in kept] == [["uint8", "uint8"]] * 2
    assert sum(np.prod(v.shape) for variables in kept for v in variables) <= 2.1 * 1024**2
    assert [dtype_of(v) for slot in optimizer._slots(small) for v in slot.variables] == ["float32"] * 2
    names = [v.name for v in optimizer.variables]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("moment_dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("options", [{}, {"amsgrad": True, "weight_decay": 0.1}], ids=str)
def test_a_step_is_the_rule_on_what_is_stored(moment_dtype, options):
    """The moments are read, the rule is applied in float32, and its result is stored as NumPy stores it."""
    rng = np.random.default_rng(0)
    theta = rng.normal(size=LARGE).astype(np.float32)
    variable = keras.Variable(theta)
    optimizer = Adam(0.01, moment_dtype=moment_dtype, **options)
    optimizer.build([variable])
    for t in range(1, 4):
        gradient = rng.normal(size=LARGE).astype(np.float32)
        m, v, *largest = read(optimizer, variable)
        theta = as_numpy(variable)
        optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
        first, second = rule.Decay.of(0.9), rule.Decay.of(0.999)
        k = rule.coefficients(t, float(np.float32(0.01)), first, second, 1e-7, options.get("weight_decay", 0.0))
        new = rule.update(theta, gradient, m, v, largest[0] if largest else None, k, np)
        np.testing.assert_allclose(as_numpy(variable), new.parameter, rtol=1e-6, atol=1e-6)
        for moment, found, name in zip(new[1:], read(optimizer, variable), ("first", "second", "second"), strict=False):
            kept_in = moment_dtype if name == "first" else moments.second_format(moment_dtype, optimizer.amsgrad)
            stored = expected_of(np.float32(moment), t, name, kept_in)
            # The last bit of m or v, which a compiler may round in another way, can decide on another code.
            assert (stored != found).mean() < 1e-3


def expected_of(moment, step, name, moment_dtype):
    if moment_dtype == "bfloat16":
        return moments.round_to_bfloat16(moment, step, arrays.namespace(np))
    encode, decode = (getattr(moments, f"{what}_{name}") for what in ("encode", "decode"))
    return decode(*encode(moment, step, np), np)


@pytest.mark.parametrize("moment_dtype", FORMATS)
def test_a_saved_optimizer_goes_on_to_the_same_bits(moment_dtype, tmp_path):
    def model():
        keras.utils.set_random_seed(1)
        made = keras.Sequential([keras.Input((64,)), keras.layers.Dense(72, dtype="bfloat16"), keras.layers.Dense(1)])
        made.compile(Adam(0.01, moment_dtype=moment_dtype, amsgrad=True), loss="mse")
        return made

    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, 64)).astype("float32")
    fit = {"x": x, "y": x[:, :1], "batch_size": 16, "shuffle": False, "verbose": 0}
    straight = model()
    straight.fit(**fit, epochs=1)
    straight.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == straight.optimizer.get_config()
    for learner in (straight, loaded):
        learner.fit(**fit, epochs=1)
    state = [(*m.variables, *m.optimizer.variables) for m in (straight, loaded)]
    for one, other in zip(*state, strict=True):
        assert dtype_of(one) == dtype_of(other)
        np.testing.assert_array_equal(as_numpy(one), as_numpy(other))


def saved(optimizer):
    """What a file holds, as `load_own_variables` gets it."""
    store = {}
    optimizer.save_own_variables(store)
    return store


@pytest.mark.parametrize("before", FORMATS)
@pytest.mark.parametrize("after", FORMATS)
@pytest.mark.parametrize("amsgrad", [False, True], ids=["", "amsgrad"])
def test_a_file_of_any_format_loads_into_any_other(before, after, amsgrad):
    source, target = (Adam(0.01, moment_dtype=m, amsgrad=amsgrad, use_ema=True) for m in (before, after))
    variables = trained(source)
    target.build(variables)
    target.load_own_variables(saved(source))
    assert int(as_numpy(target.iterations)) == 3
    for variable in variables:
        for kind, (moment, expected) in enumerate(zip(read(target, variable), read(source, variable), strict=True)):
            if before == after:
                np.testing.assert_array_equal(moment, expected)
            step = {"float32": 1e-6, "bfloat16": 2.0**-7, "int8": 2.0 ** (-3 if kind == 0 else -4)}[after]
            # What is below the range of a code, 2⁻¹⁶ of the largest, may be lost.
            floor = np.abs(expected).max() * 2.0**-15 * (after == "int8")
            np.testing.assert_allclose(moment, expected, rtol=step, atol=floor)


def test_a_file_that_does_not_fit_is_an_error_and_changes_nothing():
    source = Adam(0.01, moment_dtype="int8")
    trained(source)
    store = saved(source)
    target = Adam(0.01, moment_dtype="int8")
    variables = trained(target, seed=1)
    held = [as_numpy(v) for v in target.variables]
    scale = next(i for i, v in enumerate(target.variables) if v.name.endswith("momentum_scale"))
    codes = next(i for i, v in enumerate(target.variables) if v.name.endswith("momentum"))
    damages = {
        scale: [store[str(scale)][:-1], store[str(scale)].astype(np.float32)],
        codes: [store[str(codes)].T, store[str(codes)].astype(np.int32), store[str(codes)][:1]],
    }
    for index, wrong_arrays in damages.items():
        for wrong in wrong_arrays:
            with pytest.raises(
                ValueError, match=r"with moment_dtype='int8': .*momentum.* must have shape .*Received: "
            ):
                target.load_own_variables(store | {str(index): wrong})
    with pytest.warns(UserWarning, match="Skipping variable loading"):  # as Keras does for another optimizer's
        target.load_own_variables({str(i): store[str(i)] for i in range(3)})
    for variable, before in zip(target.variables, held, strict=True):
        np.testing.assert_array_equal(as_numpy(variable), before)
    assert variables


@pytest.mark.parametrize("moment_dtype", ["bfloat16", "int8"])
def test_a_run_changes_over_from_keras_and_back(moment_dtype):
    theirs = keras.optimizers.Adam(0.01, amsgrad=True)
    variables = trained(theirs)
    ours = Adam.from_keras(theirs, moment_dtype=moment_dtype)
    assert ours.moment_dtype == moment_dtype
    back = ours.to_keras()
    for index, variable in enumerate(variables):
        kept = read(ours, variable)
        for one, moment in zip((back._momentums, back._velocities, back._velocity_hats), kept, strict=True):
            np.testing.assert_array_equal(as_numpy(one[index]), moment)
        np.testing.assert_allclose(kept[1], as_numpy(theirs._velocities[index]), rtol=0.07, atol=1e-7)


@pytest.mark.skipif("float64" not in WIDE, reason="JAX has float64 off")
def test_int8_is_not_for_float64():
    variable = keras.Variable(np.ones(3), dtype="float64")
    with pytest.raises(ValueError, match="moment_dtype='int8' is for variables of float32, bfloat16 or float16"):
        Adam(moment_dtype="int8").build([variable])


@pytest.mark.parametrize("moment_dtype", FORMATS)
def test_nan_shows_and_harms_no_other_block(moment_dtype):
    rng = np.random.default_rng(0)
    variable = keras.Variable(np.ones(LARGE, np.float32))
    optimizer = Adam(0.01, moment_dtype=moment_dtype)
    for t in range(3):
        gradient = rng.normal(size=LARGE).astype(np.float32)
        if t == 0:
            gradient.flat[70] = np.nan
        optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
    wrong = np.flatnonzero(np.isnan(as_numpy(variable).ravel()))
    expected = np.arange(64, 128) if moment_dtype == "int8" else [70]
    np.testing.assert_array_equal(wrong, expected)


@pytest.mark.parametrize("moment_dtype", ["bfloat16", "int8"])
def test_narrow_moments_train_compiled_clipped_averaged_accumulated_and_scaled(moment_dtype):
    keras.utils.set_random_seed(2)
    x = np.random.default_rng(1).normal(size=(256, 64)).astype("float32")
    inner = Adam(
        0.01, clipnorm=1.0, use_ema=True, ema_momentum=0.5, gradient_accumulation_steps=2, moment_dtype=moment_dtype
    )
    optimizer = inner if keras.backend.backend() == "torch" else keras.optimizers.LossScaleOptimizer(inner)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(72, "relu"), keras.layers.Dense(1)])
    model.compile(optimizer, loss="mse", jit_compile=keras.backend.backend() != "torch")
    losses = model.fit(x, x[:, :1], epochs=6, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 3


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the kernel steps PyTorch's tensors")
@pytest.mark.parametrize("moment_dtype", FORMATS)
@pytest.mark.parametrize(
    ("dtype", "parameter_rounding"),
    [("float32", "nearest"), *((d, r) for d in rounding.NARROW for r in rounding.ROUNDINGS)],
)
def test_the_kernel_and_operations_give_the_same_bits(dtype, parameter_rounding, moment_dtype, monkeypatch):
    from adamkit.keras import one_pass

    kernel = one_pass.cpu_kernel()
    launches = []
    monkeypatch.setattr(kernel, "step", lambda *a, step=kernel.step, **k: launches.append(1) or step(*a, **k))
    results = []
    for used in (kernel, None):
        monkeypatch.setattr(one_pass, "cpu_kernel", lambda used=used: used)
        rng = np.random.default_rng(4)
        variables = [keras.Variable(rng.normal(size=shape), dtype=dtype) for shape in (LARGE, (7,))]
        optimizer = Adam(0.001, moment_dtype=moment_dtype, parameter_rounding=parameter_rounding, weight_decay=0.1)
        for _ in range(3):
            gradients = [ops.cast(ops.convert_to_tensor(rng.normal(size=v.shape)), dtype) for v in variables]
            optimizer.apply(gradients, variables)
        results.append([as_numpy(v) for v in (*variables, *optimizer.variables)])
        assert bool(launches) == (used is not None)
        launches.clear()
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
