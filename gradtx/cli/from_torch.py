"""The optimizers and schedulers of torch, as gradtx has them."""

from collections.abc import Callable
from typing import Any

import gradtx
from gradtx.cli.convert import REQUIRED, Class, Notes
from gradtx.cli.failure import CommandError
from gradtx.cli.program import Transformation

COUPLED = (
    "weight_decay is an L2 penalty here, added to the gradient before the moments (coupled), as in torch; "
    "adamw decouples it"
)
DECOUPLED = "weight_decay is decoupled and multiplied by the learning rate, as in torch; gradtx's own default is 1e-4"
EPS_OUTSIDE = "eps is added outside the root, as in torch"
STEPS = "a schedule counts updates, torch's counts calls of scheduler.step(): multiply epochs by the updates in one"


def _with(members: list[Transformation]) -> Transformation:
    return members[0] if len(members) == 1 else gradtx.chain(*members)


def _before(given: dict[str, Any], notes: Notes, *, coupled: bool = True) -> list[Transformation]:
    """What happens to the gradient first: its sign for maximisation, and a coupled weight decay."""
    members = []
    if given["maximize"]:
        members.append(gradtx.scale(-1.0))
        notes.append("scale(-1.0) turns descent into ascent (maximize=True)")
    if coupled and given["weight_decay"]:
        members.append(gradtx.add_decayed_weights(given["weight_decay"]))
        notes.append(COUPLED)
    return members


def _betas(given: dict[str, Any]) -> dict[str, Any]:
    betas = given["betas"]
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise CommandError(f"convert: betas must be two numbers, got {betas!r}")
    return {"b1": betas[0], "b2": betas[1], "eps": given["eps"]}


def _decoupled(rescale: Transformation, given: dict[str, Any], notes: Notes) -> list[Transformation]:
    notes.append(DECOUPLED)
    return [
        rescale,
        gradtx.add_decayed_weights(given["weight_decay"]),
        gradtx.scale_by_learning_rate(given["lr"]),
    ]


def _sgd(given: dict[str, Any], notes: Notes) -> Transformation:
    momentum, dampening = given["momentum"] or None, given["dampening"]
    if given["nesterov"] and (momentum is None or dampening):
        raise CommandError("convert: SGD: Nesterov momentum requires a momentum and zero dampening")
    before = _before(given, notes)
    dampening = dampening or None if momentum is not None else None
    if dampening is not None:
        notes.append("dampening spares the first gradient, as in torch")
    if given["nesterov"]:
        notes.append("Nesterov momentum is g + momentum * m with one gradient, as in torch")
    nesterov = bool(given["nesterov"])
    return _with([*before, gradtx.sgd(given["lr"], momentum, nesterov=nesterov, dampening=dampening)])


def _asgd(given: dict[str, Any], notes: Notes) -> Transformation:
    notes.append("evaluate with asgd_params(state), which is torch's state['ax']; averaging begins after t0 updates")
    return _with([*_before(given, notes), gradtx.asgd(*(given[name] for name in ("lr", "lambd", "alpha", "t0")))])


def _adam(given: dict[str, Any], notes: Notes) -> Transformation:
    if given["decoupled_weight_decay"]:
        return _adamw(given, notes)
    notes.append(EPS_OUTSIDE)
    before = _before(given, notes)
    return _with([*before, _amsgrad(given, notes) if given["amsgrad"] else gradtx.adam(given["lr"], **_betas(given))])


def _adamax(given: dict[str, Any], notes: Notes) -> Transformation:
    return _with([*_before(given, notes), gradtx.adamax(given["lr"], **_betas(given))])


def _rprop(given: dict[str, Any], notes: Notes) -> Transformation:
    for name in ("etas", "step_sizes"):
        if not isinstance(given[name], tuple | list) or len(given[name]) != 2:
            raise CommandError(f"convert: {name} must be two numbers, got {given[name]!r}")
    notes.append("lr is the size of the first step alone, as in torch: no schedule changes the later ones")
    return _with(
        [*_before(given, notes, coupled=False), gradtx.rprop(given["lr"], *given["etas"], *given["step_sizes"])]
    )


def _amsgrad(given: dict[str, Any], notes: Notes) -> Transformation:
    notes.append('the largest second moment is taken before its bias is corrected, as in torch: "after_max"')
    return gradtx.amsgrad(given["lr"], **_betas(given), bias_correction="after_max")


