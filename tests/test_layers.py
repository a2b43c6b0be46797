"""The shape of the code: imports point only to the left, and what must not stand anywhere."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "flywheel"
DEFINITIONS = ROOT / "dagster_defs"

ORDER = (
    *("client", "errors", "records", "sample", "statistics", "safety"),
    *("settings", "store", "models", "redaction"),
    *("traces", "metrics", "judge", "queue", "review", "corrections", "quality", "retrieval"),
    *("training", "gate", "registry", "in_use", "retraining", "experiments"),
    *("evolution", "forgetting", "loop", "backup", "demo", "doctor", "web", "up", "cli"),
)
# Seconds to import each, so that `flywheel --help` must not.
HEAVY = {"torch", "transformers", "sentence_transformers", "peft", "faiss", "matplotlib"}
# What runs bytes that it reads.
UNSAFE = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}

LIBRARY_FILES = sorted(LIBRARY.rglob("*.py"))
DEFINITION_FILES = sorted(DEFINITIONS.rglob("*.py"))
ALL_FILES = [*LIBRARY_FILES, *DEFINITION_FILES]


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def place(path: Path, node: ast.expr | ast.stmt | ast.excepthandler) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def imported(node: ast.AST) -> Iterator[str]:
    """The dotted names that an import statement binds or reaches into."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)


def imports_of(tree: ast.AST) -> set[str]:
    """Every import of a module, in functions and behind TYPE_CHECKING too."""
    return {name for node in ast.walk(tree) for name in imported(node)}


def roots_of(names: Iterable[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def stage_of(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def steps_to_the_right(stage: str, tree: ast.AST) -> list[str]:
    """The stages after `stage` that are imported, and what has no place in the order."""
    reached = {name.split(".")[1] for name in imports_of(tree) if name.startswith("flywheel.")}
    before = ORDER[: ORDER.index(stage) + 1]
    return sorted(reached - set(before) - {"__version__"})


def test_every_module_has_a_place_in_the_order() -> None:
    assert {stage_of(path) for path in LIBRARY_FILES} - {"__init__"} <= set(ORDER)


def test_imports_point_only_to_the_left() -> None:
    wrong = {
        str(path.relative_to(ROOT)): steps
        for path in LIBRARY_FILES
        if path != LIBRARY / "__init__.py"
        and (steps := steps_to_the_right(stage_of(path), tree_of(path)))
    }
    assert wrong == {}
    assert not imports_of(tree_of(LIBRARY / "__init__.py"))


def test_an_import_inside_a_function_counts() -> None:
    tree = ast.parse("def late():\n    from flywheel.gate import decide_gate\n")
    assert steps_to_the_right("quality", tree) == ["gate"]
    assert steps_to_the_right("registry", tree) == []


def test_imports_are_absolute_so_that_they_say_their_stage() -> None:
    assert not {name for path in ALL_FILES for name in imports_of(tree_of(path)) if name[0] == "."}


def test_the_library_knows_no_orchestrator() -> None:
    roots = {root for path in LIBRARY_FILES for root in roots_of(imports_of(tree_of(path)))}
    assert not {root for root in roots if root.startswith("dagster")}


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    early = {
        place(path, node)
        for path in ALL_FILES
        for node in tree_of(path).body
        if roots_of(imported(node)) & HEAVY
    }
    assert early == set()


def test_nothing_runs_bytes_that_it_reads() -> None:
    for path in ALL_FILES:
        tree = tree_of(path)
        assert not roots_of(imports_of(tree)) & UNSAFE, path
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
                assert ast.unparse(node.value) == "False", place(path, node.value)


def test_no_handler_swallows_what_it_does_not_name() -> None:
    broad = {
        place(path, node)
        for path in ALL_FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
    }
    assert broad == set()


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether it catches everything and does not raise it again."""
    caught = {ast.unparse(node) for node in ast.walk(handler.type)} if handler.type else set()
    catches_all = handler.type is None or bool(caught & {"Exception", "BaseException"})
    return catches_all and ast.unparse(handler.body[-1]) != "raise"


def test_only_the_warehouse_opens_its_file() -> None:
    """Others open DuckDB in memory only."""
    opened = {
        place(path, node): ast.unparse(node.args[0])
        for path in LIBRARY_FILES
        if path != LIBRARY / "store" / "warehouse.py"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "duckdb.connect" and node.args
    }
    assert set(opened.values()) <= {"':memory:'"}, opened


def test_definitions_keep_their_annotations() -> None:
    """Dagster reads the type of `context`; `from __future__ import annotations` makes it text."""
    for path in DEFINITION_FILES:
        assert "__future__" not in roots_of(imports_of(tree_of(path))), path


def test_every_module_says_where_it_stands() -> None:
    silent = {
        str(path.relative_to(ROOT))
        for path in ALL_FILES
        if path.read_text(encoding="utf-8").strip() and not ast.get_docstring(tree_of(path))
    }
    assert silent == set()
