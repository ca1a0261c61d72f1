"""The optimizers, schedules and the plateau callback of Keras, as gradtx has them."""

from collections.abc import Callable
from typing import Any

import gradtx
from gradtx.cli.convert import REQUIRED, Class, Notes, shown
from gradtx.cli.failure import CommandError
from gradtx.cli.program import Transformation

EPS_BEFORE = (
    "eps is added after the bias correction here, before it in Keras: over the first 1 / (1 - b2) steps Keras' acts "
    "as if it were larger"
)
EPS_INSIDE = "eps is added inside the root, as in Keras"


def _optimizer(make: Callable[[dict[str, Any], Notes], Transformation]) -> Callable[[dict[str, Any], Notes], Any]:
    """A rule with what all Keras optimizers share: clipping before, decay of weights, averaging, accumulation."""

    def rule(given: dict[str, Any], notes: Notes) -> Any:
        for name in ("clipnorm", "loss_scale_factor"):
            if given[name] is not None:
                raise CommandError(f"convert: {name} has no counterpart")
        before = [gradtx.clip(given["clipvalue"])] if given["clipvalue"] is not None else []
        if given["global_clipnorm"] is not None:
            before.append(gradtx.clip_by_global_norm(given["global_clipnorm"]))
        tx = _with_decay(make(given, notes), given, notes)
        if before:
            tx = gradtx.chain(*before, *(tx.transforms if tx.factory.name == "chain" else [tx]))
        if given["use_ema"]:
            tx = gradtx.ema_params(tx, given["ema_momentum"])
            notes.append(
                "averaged_params(state) is the average to evaluate with; the first parameters weigh more in Keras'"
            )
        if (given["gradient_accumulation_steps"] or 1) > 1:
            tx = gradtx.accumulate(tx, given["gradient_accumulation_steps"])
        return tx

    return rule


def _with_decay(tx: Transformation, given: dict[str, Any], notes: Notes) -> Transformation:
    """The optimizer with Keras' weight decay, which is decoupled in all of them."""
    decay = given["weight_decay"]
    if not decay or "weight_decay" in tx.arguments:
        return tx
    notes.append("weight_decay is decoupled and multiplied by the learning rate, as in Keras, whatever the optimizer")
    expanded = gradtx.expand(tx)
    members = list(expanded.transforms) if expanded.factory.name == "chain" else [expanded]
    rates = [member for member in members if member.factory.name == "scale_by_learning_rate"]
    others = [member for member in members if member.factory.name != "scale_by_learning_rate"]
    return gradtx.chain(*others, gradtx.add_decayed_weights(decay), *rates)


def _sgd(given: dict[str, Any], notes: Notes) -> Transformation:
    rate, momentum = given["learning_rate"], given["momentum"] or None
    nesterov = bool(given["nesterov"]) and momentum is not None
    if given["nesterov"]:
        notes.append("Nesterov momentum is g + momentum * m with one gradient, as in Keras")
    if momentum is not None and isinstance(rate, gradtx.Schedule) and not given["weight_decay"]:
        notes.append(
            "the momentum accumulates steps times learning rate, as in Keras; that of sgd accumulates gradients"
        )
        return gradtx.chain(gradtx.scale_by_learning_rate(rate), gradtx.trace(momentum, nesterov))
    if momentum is not None:
        notes.append("Keras' momentum accumulates steps times learning rate, this one without: a schedule differs")
    return gradtx.sgd(rate, momentum, nesterov=nesterov)


def _moments(given: dict[str, Any]) -> dict[str, Any]:
    return {"b1": given["beta_1"], "b2": given["beta_2"], "eps": given["epsilon"]}


def _adam(given: dict[str, Any], notes: Notes) -> Transformation:
    notes.append(EPS_BEFORE)
    if not given["amsgrad"]:
        return gradtx.adam(given["learning_rate"], **_moments(given))
    notes.append('the largest second moment is taken before its bias is corrected, as in Keras: "after_max"')
    return gradtx.amsgrad(given["learning_rate"], **_moments(given), bias_correction="after_max")


def _adamw(given: dict[str, Any], notes: Notes) -> Transformation:
    if given["amsgrad"]:
        return _adam(given, notes)
    notes.append(EPS_BEFORE)
    notes.append("weight_decay is decoupled and multiplied by the learning rate, as in Keras; gradtx's default is 1e-4")
    return gradtx.adamw(given["learning_rate"], **_moments(given), weight_decay=given["weight_decay"] or 0.0)


def _nadam(given: dict[str, Any], notes: Notes) -> Transformation:
    notes.append("momentum_decay=1.0 is how fast Keras lets the momentum grow; without it, it is b1 throughout")
    return gradtx.nadam(given["learning_rate"], **_moments(given), momentum_decay=1.0)


