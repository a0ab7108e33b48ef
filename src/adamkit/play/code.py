"""A choice as the lines of code that one would write in Keras, PyTorch and JAX."""

import math
from collections.abc import Mapping
from typing import Any

from adamkit.lab.comparing.optimizers import OPTIMIZERS
from adamkit.lab.hyperparameters import names
from adamkit.play.choices import ADAM, Choice
from adamkit.play.subject import Subject
from adamkit.variants import SWITCHES

_FACTOR = """def factor(step):  # of the learning rate, for step 0, 1, …
    if step < {warmup}:
        return step / {warmup}
    share = min((step - {warmup}) / {fall}, 1.0)
    return {alpha} + (1 - {alpha}) * (1 + math.cos(math.pi * share)) / 2
"""


def lines(subject: Subject, choice: Choice) -> dict[str, str]:
    """Code by framework.

    The lines for Keras repeat the run that the page shows: with a model and data by name as they stand, with a model
    that was given to `adamkit.lab.play` as the continuation of the lines that made `model`, `x` and `y`.

    Args:
        subject: What is played with.
        choice: What was trained.
    """
    steps = choice.epochs * math.ceil(choice.rows / choice.batch_size)
    found = {"Keras": _keras(subject, choice, steps)}
    if choice.optimizer == ADAM:
        found |= {"PyTorch": _torch(subject, choice, steps), "optax": _optax(subject, choice, steps)}
    return found


def _keras(subject: Subject, choice: Choice, steps: int) -> str:
    own = {name: value for name, value in choice.values if name not in _NOT_THE_OPTIMIZERS}
    rate, schedule = repr(own.pop("learning_rate")), ""
    warmup, alpha = _schedule(choice)
    if warmup or alpha != 1:
        begins = f"0.0, decay_steps={steps - warmup}, alpha={alpha!r}, warmup_target={rate}, warmup_steps={warmup}"
        if not warmup:
            begins = f"{rate}, decay_steps={steps}, alpha={alpha!r}"
        schedule, rate = f"schedule = keras.optimizers.schedules.CosineDecay({begins})\n", "schedule"
    imports = ["from adamkit import lab\n"]
    if choice.optimizer == ADAM:
        own |= {"moment_dtype": choice.moment_dtype} | subject.arguments
        made = "Adam"
        imports.append("from adamkit.keras import Adam\n")
    else:
        known = OPTIMIZERS[choice.optimizer]
        made, own = f"keras.optimizers.{known.kind}", own | dict(known.fixed)
    if schedule or choice.optimizer != ADAM:
        imports.insert(0, "import keras\n\n")
    given = "\n"
    if subject.settings is not None:
        imports.append("from adamkit.lab import runs\n")
        given = (
            f"\nprepared = runs.prepare(runs.Settings({_arguments({}, subject.named)}))\n"
            "model, data, held_out = prepared.model, prepared.train, prepared.validation\n"
        )
    compiled = ", ".join(f"{name}={text}" for name, text in _compiled(subject).items())
    optimizer = _arguments({"learning_rate": rate}, own, _DEFAULTS)
    return (
        f"{''.join(imports)}{given}{schedule}optimizer = {made}({optimizer})\n"
        f"model.compile(optimizer=optimizer, {compiled})\nresult = lab.train({_trained(subject, choice)})\n"
    )


def _compiled(subject: Subject) -> dict[str, str]:
    """The loss and metrics that the model was compiled with: as text where they are names, else as the model has it."""
    known = subject.compiled_with
    loss = known.get("loss")
    found = {"loss": repr(loss) if isinstance(loss, str) else "model.loss"}
    metrics = known.get("metrics")
    if metrics and all(isinstance(one, str) for one in metrics):
        found["metrics"] = repr(list(metrics))
    return found


def _trained(subject: Subject, choice: Choice) -> str:
    """The arguments of `lab.train`."""
    x, y = ("x", "y") if subject.settings is None else ("data.x", "data.y")
    if choice.rows < subject.rows or (subject.settings is None and subject.validation is not None):
        x, y = f"{x}[:{choice.rows}]", f"{y}[:{choice.rows}]"  # the last ones may be held out
    options: dict[str, Any] = {"epochs": choice.epochs, "batch_size": choice.batch_size}
    options |= {} if subject.shuffle else {"shuffle": False}
    options |= {"seed": subject.seed} if subject.seed else {}
    held = subject.settings is not None and subject.validation is not None
    return f"model, {x}, {y}, {_arguments({}, options)}" + (
        ", validation_data=(held_out.x, held_out.y)" if held else ""
    )


