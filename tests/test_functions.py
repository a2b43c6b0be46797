"""Functions: records, gates in order, versions kept, the live one moved, and what is exported."""

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import JsonValue

from flywheel.cli import main
from flywheel.errors import BadInput, NotFound, Refused
from flywheel.evolution.evidence import Evidence
from flywheel.evolution.functions import running
from flywheel.evolution.functions.arguments import fault_of_call, read_schema
from flywheel.evolution.functions.export import as_module, as_tools
from flywheel.evolution.functions.gates import pass_gates, same_value
from flywheel.evolution.functions.keeping import FunctionKeeper
from flywheel.evolution.functions.record import FunctionRecord, FunctionTest, read_record
from flywheel.evolution.functions.running import run_function
from flywheel.evolution.functions.store import (
    find_version,
    list_functions,
    list_moves,
    live_record,
    live_records,
    put_live,
    roll_back,
)
from flywheel.evolution.functions.syntax import (
    complexity_of,
    fault_of_syntax,
    functions_of,
    read_code,
)
from flywheel.evolution.keepers import keeper_of
from flywheel.evolution.proposals import Draft, approve, find_proposal, propose, undo
from flywheel.evolution.sandbox.running import Ran, run_code
from flywheel.evolution.sandbox.walls import NoSandbox
from flywheel.store import Project
from flywheel.store.tables import audit_log
from flywheel.web.app import create_app
from tests.sandboxed import sandbox
from tests.signed_in import add_person, client_of, csrf_of

__all__ = ["sandbox"]

CODE = """from math import lcm

LEAST = 1


def checked(numbers):
    return numbers or [LEAST]


def lcm_of(numbers, times=1):
    # The least common multiple, so many times.
    return times * lcm(*checked(numbers))
"""
RECORD = FunctionRecord(
    name="lcm_of",
    description="Least common multiple of whole numbers.",
    parameters={
        "type": "object",
        "properties": {
            "numbers": {"type": "array", "items": {"type": "integer"}, "description": "Which."},
            "times": {"type": "integer", "minimum": 1},
        },
        "required": ["numbers"],
    },
    code=CODE,
    tests=(FunctionTest({"numbers": [4, 6]}, 12), FunctionTest({"numbers": [], "times": 3}, 3)),
    traces=("t1",),
)
TANGLED = "    for i in numbers:\n" + "        if i: pass\n" * 10
EVIDENCE = Evidence("It solves 8 of 10.")


def other(code: str, **changes: object) -> FunctionRecord:
    return replace(RECORD, code=code, **changes)


# Records


def test_a_record_is_read_back_from_its_text_and_named_by_all_of_it() -> None:
    assert read_record(RECORD.text) == RECORD
    assert '    "    # The least common multiple, so many times.",' in RECORD.text
    changed = [
        replace(RECORD, description="Another."),
        replace(RECORD, tests=RECORD.tests[:1]),
        replace(RECORD, traces=()),
        replace(RECORD, requirements=("numpy==2.0",)),
        other(CODE.replace("LEAST = 1", "LEAST = 2")),
    ]
    assert len({one.version for one in (RECORD, *changed)}) == 5
    # Which traces it came from may be forgotten.
    assert replace(RECORD, traces=()).version == RECORD.version


@pytest.mark.parametrize("code", ["a = 'x\u2028y'\n", "a\n\n", "a", "a\r\nb\n", ""])
def test_a_text_keeps_each_line_of_the_code(code: str) -> None:
    again = read_record(other(code).text)
    assert again.version == other(code).version
    assert again.code.rstrip("\n") == code.rstrip("\n")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"name": 1}', RECORD.text.replace('"name"', '"nmae"'), "[" * 9_999]
)
def test_a_text_that_is_no_record_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(BadInput, match="this is no record of a function"):
        read_record(text)


# Arguments

