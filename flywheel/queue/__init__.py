"""Queue: judged traces in, what people are asked to look at out, one item a version of a trace.

drawing     a day's traces, drawn by hash with a known probability
panel_items what panels of judges hand to people
complaints  what end users complain of
picking     what an engineer wants looked at
queues      how the items of a queue are reviewed
filters     which items are meant, and what is true of them
items       items as a list or a page shows them
claims      who has which item on the desk
bulk        many items at once
"""

from flywheel.queue.bulk import assign_items, decline_items, move_items, requeue_items
from flywheel.queue.claims import (
    claim,
    claim_next,
    drop_claims,
    has_room,
    heartbeat,
    release,
)
from flywheel.queue.complaints import ComplaintReport, queue_complaints
from flywheel.queue.drawing import AUDIT, QueueReport, fill_queue, queued_traces
from flywheel.queue.filters import FilterChoices, ItemFilter, filter_choices
from flywheel.queue.items import (
    Claim,
    Item,
    ItemMetric,
    ItemPage,
    get_item,
    item_of_trace,
    list_items,
    why_here,
)
from flywheel.queue.panel_items import PanelItems, queue_panel_items
from flywheel.queue.picking import pick_trace
from flywheel.queue.queues import (
    COMPLAINT_QUEUE,
    PANEL_QUEUE,
    PICKED,
    PICKED_QUEUE,
    QUEUE,
    UNDRAWN_QUEUES,
    UNDRAWN_REASONS,
    Queue,
    list_queues,
    set_queue,
)

__all__ = [
    "AUDIT",
    "COMPLAINT_QUEUE",
    "PANEL_QUEUE",
    "PICKED",
    "PICKED_QUEUE",
    "QUEUE",
    "UNDRAWN_QUEUES",
    "UNDRAWN_REASONS",
    "Claim",
    "ComplaintReport",
    "FilterChoices",
    "Item",
    "ItemFilter",
    "ItemMetric",
    "ItemPage",
    "PanelItems",
    "Queue",
    "QueueReport",
    "assign_items",
    "claim",
    "claim_next",
    "decline_items",
    "drop_claims",
    "fill_queue",
    "filter_choices",
    "get_item",
    "has_room",
    "heartbeat",
    "item_of_trace",
    "list_items",
    "list_queues",
    "move_items",
    "pick_trace",
    "queue_complaints",
    "queue_panel_items",
    "queued_traces",
    "release",
    "requeue_items",
    "set_queue",
    "why_here",
]
