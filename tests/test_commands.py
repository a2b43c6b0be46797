"""What a command says where it cannot do what it was asked: a sentence, and no folder made."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from flywheel.cli import main
from flywheel.cli.main import cli
from flywheel.store import find_project

# They make a project, or say that there is none; each has its tests.
BEGINNING = {"init", "demo", "up", "restore", "doctor", "traces import"}
# Options of which one must be given, where the command line knows of no other that must.
ONE_OF = {
    "loop": ("--all",),
    "traces forget": ("--user", "u1"),
    "quality compare": ("--release", "1", "--release", "2"),
    "retrieval switch-off": ("1",),
    "retrieval switch-on": ("1",),
    "registry shadow": ("--clear",),
    "registry lineage": ("a",),
    "training fit": ("--labels", "{file}"),
    "registry export": ("--target", "judge"),
    "experiments start": ("--arm", "b=c"),
}


def leaves(command: click.Command = cli, *words: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that can be run, by its words."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from leaves(below, *words, name)
    else:
        yield " ".join(words), command


def given(parameter: click.Parameter, file: Path) -> str:
    """A value that the parameter takes."""
    if isinstance(parameter.type, click.Choice):
        return str(parameter.type.choices[0])
    if isinstance(parameter.type, click.Path):
        return str(file.parent / "new" if parameter.name == "out" else file)
    if isinstance(parameter.type, click.DateTime):
        return "2026-03-01"
    return "1" if isinstance(parameter.type, click.types.IntParamType) else "a=b"


def asked(words: str, command: click.Command, file: Path) -> list[str]:
    """The command with all that it cannot do without."""
    arguments = words.split()
    for parameter in command.params:
        if parameter.required:
            option = [parameter.opts[0]] if isinstance(parameter, click.Option) else []
            arguments += [*option, given(parameter, file)]
    return arguments + [word.format(file=file) for word in ONE_OF.get(words, ())]


@pytest.mark.parametrize(("words", "command"), [(w, c) for w, c in leaves() if w not in BEGINNING])
def test_no_command_works_where_there_is_no_project(
    words: str, command: click.Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, elsewhere = tmp_path / "file.jsonl", tmp_path / "elsewhere"
    file.write_text('{"trace_id": "t1"}\n', encoding="utf-8")
    elsewhere.mkdir()
    with pytest.raises(SystemExit) as stop:
        main(["--project", str(elsewhere), *asked(words, command, file)])
    said = capsys.readouterr()
    assert f"there is no project in {elsewhere}; " in said.err
    assert "`flywheel init`" in said.err
    assert (stop.value.code, said.out) == (1, "")
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("made", ["flywheel.toml", ".flywheel/"])
def test_settings_or_a_data_folder_are_a_project(tmp_path: Path, made: str) -> None:
    place = tmp_path / made
    place.mkdir() if made.endswith("/") else place.touch()
    assert find_project(tmp_path).folder == tmp_path


def test_a_ledger_on_a_server_is_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_LEDGER__URL", "postgresql://flywheel@ledger/flywheel")
    assert find_project(tmp_path).settings.ledger.url


def test_a_first_import_makes_the_project(tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    file.write_text('{"trace_id": "t1", "messages": []}\n', encoding="utf-8")
    main(["--project", str(tmp_path / "new"), "traces", "import", str(file)])
    main(["--project", str(tmp_path / "new"), "queue", "list"])
