"""The cascade at work on labelled traces: what each tier decides, how well, and at what cost.

Labelled conversations through the tiers in, a row a tier out, beside what it would cost if the top
tier read them all. A generative judge is calibrated here too, on what the tiers before it leave.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from flywheel.errors import NotEnough
from flywheel.judge.cache import Progress, VerdictCache, generative_opinions
from flywheel.judge.calibrating import store_calibration
from flywheel.judge.calibration import Calibration, fit_calibration
from flywheel.judge.cascade import Thresholds
from flywheel.judge.certifying import ALPHA_SHARES, Goal, certify_tier
from flywheel.judge.judge import Judge, Opinion
from flywheel.judge.people import Bools, amounts_to, people_of
from flywheel.judge.prompted import PromptedJudge
from flywheel.judge.reactions import Floats
from flywheel.records import Interval, LabelledConversation, Tier, Verdict
from flywheel.statistics import clopper_pearson


@dataclass(frozen=True, slots=True)
class TierAtWork:
    """What one tier did with the traces that came to it.

    `certified_error` and `certified_fine` are the lower bounds that its thresholds were certified
    at; `agreement`, `tpr` and `tnr` are of what it decided here, None where it decided nothing.
    `sets` are the shares of its conformal sets on what it was asked.
    """

    tier: Tier
    asked: int
    decided: int
    share: float
    certified_error: float | None
    certified_fine: float | None
    agreement: Interval | None
    tpr: float | None
    tnr: float | None
    usd_per_1000_asked: float
    sets: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CascadeReport:
    """The tiers in their order; costs are per 1,000 traces that enter, people's time left out.

    `unjudged` counts what a generative judge could not read; people get it.
    """

    judge: str
    n: int
    tiers: list[TierAtWork]
    share_for_people: float
    usd_per_1000: float
    usd_per_1000_top_alone: float
    unjudged: dict[str, int]


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """A generative judge measured against labels; `thresholds` is None where none is certified."""

    judge: str
    n_labels: int
    n_left_open: int
    calibration: Calibration
    thresholds: Thresholds | None
    why: str
    unjudged: dict[str, int]


def cascade_report(
    cache: VerdictCache,
    judge: Judge,
    generative: PromptedJudge | None,
    labelled: Sequence[LabelledConversation],
    usd_per_cpu_hour: float,
    progress: Progress,
) -> CascadeReport:
    """Let labelled traces through the tiers, and say what each decides and what it costs.

    What a fitted tier costs is the CPU time of this process; the top tier's price a trace is that
    on the traces that it was asked. Raises NotEnough where nothing is labelled.
    """
    if not labelled:
        raise NotEnough("labelled conversations", 0, 1)
    generative = generative.after(judge.version) if generative else None
    left = np.ones(len(labelled), bool)
    tiers: list[TierAtWork] = []
    for tier in _tiers(judge):
        rows = _rows(labelled, left)
        # What is loaded on first use is no part of the price.
        _verdicts(judge, tier, rows[:1])
        began = time.process_time()
        verdicts = _verdicts(judge, tier, rows)
        usd = (time.process_time() - began) / 3600 * usd_per_cpu_hour
        thresholds = judge.cascade.thresholds.get(tier) if judge.cascade else None
        tiers.append(_at_work(tier, rows, verdicts, thresholds, usd, len(labelled)))
        _close(left, labelled, verdicts)
    unjudged: dict[str, int] = {}
    if generative is not None:
        rows = _rows(labelled, left)
        opinions, unjudged, usd = _ask(cache, generative, rows, progress)
        conversations = [row.conversation for row in rows]
        verdicts = generative.verdicts(conversations, opinions, [()] * len(rows))
        tiers.append(
            _at_work("generative", rows, verdicts, generative.thresholds, usd, len(labelled))
        )
        _close(left, labelled, verdicts)
    spent = sum(one.usd_per_1000_asked * one.asked / len(labelled) for one in tiers)
    return CascadeReport(
        judge.version if generative is None else f"{judge.version}+{generative.version}",
        len(labelled),
        tiers,
        float(left.mean()),
        spent,
        tiers[-1].usd_per_1000_asked,
        unjudged,
    )


def calibrate_generative(
    cache: VerdictCache,
    generative: PromptedJudge,
    judge: Judge,
    labelled: Sequence[LabelledConversation],
    learnt: Sequence[LabelledConversation],
    goal: Goal,
    progress: Progress,
    has_learnt: bool = False,
    apps: Sequence[str] = (),
) -> CalibrationFit:
    """Fit and store what labels say of a generative judge, shown no cases.

    Its logits are calibrated on all labels, on `labelled` alone where it `has_learnt` the others
    itself; its thresholds are certified on those of `labelled` that the fitted tiers leave open. On
    `learnt` these are too sure of themselves, so that what they would leave is not what they leave
    on new traces. `apps` are those that `judge` reads, where it does not read the rest. Raises
    NotEnough without a reply.
    """
    # A panel's labels are other judges' words, and measure none.
    labelled, learnt = ([r for r in part if r.is_by_people] for part in (labelled, learnt))
    rows = labelled if has_learnt else [*labelled, *learnt]
    opinions, unjudged, _ = _ask(cache, generative, rows, progress)
    known = np.array([opinion is not None for opinion in opinions], bool)
    if not known.any():
        raise NotEnough(f"replies of {generative.name} ({unjudged or 'no labels'})", 0, 1)
    logits = np.array([opinion.logit for opinion in opinions if opinion is not None])
    given = [row for row, is_known in zip(rows, known, strict=True) if is_known]
    truth = np.array([row.perceived_error for row in given], bool)
    groups, weight = [row.group for row in given], np.array([row.weight for row in given])
    flat = np.zeros(len(given))
    calibration = fit_calibration(logits, flat, truth, groups, weight)
    is_left = np.zeros(len(rows), bool)
    is_left[: len(labelled)] = left_open(judge, labelled)
    is_left = is_left[known]
    # Alone, it has all of alpha; after fitted tiers, its part.
    alpha = goal.alpha * (1.0 if judge.cascade is None and not learnt else ALPHA_SHARES[-1])
    people = people_of(truth, groups, weight.tolist()).take(is_left)
    probability = calibration.probability(logits, flat)[is_left]
    found, _ = certify_tier("generative", probability, people, goal.target, alpha)
    share = float(found.decides(probability).sum()) / max(1, int(known[: len(labelled)].sum()))
    found = replace(found, share=share)
    thresholds = None if found.is_empty else found
    about: dict[str, object] = {"judge": generative.name, "after": judge.version}
    about |= {"left_open": int(is_left.sum()), "apps": list(apps)}
    name = generative.opinion_version
    store_calibration(cache.ledger, name, calibration, thresholds, len(given), about)
    return CalibrationFit(
        generative.opinion_version,
        len(given),
        int(is_left.sum()),
        calibration,
        thresholds,
        found.why,
        unjudged,
    )


def left_open(judge: Judge, labelled: Sequence[LabelledConversation]) -> Bools:
    """Which traces no fitted tier decides, of shape (n,); all where nothing is certified."""
    left = np.ones(len(labelled), bool)
    for tier in judge.cascade.thresholds if judge.cascade else ():
        _close(left, labelled, _verdicts(judge, tier, _rows(labelled, left)))
    return left


def _tiers(judge: Judge) -> list[Tier]:
    """The tiers that read: the first, and the best one where a cascade does not leave it out."""
    first = next(iter(judge.models))
    is_asked = judge.cascade is None or judge.best in judge.cascade.thresholds
    return [first, judge.best] if judge.best != first and is_asked else [first]


def _rows(labelled: Sequence[LabelledConversation], rows: Bools) -> list[LabelledConversation]:
    return [row for row, is_in in zip(labelled, rows, strict=True) if is_in]


def _verdicts(judge: Judge, tier: Tier, rows: Sequence[LabelledConversation]) -> list[Verdict]:
    conversations = [row.conversation for row in rows]
    return judge.verdicts(conversations, judge.opinions(conversations, tier), tier)


def _close(
    left: Bools, labelled: Sequence[LabelledConversation], verdicts: Sequence[Verdict]
) -> None:
    """Take what was decided out of `left`."""
    decided = {verdict.trace_id for verdict in verdicts if verdict.is_decided}
    for i, row in enumerate(labelled):
        left[i] &= row.conversation.trace_id not in decided


def _ask(
    cache: VerdictCache,
    generative: PromptedJudge,
    rows: Sequence[LabelledConversation],
    progress: Progress,
) -> tuple[list[Opinion | None], dict[str, int], float]:
    """A generative judge's opinions, why others are missing, and the bill of all."""
    conversations = [row.conversation for row in rows]
    found, _ = generative_opinions(cache, generative, conversations, [()] * len(rows), progress)
    opinions = [one if isinstance(one, Opinion) else None for one in found]
    missing = Counter(str(one.kind) for one in found if not isinstance(one, Opinion))
    return opinions, dict(missing), sum(one.cost_usd for one in found)


