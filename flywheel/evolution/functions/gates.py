"""The gates that a function passes before it is measured, and again before it counts.

A record in, one `Check` a gate out, in order, up to the first that it does not pass. The one idea
is that what costs least is asked first, and that nothing of the code is run before the last two.
"""

import builtins
import json
import keyword
import math
import re
from collections.abc import Callable, Collection
from dataclasses import replace

from pydantic import JsonValue

from flywheel.errors import BadInput
from flywheel.evolution.evidence import Check
from flywheel.evolution.functions.arguments import fault_of_call, read_schema
from flywheel.evolution.functions.record import (
    MAX_CODE,
    MAX_NAME,
    FunctionRecord,
    FunctionTest,
    read_record,
)
from flywheel.evolution.functions.running import import_names, packages_of, run_function
from flywheel.evolution.functions.syntax import (
    MAX_COMPLEXITY,
    complexity_of,
    fault_of_parameters,
    fault_of_syntax,
    functions_of,
    read_code,
)
from flywheel.evolution.sandbox.running import Limits, Ran
from flywheel.safety import marked, quote

MAX_TESTS = 20
_NAME = re.compile(rf"[a-z][a-z0-9_]{{0,{MAX_NAME - 1}}}")
# Sums of floats differ in their last digits.
_RELATIVE, _ABSOLUTE = 1e-9, 1e-12


def pass_gates(
    record: FunctionRecord, packages: Collection[str] = (), limits: Limits | None = None
) -> list[Check]:
    """What each gate says, in order: schema, syntax, complexity, tests, sandbox.

    The list ends with the first that does not pass. `packages` are the requirements that the
    project allows, each pinned. Raises NoSandbox where the tests have no sandbox to run in.
    """
    runs: list[Ran] = []
    gates: tuple[tuple[str, Callable[[], str]], ...] = (
        ("schema", lambda: _check_schema(record)),
        ("syntax", lambda: _check_syntax(record, packages)),
        ("complexity", lambda: _check_complexity(record)),
        ("tests", lambda: _check_tests(record, limits, runs)),
        ("sandbox", lambda: _check_again(record, limits, runs)),
    )
    checks: list[Check] = []
    for name, gate in gates:
        try:
            checks.append(Check(name, True, gate()))
        except BadInput as error:
            return [*checks, Check(name, False, str(error))]
    return checks


def check_gates(
    record: FunctionRecord, packages: Collection[str] = (), limits: Limits | None = None
) -> None:
    """Raise BadInput with the first gate that the record does not pass."""
    last = pass_gates(record, packages, limits)[-1]
    if not last.passed:
        raise BadInput(f"{record.name} does not pass the gate {last.name!r}: {last.said}")


def same_value(one: JsonValue, other: JsonValue) -> bool:
    """Whether two values are the same, numbers to within rounding."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(one[k], other[k]) for k in one)
    return one == other


def _check_schema(record: FunctionRecord) -> str:
    if not _NAME.fullmatch(record.name) or keyword.iskeyword(record.name):
        raise BadInput(
            f"{quote(record.name)} is no name of a function; write small letters, digits and "
            f"underscores, {MAX_NAME} at most"
        )
    if hasattr(builtins, record.name):
        raise BadInput(
            f"{record.name} is a name of Python's own; whatever else calls that would call this"
        )
    given = [record.parameters, [(test.arguments, test.returns) for test in record.tests]]
    try:
        parameters = json.dumps(given, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise BadInput("the schema or a test holds a number that JSON has not") from None
    for what, text in (
        *(("description", record.description), ("code", record.code)),
        ("schema or a test", parameters),
    ):
        if marked(text) != text:
            raise BadInput(f"the {what} holds characters that hide what stands there; escape them")
    # Whoever approves it reads it from its text.
    read_record(record.text)
    if not record.description.strip():
        raise BadInput("it has no description, by which an agent would know when to call it")
    shape = read_schema(record.parameters)
    for number, test in enumerate(record.tests, 1):
        if fault := fault_of_call(shape, test.arguments):
            raise BadInput(f"test {number} does not fit the schema: {fault}")
    return f"{len(shape.properties)} arguments, {len(shape.required)} of them required"


def _check_syntax(record: FunctionRecord, packages: Collection[str]) -> str:
    if len(record.code) > MAX_CODE:
        raise BadInput(f"the code is longer than {MAX_CODE:,} characters")
    for requirement in record.requirements:
        if requirement not in packages:
            raise BadInput(
                f"{quote(requirement)} is not in evolution.sandbox_packages, and so not for "
                "functions"
            )
    tree = read_code(record.code)
    names = [name for one in record.requirements for name in import_names(packages_of(one))]
    if fault := fault_of_syntax(tree, names):
        raise BadInput(fault)
    function = functions_of(tree).get(record.name)
    if function is None:
        raise BadInput(f"the code defines no function {record.name!r}")
    shape = read_schema(record.parameters)
    if fault := fault_of_parameters(function, shape.properties, set(shape.required)):
        raise BadInput(f"{record.name} {fault}")
    return f"{len(record.code.splitlines())} lines"


def _check_complexity(record: FunctionRecord) -> str:
    found = {name: complexity_of(one) for name, one in functions_of(read_code(record.code)).items()}
    worst = max(found, key=lambda name: found[name])
    if found[worst] > MAX_COMPLEXITY:
        raise BadInput(f"{worst} has {found[worst]}, and {MAX_COMPLEXITY} is the most")
    return f"{found[worst]} of at most {MAX_COMPLEXITY}"


def _check_tests(record: FunctionRecord, limits: Limits | None, runs: list[Ran]) -> str:
    if not record.tests:
        raise BadInput("it has no tests; one call and what it returns is the least")
    if len(record.tests) > MAX_TESTS:
        raise BadInput(f"it has {len(record.tests)} tests, and {MAX_TESTS} are the most")
    # Whoever approves waits for them.
    most_s = 2 * (limits or Limits()).wall_s
    for number, test in enumerate(record.tests, 1):
        ran = run_function(record, test.arguments, limits)
        if not ran.is_good:
            raise BadInput(f"test {number}: {ran.error}")
        if not same_value(ran.value, test.returns):
            raise BadInput(f"test {number} returns {_short(ran.value)}, not {_short(test.returns)}")
        runs.append(ran)
        if sum(one.seconds for one in runs) > most_s:
            raise BadInput(f"its tests take longer than {most_s:g} s together")
    return f"{len(runs)} of {len(runs)} pass"


def _check_again(record: FunctionRecord, limits: Limits | None, before: list[Ran]) -> str:
    """The same calls in other sandboxes say the same."""
    as_it_was = replace(
        record,
        tests=tuple(
            FunctionTest(test.arguments, ran.value)
            for test, ran in zip(record.tests, before, strict=True)
        ),
    )
    try:
        _check_tests(as_it_was, limits, before)
    except BadInput as error:
        raise BadInput(f"it does not answer the same call twice alike: {error}") from None
    slowest = max(ran.seconds for ran in before)
    return (
        f"{len(before)} runs, the slowest {1000 * slowest:,.0f} ms with the start of its sandbox; "
        "no network, no files of the host"
    )


def _short(value: JsonValue) -> str:
    return quote(json.dumps(value, ensure_ascii=False))
