"""`flywheel.toml` and the environment as settings, or one sentence on what is wrong with them."""

import os
import re
import tomllib
from difflib import get_close_matches
from pathlib import Path

from pydantic import BaseModel, ValidationError

from flywheel.errors import BadSetting
from flywheel.records import JUDGE_TARGET, TIERS
from flywheel.settings.tables import NAMED_TABLES, Settings

PROJECT_FILE = "flywheel.toml"

_TARGET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
# Read by tests, benchmarks and the shell, and no setting of a project.
_OTHER_VARIABLES = {"FLYWHEEL_PROJECT", "FLYWHEEL_BENCH_DATA"}


def read_settings(folder: Path) -> Settings:
    """The settings of the project in `folder`; defaults where it has no flywheel.toml.

    Raises BadSetting on an unknown name, a bad value or a file that is no TOML.
    """
    path = folder / PROJECT_FILE
    tables: dict[str, dict[str, object]] = {}
    if path.exists():
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadSetting(f"{path} is not TOML: {error}") from error
    _check_names(tables, str(path))
    overrides = _from_environment()
    _check_names(overrides, "the environment")
    for name, table in overrides.items():
        tables.setdefault(name, {}).update(table)
    try:
        settings = Settings.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        is_override = len(place) > 1 and place[1] in overrides.get(place[0], {})
        source = "the environment" if is_override else path
        where = ".".join(place)
        raise BadSetting(f"{source}: {where}: {first['msg']}; got {first['input']!r}") from error
    _check_judges(settings, str(path))
    _check_targets(settings, str(path))
    return settings


def _from_environment() -> dict[str, dict[str, object]]:
    tables: dict[str, dict[str, object]] = {}
    for variable, value in os.environ.items():
        if not variable.startswith("FLYWHEEL_") or variable in _OTHER_VARIABLES:
            continue
        table, _, field = variable.removeprefix("FLYWHEEL_").lower().partition("__")
        tables.setdefault(table, {})[field] = _value_of(value)
    return tables


def _value_of(text: str) -> object:
    """A list is written as in TOML; of anything else the field's own type is made."""
    if not text.startswith("["):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _check_names(tables: dict[str, dict[str, object]], where: str) -> None:
    known = {name: field.annotation for name, field in Settings.model_fields.items()}
    for table, fields in tables.items():
        if table not in known:
            raise BadSetting(_unknown(where, f"table {table!r}", table, list(known)))
        if not isinstance(fields, dict):
            raise BadSetting(f"{where}: {table!r} is a table, write [{table}] above its settings")
        if model := NAMED_TABLES.get(table):
            _check_named(fields, table, model, where)
            continue
        names = list(getattr(known[table], "model_fields", {}))
        for field in fields:
            if field not in names:
                raise BadSetting(_unknown(where, f"{table}.{field}", field, names))


def _check_named(tables: dict[str, object], table: str, model: type[BaseModel], where: str) -> None:
    """The names in tables of tables, such as `[judges.NAME]`."""
    for name, fields in tables.items():
        if not isinstance(fields, dict):
            raise BadSetting(
                f"{where}: write [{table}.NAME] above {name!r}, with a name of its own"
            )
        for field in fields:
            if field not in model.model_fields:
                known = list(model.model_fields)
                raise BadSetting(_unknown(where, f"{table}.{name}.{field}", field, known))


def _unknown(where: str, what: str, name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"{where}: there is no setting {what}; {hint}"


def _check_judges(settings: Settings, where: str) -> None:
    """The names of judges: none is a tier's, and those that are referred to are there."""
    known = list(settings.judges)
    for name in known:
        if name in TIERS:
            raise BadSetting(
                f"{where}: [judges.{name}] has the name of a tier; name it otherwise, such as "
                f"[judges.my_{name}]"
            )
    panel = settings.panel
    for place, names in (
        ("judge.generative", [settings.judge.generative] if settings.judge.generative else []),
        ("panel.first", panel.first),
        ("panel.second", panel.second),
    ):
        for name in names:
            if name not in known:
                raise BadSetting(_unknown_judge(where, place, name, known))


def _unknown_judge(where: str, place: str, name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none yet'}"
    return f"{where}: {place} names the judge {name!r}, and there is no [judges.{name}]; {hint}"


def _check_targets(settings: Settings, where: str) -> None:
    """That each target says what it is made of, and none is called as the judge of all is."""
    for name, target in settings.targets.items():
        place = f"{where}: [targets.{name}]"
        if name in (JUDGE_TARGET, f"{JUDGE_TARGET}s"):
            raise BadSetting(
                f"{place} has the name of the judge of all applications; choose another"
            )
        # It names folders and versions, and stands in addresses of pages.
        if not _TARGET_NAME.fullmatch(name):
            raise BadSetting(
                f"{place}: a target is named by letters, digits, '.', '_' and '-', at most 40"
            )
        if target.kind == "judge" and not target.apps:
            raise BadSetting(f'{place} names no applications; set `apps`, such as ["support"]')
        if target.kind == "chat-judge" and target.judge not in settings.judges:
            known = list(settings.judges)
            raise BadSetting(_unknown_judge(where, f"targets.{name}.judge", target.judge, known))
        if target.kind == "chat-judge" and target.base:
            judge = settings.judges[target.judge]
            # What a server calls its model need not be the base's name.
            if judge.kind == "local" and judge.model != target.base:
                raise BadSetting(
                    f"{place} trains adapters of {target.base!r}, and [judges.{target.judge}] runs "
                    f"{judge.model!r}; leave `base` out, or set it to that model"
                )
        if target.kind == "app" and not target.base:
            raise BadSetting(f"{place} names no model; set its `base`")
