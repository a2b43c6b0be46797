"""What a tier is fitted on, and how its choices are made: over folds that share no session.

Labelled conversations and candidate strengths in, out-of-fold logits and the best choice out.
Labels belong to traces and models read reactions, so a trace teaches by one of its reactions: the
one that people pointed at, or the last.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from flywheel.judge.features import Sparse
from flywheel.judge.reactions import Floats, Pooling, Reaction, reactions_of, stand_ins
from flywheel.models.embedder import Embedder
from flywheel.records import LabelledConversation
from flywheel.retrieval.keys import key_turns, key_vectors
from flywheel.retrieval.ranking import Candidates, rank_examples
from flywheel.settings import RetrievalSettings
from flywheel.statistics import roc_auc

FOLDS = 5
POOLINGS: tuple[Pooling, ...] = ("last", "worst")

Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]
# Coefficients, intercept and rows of `reactions` in; a logit a row out.
Predictor = Callable[[Floats, float, Integers], Floats]


@dataclass(frozen=True, slots=True)
class Material:
    """Labelled conversations as arrays; `taught` is the reaction by which each trace teaches."""

    labelled: Sequence[LabelledConversation]
    reactions: list[Reaction]
    owners: Integers
    taught: Integers
    truth: Bools
    groups: list[str]

    @property
    def measures(self) -> Bools:
        """Which labels choices are made by: people's, and a panel's only teach.

        All of them where people have labelled fewer than two of a class, of which no folds can be
        made: the gate, which knows people's labels alone, decides on what comes of that.
        """
        by_people = np.array([row.is_by_people for row in self.labelled], bool)
        errors = int((self.truth & by_people).sum())
        enough = min(errors, int(by_people.sum()) - errors) >= 2
        return by_people if enough else np.ones(len(self.truth), bool)

    def folds(self, seed: int) -> list[tuple[Integers, Integers]]:
        """Conversations to fit on and to hold out, no session on both sides."""
        measures = self.measures
        n = min(FOLDS, int(self.truth[measures].sum()), int((~self.truth)[measures].sum()))
        splitter = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
        # In every fold as many of each class that measure; a handful that do not are spread anyhow.
        is_apart = int((~measures).sum()) >= n
        kind = np.where(measures, self.truth, 2) if is_apart else self.truth
        return list(splitter.split(kind, kind, self.groups))

    def pooled(self, logits: Floats, pooling: Pooling) -> Floats:
        """The logit that stands for each conversation."""
        return logits[stand_ins(self.reactions, logits, len(self.labelled), pooling)]


def material_of(labelled: Sequence[LabelledConversation]) -> Material:
    """The arrays of labelled conversations, each of which must have a reaction."""
    reactions = reactions_of([row.conversation for row in labelled])
    taught = np.zeros(len(labelled), np.int64)
    for i, reaction in enumerate(reactions):
        taught[reaction.conversation] = i
    for i, reaction in enumerate(reactions):
        if reaction.position == labelled[reaction.conversation].evidence_turn:
            taught[reaction.conversation] = i
    return Material(
        labelled,
        reactions,
        np.array([r.conversation for r in reactions], np.int64),
        taught,
        np.array([row.perceived_error for row in labelled], bool),
        [row.group for row in labelled],
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """The best strength and pooling, the AUC of each fold, and the logits of held-out rows."""

    c: float
    pooling: Pooling
    fold_aucs: tuple[float, ...]
    held_out: Floats

    @property
    def cv_auc(self) -> float:
        """The mean over the folds."""
        return float(np.nanmean(self.fold_aucs))

    def pooled(self, material: Material) -> Floats:
        """The held-out logit that stands for each conversation."""
        return material.pooled(self.held_out, self.pooling)


def choose(
    material: Material, taught: Sparse, strengths: Sequence[float], predict: Predictor, seed: int
) -> Choice:
    """The strength with the best mean AUC over the folds; `taught` are the features of `taught`.

    The AUCs are of people's labels alone (`Material.measures`); a panel's are held out and taught.

    The last reaction stands for its trace, unless the worst one is better by more than a standard
    error over the folds.
    """
    folds, measures = material.folds(seed), material.measures
    tried: dict[Pooling, list[Choice]] = {pooling: [] for pooling in POOLINGS}
    for c in strengths:
        held_out = np.zeros(len(material.reactions))
        for fit_on, hold_out in folds:
            model = regression(c).fit(taught[fit_on], material.truth[fit_on])
            rows = np.flatnonzero(np.isin(material.owners, hold_out))
            held_out[rows] = predict(model.coef_[0], float(model.intercept_[0]), rows)
        for pooling in POOLINGS:
            pooled = material.pooled(held_out, pooling)
            aucs = tuple(
                roc_auc(material.truth[rows], pooled[rows])
                for rows in (rows[measures[rows]] for _, rows in folds)
            )
            tried[pooling].append(Choice(c, pooling, aucs, held_out))
    last, worst = (max(choices, key=lambda choice: choice.cv_auc) for choices in tried.values())
    return worst if is_clearly_better(worst.fold_aucs, last.fold_aucs) else last


def is_clearly_better(candidate: Sequence[float], simpler: Sequence[float]) -> bool:
    """Whether the mean gain over the folds is more than its standard error."""
    gains = np.subtract(candidate, simpler)
    return bool(gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)))


def regression(c: float) -> LogisticRegression:
    """The linear model of both tiers; classes count alike, since errors are rare."""
    return LogisticRegression(C=c, class_weight="balanced", max_iter=300, tol=1e-3)


def leanings(
    asked: Sequence[LabelledConversation],
    known: Sequence[LabelledConversation],
    embedder: Embedder,
    settings: RetrievalSettings,
) -> Floats:
    """How the corrections most like each asked conversation lean to an error, in [-1, 1].

    As retrieval would find them among `known`, without the asked one's own session.
    """
    of_asked, of_known = _keys(asked, embedder), _keys(known, embedder)
    groups = np.array([row.group for row in known])
    truth = np.array([row.perceived_error for row in known], bool)
    ids = np.arange(len(known))
    found = np.zeros(len(asked))
    for i, row in enumerate(asked):
        similarity = (of_known @ of_asked[i]).astype(np.float64)
        near = np.argsort(-similarity, kind="stable")
        near = near[groups[near] != row.group][: 10 * settings.k]
        flat = np.zeros(len(near))
        chosen = near[
            rank_examples(
                Candidates(
                    ids[near],
                    similarity[near],
                    flat,
                    flat.astype(bool),
                    truth[near],
                    of_known[near],
                    flat,
                ),
                settings,
            )
        ]
        weight = np.maximum(similarity[chosen], 0.0)
        if weight.sum() > 0:
            found[i] = float((weight * np.where(truth[chosen], 1, -1)).sum() / weight.sum())
    return found


def _keys(rows: Sequence[LabelledConversation], embedder: Embedder) -> NDArray[np.float32]:
    turns = [key_turns(row.conversation, row.evidence_turn) for row in rows]
    return key_vectors(embedder, [pair for pair in turns if pair is not None])
