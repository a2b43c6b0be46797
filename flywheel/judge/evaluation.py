"""A judge against labels: on a file, or on the holdout for the gate.

Labelled conversations in, probabilities and a `JudgeCard` out. Nothing is stored or chosen here.
"""

from collections.abc import Sequence

import numpy as np

from flywheel.errors import NotEnough
from flywheel.judge.judge import Judge
from flywheel.judge.reactions import Floats
from flywheel.records import LabelledConversation, Tier
from flywheel.statistics import JudgeCard, judge_card


def probabilities(judge: Judge, tier: Tier, labelled: Sequence[LabelledConversation]) -> Floats:
    """The judge's probability for each row, shape (n,); every row must be eligible."""
    conversations = [row.conversation for row in labelled]
    verdicts = judge.verdicts(conversations, judge.opinions(conversations, tier), tier)
    return np.array([verdict.probability for verdict in verdicts])


def evaluate_judge(judge: Judge, tier: Tier, labelled: Sequence[LabelledConversation]) -> JudgeCard:
    """Accuracy, TPR, TNR, F1, MCC, AUCs, ECE and Brier, with intervals grouped by session.

    Raises NotEnough where nothing is labelled, NotFound where the judge has no such tier.
    """
    judge.require(tier)
    if not labelled:
        raise NotEnough("labelled conversations", 0, 1)
    return judge_card(
        [row.perceived_error for row in labelled],
        probabilities(judge, tier, labelled).tolist(),
        [row.group for row in labelled],
    )
