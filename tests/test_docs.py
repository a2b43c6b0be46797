"""The docs say what is so: commands run, links lead somewhere, tables are those of the code."""

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from flywheel.cli import main
from flywheel.cli.main import cli
from tests import reference

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "flywheel" / "sample"


def test_the_reference_has_every_command_and_setting() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.reference()


def test_every_command_and_option_says_what_it_does() -> None:
    for words, command in reference.commands(cli, "flywheel"):
        assert command.help, words
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{words} {option.name}"


def test_every_command_in_the_docs_is_one_with_such_options() -> None:
    seen = 0
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for line in spoken(page.read_text(encoding="utf-8")):
            check_command(line, page.name)
            seen += 1
    assert seen > 100


def spoken(text: str) -> list[str]:
    """The lines of code blocks, and the spans of code, that begin with the command."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += [line[4:] for line in text.splitlines() if line.startswith("    flywheel ")]
    return [line for line in [*lines, *re.findall(r"`(flywheel [^`]+)`", text)] if is_ours(line)]


def is_ours(line: str) -> bool:
    return line.startswith("flywheel ")


def check_command(line: str, page: str) -> None:
    """That the words lead to a command, and that it has each option that is named."""
    words = re.sub(r"[\[\]]|\.\.\.", " ", line.split(" #")[0]).replace("|", " ").split()[1:]
    command: click.Command = cli
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    known = {name for option in command.params for name in option.opts} | {"--help"}
    if isinstance(command, click.Group):
        assert not words or words[0].isupper() or words[0] in known, f"{page}: {line}"
        return
    for word in words:
        name = word.split("=")[0]
        assert not name.startswith("--") or name in known, f"{page}: {line}: {name}"


def test_links_between_the_docs_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]+))?\)", text):
            found = (page.parent / target).resolve() if target else page
            assert found.exists(), f"{page.name}: {target}"
            if anchor:
                assert anchor in anchors(found), f"{page.name}: {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """What headings can be linked by, as GitHub makes it of their text."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


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