def _adamw(given: dict[str, Any], notes: Notes) -> Transformation:
    notes.append(EPS_OUTSIDE)
    before = _before(given, notes, coupled=False)
    if not given["amsgrad"]:
        notes.append(DECOUPLED)
        return _with([*before, gradtx.adamw(given["lr"], **_betas(given), weight_decay=given["weight_decay"])])
    rescale = gradtx.expand(_amsgrad(given, notes)).transforms[0]
    return gradtx.chain(*before, *_decoupled(rescale, given, notes))


def _nadam(given: dict[str, Any], notes: Notes) -> Transformation:
    notes.append(f"{EPS_OUTSIDE}; without momentum_decay, the momentum is b1 from the first step on")
    nadam = gradtx.nadam(given["lr"], **_betas(given), momentum_decay=given["momentum_decay"])
    return _adam_like(nadam, given, notes)


def _radam(given: dict[str, Any], notes: Notes) -> Transformation:
    notes.append("eps is added after the bias correction here, before it in torch: the same but for tiny gradients")
    return _adam_like(gradtx.radam(given["lr"], **_betas(given)), given, notes)


def _adam_like(optimizer: Transformation, given: dict[str, Any], notes: Notes) -> Transformation:
    if given["decoupled_weight_decay"] and given["weight_decay"]:
        rescale = gradtx.expand(optimizer).transforms[0]
        return gradtx.chain(*_before(given, notes, coupled=False), *_decoupled(rescale, given, notes))
    return _with([*_before(given, notes), optimizer])


def _adagrad(given: dict[str, Any], notes: Notes) -> Transformation:
    rate = given["lr"]
    if given["lr_decay"]:
        rate = gradtx.inverse_time_decay(rate, 1, given["lr_decay"])
        notes.append("lr_decay is a schedule of its own, inverse_time_decay")
    notes.append(f"{EPS_OUTSIDE}; gradtx's own default is inside, with a sum that begins at 0.1")
    optimizer = gradtx.adagrad(rate, given["initial_accumulator_value"], given["eps"], eps_in_sqrt=False)
    return _with([*_before(given, notes), optimizer])


def _adafactor(given: dict[str, Any], notes: Notes) -> Transformation:
    if not isinstance(given["eps"], tuple | list) or len(given["eps"]) != 2:
        raise CommandError(f"convert: eps must be two numbers, got {given['eps']!r}")
    notes.append("the two largest axes are factored, torch's are the last two: the same for matrices")
    notes.append("torch bounds mean squares from below, by the square of its first eps; here 1e-30 is added")
    notes.append("in torch the rate falls as 1 / sqrt(t) where that is below lr: give it a schedule for longer runs")
    members = [
        *_before(given, notes, coupled=False),
        gradtx.scale_by_factored_rms(decay_rate=-given["beta2_decay"], min_dim_size_to_factor=1),
        gradtx.clip_by_block_rms(given["d"]),
        gradtx.scale_by_param_block_rms(given["eps"][1]),
    ]
    if given["weight_decay"]:
        notes.append("weight_decay is decoupled and multiplied by the learning rate, as in torch")
        members.append(gradtx.add_decayed_weights(given["weight_decay"]))
    return gradtx.chain(*members, gradtx.scale_by_learning_rate(given["lr"]))


def _adadelta(given: dict[str, Any], notes: Notes) -> Transformation:
    before = _before(given, notes, coupled=False)
    if given["weight_decay"]:
        notes.append(COUPLED)
    notes.append("eps is added inside both roots, as in torch")
    optimizer = gradtx.adadelta(given["lr"], given["rho"], given["eps"], weight_decay=given["weight_decay"])
    return _with([*before, optimizer])


def _rmsprop(given: dict[str, Any], notes: Notes) -> Transformation:
    notes.append(f"{EPS_OUTSIDE}; gradtx's own default is inside, and its decay 0.9")
    momentum = given["momentum"] or None
    if momentum is not None:
        notes.append(
            "the momentum accumulates steps times learning rate, torch's without: under a schedule they differ"
        )
    optimizer = gradtx.rmsprop(
        given["lr"],
        given["alpha"],
        given["eps"],
        eps_in_sqrt=False,
        centered=bool(given["centered"]),
        momentum=momentum,
    )
    return _with([*_before(given, notes), optimizer])


