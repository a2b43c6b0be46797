"""The checks that a metric file may name: code of the product, never of a project."""

import sys
from collections.abc import Callable
from inspect import getsource
from types import ModuleType

from flywheel import safety
from flywheel.metrics.checks import check, reference
from flywheel.metrics.checks.anomaly import Anomaly
from flywheel.metrics.checks.check import Answer, Check, CheckRefused, DayView
from flywheel.metrics.checks.injected_instruction import InjectedInstruction
from flywheel.metrics.checks.language import Language
from flywheel.metrics.checks.personal_data import PersonalData
from flywheel.metrics.checks.python_syntax import PythonSyntax
from flywheel.metrics.checks.query_complexity import QueryComplexity
from flywheel.metrics.checks.topic_distance import TopicDistance
from flywheel.store.queries import query

__all__ = ["CHECKS", "Answer", "Check", "CheckRefused", "DayView", "code_of"]

CHECKS: dict[str, type[Check]] = {
    "anomaly": Anomaly,
    "injected_instruction": InjectedInstruction,
    "language": Language,
    "personal_data": PersonalData,
    "python_syntax": PythonSyntax,
    "query_complexity": QueryComplexity,
    "topic_distance": TopicDistance,
}


# What a check runs besides its own module: of the product's code, and of its statements.
_EVERY = (check,)
_TEXTS = ("metrics_runs/nodes", "metrics_runs/texts_of_node")
_CODE: dict[str, tuple[ModuleType | Callable[..., object], ...]] = {
    "anomaly": (reference,),
    "injected_instruction": (safety.injected_instruction, safety.visible, safety.quote),
    "topic_distance": (reference,),
}
_STATEMENTS = {
    "anomaly": ("metrics_runs/trace_numbers",),
    "topic_distance": ("metrics_runs/first_requests",),
}
_PATTERNS = {"injected_instruction": (safety._INJECTION.pattern, repr(safety._INVISIBLE))}


def code_of(name: str) -> bytes:
    """The source of all that a check runs: part of the version of every metric that it gives."""
    code = (sys.modules[CHECKS[name].__module__], *_EVERY, *_CODE.get(name, ()))
    parts = [
        *map(getsource, code),
        *map(query, _STATEMENTS.get(name, _TEXTS)),
        *_PATTERNS.get(name, ()),
    ]
    return "\n".join(parts).encode()
