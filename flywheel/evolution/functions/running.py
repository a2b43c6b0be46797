"""Calls a function of a record, in the sandbox and nowhere else.

A record and arguments in, a value or one sentence out. The one idea is that a call which does not
fit the schema is told so and never made.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from flywheel.errors import BadInput
from flywheel.evolution.functions.arguments import fault_of_call, read_schema
from flywheel.evolution.functions.record import FunctionRecord
from flywheel.evolution.sandbox.running import Limits, Ran, run_code


class RunFunction(Protocol):
    """Whatever calls a function: the sandbox, or a stand-in where tests say so."""

    def __call__(self, record: FunctionRecord, arguments: Mapping[str, JsonValue]) -> Ran:
        """What came of the call."""


def run_function(
    record: FunctionRecord, arguments: Mapping[str, JsonValue], limits: Limits | None = None
) -> Ran:
    """Call a function once, in a sandbox of its own.

    What the code does and what does not fit its schema is said in `Ran.error`. Raises NoSandbox
    where there is no sandbox, and BadInput where the record has no schema that can be read or
    requires packages that are not installed.
    """
    if fault := fault_of_call(read_schema(record.parameters), arguments):
        return Ran(None, "refused", fault, 0.0)
    packages = [path for name in record.requirements for path in packages_of(name)]
    return run_code(record.code, record.name, arguments, limits, packages)


def packages_of(requirement: str) -> list[Path]:
    """The folders and files of one requirement, written as `name==version`.

    They are those installed beside Flywheel, since a sandbox without a network can fetch none.
    Raises BadInput where that version is not installed.
    """
    name, is_pinned, version = requirement.partition("==")
    if not is_pinned or not name or not version:
        raise BadInput(f"the requirement {requirement!r} is not pinned; write it as NAME==VERSION")
    try:
        found = distribution(name)
    except (PackageNotFoundError, ValueError):
        raise BadInput(f"{name} is not installed here; `pip install {requirement}` first") from None
    if found.version != version:
        raise BadInput(f"{name} is installed as {found.version}, and {version} is required")
    return _parts(found)


def import_names(packages: Iterable[Path]) -> list[str]:
    """The names by which these may be imported."""
    return [path.name.partition(".")[0] for path in packages if path.suffix != ".dist-info"]


def _parts(found: Distribution) -> list[Path]:
    tops = {file.parts[0] for file in found.files or []} - {"..", "/", "__pycache__"}
    paths = [Path(str(found.locate_file(top))) for top in sorted(tops)]
    return [path for path in paths if path.exists()]