# --- schedulers -------------------------------------------------------------------------------------------------------


def _scheduler(make: Callable[[float, dict[str, Any], Notes], Any]) -> Callable[[dict[str, Any], Notes], Any]:
    """A rule that gives the optimizer in the scheduler's first argument a schedule for its learning rate."""

    def rule(given: dict[str, Any], notes: Notes) -> Any:
        optimizer = given.pop("optimizer")
        if optimizer is not None and not isinstance(optimizer, Transformation):
            raise CommandError(f"convert: the optimizer of a scheduler must be one, got {optimizer!r}")
        if optimizer is None:
            notes.append("a factor, since no optimizer was given: multiply it by the learning rate, 0.1 * schedule")
            return make(1.0, given, notes)
        return with_rate(optimizer, lambda rate: make(rate, given, notes))

    return rule


def with_rate(tx: Transformation, change: Callable[[float], Any]) -> Transformation:
    """The transformation with its learning rate replaced by a function of it."""
    if "learning_rate" in tx.arguments:
        if isinstance(tx.learning_rate, gradtx.Schedule):
            raise CommandError("convert: the learning rate follows a schedule already")
        return tx.replace(learning_rate=change(tx.learning_rate))
    if tx.factory.name == "chain":
        *others, last = tx.transforms
        return gradtx.chain(*others, with_rate(last, change))
    raise CommandError(f"convert: {tx!r} has no learning rate")