def _at_work(
    tier: Tier,
    rows: Sequence[LabelledConversation],
    verdicts: Sequence[Verdict],
    thresholds: Thresholds | None,
    usd: float,
    n: int,
) -> TierAtWork:
    by_trace = {row.conversation.trace_id: row for row in rows}
    decided = [verdict for verdict in verdicts if verdict.is_decided]
    truth = np.array([by_trace[v.trace_id].perceived_error for v in decided], bool)
    said = np.array([v.perceived_error for v in decided], bool)
    agreement = None
    if decided:
        people = people_of(truth, [by_trace[v.trace_id].group for v in decided])
        share, worth = amounts_to(said == truth, people)
        agreement = clopper_pearson(share * worth, worth)
    return TierAtWork(
        tier,
        len(rows),
        len(decided),
        len(decided) / n,
        thresholds.agreement_low_error if thresholds else None,
        thresholds.agreement_low_fine if thresholds else None,
        agreement,
        float(said[truth].mean()) if truth.any() else None,
        float((~said[~truth]).mean()) if (~truth).any() else None,
        usd / max(1, len(rows)) * 1000,
        _sets(thresholds, np.array([v.probability for v in verdicts])),
    )


def _sets(thresholds: Thresholds | None, probability: Floats) -> dict[str, float]:
    if thresholds is None:
        return {}
    return thresholds.sets(probability).shares()
