"""Whose words a message is, by the names that tools give the speakers."""

ROLES: dict[str, str] = {
    **dict.fromkeys(("system", "developer", "instructions", "system_instructions"), "system"),
    **dict.fromkeys(("user", "human", "humanmessage", "humanmessagechunk"), "user"),
    **dict.fromkeys(("assistant", "ai", "model", "gpt", "bot", "chatbot"), "assistant"),
    **dict.fromkeys(("aimessage", "aimessagechunk", "assistant_message"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "environment", "ipython"), "tool"),
    **dict.fromkeys(("toolmessage", "toolmessagechunk", "functionmessage"), "tool"),
    **dict.fromkeys(("tool_result", "tool-result", "tool_response"), "tool"),
    **dict.fromkeys(("systemmessage", "systemmessagechunk"), "system"),
}


def role_named(name: object) -> str | None:
    """The role that `name` stands for: system, user, assistant or tool; None for any other."""
    if not isinstance(name, str):
        return None
    return ROLES.get(name) or ROLES.get(name.lower())
