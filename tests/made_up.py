"""Conversations from templates, of which it is known whether the user sees an error.

Seeded. What tells them apart is a colour, which no prototype knows: so only a judge that was
trained on them can.
"""

import random

from flywheel.records import Conversation, LabelledConversation, Turn

NOUNS = ("crate", "parcel", "lamp", "cable", "ticket", "invoice")
ASKED = (
    "Where is the {noun}?",
    "I need a {noun} by {day}, please.",
    "Can you have a look at the {noun} for me?",
)
ANSWERED = (
    "The {noun} will be there on {day}.",
    "I have looked at the {noun}, and it is ready.",
    "There is a {noun} for you at the desk, ask for it on {day}.",
)
SAW_AN_ERROR = (
    "The {noun} is grey.",
    "It says grey on the {noun} that came on {day}.",
    "Grey, and {day} is over.",
)
WENT_ON = (
    "The {noun} is green.",
    "It says green on the {noun} that came on {day}.",
    "Green, and {day} is over.",
)
DAYS = ("Monday", "Tuesday", "Friday")


def made_up(n: int, seed: int = 0, n_rounds: int = 1) -> list[LabelledConversation]:
    """`n` conversations, errors and others in turn, two to a session.

    Each has `n_rounds` reactions; the last one shows the error where there is one, and those before
    it never do.
    """
    rng = random.Random(seed)
    return [_one(rng, i, i % 2 == 0, n_rounds) for i in range(n)]


def _one(
    rng: random.Random, number: int, perceived_error: bool, n_rounds: int
) -> LabelledConversation:
    forms = [ASKED, *(form for _ in range(n_rounds) for form in (ANSWERED, WENT_ON))]
    forms[-1] = SAW_AN_ERROR if perceived_error else WENT_ON
    turns = tuple(
        Turn(
            position,
            "assistant" if form is ANSWERED else "user",
            rng.choice(form).format(noun=rng.choice(NOUNS), day=rng.choice(DAYS)),
        )
        for position, form in enumerate(forms)
    )
    session = f"session-{number // 2}"
    conversation = Conversation(f"t{number}", f"v1-t{number}", turns, session, "shop")
    return LabelledConversation(conversation, perceived_error, session)