SHAPE = read_schema(RECORD.parameters)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"numbers": [1, 2.0]}, ""),
        ({"numbers": [1], "times": 2}, ""),
        ({}, "the call lacks 'numbers'"),
        ({"numbers": 1}, "argument numbers is no array"),
        ({"numbers": [1, "2"]}, "argument numbers[1] is no integer"),
        ({"numbers": [True]}, "argument numbers[0] is no integer"),
        ({"numbers": [], "times": 0}, "argument times is less than 1"),
        ({"numbers": [], "time": 1}, "there is no argument “time”; there are: numbers, times"),
    ],
)
def test_a_call_that_does_not_fit_is_told_why(arguments: dict[str, object], fault: str) -> None:
    assert fault_of_call(SHAPE, arguments) == fault


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "array"},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(a+)+$"}}},
        {"type": "object", "properties": {"a": {"$ref": "http://example.com/a.json"}}},
        {"type": "object", "required": ["a"]},
        {"type": "object", "properties": {"a b": {"type": "string"}}},
    ],
)
def test_a_schema_with_what_is_not_known_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=r"schema|`required`|argument"):
        read_schema(wrong)


def test_a_schema_without_end_is_refused() -> None:
    deep: dict[str, object] = {"type": "string"}
    for _ in range(5_000):
        deep = {"type": "array", "items": deep}
    with pytest.raises(BadInput, match="schema of the arguments"):
        read_schema({"type": "object", "properties": {"a": deep}})


# Syntax


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("import os", "line 1: importing os is not allowed"),
        ("from os.path import join", "line 1: importing os.path is not allowed"),
        ("from . import x", "line 1: importing . is not allowed"),
        ("from math import *", "line 1: importing * is not allowed"),
        ("def f():\n    import socket", "line 2: importing socket is not allowed"),
        ("def f():\n    return open('a')", "line 2: open is not allowed"),
        ("def f():\n    return __import__('os')", "line 2: the name __import__ is not allowed"),
        ("def f():\n    return eval('1')", "line 2: eval is not allowed"),
        ("def f(x):\n    return x.__class__", "line 2: the attribute __class__ is not allowed"),
        ("def f(x):\n    global y", "line 2: Global is not allowed"),
        ("class A: pass", "line 1: outside a function stand imports and constants only"),
        ("print('now')", "line 1: outside a function stand imports and constants only"),
        ("async def f(): pass", "line 1: outside a function stand imports and constants only"),
        ("import uuid\ndef f():\n    return uuid.os.getcwd()", "line 3: uuid.os is not allowed"),
        ("import uuid as u\ndef f():\n    return u.os", "line 3: uuid.os is not allowed"),
        ("from statistics import sys", "line 1: statistics.sys is not allowed"),
        ("import io\ndef f():\n    return io.open('a')", "line 3: io.open is not allowed"),
        ("import io, urllib.parse\ndef f():\n    return io.StringIO(urllib.parse.quote('a'))", ""),
        ("from collections import abc\nimport datetime\nx = datetime.time", ""),
        ("@print\ndef f(): pass", "line 2: a decorator is not allowed"),
        (CODE, ""),
        ("def f(x):\n    match x:\n        case [1, *_]: return f'{x!r:>5}'", ""),
        (
            "def f(x):\n    try:\n        return {i: 1 for i in x}\n    except ValueError: raise",
            "",
        ),
    ],
)
def test_the_list_of_syntax_says_what_is_not_on_it(code: str, fault: str) -> None:
    assert fault_of_syntax(read_code(code)) == fault


@pytest.mark.parametrize(
    "code", ["def f(:", "return 1", "x = '\0'", "-" * 9_000 + "1", "(" * 500 + ")" * 500]
)
def test_code_that_does_not_compile_is_a_sentence(code: str) -> None:
    with pytest.raises(BadInput, match="the code does not compile"):
        read_code(code)


def test_code_that_could_not_be_written_out_again_is_a_sentence() -> None:
    sums = " + ".join(["x"] * 600)
    with pytest.raises(BadInput, match="nested deeper than 100 levels"):
        read_code(f"def f(x):\n    return {sums}\n")


def test_complexity_counts_decisions_and_one() -> None:
    code = """
def f(x):
    if x and x > 1 or x < -1:          # 1 + 2
        return [i for i in x if i]      # 2
    elif x:                             # 1
        while x:                        # 1
            try:
                x -= 1
            except ValueError:          # 1
                pass
    for i in x:                         # 1
        assert i                        # 1
    return 1 if x else 2                # 1
"""
    assert complexity_of(functions_of(read_code(code))["f"]) == 1 + 11