def _step(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    return gradtx.exponential_decay(rate, given["step_size"], given["gamma"], staircase=True)


def _multi_step(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    milestones = given["milestones"]
    if not isinstance(milestones, tuple | list):
        raise CommandError(f"convert: milestones must be a list of steps, got {milestones!r}")
    scales: dict[int, float] = {}
    for milestone in milestones:
        scales[milestone] = scales.get(milestone, 1.0) * given["gamma"]
    return gradtx.piecewise_constant_schedule(rate, scales)


def _exponential(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    return gradtx.exponential_decay(rate, 1, given["gamma"])


def _cosine(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    notes.append("after T_max the value stays at eta_min; torch's rises again")
    return gradtx.cosine_decay_schedule(rate, given["T_max"], alpha=given["eta_min"] / rate if rate else 0.0)


def _linear(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    return gradtx.linear_schedule(rate * given["start_factor"], rate * given["end_factor"], given["total_iters"])


def _constant(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    factor = given["factor"]
    levels = [gradtx.constant_schedule(rate * factor), gradtx.constant_schedule(rate)]
    return gradtx.join_schedules(levels, [given["total_iters"]])


def _polynomial(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    return gradtx.polynomial_schedule(rate, 0.0, given["power"], given["total_iters"])


def _onecycle(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    if given["total_steps"] is None or given["three_phase"] or given["anneal_strategy"] != "cos":
        raise CommandError("convert: OneCycleLR needs total_steps, two phases and the cosine to have a counterpart")
    notes.append(STEPS)
    notes.append("the cycle ends at step total_steps, in torch one step earlier")
    if given["cycle_momentum"]:
        notes.append("torch cycles the momentum too (cycle_momentum=True): give b1 or momentum a schedule of its own")
    rest = (given["pct_start"], given["div_factor"], given["final_div_factor"])
    return gradtx.cosine_onecycle_schedule(given["total_steps"], given["max_lr"], *rest)


def _plateau(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    patience = given["patience"] + 1
    notes.append(f"patience {patience} here is {given['patience']} in torch, which reduces one observation later")
    notes.append("feed it as gradtx.observe(state, value=validation_loss), or as update(..., value=loss)")
    if given["threshold_mode"] not in ("rel", "abs"):
        raise CommandError(f"convert: threshold_mode must be 'rel' or 'abs', got {given['threshold_mode']!r}")
    relative = given["threshold_mode"] == "rel"
    if relative:
        notes.append("the relative threshold is of the magnitude, so that negative metrics work; in torch they do not")
    return gradtx.plateau_schedule(
        rate,
        given["factor"],
        patience,
        rtol=given["threshold"] if relative else 0.0,
        atol=0.0 if relative else given["threshold"],
        cooldown=given["cooldown"],
        min_value=given["min_lr"],
        mode=given["mode"],
    )


HOW = ("foreach", "fused", "capturable", "differentiable")
ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}
LAST = {"optimizer": None}

CLASSES: dict[str, Class] = {
    "SGD": Class(
        _sgd,
        {"lr": 1e-3, "momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": False, "maximize": False},
        HOW,
    ),
    "Adam": Class(
        _adam, ADAM | {"weight_decay": 0, "amsgrad": False, "maximize": False, "decoupled_weight_decay": False}, HOW
    ),
    "AdamW": Class(_adamw, ADAM | {"weight_decay": 1e-2, "amsgrad": False, "maximize": False}, HOW),
    "NAdam": Class(
        _nadam,
        ADAM
        | {"lr": 2e-3, "weight_decay": 0, "momentum_decay": 4e-3, "decoupled_weight_decay": False, "maximize": False},
        HOW,
    ),
    "RAdam": Class(_radam, ADAM | {"weight_decay": 0, "decoupled_weight_decay": False, "maximize": False}, HOW),
    "Adagrad": Class(
        _adagrad,
        {"lr": 1e-2, "lr_decay": 0, "weight_decay": 0, "initial_accumulator_value": 0, "eps": 1e-10, "maximize": False},
        HOW,
    ),
    "Adamax": Class(_adamax, ADAM | {"lr": 2e-3, "weight_decay": 0, "maximize": False}, HOW),
    "Rprop": Class(_rprop, {"lr": 1e-2, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50), "maximize": False}, HOW),
    "ASGD": Class(
        _asgd, {"lr": 1e-2, "lambd": 1e-4, "alpha": 0.75, "t0": 1e6, "weight_decay": 0, "maximize": False}, HOW
    ),
    "Adafactor": Class(
        _adafactor,
        {"lr": 1e-2, "beta2_decay": -0.8, "eps": (None, 1e-3), "d": 1.0, "weight_decay": 0.0, "maximize": False},
        HOW,
    ),
    "Adadelta": Class(_adadelta, {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0, "maximize": False}, HOW),
    "RMSprop": Class(
        _rmsprop,
        {
            "lr": 1e-2,
            "alpha": 0.99,
            "eps": 1e-8,
            "weight_decay": 0,
            "momentum": 0,
            "centered": False,
            "maximize": False,
        },
        HOW,
    ),
    "StepLR": Class(_scheduler(_step), LAST | {"step_size": REQUIRED, "gamma": 0.1}, ("last_epoch",)),
    "MultiStepLR": Class(_scheduler(_multi_step), LAST | {"milestones": REQUIRED, "gamma": 0.1}, ("last_epoch",)),
    "ExponentialLR": Class(_scheduler(_exponential), LAST | {"gamma": REQUIRED}, ("last_epoch",)),
    "CosineAnnealingLR": Class(_scheduler(_cosine), LAST | {"T_max": REQUIRED, "eta_min": 0.0}, ("last_epoch",)),
    "LinearLR": Class(
        _scheduler(_linear), LAST | {"start_factor": 1 / 3, "end_factor": 1.0, "total_iters": 5}, ("last_epoch",)
    ),
    "ConstantLR": Class(_scheduler(_constant), LAST | {"factor": 1 / 3, "total_iters": 5}, ("last_epoch",)),
    "PolynomialLR": Class(_scheduler(_polynomial), LAST | {"total_iters": 5, "power": 1.0}, ("last_epoch",)),
    "OneCycleLR": Class(
        _scheduler(_onecycle),
        LAST
        | {
            "max_lr": REQUIRED,
            "total_steps": None,
            "pct_start": 0.3,
            "anneal_strategy": "cos",
            "cycle_momentum": True,
            "div_factor": 25.0,
            "final_div_factor": 1e4,
            "three_phase": False,
        },
        ("last_epoch", "epochs", "steps_per_epoch", "base_momentum", "max_momentum"),
    ),
    "ReduceLROnPlateau": Class(
        _scheduler(_plateau),
        LAST
        | {
            "mode": "min",
            "factor": 0.1,
            "patience": 10,
            "threshold": 1e-4,
            "threshold_mode": "rel",
            "cooldown": 0,
            "min_lr": 0.0,
            "eps": 1e-8,
        },
        ("verbose",),
    ),
}