def _adamax(given: dict[str, Any], notes: Notes) -> Transformation:
    notes.append("eps is added to a gradient before the maximum is taken here, to the maximum in Keras")
    return gradtx.adamax(given["learning_rate"], **_moments(given))


def _rmsprop(given: dict[str, Any], notes: Notes) -> Transformation:
    notes.append(EPS_INSIDE)
    return gradtx.rmsprop(
        given["learning_rate"],
        given["rho"],
        given["epsilon"],
        centered=bool(given["centered"]),
        momentum=given["momentum"] or None,
    )


def _adagrad(given: dict[str, Any], notes: Notes) -> Transformation:
    notes.append(EPS_INSIDE)
    return gradtx.adagrad(given["learning_rate"], given["initial_accumulator_value"], given["epsilon"])


def _adadelta(given: dict[str, Any], notes: Notes) -> Transformation:
    notes.append("eps is added inside both roots, as in Keras; a learning rate of 1 is the method as published")
    # Not the argument weight_decay, which is an L2 penalty.
    rescale = gradtx.scale_by_adadelta(given["rho"], given["epsilon"])
    return gradtx.chain(rescale, gradtx.scale_by_learning_rate(given["learning_rate"]))


def _adafactor(given: dict[str, Any], notes: Notes) -> Transformation:
    notes.append("the two largest axes are factored, Keras' are the last two: the same for matrices")
    if given["relative_step"]:
        notes.append(
            "in Keras the rate falls as 1 / sqrt(t) where that is below it: give it a schedule for longer runs"
        )
    means = gradtx.scale_by_factored_rms(
        decay_rate=-given["beta_2_decay"], min_dim_size_to_factor=1, epsilon=given["epsilon_1"]
    )
    clip = gradtx.clip_by_block_rms(given["clip_threshold"])
    size = gradtx.scale_by_param_block_rms(given["epsilon_2"])
    return gradtx.chain(means, clip, size, gradtx.scale_by_learning_rate(given["learning_rate"]))


def _lion(given: dict[str, Any], notes: Notes) -> Transformation:
    if given["weight_decay"]:
        notes.append("weight_decay is decoupled and multiplied by the learning rate, as in Keras")
    decay = given["weight_decay"] or 0.0
    return gradtx.lion(given["learning_rate"], given["beta_1"], given["beta_2"], weight_decay=decay)


def _lamb(given: dict[str, Any], notes: Notes) -> Transformation:
    rate = gradtx.scale_by_learning_rate(given["learning_rate"])
    if not given["weight_decay"]:
        return gradtx.lamb(given["learning_rate"], **_moments(given))
    notes.append("the decay is not a part of the ratio, as in Keras; in lamb(weight_decay=...), as in the paper, it is")
    notes.append("the ratio takes the norm of the parameters before the decay here, after it in Keras")
    return gradtx.chain(gradtx.scale_by_adam(**_moments(given)), gradtx.scale_by_trust_ratio(), rate)


# --- schedules --------------------------------------------------------------------------------------------------------


def _exponential(given: dict[str, Any], notes: Notes) -> Any:
    rate, steps = given["initial_learning_rate"], given["decay_steps"]
    return gradtx.exponential_decay(rate, steps, given["decay_rate"], staircase=bool(given["staircase"]))


def _inverse(given: dict[str, Any], notes: Notes) -> Any:
    rate, steps = given["initial_learning_rate"], given["decay_steps"]
    return gradtx.inverse_time_decay(rate, steps, given["decay_rate"], staircase=bool(given["staircase"]))


def _polynomial(given: dict[str, Any], notes: Notes) -> Any:
    if given["cycle"]:
        raise CommandError("convert: PolynomialDecay with cycle=True has no counterpart")
    rate, end = given["initial_learning_rate"], given["end_learning_rate"]
    return gradtx.polynomial_schedule(rate, end, given["power"], given["decay_steps"])


def _cosine(given: dict[str, Any], notes: Notes) -> Any:
    rate, steps, alpha = given["initial_learning_rate"], given["decay_steps"], given["alpha"]
    peak, warmup = given["warmup_target"], given["warmup_steps"]
    if peak is None:
        return gradtx.cosine_decay_schedule(rate, steps, alpha)
    notes.append("decay_steps includes the warm-up here; in Keras it begins after it")
    return gradtx.warmup_cosine_decay_schedule(rate, peak, warmup, warmup + steps, alpha * peak)


def _restarts(given: dict[str, Any], notes: Notes) -> Any:
    rate, steps, alpha = given["initial_learning_rate"], given["first_decay_steps"], given["alpha"]
    longer, larger = given["t_mul"], given["m_mul"]
    if not alpha or larger == 1:
        return gradtx.repeat_schedule(gradtx.cosine_decay_schedule(rate, steps, alpha), steps, longer, larger)
    notes.append("m_mul multiplies what is above the least rate alone, as in Keras")
    moving = gradtx.cosine_decay_schedule(shown(rate * (1 - alpha)), steps)
    return shown(alpha * rate) + gradtx.repeat_schedule(moving, steps, longer, larger)


