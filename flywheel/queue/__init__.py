"""Queue: judged traces in, what people are asked to look at out, one item a trace.

drawing     a day's traces, drawn by hash with a known probability
"""

from flywheel.queue.drawing import (
    AUDIT,
    QUEUE,
    OpenItem,
    QueueReport,
    fill_queue,
    open_items,
    queued_traces,
)

__all__ = [
    "AUDIT",
    "QUEUE",
    "OpenItem",
    "QueueReport",
    "fill_queue",
    "open_items",
    "queued_traces",
]
