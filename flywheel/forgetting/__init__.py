"""Forgetting: everything of a user, or of an age, removed from every store, and a receipt.

A name in, a receipt that names nobody out. The one idea is the order: a tombstone first, then the
removal of whatever a tombstone speaks of. So a process that is killed anywhere is run again and
completes, and an older copy of a store that is put back is emptied by the same code.
"""

from flywheel.forgetting.expiring import expire
from flywheel.forgetting.forgetting import Receipt, forget_user, reapply

__all__ = ["Receipt", "expire", "forget_user", "reapply"]
