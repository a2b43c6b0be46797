"""docs/reference.md: every command and every setting, as the code has them.

    python -m tests.reference

Writes the page anew; a test fails while it is behind.
"""

from collections.abc import Iterator
from pathlib import Path

import click
from pydantic_core import PydanticUndefined

from flywheel.cli.main import cli
from flywheel.settings import NAMED_TABLES, Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"
FRAME = """# Commands and settings

## Commands

Every command that reports takes `--json`: data on stdout, words on stderr. Exit 0 done, 1 refused
or failed with one line that says what to do, 2 misuse. `flywheel COMMAND --help` has the options.

{commands}

## Settings

`flywheel.toml` in the project's folder; `FLYWHEEL_JUDGE__EMBEDDER=...` in the environment goes over
`embedder` of the table `[judge]`. A misspelt name is refused, and the nearest right one named. An
empty default is shown as -.

{settings}
"""


def reference() -> str:
    """The page's text."""
    return FRAME.format(commands=command_table(), settings=settings_table())


def settings_table() -> str:
    """Every setting, its default and its meaning."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for table, field in Settings.model_fields.items():
        model = NAMED_TABLES.get(table, field.annotation)
        place = f"{table}.NAME" if table in NAMED_TABLES else table
        for name, setting in model.model_fields.items():
            default = setting.default
            if default is PydanticUndefined:
                default = setting.default_factory()
            shown = "cores - 1" if name == "threads" else default
            if isinstance(shown, list):
                shown = ", ".join(f"`{one}`" for one in shown).replace("|", "\\|")
            rows.append(
                f"| `{place}.{name}` | {shown if shown != '' else '-'} | {setting.description} |"
            )
    return "\n".join(rows)


def command_table() -> str:
    """Every command and what it does."""
    rows = ["| command | what it does |", "|---|---|"]
    for words, command in commands(cli, "flywheel"):
        rows.append(f"| `{words}` | {command.help.split(chr(10))[0]} |")
    return "\n".join(rows)


def commands(group: click.Group, words: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below a group, with all its words."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{words} {name}")
        else:
            yield f"{words} {name}", command


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
