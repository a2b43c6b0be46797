"""What the code of a function may be written with: an allow-list, and how tangled it may be.

Code in, faults as sentences out. The one idea is that this wall is the second: it keeps a function
plain enough for a person to read, and the sandbox is what contains it.
"""

import ast
import builtins
import importlib
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType

from flywheel.errors import BadInput

# Decision points and one, over the whole of a function (McCabe 1976); more is not read at a glance.
MAX_COMPLEXITY = 10
# What is written out again takes several frames of Python's 1,000 a level.
_MAX_DEPTH = 100

_NODES = frozenset(
    (
        *("Module", "FunctionDef", "arguments", "arg", "Return", "Assign", "AugAssign"),
        *("AnnAssign", "For", "While", "If", "With", "withitem", "Raise", "Try", "Assert"),
        *("Import", "ImportFrom", "alias", "Nonlocal", "Expr", "Pass", "Break", "Continue"),
        *("Delete", "Match", "match_case", "MatchValue", "MatchSingleton", "MatchSequence"),
        *("MatchMapping", "MatchStar", "MatchAs", "MatchOr", "BoolOp", "NamedExpr", "BinOp"),
        *("UnaryOp", "Lambda", "IfExp", "Dict", "Set", "ListComp", "SetComp", "DictComp"),
        *("GeneratorExp", "comprehension", "Yield", "YieldFrom", "Compare", "Call", "keyword"),
        *("FormattedValue", "JoinedStr", "Constant", "Attribute", "Subscript", "Slice"),
        *("Starred", "Name", "List", "Tuple", "ExceptHandler"),
    )
)
_SIGNS = (ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context)
# Those without a way to files, to code, or to what an object is made of.
_BUILTINS = frozenset(
    (
        *("abs", "all", "any", "ascii", "bin", "bool", "bytes", "callable", "chr", "complex"),
        *("dict", "divmod", "enumerate", "filter", "float", "format", "frozenset", "hash", "hex"),
        *("int", "isinstance", "issubclass", "iter", "len", "list", "map", "max", "min", "next"),
        *("object", "oct", "ord", "pow", "print", "range", "repr", "reversed", "round", "set"),
        *("slice", "sorted", "str", "sum", "tuple", "type", "zip", "True", "False", "None"),
        *("Ellipsis", "NotImplemented"),
    )
)
_ERRORS = frozenset(
    name
    for name, found in vars(builtins).items()
    if isinstance(found, type) and issubclass(found, Exception)
)
MODULES = frozenset(
    (
        *("__future__", "array", "base64", "bisect", "calendar", "cmath", "collections"),
        *("collections.abc", "copy", "csv", "datetime", "decimal", "difflib", "fractions"),
        *("functools", "hashlib", "heapq", "html", "io", "itertools", "json", "keyword", "math"),
        *("numbers", "operator", "random", "re", "statistics", "string", "struct", "textwrap"),
        *("time", "typing", "unicodedata", "urllib.parse", "uuid", "zlib"),
    )
)
# Of io, which is there for texts in memory.
_OPENING = frozenset(("open", "open_code", "FileIO", "OpenWrapper"))


def read_code(code: str) -> ast.Module:
    """The tree of the code; raises BadInput where it does not compile."""
    try:
        tree = ast.parse(code)
        compile(tree, "function.py", "exec")
    except SyntaxError as error:
        line = f" in line {error.lineno}" if error.lineno else ""
        raise BadInput(f"the code does not compile: {error.msg}{line}") from None
    except (ValueError, RecursionError, MemoryError):
        raise BadInput("the code does not compile: it is nested too deep") from None
    if _is_deeper(tree, _MAX_DEPTH):
        raise BadInput(f"the code is nested deeper than {_MAX_DEPTH} levels")
    return tree


