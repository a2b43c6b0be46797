"""What a `kill -9` of the server costs: spans that it acknowledged with 200 and does not have."""

import signal
import threading
import time
from collections import Counter

from tests.bench.peers.corpus import Request
from tests.bench.peers.product import Figures, Product, Sent, send


def lost_by_a_kill(product: Product, sent: list[Request]) -> Figures:
    """Kill it while it receives, start it again, and look for what it had acknowledged.

    The half of the requests has been acknowledged when it is killed, and the next one is under way.
    """
    first, group = Sent(), product.group
    assert group is not None
    half = threading.Event()
    # One request more than the half is begun, unless the kill is faster.
    n_half = len(sent) // 2

    def see(n: int) -> bool:
        if n == n_half:
            half.set()
        return False

    def give() -> None:
        done = send(product, sent, see)
        first.acknowledged += done.acknowledged
        half.set()

    sender = threading.Thread(target=give)
    sender.start()
    half.wait()
    time.sleep(0.02)
    group.end(signal.SIGKILL)
    sender.join()
    product.start()
    product.settle()
    stored = Counter(product.span_ids())
    expected = [one for request in first.acknowledged for one in request.span_ids]
    return {
        "acknowledged_spans": len(expected),
        "lost": sum(one not in stored for one in expected),
        "twice": sum(n > 1 for n in stored.values()),
        "killed_after_requests": len(first.acknowledged),
    }
