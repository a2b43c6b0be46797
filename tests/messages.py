"""Conversations with calls of tools, message by message, and how they get into a project."""

from flywheel.store import Project, Stores
from flywheel.traces.importing import import_file
from tests.conftest import trace, write_lines

Message = dict[str, object]


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def says(text: str) -> Message:
    return {"role": "assistant", "content": text}


def calls(*named: tuple[str, str, str]) -> Message:
    """An assistant's message with calls, each of an id, a tool and its arguments."""
    made = [
        {"id": call_id, "type": "function", "function": {"name": tool, "arguments": arguments}}
        for call_id, tool, arguments in named
    ]
    return {"role": "assistant", "content": "", "tool_calls": made}


def gave(text: str, call_id: str = "", tool: str = "") -> Message:
    return {"role": "tool", "content": text, "tool_call_id": call_id, "name": tool}


def called(tool: str, arguments: str, result: str) -> list[Message]:
    """A call with its result, in the order in which they come; ids come again, as some servers'."""
    return [calls(("call_0", tool, arguments)), gave(result, "call_0", tool)]


def put(project: Project, conversations: list[list[Message]], **fields: object) -> Stores:
    """Import conversations as the traces "0", "1" and so on of one day."""
    rows = [
        trace(str(i), "Hi") | {"messages": said} | fields for i, said in enumerate(conversations)
    ]
    import_file(project.stores, write_lines(project.folder / "traces.jsonl", rows))
    return project.stores
