"""A choice as the lines of code that one would write in Keras, PyTorch and JAX."""

from typing import Any

from adamkit.lab.comparing.optimizers import OPTIMIZERS
from adamkit.lab.hyperparameters import names
from adamkit.play.choices import ADAM, Choice

_FACTOR = """def factor(step):  # of the learning rate, for step 0, 1, …
    if step < {warmup}:
        return step / {warmup}
    share = min((step - {warmup}) / {fall}, 1.0)
    return {alpha} + (1 - {alpha}) * (1 + math.cos(math.pi * share)) / 2
"""


def lines(choice: Choice, steps: int, loss: Any) -> dict[str, str]:
    """Code by framework.

    Args:
        choice: What was trained.
        steps: Of the whole run.
        loss: Keras's name of the loss, or what it was compiled with.
    """
    found = {"Keras": _keras(choice, steps, loss)}
    if choice.optimizer == ADAM:
        found |= {"PyTorch": _torch(choice, steps), "optax": _optax(choice, steps)}
    return found


def _keras(choice: Choice, steps: int, loss: Any) -> str:
    own = {name: value for name, value in choice.values if name not in _NOT_THE_OPTIMIZERS}
    rate, before = repr(own.pop("learning_rate")), ""
    warmup, alpha = _schedule(choice)
    if warmup or alpha != 1:
        begins = f"0.0, decay_steps={steps - warmup}, alpha={alpha!r}, warmup_target={rate}, warmup_steps={warmup}"
        if not warmup:
            begins = f"{rate}, decay_steps={steps}, alpha={alpha!r}"
        before, rate = f"schedule = keras.optimizers.schedules.CosineDecay({begins})\n", "schedule"
    if choice.optimizer == ADAM:
        own |= {"moment_dtype": choice.moment_dtype}
        made, imported = "Adam", "from adamkit.keras import Adam\n"
    else:
        known = OPTIMIZERS[choice.optimizer]
        made, imported, own = f"keras.optimizers.{known.kind}", "", own | dict(known.fixed)
    rows = f"x[:{choice.rows}], y[:{choice.rows}]"
    given = _arguments({"learning_rate": rate}, own)
    return (
        f"import keras\n{imported}from adamkit import lab\n\n{before}optimizer = {made}({given})\n"
        f"model.compile(optimizer=optimizer, loss={loss!r})\n"
        f"lab.train(model, {rows}, epochs={choice.epochs}, batch_size={choice.batch_size})\n"
    )


def _torch(choice: Choice, steps: int) -> str:
    own = choice.setting
    if not (own["bias_correction"] and own["adaptivity"]):
        return "# PyTorch's Adam cannot leave out bias correction or adaptivity.\n"
    warmup, alpha = _schedule(choice)
    arguments: dict[str, Any] = {"eps": own["epsilon"]}
    if own["weight_decay"]:
        arguments |= {"weight_decay": own["weight_decay"], "decoupled_weight_decay": True}
    arguments |= {"amsgrad": own["amsgrad"], "moment_dtype": choice.moment_dtype}
    given = _arguments({"lr": repr(own["learning_rate"]), "betas": repr((own["beta_1"], own["beta_2"]))}, arguments)
    text = f"optimizer = Adam(model.parameters(), {given})\n"
    head = "from adamkit.torch import Adam\n"
    if warmup or alpha != 1:
        head = f"import math\n\nimport torch\n\n{head}"
        text = (
            f"{_factor(choice, steps)}\n\n{text}schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)"
            "  # schedule.step() after each optimizer.step()\n"
        )
    return f"{head}\n{text}"


def _optax(choice: Choice, steps: int) -> str:
    own = choice.setting
    if not (own["bias_correction"] and own["adaptivity"]) or own["weight_decay"] or own["amsgrad"]:
        return "# adamkit.optax.adam has no weight decay, AMSGrad or switches.\n"
    warmup, alpha = _schedule(choice)
    rate, head = repr(own["learning_rate"]), "from adamkit.optax import adam\n"
    if warmup or alpha != 1:
        head = f"import optax\n\n{head}"
        end = f"end_value={own['learning_rate'] * alpha!r}"
        if warmup:
            rate = f"optax.warmup_cosine_decay_schedule(0.0, {rate}, {warmup}, {steps}, {end})"
        else:
            rate = f"optax.cosine_decay_schedule({rate}, {steps}, alpha={alpha!r})"
    given = {"b1": own["beta_1"], "b2": own["beta_2"], "eps": own["epsilon"], "moment_dtype": choice.moment_dtype}
    return f"{head}\noptimizer = adam({_arguments({'learning_rate': rate}, given)})\n"


_NOT_THE_OPTIMIZERS = (*(name for name in names(of="schedule") if name != "learning_rate"), *names(of="training"))


def _schedule(choice: Choice) -> tuple[int, float]:
    return int(choice.setting["warmup_steps"]), float(choice.setting["cosine_alpha"])


def _factor(choice: Choice, steps: int) -> str:
    warmup, alpha = _schedule(choice)
    return _FACTOR.format(warmup=warmup, fall=max(steps - warmup, 1), alpha=alpha)


def _arguments(texts: dict[str, str], values: dict[str, Any]) -> str:
    """Of a call: texts as they are, values as Python writes them, but for what is every optimizer's default."""
    defaults = {
        "amsgrad": False,
        "moment_dtype": "float32",
        "bias_correction": True,
        "adaptivity": True,
        "weight_decay": 0,
    }
    kept = {name: repr(value) for name, value in values.items() if name not in defaults or value != defaults[name]}
    return ", ".join(f"{name}={text}" for name, text in (texts | kept).items())