def _torch(subject: Subject, choice: Choice, steps: int) -> str:
    own = choice.setting
    if (why := _not_in("PyTorch", subject, choice)) is not None:
        return why
    warmup, alpha = _schedule(choice)
    texts = {"lr": repr(own["learning_rate"]), "betas": repr((own["beta_1"], own["beta_2"]))}
    arguments: dict[str, Any] = {"eps": own["epsilon"]}
    if own["weight_decay"]:
        arguments |= {"weight_decay": own["weight_decay"], "decoupled_weight_decay": True}
    arguments |= {"amsgrad": own["amsgrad"], "moment_dtype": choice.moment_dtype} | subject.arguments
    text = f"optimizer = Adam(model.parameters(), {_arguments(texts, arguments, _DEFAULTS)})\n"
    head = "from adamkit.torch import Adam\n"
    if warmup or alpha != 1:
        head = f"import math\n\nimport torch\n\n{head}"
        text = (
            f"{_factor(choice, steps)}\n\n{text}schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)"
            "  # schedule.step() after each optimizer.step()\n"
        )
    return f"{head}\n{text}"


def _optax(subject: Subject, choice: Choice, steps: int) -> str:
    own = choice.setting
    if (why := _not_in("optax", subject, choice)) is not None:
        return why
    if own["amsgrad"] and own["weight_decay"]:
        return "# adamkit.optax.amsgrad has no weight decay.\n"
    warmup, alpha = _schedule(choice)
    made = "amsgrad" if own["amsgrad"] else "adamw" if own["weight_decay"] else "adam"
    rate, head = repr(own["learning_rate"]), f"from adamkit.optax import {made}\n"
    if warmup or alpha != 1:
        head = f"import optax\n\n{head}"
        end = f"end_value={own['learning_rate'] * alpha!r}"
        if warmup:
            rate = f"optax.warmup_cosine_decay_schedule(0.0, {rate}, {warmup}, {steps}, {end})"
        else:
            rate = f"optax.cosine_decay_schedule({rate}, {steps}, alpha={alpha!r})"
    arguments: dict[str, Any] = {"b1": own["beta_1"], "b2": own["beta_2"], "eps": own["epsilon"]}
    arguments |= {"weight_decay": own["weight_decay"], "moment_dtype": choice.moment_dtype} | subject.arguments
    return f"{head}\noptimizer = {made}({_arguments({'learning_rate': rate}, arguments, _DEFAULTS)})\n"


def _not_in(framework: str, subject: Subject, choice: Choice) -> str | None:
    """What of a choice's Adam adamkit's for PyTorch and for optax cannot do, as a comment; None where it can."""
    own = choice.setting
    missing = [f"leave out {name.replace('_', ' ')}" for name in ("bias_correction", "adaptivity") if not own[name]]
    missing += [f"have {name}" for name in subject.arguments if name not in _EVERYWHERE]
    return f"# adamkit's Adam for {framework} cannot {' or '.join(missing)}.\n" if missing else None


_NOT_THE_OPTIMIZERS = (*(name for name in names(of="schedule") if name != "learning_rate"), *names(of="training"))
_EVERYWHERE = (*SWITCHES, "on_nonfinite", "parameter_rounding")  # arguments of Adam for Keras that all others have
# What every optimizer does unless it is told otherwise.
_DEFAULTS = {
    "amsgrad": False, "moment_dtype": "float32", "bias_correction": True, "adaptivity": True, "weight_decay": 0,
}  # fmt: skip


def _schedule(choice: Choice) -> tuple[int, float]:
    return int(choice.setting["warmup_steps"]), float(choice.setting["cosine_alpha"])


def _factor(choice: Choice, steps: int) -> str:
    warmup, alpha = _schedule(choice)
    return _FACTOR.format(warmup=warmup, fall=max(steps - warmup, 1), alpha=alpha)


def _arguments(texts: Mapping[str, str], values: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> str:
    """Of a call: texts as they are, values as Python writes them, but for defaults."""
    defaults = defaults or {}
    kept = {name: repr(value) for name, value in values.items() if name not in defaults or value != defaults[name]}
    return ", ".join(f"{name}={text}" for name, text in (dict(texts) | kept).items())
