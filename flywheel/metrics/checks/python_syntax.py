"""Whether Python that the application wrote can be parsed. It is never run."""

import ast
import re
import textwrap
import warnings

from flywheel.metrics.checks.check import Finding, TextCheck

# A fence of Python and what stands until the next fence or the end.
_BLOCK = re.compile(r"^[ \t]*```[ \t]*(?:python3?|py)\b[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.M | re.S)
# A session, a notebook's magic and a place left open are no programs, and not meant to be.
_NO_PROGRAM = re.compile(r"^[ \t]*(?:>>>|In \[\d+\]:|[!%])|^[ \t]*\.\.\.[ \t]+\S", re.M)


class PythonSyntax(TextCheck):
    """The share of the Python blocks of a text that do not parse."""

    def finding(self, text: str) -> Finding | None:
        """See `TextCheck`."""
        blocks = [block for block in _BLOCK.findall(text) if not _NO_PROGRAM.search(block)]
        if not blocks:
            return None
        errors = [error for block in blocks if (error := _error_of(block))]
        why = errors[0] if errors else "All parse"
        return Finding(len(errors) / len(blocks), bool(errors), f"{why} ({len(blocks)} blocks)")


def _error_of(block: str) -> str:
    """Why the block is no Python; empty where it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(textwrap.dedent(block))
        except SyntaxError as error:
            return f"Line {error.lineno}: {error.msg[:60]}"
        except (ValueError, RecursionError, MemoryError) as error:
            return f"Not to be parsed: {type(error).__name__}"
    return ""