# Gates


def last(record: FunctionRecord, packages: tuple[str, ...] = ()) -> tuple[str, bool, str]:
    check = pass_gates(record, packages)[-1]
    return check.name, check.passed, check.said


def test_a_good_function_passes_every_gate_in_order(sandbox: None) -> None:
    checks = pass_gates(RECORD)
    named = ["schema", "syntax", "complexity", "tests", "sandbox"]
    assert [(check.name, check.passed) for check in checks] == [(name, True) for name in named]


def hidden(default: JsonValue) -> dict[str, JsonValue]:
    """The schema of RECORD with something in it that is not seen."""
    properties = RECORD.parameters["properties"]
    assert isinstance(properties, dict)
    first = next(iter(properties.values()))
    assert isinstance(first, dict)
    first = first | {"default": default}
    return dict(RECORD.parameters) | {"properties": properties | {next(iter(properties)): first}}


@pytest.mark.parametrize(
    ("record", "gate", "said"),
    [
        (replace(RECORD, name="Lcm"), "schema", "“Lcm” is no name of a function"),
        (replace(RECORD, name="import"), "schema", "is no name"),
        (replace(RECORD, description=" "), "schema", "no description"),
        (replace(RECORD, description="a\u202eb"), "schema", "the description holds characters"),
        (other("# \u2066\n" + CODE), "schema", "the code holds characters that hide"),
        (replace(RECORD, tests=(FunctionTest({}, 1),)), "schema", "test 1 does not fit"),
        (replace(RECORD, name="sum"), "schema", "sum is a name of Python's own"),
        (replace(RECORD, description="a" * 2_001), "schema", "at most 2000 characters"),
        (replace(RECORD, parameters=hidden("a\u200bb")), "schema", "the schema or a test holds"),
        (replace(RECORD, parameters=hidden(float("inf"))), "schema", "a number that JSON has not"),
        (other("def lcm_of(:"), "syntax", "does not compile"),
        (other("import os\n" + CODE), "syntax", "importing os"),
        (other("def g(numbers, times=1):\n    return 1"), "syntax", "no function 'lcm_of'"),
        (other("def lcm_of(numbers):\n    return 1"), "syntax", "'times' in the schema alone"),
        (other("def lcm_of(numbers, times):\n    return 1"), "syntax", "needs 'times'"),
        (other("def lcm_of(*numbers, times=1):\n    return 1"), "syntax", "each of them named"),
        (
            replace(RECORD, requirements=("numpy==1",)),
            "syntax",
            "not in evolution.sandbox_",
        ),
        (other(CODE.replace("    # ", TANGLED + "    # ")), "complexity", "lcm_of has 12, and 10"),
        (replace(RECORD, tests=()), "tests", "it has no tests"),
    ],
)
def test_each_gate_stops_what_is_not_for_it_without_running_it(
    monkeypatch: pytest.MonkeyPatch, record: FunctionRecord, gate: str, said: str
) -> None:
    monkeypatch.setattr(running, "run_code", lambda *_: pytest.fail("it was run"))
    name, passed, why = last(record)
    assert (name, passed) == (gate, False)
    assert said in why


@pytest.mark.parametrize(
    ("code", "gate", "said"),
    [
        ("return 13", "tests", "test 1 returns “13”, not “12”"),
        ("return 1 // 0", "tests", "test 1: ZeroDivisionError in line 2"),
        ("import random; return random.random()", "tests", "test 1 returns"),
    ],
)
def test_the_tests_of_a_function_are_run_in_the_sandbox(
    sandbox: None, code: str, gate: str, said: str
) -> None:
    name, passed, why = last(other(f"def lcm_of(numbers, times=1):\n    {code}\n"))
    assert (name, passed) == (gate, False)
    assert said in why


