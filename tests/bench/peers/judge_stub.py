"""The judge's model: a double that takes 50 ms, and says the same in any shape asked for."""

import json
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from tests.faulty_proxy import Double, Json, completion

REPLY_S = 0.05
REASON = "The user says “No, I wrote that”."


@contextmanager
def judge_stub() -> Iterator[str]:
    """Its address, with /v1; it runs in a process of its own, whose CPU is nobody's."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,))
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("end")
        process.join()


def _serve(there: Connection) -> None:
    with Double(reply, delay_s=REPLY_S) as server:
        there.send(server.url)
        there.recv()


def reply(body: Json) -> tuple[int, object]:
    """A call of the tool that is offered, else JSON by the schema, else plain JSON."""
    if tools := body.get("tools"):
        function = tools[0]["function"]
        arguments = json.dumps(filled(function["parameters"]), ensure_ascii=False)
        call = {"name": function["name"], "arguments": arguments}
        calls = [{"id": "c1", "type": "function", "function": call}]
        return 200, completion("", tool_calls=calls, finish_reason="tool_calls")
    schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
    words = filled(schema) if schema else {"result": "yes", "rationale": REASON}
    return 200, completion(json.dumps(words, ensure_ascii=False))


def filled(schema: Json) -> Json:
    """An object of a schema: the first of an enum, true, 0, and the reason for other texts."""
    return {key: _value(key, one) for key, one in schema["properties"].items()}


def _value(key: str, schema: Json) -> object:
    if "enum" in schema:
        return schema["enum"][0]
    kinds = {"boolean": True, "integer": 0, "number": 0, "string": REASON}
    return "yes" if key == "result" else kinds[schema.get("type", "string")]
