"""The live functions as other programs read them: OpenAI's tools, and a Python module.

Records in, text out. The one idea is that what leaves carries its versions, so that a trace can say
which function answered.
"""

import ast
import json
from collections.abc import Iterable
from pprint import pformat

from flywheel.evolution.functions.record import FunctionRecord
from flywheel.evolution.functions.syntax import read_code


def as_tools(records: Iterable[FunctionRecord]) -> str:
    """As the `tools` of OpenAI's chat completions, in JSON."""
    tools = [
        {
            "type": "function",
            "function": {
                "name": record.name,
                "description": record.description,
                "parameters": record.parameters,
            },
        }
        for record in records
    ]
    return json.dumps(tools, indent=2, ensure_ascii=False) + "\n"


def as_module(records: Iterable[FunctionRecord]) -> str:
    """As one Python module: the functions by name, `FUNCTIONS`, `VERSIONS` and `TOOLS`.

    Each function stands with its imports and helpers in a scope of its own, so that two may have
    helpers of the same name. It runs where it is imported, outside the sandbox.
    """
    kept = list(records)
    parts = [_header(kept), *map(_scope, kept), _tables(kept)]
    return "\n\n".join(parts)


def _header(records: list[FunctionRecord]) -> str:
    required = sorted({one for record in records for one in record.requirements})
    needs = f"\n\nNeeds {', '.join(required)}.\n" if required else ""
    # Without it annotations would be evaluated here that were not before.
    is_late = any("__future__" in record.code for record in records)
    future = "from __future__ import annotations\n\n" if is_late else ""
    imports = "from collections.abc import Callable as _Callable\nfrom typing import Any as _Any\n"
    said = f'"""Functions that a person approved, exported by Flywheel.{needs}"""'
    return f"{said}\n\n{future}{imports}"


def _scope(record: FunctionRecord) -> str:
    body = [
        node
        for node in read_code(record.code).body
        # A future import stands at the top of a module or nowhere.
        if not (isinstance(node, ast.ImportFrom) and node.module == "__future__")
    ]
    scope = ast.parse(f"def _scope_of_{record.name}() -> '_Callable[..., _Any]':\n    pass")
    maker = scope.body[0]
    assert isinstance(maker, ast.FunctionDef)
    maker.body = [*body, ast.Return(ast.Name(record.name, ast.Load()))]
    made = ast.unparse(ast.fix_missing_locations(scope))
    return f"# {record.version}\n{made}\n\n\n{record.name} = _scope_of_{record.name}()\n"


def _tables(records: list[FunctionRecord]) -> str:
    named = "".join(f"    {json.dumps(one.name)}: {one.name},\n" for one in records)
    versions = "".join(f"    {json.dumps(one.name)}: {one.version!r},\n" for one in records)
    # A literal of Python: JSON has other words for true and none.
    tools = pformat(json.loads(as_tools(records)), width=100, sort_dicts=False)
    return (
        f"FUNCTIONS: dict[str, _Callable[..., _Any]] = {{\n{named}}}\n"
        f"VERSIONS: dict[str, str] = {{\n{versions}}}\n"
        f"TOOLS: list[dict[str, _Any]] = {tools}\n"
    )
