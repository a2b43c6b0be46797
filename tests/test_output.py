"""What commands say: as it was written, whatever a trace has in it."""

import pytest

from flywheel.cli.output import emit_rows, words

QUOTED = "see [privacy], [/b] and :smile: [red]now[/red]"


def test_a_quoted_bracket_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    emit_rows(["why", "[bold]"], [(QUOTED, 1)], as_json=False)
    words.print(QUOTED)
    said = capsys.readouterr()
    assert QUOTED in said.out
    assert "[bold]" in said.out
    assert said.err == f"{QUOTED}\n"
