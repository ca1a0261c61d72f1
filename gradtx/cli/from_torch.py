"""The optimizers of torch, as gradtx has them."""

from typing import Any

import gradtx
from gradtx.cli.convert import Class, Notes
from gradtx.cli.failure import CommandError
from gradtx.cli.from_torch_schedulers import SCHEDULERS
from gradtx.cli.program import Transformation

COUPLED = (
    "weight_decay is an L2 penalty here, added to the gradient before the moments (coupled), as in torch; "
    "adamw decouples it"
)
DECOUPLED = "weight_decay is decoupled and multiplied by the learning rate, as in torch; gradtx's own default is 1e-4"
EPS_OUTSIDE = "eps is added outside the root, as in torch"


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


KELLER = (3.4445, -4.7750, 2.0315)


def _muon(given: dict[str, Any], notes: Notes) -> Transformation:
    scalings: dict[Any, Any] = {None: "keller", "original": "keller", "match_rms_adamw": "match_rms"}
    if given["adjust_lr_fn"] not in scalings:
        raise CommandError(f"convert: adjust_lr_fn must be one of {list(scalings)}, got {given['adjust_lr_fn']!r}")
    row = given["ns_coefficients"]
    if not isinstance(row, tuple | list) or len(row) != 3:
        raise CommandError(f"convert: ns_coefficients must be three numbers, got {row!r}")
    notes.append(DECOUPLED.replace("1e-4", "0.1"))
    notes.append("torch takes matrices alone; here the other leaves are adamw's, with this rate unless rest=adamw(...)")
    notes.append(
        "matrices are [inputs, outputs] here: those of torch are turned, which changes the factor of their shape"
    )
    notes.append("torch's iteration is in bfloat16, here on accelerators only, unless dtype says so")
    notes.append("eps is added to the norm here, its least value in torch: the same but for tiny gradients")
    method = "newton_schulz" if tuple(row) == KELLER else (tuple(row),)
    return gradtx.muon(
        given["lr"],
        given["momentum"],
        weight_decay=given["weight_decay"],
        nesterov=bool(given["nesterov"]),
        steps=given["ns_steps"],
        eps=given["eps"],
        scaling=scalings[given["adjust_lr_fn"]],
        method=method,
    )


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


HOW = ("foreach", "fused", "capturable", "differentiable")
ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}

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
    "Muon": Class(
        _muon,
        {
            "lr": 1e-3,
            "weight_decay": 0.1,
            "momentum": 0.95,
            "nesterov": True,
            "ns_coefficients": KELLER,
            "eps": 1e-7,
            "ns_steps": 5,
            "adjust_lr_fn": None,
        },
    ),
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
} | SCHEDULERS