def fault_of_syntax(tree: ast.Module, packages: Iterable[str] = ()) -> str:
    """The first thing that is not on the list, with its line; empty where there is none.

    `packages` are names that may be imported besides those of Python.
    """
    installed = set(packages)
    for at_top in tree.body:
        if fault := _fault_at_top(at_top):
            return f"line {at_top.lineno}: {fault}"
    modules = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if fault := next(_faults(node, installed), "") or _fault_of_reach(node, modules):
            line = getattr(node, "lineno", None)
            return f"line {line}: {fault}" if line else fault
    return ""


def complexity_of(function: ast.FunctionDef) -> int:
    """Decision points and one; functions within it count with it."""
    return 1 + sum(map(_decisions, ast.walk(function)))


def functions_of(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """The functions that stand at the top, by name."""
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def fault_of_parameters(function: ast.FunctionDef, names: Iterable[str], required: set[str]) -> str:
    """Where the parameters of the code and the arguments of the schema differ."""
    given = function.args
    if given.vararg or given.kwarg or given.posonlyargs:
        return "takes its arguments by name, each of them named"
    plain = [one.arg for one in given.args]
    with_default = set(plain[len(plain) - len(given.defaults) :])
    by_name = dict(zip((one.arg for one in given.kwonlyargs), given.kw_defaults, strict=True))
    with_default |= {name for name, default in by_name.items() if default is not None}
    in_code, in_schema = {*plain, *by_name}, set(names)
    if in_code != in_schema:
        name = min(in_code ^ in_schema)
        where = "the code and not in the schema" if name in in_code else "the schema alone"
        return f"has an argument {name!r} in {where}"
    wanting = in_code - with_default - required
    return f"needs {min(wanting)!r}, which the schema does not require" if wanting else ""


def _is_deeper(tree: ast.AST, most: int) -> bool:
    level: list[ast.AST] = [tree]
    for _ in range(most):
        level = [below for node in level for below in ast.iter_child_nodes(node)]
    return bool(level)


def _fault_at_top(node: ast.stmt) -> str:
    if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.Assign | ast.AnnAssign):
        return ""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return ""
    return "outside a function stand imports and constants only"


def _faults(node: ast.AST, packages: set[str]) -> Iterator[str]:
    kind = type(node).__name__
    if kind not in _NODES and not isinstance(node, _SIGNS):
        yield f"{kind} is not allowed"
    if isinstance(node, ast.Name):
        if node.id.startswith("__"):
            yield f"the name {node.id} is not allowed"
        elif hasattr(builtins, node.id) and node.id not in _BUILTINS | _ERRORS:
            yield f"{node.id} is not allowed"
    elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
        yield f"the attribute {node.attr} is not allowed"
    elif isinstance(node, ast.Import):
        yield from (_no(one.name) for one in node.names if not _may(one.name, packages))
    elif isinstance(node, ast.ImportFrom):
        if node.level or not _may(node.module or "", packages):
            yield _no(node.module or ".")
        yield from (_no("*") for one in node.names if one.name == "*")
    elif isinstance(node, ast.FunctionDef) and node.decorator_list:
        # A cache alone has a use here, and a function is called once a process.
        yield "a decorator is not allowed"


def _fault_of_reach(node: ast.AST, modules: Mapping[str, str]) -> str:
    """What of a module leads out of the list: another module, or a way to open files."""
    if isinstance(node, ast.ImportFrom):
        pairs = [(node.module or "", alias.name) for alias in node.names]
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        pairs = [(modules.get(node.value.id, ""), node.attr)]
    else:
        pairs = []
    for module, name in pairs:
        if module not in MODULES:
            continue
        found = getattr(importlib.import_module(module), name, None)
        is_other = isinstance(found, ModuleType) and f"{module}.{name}" not in MODULES
        if is_other or (module == "io" and name in _OPENING):
            return f"{module}.{name} is not allowed"
    return ""


def _may(module: str, packages: set[str]) -> bool:
    return module in MODULES or module.partition(".")[0] in packages


def _no(module: str) -> str:
    return f"importing {module} is not allowed"


def _decisions(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    if isinstance(node, ast.Match):
        return len(node.cases)
    return isinstance(
        node, ast.If | ast.IfExp | ast.For | ast.While | ast.ExceptHandler | ast.Assert
    )