def _piecewise(given: dict[str, Any], notes: Notes) -> Any:
    boundaries, values = given["boundaries"], given["values"]
    if not all(isinstance(x, tuple | list) for x in (boundaries, values)) or len(values) != len(boundaries) + 1:
        raise CommandError("convert: PiecewiseConstantDecay needs a list of boundaries and one value more")
    notes.append("a value holds from its boundary on; in Keras from the step after, so boundaries are one larger here")
    levels = [gradtx.constant_schedule(value) for value in values]
    return gradtx.join_schedules(levels, [boundary + 1 for boundary in boundaries])


def _plateau(given: dict[str, Any], notes: Notes) -> Any:
    mode = given["mode"]
    if mode == "auto":
        mode = "max" if "acc" in given["monitor"] else "min"
    if given["min_lr"]:
        raise CommandError("convert: min_lr is a rate, and no rate is known; use plateau_schedule(rate, min_value=...)")
    notes.append("put it last in the chain, and feed it as gradtx.observe(state, value=...) once an epoch")
    notes.append("patience counts as in Keras (torch reduces one observation later)")
    if given["cooldown"]:
        notes.append("a cooldown of n lasts n observations here, n - 1 in Keras")
    return gradtx.reduce_on_plateau(
        given["factor"],
        given["patience"],
        rtol=0.0,
        atol=given["min_delta"],
        cooldown=max(given["cooldown"] - 1, 0),
        mode=mode,
    )


SHARED = {
    "weight_decay": None,
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}
IGNORED = ("name", "jit_compile", "is_legacy_optimizer")
ADAM = {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
DECAY = {"initial_learning_rate": REQUIRED, "decay_steps": REQUIRED}

CLASSES: dict[str, Class] = {
    "SGD": Class(_optimizer(_sgd), {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False} | SHARED, IGNORED),
    "Adam": Class(_optimizer(_adam), ADAM | {"amsgrad": False} | SHARED, IGNORED),
    "AdamW": Class(
        _optimizer(_adamw),
        {"learning_rate": 1e-3, "weight_decay": 0.004} | ADAM | {"amsgrad": False} | SHARED | {"weight_decay": 0.004},
        IGNORED,
    ),
    "Nadam": Class(_optimizer(_nadam), ADAM | SHARED, IGNORED),
    "Adamax": Class(_optimizer(_adamax), ADAM | SHARED, IGNORED),
    "RMSprop": Class(
        _optimizer(_rmsprop),
        {"learning_rate": 1e-3, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False} | SHARED,
        IGNORED,
    ),
    "Adagrad": Class(
        _optimizer(_adagrad),
        {"learning_rate": 1e-3, "initial_accumulator_value": 0.1, "epsilon": 1e-7} | SHARED,
        IGNORED,
    ),
    "Adadelta": Class(_optimizer(_adadelta), {"learning_rate": 1e-3, "rho": 0.95, "epsilon": 1e-7} | SHARED, IGNORED),
    "Adafactor": Class(
        _optimizer(_adafactor),
        {"learning_rate": 1e-3, "beta_2_decay": -0.8, "epsilon_1": 1e-30, "epsilon_2": 1e-3, "clip_threshold": 1.0}
        | {"relative_step": True}
        | SHARED,
        IGNORED,
    ),
    "Lion": Class(_optimizer(_lion), {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.99} | SHARED, IGNORED),
    "Lamb": Class(_optimizer(_lamb), ADAM | SHARED, IGNORED),
    "ExponentialDecay": Class(_exponential, DECAY | {"decay_rate": REQUIRED, "staircase": False}, IGNORED),
    "InverseTimeDecay": Class(_inverse, DECAY | {"decay_rate": REQUIRED, "staircase": False}, IGNORED),
    "PolynomialDecay": Class(_polynomial, DECAY | {"end_learning_rate": 1e-4, "power": 1.0, "cycle": False}, IGNORED),
    "CosineDecay": Class(
        _cosine, DECAY | {"alpha": 0.0, "name": None, "warmup_target": None, "warmup_steps": 0}, IGNORED
    ),
    "CosineDecayRestarts": Class(
        _restarts,
        {"initial_learning_rate": REQUIRED, "first_decay_steps": REQUIRED, "t_mul": 2.0, "m_mul": 1.0, "alpha": 0.0},
        IGNORED,
    ),
    "PiecewiseConstantDecay": Class(_piecewise, {"boundaries": REQUIRED, "values": REQUIRED}, IGNORED),
    "ReduceLROnPlateau": Class(
        _plateau,
        {
            "monitor": "val_loss",
            "factor": 0.1,
            "patience": 10,
            "verbose": 0,
            "mode": "auto",
            "min_delta": 1e-4,
            "cooldown": 0,
            "min_lr": 0.0,
        },
    ),
}
