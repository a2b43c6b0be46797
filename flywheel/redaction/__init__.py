"""Redaction: what is taken out of a trace before it is stored.

A JSON document in, the same document with masks out; the one idea is that a mask says what stood
there (`<EMAIL_ADDRESS>`), that ids which join traces are left alone, and that what was found is
counted and never kept.
"""

from flywheel.redaction.redactor import Redactor
from flywheel.redaction.rules import RULES

__all__ = ["RULES", "Redactor"]
