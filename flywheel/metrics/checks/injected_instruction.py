"""Text that orders a model about: known phrasings, no proof.

No maintained library does this without the weights of a model from a hub; a project that has such a
model makes a judge of it. What is found is where to look, in any text of a trace: of users, and of
what tools and pages gave.
"""

from flywheel.metrics.checks.check import Finding, TextCheck
from flywheel.safety import injected_instruction, quote


class InjectedInstruction(TextCheck):
    """Whether a text tries to instruct a model."""

    def finding(self, text: str) -> Finding | None:
        """See `TextCheck`."""
        passage = injected_instruction(text)
        if passage is None:
            return Finding(0.0, False, "No text gives orders to a model, in a phrase that is known")
        return Finding(1.0, True, f"Orders a model about: {quote(passage, 80)}")
