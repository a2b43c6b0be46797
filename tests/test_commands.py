"""What a command says where it cannot do what it was asked: a sentence, and no folder made."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from flywheel.cli import main
from flywheel.cli.main import cli
from flywheel.store import find_project
from tests.conftest import trace, write_lines

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


def run(folder: Path, *words: str) -> int:
    """The exit code of a command."""
    try:
        main(["--project", str(folder), *words])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_a_first_import_makes_the_project(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "traces.jsonl", [trace("t1", "hi", "hello", "no")])
    assert run(tmp_path / "new", "traces", "import", str(file)) == 0
    assert run(tmp_path / "new", "queue", "list") == 0


GOOD = trace("t1", "hi", "hello", "no")
SAID = {"trace_id": "t1", "perceived_error": True, "reviewer": "ann"}


@pytest.mark.parametrize(
    ("stage", "good", "bad"),
    [("traces", GOOD, {"trace_id": "t2", "messages": 3}), ("review", SAID, {"trace_id": "t1"})],
)
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_an_import_fails_where_no_line_could_be_used(
    stage: str,
    good: dict[str, object],
    bad: dict[str, object],
    more: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    traces = write_lines(tmp_path / "traces.jsonl", [GOOD])
    assert run(tmp_path, "traces", "import", str(traces)) == 0
    lines = {"none": [bad], "some": [bad, good]}
    files = {name: str(write_lines(tmp_path / name, rows)) for name, rows in lines.items()}
    for _ in range(2):
        capsys.readouterr()
        assert run(tmp_path, stage, "import", files["none"], *more) == 1
        said = capsys.readouterr()
        assert "no line could be used, so that nothing was imported" in said.err
        assert "rejected" in said.out
        # The second time what is good was in before, which is no fault.
        assert run(tmp_path, stage, "import", files["some"], *more) == 0


def test_a_file_without_decisions_is_no_fault(tmp_path: Path) -> None:
    assert run(tmp_path, "traces", "import", str(write_lines(tmp_path / "t", [GOOD]))) == 0
    assert run(tmp_path, "review", "import", str(write_lines(tmp_path / "empty", []))) == 0


def test_a_loop_over_a_day_without_traces_says_which_days_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "flywheel.toml").touch()
    assert run(tmp_path, "loop", "--day", "2026-03-04") == 1
    assert (
        "there are no traces yet; `flywheel traces import` brings some" in capsys.readouterr().err
    )
    days = ("2026-03-02", "2026-03-03", "2026-03-05")
    rows = [trace(day, "hi", "hello", started_at=f"{day}T09:00:00Z") for day in days]
    assert run(tmp_path, "traces", "import", str(write_lines(tmp_path / "t", rows))) == 0
    assert run(tmp_path, "loop", "--day", "2026-03-04") == 1
    said = capsys.readouterr().err
    assert "2026-03-04 has no traces; there are some from 2026-03-02 to 2026-03-05" in said