def test_a_function_that_answers_differently_each_time_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stand-in for the sandbox: 1 apart by less than the tests notice, until it is more."""
    values = iter([12, 3, 12, 4])
    monkeypatch.setattr(running, "run_code", lambda *_: Ran(next(values), None, "", 0.1))
    assert last(RECORD)[:2] == ("sandbox", False)
    assert "does not answer the same call twice alike: test 2 returns “4”" in last_said(RECORD)


def test_tests_that_take_too_long_together_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the sandbox, in which a call takes most of its time."""
    monkeypatch.setattr(running, "run_code", lambda *_: Ran(12, None, "", 29.0))
    slow = replace(RECORD, tests=RECORD.tests[:1] * 20)
    assert last(slow) == ("tests", False, "its tests take longer than 60 s together")


def last_said(record: FunctionRecord) -> str:
    values = iter([12, 3, 12, 4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "run_code", lambda *_: Ran(next(values), None, "", 0.1))
        return last(record)[2]


def test_without_a_sandbox_no_function_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoSandbox, match="bubblewrap is not installed"):
        pass_gates(RECORD)


def test_values_are_the_same_to_within_rounding() -> None:
    assert same_value({"a": [0.1 + 0.2, None]}, {"a": [0.3, None]})
    assert same_value(2, 2.0)
    for one, two in ((1, True), ([1], [1, 1]), ({"a": 1}, {"b": 1}), ("1", 1), (0.3, 0.30001)):
        assert not same_value(one, two)


def test_a_call_that_does_not_fit_is_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "run_code", lambda *_: pytest.fail("it was run"))
    ran = run_function(RECORD, {"numbers": "all"})
    assert (ran.failure, ran.error) == ("refused", "argument numbers is no array")


def test_a_package_that_is_allowed_can_be_imported_and_no_other(sandbox: None) -> None:
    pinned = f"packaging=={version('packaging')}"
    code = "from packaging.version import Version\n\n\ndef lcm_of(numbers, times=1):\n"
    tests = (FunctionTest({"numbers": []}, "1.0"),)
    uses = other(f"{code}    return str(Version('1.0'))\n", tests=tests, requirements=(pinned,))
    assert last(uses, (pinned,))[:2] == ("sandbox", True)
    no_package = last(replace(uses, requirements=()))
    assert no_package[2] == "line 1: importing packaging.version is not allowed"
    assert run_function(replace(uses, requirements=()), {"numbers": []}).error.startswith(
        "ModuleNotFoundError in line 1"
    )
    for wrong in ("packaging", "packaging==0.0.1", "no-such-package==1"):
        with pytest.raises(BadInput, match=r"NAME==VERSION|is required|pip install"):
            run_function(replace(uses, requirements=(wrong,)), {"numbers": []})


# Store and proposals


def test_the_live_version_moves_forward_and_back_and_none_is_lost(project: Project) -> None:
    ledger = project.stores.ledger
    second = other(CODE.replace("LEAST = 1", "LEAST = 2"))
    put_live(ledger, RECORD, "ann", "first")
    put_live(ledger, second, "ann", "second")
    put_live(ledger, second, "ann", "again")
    assert live_records(ledger) == {"lcm_of": second}
    back = roll_back(ledger, "lcm_of", RECORD.version[:10], "bob", "it was better")
    assert back.record == RECORD
    assert live_record(ledger, "lcm_of") == RECORD
    assert {(one.version, one.is_live) for one in list_functions(ledger)} == {
        (RECORD.version, True),
        (second.version, False),
    }
    moves = [(one.actor, one.previous, one.version) for one in list_moves(ledger, "lcm_of")]
    assert moves == [
        ("bob", second.version, RECORD.version),
        ("ann", RECORD.version, second.version),
        ("ann", None, RECORD.version),
    ]
    with pytest.raises(Refused, match="is live already"):
        roll_back(ledger, "lcm_of", RECORD.version, "bob", "once more")
    with pytest.raises(NotFound, match="there is no version of lcm_of 'zz'"):
        find_version(ledger, "lcm_of", "zz")
    with pytest.raises(NotFound, match="did you mean 'lcm_of'"):
        find_version(ledger, "lcm_off", "a")


