"""A rate for each coordinate from its past gradients, without momentum."""

from gradtx.optimizers.adaptive.adadelta import ScaleByAdaDeltaState, adadelta, scale_by_adadelta
from gradtx.optimizers.adaptive.adafactor import FactoredState, adafactor, scale_by_factored_rms
from gradtx.optimizers.adaptive.adagrad import ScaleByRssState, adagrad, scale_by_rss
from gradtx.optimizers.adaptive.came import ScaleByCameState, came, scale_by_came
from gradtx.optimizers.adaptive.madgrad import MadgradState, madgrad, scale_by_madgrad
from gradtx.optimizers.adaptive.rmsprop import (
    ScaleByRmsState,
    ScaleByStddevState,
    rmsprop,
    scale_by_rms,
    scale_by_stddev,
)
from gradtx.optimizers.adaptive.rprop import ScaleByRpropState, rprop, scale_by_rprop
from gradtx.optimizers.adaptive.sm3 import ScaleBySM3State, scale_by_sm3, sm3

__all__ = [
    "FactoredState",
    "MadgradState",
    "ScaleByAdaDeltaState",
    "ScaleByCameState",
    "ScaleByRmsState",
    "ScaleByRpropState",
    "ScaleByRssState",
    "ScaleBySM3State",
    "ScaleByStddevState",
    "adadelta",
    "adafactor",
    "adagrad",
    "came",
    "madgrad",
    "rmsprop",
    "rprop",
    "scale_by_adadelta",
    "scale_by_came",
    "scale_by_factored_rms",
    "scale_by_madgrad",
    "scale_by_rms",
    "scale_by_rprop",
    "scale_by_rss",
    "scale_by_sm3",
    "scale_by_stddev",
    "sm3",
]
