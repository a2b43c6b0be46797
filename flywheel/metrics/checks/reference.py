"""Where an alarm begins, so that usual traces give a stated share of false ones."""

import math

from flywheel.statistics import Floats


def alarm_from(usual: Floats, false_alarms: float) -> float:
    """The score above which another usual trace falls with a chance of at most `false_alarms`.

    The ceil((n + 1)(1 - false_alarms))-th smallest of the n usual scores (split conformal, Vovk
    2005); where there are too few of them for that, the greatest, which promises 1 / (n + 1).
    """
    place = math.ceil((len(usual) + 1) * (1 - false_alarms))
    return float(sorted(usual.tolist())[min(place, len(usual)) - 1])