def proposed(project: Project, before: FunctionRecord | None, after: FunctionRecord | None) -> int:
    change = "add" if before is None else "remove" if after is None else "redefine"
    texts = {"before": before and before.text, "after": after and after.text}
    draft = Draft("function", "lcm_of", change, **texts, why="tasks fail", evidence=EVIDENCE)
    made = propose(project.stores.ledger, draft, "a-model")
    assert made is not None
    return made.proposal_id


def decide(project: Project, number: int, text: str | None = None) -> None:
    keeper = keeper_of("function")
    approve(project=project, keeper=keeper, proposal_id=number, actor="ann", why="good", text=text)


def take_back(project: Project, number: int) -> None:
    keeper = keeper_of("function")
    undo(project=project, keeper=keeper, proposal_id=number, actor="bob", why="no")


def test_an_approved_function_is_live_and_taken_back_it_is_what_it_was(
    sandbox: None, project: Project
) -> None:
    ledger = project.stores.ledger
    first = proposed(project, None, RECORD)
    decide(project, first)
    assert live_record(ledger, "lcm_of") == RECORD
    gone = proposed(project, RECORD, None)
    decide(project, gone)
    assert live_records(ledger) == {}
    take_back(project, gone)
    assert live_record(ledger, "lcm_of") == RECORD
    take_back(project, first)
    assert live_records(ledger) == {}
    assert [one.version for one in list_functions(ledger)] == [RECORD.version]
    # Whoever decided, and not the model that proposed it.
    assert [one.actor for one in list_moves(ledger, "lcm_of")] == ["bob", "bob", "ann", "ann"]


