"""What a client gives the application: never an error, and where it is nothing, why.

Bodies of the server's answers in, frozen values out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flywheel.client.wire import Answer


@dataclass(frozen=True, slots=True)
class FewShots:
    """Corrections that fit a request, best first.

    `messages` are ready to stand before the request in a prompt; `examples` say of each where it is
    from and why it was chosen, as the server has them. Both are empty where nothing is near enough
    or nothing could be had, and then `why` says so. `request_id` names the answer to the server.
    """

    messages: tuple[Mapping[str, Any], ...] = ()
    examples: tuple[Mapping[str, Any], ...] = ()
    request_id: str = ""
    why: str = ""

    def __bool__(self) -> bool:
        return bool(self.examples)


@dataclass(frozen=True, slots=True)
class Arm:
    """The arm of an experiment that a session is given, and what it stands for.

    `is_counted` says whether the session is in the experiment; where it is not, `why` says why, and
    the arm is the first one as far as it is known.
    """

    name: str = ""
    value: Any = None
    is_counted: bool = False
    why: str = ""


def arm_of(answer: Answer) -> tuple[Arm | None, Arm, str]:
    """The arm of an answer, None with the reason where it holds none; and the first arm."""
    if not answer.is_taken:
        return None, Arm(), answer.why
    try:
        said = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        return None, Arm(), f"the answer is not JSON: {error}"
    if not isinstance(said, dict) or not isinstance(said.get("arm"), str):
        return None, Arm(), "the answer names no arm"
    first = Arm(str(said.get("first_arm") or ""), said.get("first_value"))
    is_counted, why = said.get("is_counted") is True, str(said.get("why") or "")
    return Arm(said["arm"], said.get("value"), is_counted, why), first, ""


def few_shots_of(answer: Answer) -> FewShots:
    """What an answer holds; empty, with the reason, where it holds nothing of use."""
    if not answer.is_taken:
        return FewShots(why=answer.why)
    try:
        said = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        return FewShots(why=f"the answer is not JSON: {error}")
    if not isinstance(said, dict):
        return FewShots(why="the answer is no JSON object")
    messages, examples = _objects(said.get("messages")), _objects(said.get("examples"))
    why = str(said.get("why") or "") or ("" if examples else "nothing is near enough")
    return FewShots(messages, examples, str(said.get("request_id") or ""), why)


def _objects(value: object) -> tuple[Mapping[str, Any], ...]:
    return tuple(one for one in value if isinstance(one, dict)) if isinstance(value, list) else ()
