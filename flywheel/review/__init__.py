"""Review: what people say of traces in, decisions that are only ever appended out.

decisions   decide, adjudicate, undo
notes       skip, decline, flag as sensitive, comment
standing    what stands of all that
rubrics     the words that people decided by
importing   decisions from a file
export      decisions and corrections as a file, in the formats of `export_rows`
decided     one version of a trace at a time, with what stands of it
history     what a reviewer did last
rows        what every act comes down to: a row more, and the status of its items
"""

from flywheel.review.decisions import Undone, adjudicate, decide, undo
from flywheel.review.importing import DecisionImport, import_decisions
from flywheel.review.notes import (
    Comment,
    clear_sensitive,
    comment,
    comments_on,
    decline,
    flag_sensitive,
    is_sensitive,
    sensitive_traces,
    skip,
    unskip,
)
from flywheel.review.rubrics import keep_rubric, rubric_of
from flywheel.review.standing import (
    ReviewCounts,
    StandingDecision,
    adjudication_of,
    count_decisions,
    count_reviews,
    decision_of,
    standing_adjudications,
    standing_decisions,
    votes_on,
)

__all__ = [
    "Comment",
    "DecisionImport",
    "ReviewCounts",
    "StandingDecision",
    "Undone",
    "adjudicate",
    "adjudication_of",
    "clear_sensitive",
    "comment",
    "comments_on",
    "count_decisions",
    "count_reviews",
    "decide",
    "decision_of",
    "decline",
    "flag_sensitive",
    "import_decisions",
    "is_sensitive",
    "keep_rubric",
    "rubric_of",
    "sensitive_traces",
    "skip",
    "standing_adjudications",
    "standing_decisions",
    "undo",
    "unskip",
    "votes_on",
]
