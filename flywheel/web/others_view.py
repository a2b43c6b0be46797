"""What others said of an item, as far as one reviewer may know it.

Items of the queue in, votes and remarks out; the one idea is that an item's page and the HTTP API
ask here, so that what one hides the other hides.
"""

from flywheel.queue import Item
from flywheel.review import Comment, comments_on, votes_on
from flywheel.web.access import Actor
from flywheel.web.context import Web
from flywheel.web.items_view import VisibleItem


def sees_votes(item: Item, actor: Actor, has_decided: bool) -> bool:
    """Whether `actor` may know what others said of the item: when it is done, or to settle it.

    A declined item is done for those who have decided on it; the others might open it again.
    """
    if item.status == "disputed":
        return actor.may("adjudicate")
    return item.status == "complete" or (item.status == "declined" and has_decided)


def visible_comments(web: Web, item: Item, shown: VisibleItem, actor: Actor) -> list[Comment]:
    """The remarks on the item's trace that `actor` may read, the oldest first.

    While the judge's word is hidden, those of people who have decided are too: they know it, and
    may say what they decided.
    """
    ledger, version = web.stores.ledger, (item.trace_id, item.content_hash)
    remarks = comments_on(ledger, *version)
    if not shown.is_hidden or sees_votes(item, actor, shown.has_decided):
        return remarks
    deciders = {vote.decision.reviewer for vote in votes_on(ledger, *version)}
    return [remark for remark in remarks if remark.author not in deciders]