def test_of_two_approved_at_once_the_second_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tests take a while, and another may be approved meanwhile; a stand-in for that."""
    number, keeper = proposed(project, None, RECORD), FunctionKeeper()
    second = other(CODE.replace("LEAST = 1", "LEAST = 2"))

    def while_checking(*given: object) -> None:
        put_live(project.stores.ledger, second, "bob", "meanwhile")

    monkeypatch.setattr(keeper, "check", while_checking)
    with pytest.raises(Refused, match="another version of lcm_of became live"):
        approve(project=project, keeper=keeper, proposal_id=number, actor="ann", why="good")
    assert live_record(project.stores.ledger, "lcm_of") == second
    assert find_proposal(project.stores.ledger, number).status == "open"


def test_an_edit_passes_the_gates_before_it_counts(sandbox: None, project: Project) -> None:
    number = proposed(project, None, RECORD)
    for wrong, said in (
        (other(CODE.replace("lcm(", "max(")).text, "gate 'tests': test 1 returns “6”, not “12”"),
        (other("import os\n" + CODE).text, "gate 'syntax': line 1: importing os"),
        (replace(RECORD, name="gcd_of").text, "the record is of 'gcd_of'"),
        ("drop table", "this is no record of a function"),
    ):
        with pytest.raises(BadInput, match=said):
            decide(project, number, wrong)
    assert live_records(project.stores.ledger) == {}
    edited = other(CODE.replace("so many times", "some times"))
    decide(project, number, edited.text)
    assert live_record(project.stores.ledger, "lcm_of") == edited


def test_a_function_that_became_another_meanwhile_is_left_alone(project: Project) -> None:
    second = other(CODE.replace("LEAST = 1", "LEAST = 2"))
    number = proposed(project, RECORD, None)
    put_live(project.stores.ledger, second, "bob", "by hand")
    with pytest.raises(Refused, match="another version of lcm_of became live"):
        decide(project, number)
    assert live_record(project.stores.ledger, "lcm_of") == second


# Export


def test_exported_tools_are_those_of_openai() -> None:
    (tool,) = json.loads(as_tools([RECORD]))
    assert tool == {
        "type": "function",
        "function": {
            "name": "lcm_of",
            "description": RECORD.description,
            "parameters": RECORD.parameters,
        },
    }


def test_an_exported_module_holds_functions_that_do_not_meet(sandbox: None) -> None:
    """Two functions with helpers, constants and imports of the same names."""
    code = "from math import gcd as lcm\n\nLEAST = 7\n\n\ndef checked(x):\n    return [LEAST]\n\n\n"
    code += "def gcd_of():\n    '''One\n  two.'''\n    return [lcm(14, *checked(1)), '''a\n b''']\n"
    schema = {"type": "object", "properties": {"x": {"type": "boolean", "default": True}}}
    second = FunctionRecord("gcd_of", "Greatest.", schema, code)
    module = as_module([RECORD, second])
    compile(module, "tools.py", "exec")
    called = "[lcm_of([4, 6]), FUNCTIONS['gcd_of'](), VERSIONS, TOOLS]"
    ran = run_code(f"{module}\ndef f():\n    return {called}", "f", {})
    assert ran.value == [
        *(12, [7, "a\n b"]),
        {"lcm_of": RECORD.version, "gcd_of": second.version},
        json.loads(as_tools([RECORD, second])),
    ]


def test_annotations_that_were_not_evaluated_are_not_in_an_exported_module() -> None:
    code = "from __future__ import annotations\n\n\ndef one(x: Missing = 1):\n    return x\n"
    module = as_module([FunctionRecord("one", "One.", RECORD.parameters, code)])
    kept: dict[str, object] = {}
    exec(compile(module, "tools.py", "exec"), kept)
    assert "one" in kept


def test_commands_list_export_and_go_back(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, folder = project.stores.ledger, str(project.folder)
    put_live(ledger, RECORD, "ann", "first")
    put_live(ledger, other(CODE.replace("LEAST = 1", "LEAST = 2")), "ann", "second")
    begin = ("--project", folder, "evolution")
    main([*begin, "set-live", "lcm_of", RECORD.version[:8], "--why", "better", "--json"])
    assert json.loads(capsys.readouterr().out)["version"] == RECORD.version
    main([*begin, "live", "--all", "--json"])
    listed = json.loads(capsys.readouterr().out)
    assert [one["live"] for one in listed] == ["", "live"]
    main([*begin, "export"])
    assert capsys.readouterr().out == as_tools([RECORD])
    main([*begin, "export", "--as", "python"])
    assert capsys.readouterr().out == as_module([RECORD])


# Pages


def test_a_person_reads_a_function_and_goes_back_to_a_version(project: Project) -> None:
    ledger = project.stores.ledger
    hostile = "<script>alert(1)</script>"
    code = CODE.replace("so many times", f"```\n    # {hostile}")
    second = other(code, description=hostile, traces=(hostile,))
    put_live(ledger, RECORD, "ann", "first")
    put_live(ledger, second, "ann", hostile)
    app = create_app(project)
    client = client_of(app, add_person(project, "eve", "engineer"))
    listed = client.get("/functions").text
    assert 'href="/functions/lcm_of"' in listed
    shown = client.get("/functions/lcm_of").text
    assert "<script>alert" not in listed + shown
    assert f"<code>{second.version[:12]}</code>" in shown
    assert "array" in shown
    form = {"csrf": csrf_of(app, client), "version": RECORD.version}
    assert client.post("/functions/lcm_of/live", data=form).status_code == 422
    moved = client.post("/functions/lcm_of/live", data=form | {"why": "it was better"})
    assert moved.status_code == 303
    assert live_record(ledger, "lcm_of") == RECORD
    assert "it was better" in client.get("/functions/lcm_of").text


def test_downloads_hold_what_is_live_and_stand_in_the_log(project: Project) -> None:
    put_live(project.stores.ledger, RECORD, "ann", "first")
    app = create_app(project)
    client = client_of(app, add_person(project, "eve", "engineer"))
    assert client.get("/functions/tools.json").text == as_tools([RECORD])
    module = client.get("/functions/tools.py")
    assert module.text == as_module([RECORD])
    assert module.headers["content-disposition"] == 'attachment; filename="tools.py"'
    exported = sa.select(audit_log.c.detail).where(audit_log.c.action == "export")
    with project.stores.ledger.read() as connection:
        details = [json.loads(one) for one in connection.scalars(exported)]
    assert [(one["format"], one["versions"]) for one in details] == [
        ("tools.json", {"lcm_of": RECORD.version}),
        ("tools.py", {"lcm_of": RECORD.version}),
    ]
