"""Which applications a judge reads: those of its target, or all that no other target has.

Names in, a condition on traces out. The one idea is that the applications of a day's judges are
disjoint and complete, so that every trace has exactly one judge.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Applications:
    """The applications `names`, or all but these (`is_rest`)."""

    names: tuple[str, ...] = ()
    is_rest: bool = True

    def has(self, app: str) -> bool:
        """Whether an application is one of them."""
        return self.is_rest != (app in self.names)

    def as_parameters(self) -> Mapping[str, object]:
        """The values of `$apps` and `$is_rest` of SQL that asks for their traces."""
        return {"apps": list(self.names), "is_rest": self.is_rest}


EVERY = Applications()
