"""All that stands on an item's page: the conversation, what is known, what can be said.

The ledger and a document in, the template's context out. What a blind reviewer may not see yet is
taken out in `items_view`; here nothing is put back.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from markupsafe import Markup

from flywheel.errors import NotFound
from flywheel.judge.rubric import load_rubric
from flywheel.queue import Item, ItemFilter, list_items
from flywheel.records import Decision
from flywheel.review import decision_of, is_sensitive, votes_on
from flywheel.safety import quote
from flywheel.traces.documents import Document, ToolCall, open_document, tool_calls_of
from flywheel.traces.feedback import feedback_on
from flywheel.web.access import Actor, allows
from flywheel.web.context import Web
from flywheel.web.conversation_view import (
    Editor,
    answer_before,
    conversation_view,
    first_shown,
    is_short_enough,
    readable,
)
from flywheel.web.differences import diff_html
from flywheel.web.feedback_view import feedback_view
from flywheel.web.items_view import visible_item
from flywheel.web.others_view import sees_votes, visible_comments
from flywheel.web.rendering import markdown
from flywheel.web.traces_view import trace_href

# Reason codes in the reviewer's words, and the key of each that goes with an error.
CODES = (
    ("correction", "The user says what is right", "1"),
    ("rejection", "The user says that it is wrong", "2"),
    ("repeated_request", "The user asks for the same again", "3"),
    ("complaint_without_correction", "The user complains", "4"),
    ("clarification_request", "The user questions the answer", "5"),
    ("assistant_admits_error", "The assistant admits an error", "6"),
    ("positive", "The user is pleased", ""),
    ("none", "None of these", ""),
)
_NOTES = {
    "undone-decide": "Your decision on this item is taken back.",
    "undone-adjudicate": "Your word on this dispute is taken back.",
    "undone-decline": "This item is no longer declined.",
    "undone-skip": "You no longer skip this item.",
    "undone-sensitive": "This trace is no longer flagged as sensitive.",
}


@dataclass(frozen=True, slots=True)
class JudgesWord:
    """What the judge said, where the reviewer may know it."""

    probability: float | None
    reason: str | None
    reason_code: str | None


@dataclass(frozen=True, slots=True)
class Vote:
    """What somebody decided, with what they would change."""

    reviewer: str
    perceived_error: bool
    reason_code: str
    reason: str
    rubric_version: str
    diff: Markup


@dataclass(frozen=True, slots=True)
class Similar:
    """A decision on another trace that is like this one."""

    trace_id: str
    content_hash: str
    opening: str
    similarity: float
    perceived_error: bool
    reason: str
    corrected_text: str


def desk_view(
    web: Web,
    item: Item,
    actor: Actor,
    first: int | None,
    correct: int | None,
    held_until: datetime | None,
    obstacle: str,
    note: str,
    then: str,
) -> dict[str, object]:
    """The context of item.html.

    Raises NotFound where the trace has no document.
    """
    ledger = web.stores.ledger
    document = open_document(web.stores, item.trace_id, item.content_hash)
    shown = visible_item(web, item, actor)
    decided = [one.decision for one in votes_on(ledger, item.trace_id, item.content_hash)]
    mine = next((one for one in decided if one.reviewer == actor.name), None)
    adjudicates = item.status == "disputed" and allows(actor.role, "adjudicate")
    may_revise = mine is not None and not obstacle and item.status != "disputed"
    may_decide = adjudicates or held_until is not None or may_revise
    views, talk = conversation_view(document, _first(item, first, correct))
    marks = _marks(document, item, mine, correct, may_decide)
    talk = replace(talk, base=f"/items/{item.item_id}?{then}", **marks)
    rubric = load_rubric(web.project.metrics_dir)
    waiting = list_items(ledger, ItemFilter(status="pending"), 1)
    notices = [sentence for sentence in (obstacle, _NOTES.get(note, "")) if sentence]
    # One's own word stands in the form already.
    others = [one for one in decided if one is not mine]
    may_see_votes = sees_votes(item, actor, mine is not None) and (adjudicates or bool(others))
    return {
        "item": shown,
        "why": shown.why,
        "shown": {"judge": None if shown.is_hidden else _judges_word(item)},
        "header": document.header,
        "views": views,
        "talk": talk,
        "held_until": held_until,
        "notices": notices,
        "mine": mine,
        "adjudicates": adjudicates,
        "may_decide": may_decide,
        "then": then,
        "lease_s": web.lease_s,
        "votes": [_vote(document, one) for one in decided if may_see_votes],
        "codes": CODES,
        "n_waiting": waiting.n_matching,
        "n_all": waiting.n_all,
        "similar": _similar(web, item),
        "rubric": {"version": rubric.version, "html": markdown(rubric.text)},
        "comments": visible_comments(web, item, shown, actor),
        "is_sensitive": is_sensitive(ledger, item.trace_id),
        # What users say would tell a blind reviewer what to think.
        "said": [] if shown.is_hidden else feedback_view(feedback_on(ledger, item.trace_id)),
        "trace_href": trace_href(item.trace_id),
    }


def _marks(
    document: Document, item: Item, mine: Decision | None, correct: int | None, may_decide: bool
) -> dict[str, Any]:
    """What stands out of the conversation, and what of it can be changed."""
    target = correct if correct is not None else _target(document, item, mine)
    return {
        # Every verdict names a message, so that the mark says nothing of the verdict.
        "flagged": item.evidence_turn,
        "evidence": item.evidence_turn if mine is None else mine.evidence_turn,
        "target": target,
        "editor": _editor(document, target, mine, correct) if may_decide else None,
        "may_decide": may_decide,
    }


def _first(item: Item, first: int | None, correct: int | None) -> int:
    if first is not None:
        return first
    return first_shown(item.n_messages, item.evidence_turn if correct is None else correct)


def _target(document: Document, item: Item, mine: Decision | None) -> int | None:
    if mine is not None and mine.corrected_turn is not None:
        return mine.corrected_turn
    return answer_before(document, item.evidence_turn)


def _judges_word(item: Item) -> JudgesWord:
    return JudgesWord(item.probability, item.judge_reason, item.judge_reason_code)


def _editor(
    document: Document, target: int | None, mine: Decision | None, asked: int | None
) -> Editor | None:
    """The message that would be corrected, as this reviewer last corrected it."""
    if target is None or target >= document.header.n_messages:
        return None
    message = document.message(target)
    is_corrected = mine is not None and mine.corrected_turn == target
    if message.role != "assistant" or not (
        is_short_enough(message) or is_corrected or asked is not None
    ):
        return None
    text, calls = message.content, message.tool_calls
    if mine is not None and is_corrected:
        text = text if mine.corrected_text is None else mine.corrected_text
        calls = tool_calls_of(mine.corrected_tool_calls) if mine.corrected_tool_calls else calls
    diff = _difference(document, mine) if mine is not None and is_corrected else Markup("")
    return Editor(
        target, text, tuple(readable(call) for call in calls), bool(diff) or asked is not None, diff
    )


def _vote(document: Document, decision: Decision) -> Vote:
    return Vote(
        decision.reviewer,
        decision.perceived_error,
        decision.reason_code,
        decision.reason,
        decision.rubric_version,
        _difference(document, decision),
    )


def _difference(document: Document, decision: Decision) -> Markup:
    """What a correction changed, text and calls; empty where the decision has none."""
    turn = decision.corrected_turn
    if turn is None or turn >= document.header.n_messages:
        return Markup("")
    message = document.message(turn)
    changed = Markup("")
    if decision.corrected_text is not None:
        changed += diff_html(message.content, decision.corrected_text)
    if decision.corrected_tool_calls is not None:
        better = tool_calls_of(decision.corrected_tool_calls)
        changed += diff_html(_as_text(message.tool_calls), _as_text(better))
    return changed


def _as_text(calls: tuple[ToolCall, ...]) -> str:
    return "\n".join(f"{call.name}\n{readable(call).arguments}" for call in calls)


def _similar(web: Web, item: Item) -> list[Similar]:
    found = []
    for correction_id, similarity in item.similar:
        try:
            decision = decision_of(web.stores.ledger, int(correction_id)).decision
            if is_sensitive(web.stores.ledger, decision.trace_id):
                continue
            document = open_document(web.stores, decision.trace_id, decision.content_hash)
        except NotFound:
            # Taken back since, or of a trace that was never published.
            continue
        begins = next((m.content for m in document.messages(0, 10) if m.role == "user"), "")
        found.append(
            Similar(
                decision.trace_id,
                decision.content_hash,
                quote(begins) if begins else decision.trace_id,
                similarity,
                decision.perceived_error,
                decision.reason,
                quote(decision.corrected_text, 200) if decision.corrected_text else "",
            )
        )
    return found
