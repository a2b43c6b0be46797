"""The README says what is so: its commands run, and its tables are those of the code."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic_core import PydanticUndefined

from flywheel.cli import main
from flywheel.cli.main import cli
from flywheel.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "flywheel" / "sample"


def settings_table() -> str:
    """Every setting, its default and its meaning, as the README has it."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for table, field in Settings.model_fields.items():
        for name, setting in field.annotation.model_fields.items():
            default = setting.default
            if default is PydanticUndefined:
                default = setting.default_factory()
            shown = "cores - 1" if name == "threads" else default
            if isinstance(shown, list):
                shown = f"{len(shown)} patterns"
            rows.append(
                f"| `{table}.{name}` | {shown if shown != '' else '-'} | {setting.description} |"
            )
    return "\n".join(rows)


def command_table() -> str:
    """Every command and what it does, as the README has it."""
    rows = ["| command | what it does |", "|---|---|"]
    for words, command in commands(cli, "flywheel"):
        rows.append(f"| `{words}` | {command.help.split(chr(10))[0]} |")
    return "\n".join(rows)


def commands(group: click.Group, words: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{words} {name}")
        else:
            yield f"{words} {name}", command


def test_readme_lists_every_setting() -> None:
    assert settings_table() in README


def test_readme_lists_every_command() -> None:
    assert command_table() in README


def test_every_command_and_option_says_what_it_does() -> None:
    for words, command in commands(cli, "flywheel"):
        assert command.help, words
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{words} {option.name}"


def test_readmes_first_session_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    block = re.search(r"<!-- tested -->\n```sh\n(.*?)```", README, re.S)
    assert block is not None
    monkeypatch.chdir(tmp_path)
    for line in block[1].splitlines():
        words = shlex.split(line)
        if words[0] == "cd":
            monkeypatch.chdir(words[1])
            put_sample(Path.cwd(), 40)
            continue
        main(words[1:]) if words[1] != "doctor" else run_doctor(words[1:])
    shown = capsys.readouterr().out
    assert "read       40" in shown
    assert "problem" not in shown


def run_doctor(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0


def put_sample(folder: Path, n: int) -> None:
    """The sample's first conversations, and the decisions on them."""
    for name in ("traces", "decisions"):
        lines = (SAMPLE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[:n]
        assert all(json.loads(line) for line in lines)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
