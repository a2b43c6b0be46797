"""Champions that agree with people less than they did, by what quality has published.

Published comparisons and aliases in, reasons for a retraining out; the one idea is that a judge
that is no champion any more is no reason, whatever became of it.
"""

from flywheel.quality.judge_change import JudgeChange
from flywheel.quality.publishing import published_quality
from flywheel.registry.versions import CHAMPION, targets_with
from flywheel.store import Stores

# Of `training.min_corrections`, the part after which a fallen champion is worth a retraining.
_PART = 5


def labels_after_fall(min_corrections: int) -> int:
    """New labels after which a retraining for a fallen champion may add something; at least one."""
    return max(1, min_corrections // _PART)


def fallen_champions(stores: Stores) -> dict[str, JudgeChange]:
    """By target, what is known of a champion that has fallen; nothing opens the warehouse here."""
    published = published_quality(stores)
    if published is None:
        return {}
    fallen = {change.judge: change for change in published.changes if change.has_fallen}
    champions = targets_with(stores.ledger, CHAMPION)
    return {target: fallen[judge] for target, judge in champions.items() if judge in fallen}
