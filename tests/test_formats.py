"""Formats: rows read back as they were, the cheapest that is no worse, and what is kept."""

import csv
import json
import random
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.cli.main import main
from flywheel.errors import BadInput, NotEnough, NotFound, Refused
from flywheel.evolution.cases.dimensions import Plan
from flywheel.evolution.cases.rows import Columns, MadeUp, OwnRows
from flywheel.evolution.formats.choosing import Arm, choose
from flywheel.evolution.formats.keeping import (
    check_levers_alone,
    levers_in,
    levers_text,
    read_choice,
    row_format,
    with_levers,
)
from flywheel.evolution.formats.measuring import ids_in, measure, plan_of_shape, row_cases
from flywheel.evolution.formats.proposing import Wanted, propose_row_format
from flywheel.evolution.formats.tokens import counter_of
from flywheel.evolution.formats.writing import FORMATS, Rows, why_not, write_rows
from flywheel.evolution.keepers import keeper_of
from flywheel.evolution.proposals import approve, undo
from flywheel.models.chat import Answer, Prompt
from flywheel.settings import PROJECT_FILE
from flywheel.statistics.paired import least_cases
from flywheel.store import Project
from tests.chat_double import ChatDouble

# What is hard for some format: its own marks, what looks like a number, and any character at all.
TEXTS = st.one_of(
    st.text(st.characters()),
    st.text(alphabet='",|\\\n\r\t n s0129-.etruefalsn'),
    st.sampled_from(["", "null", "true", "1e5", "-0", "01", '"', "\\", "NaN", "\ud800"]),
)
PLAIN = st.one_of(
    *(st.none(), st.booleans(), st.integers(), TEXTS),
    st.floats(allow_nan=False, allow_infinity=False),
)
ANY_JSON = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    TEXTS, inner, max_size=3), max_leaves=6)  # fmt: skip


@st.composite
def flat_rows(draw: st.DrawFn) -> list[dict[str, object]]:
    names = draw(st.lists(TEXTS, min_size=1, max_size=4, unique=True))
    return [{name: draw(PLAIN) for name in names} for _ in range(draw(st.integers(1, 4)))]


# Writing


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=150, deadline=None)
@given(rows=flat_rows())
def test_flat_rows_are_read_back_as_they_were(name: str, rows: list[dict[str, object]]) -> None:
    read = FORMATS[name].read(FORMATS[name].write(rows))
    assert [list(row.items()) for row in read] == [list(row.items()) for row in rows]
    # 1, 1.0 and true are equal in Python, and are not the same.
    kinds = [[type(value) for value in row.values()] for row in read]
    assert kinds == [[type(value) for value in row.values()] for row in rows]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(TEXTS, ANY_JSON, max_size=3), max_size=4))
def test_what_is_eligible_is_lossless_whatever_the_rows(rows: Rows) -> None:
    for name, format_ in FORMATS.items():
        if why_not(format_, rows) == "":
            assert json.dumps(format_.read(write_rows(rows, name))) == json.dumps(rows)
    assert why_not(FORMATS["json"], rows) == ""


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "there is no row"),
        ([{}], "a row has no column"),
        ([{"a": 1}, {"b": 1}], "different columns"),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], "different columns"),
        ([{"a": [1]}], "a list or an object"),
    ],
)
def test_a_table_takes_rows_of_one_flat_shape_alone(rows: Rows, said: str) -> None:
    for name in ("csv", "tsv", "markdown"):
        with pytest.raises(BadInput, match=said):
            write_rows(rows, name)
    assert why_not(FORMATS["json"], rows) == ""


def test_a_format_that_loses_something_is_not_eligible() -> None:
    rows = [{"a": float("nan")}]
    assert why_not(FORMATS["csv"], rows) == "it is not read back as it was"
    assert why_not(FORMATS["json"], rows) == ""


def test_a_long_cell_is_read_back_whatever_the_process_read_before() -> None:
    """The limit of Python's reader is one for the process, and a table of traces raises it."""
    limit = csv.field_size_limit(131_072)
    try:
        for name in FORMATS:
            assert why_not(FORMATS[name], [{"a": "x" * 200_000}]) == ""
    finally:
        csv.field_size_limit(max(limit, csv.field_size_limit()))


def test_texts_that_look_like_something_else_say_that_they_are_texts() -> None:
    rows = [{"a": "12", "b": 12, "c": None, "d": "", "e": "a, b"}]
    assert write_rows(rows, "csv") == 'a,b,c,d,e\n"""12""",12,,"""""","a, b"'
    assert write_rows([{"a": "x|y"}], "markdown") == "| a |\n| --- |\n| x\\|y |"


# Choosing


def arm(name: str, tokens: float, n: int, wrong: int) -> Arm:
    return Arm(name, (tokens,) * n, tuple(i >= wrong for i in range(n)))


def chosen(n: int, *others: Arm, wrong: int = 0) -> tuple[str, str]:
    found = choose(arm("json", 100, n, wrong), others, [str(i) for i in range(n)])
    return found.chosen, found.why


def test_the_cheapest_that_is_no_worse_is_chosen() -> None:
    n = 200
    best = chosen(n, arm("csv", 40, n, 0), arm("tsv", 38, n, 0), arm("markdown", 60, n, 0))
    assert best[0] == "tsv"
    assert "62.0% fewer tokens than as json" in best[1]


def test_a_cheaper_one_that_loses_too_much_is_not_chosen() -> None:
    n = 400
    assert chosen(n, arm("tsv", 38, n, 20), arm("csv", 40, n, 0))[0] == "csv"
    name, why = chosen(n, arm("tsv", 38, n, 20))
    assert name == "json"
    assert "worse by the margin or more" in why


def test_clean_cases_show_a_margin_of_three_points_from_the_99th_on() -> None:
    """.97^n < .05 first at n = 99: ln .05 / ln .97 = 98.4."""
    assert least_cases(0.03, 0.05) == 99
    assert chosen(99, arm("csv", 40, 99, 0))[0] == "csv"
    name, why = chosen(98, arm("csv", 40, 98, 0))
    assert name == "json"
    assert "99 would for csv" in why


def test_more_arms_need_more_cases() -> None:
    """Holm over two asks for .025: by the score, 1.96^2 * .97 / .03 = 124.2 cases."""
    others = [arm("csv", 40, 124, 0), arm("tsv", 41, 124, 0)]
    assert chosen(124, *others)[0] == "json"
    assert chosen(125, *(arm(one.name, 40, 125, 0) for one in others))[0] == "csv"


def test_a_model_that_cannot_do_the_task_certifies_nothing() -> None:
    n = 300
    name, why = chosen(n, arm("csv", 40, n, n), wrong=n)
    assert name == "json"
    assert "cannot tell formats apart" in why


def test_what_costs_more_is_not_chosen_however_right_it_is() -> None:
    n = 300
    name, why = chosen(n, arm("markdown", 120, n, 0), wrong=60)
    assert (name, why) == ("json", "Nothing takes fewer tokens than the present one")


def test_cases_of_one_user_count_once() -> None:
    n = 300
    present, other = arm("json", 100, n, 0), arm("csv", 40, n, 0)
    found = choose(present, [other], [str(i % 30) for i in range(n)])
    assert (found.chosen, found.groups) == ("json", 30)


def test_a_format_that_is_worse_by_the_margin_is_hardly_ever_chosen() -> None:
    """400 trials at the margin itself; the error is to be .05 at most, 3 sigma above are 33."""
    draw, n, taken = random.Random(0), 300, 0
    for _ in range(400):
        right = tuple(draw.random() < 0.95 for _ in range(n))
        worse = tuple(one and draw.random() >= 0.03 / 0.95 for one in right)
        found = choose(Arm("json", (9.0,) * n, right), [Arm("csv", (4.0,) * n, worse)],
                       [str(i) for i in range(n)])  # fmt: skip
        taken += found.chosen == "csv"
    assert taken <= 33


# Measuring, with a double: no model is behind it. It reads the rows that it is shown, and answers.

READ: dict[str, Callable[[str], list[dict[str, object]]]] = {
    format_.said: format_.read for format_ in FORMATS.values()
}


def shown_rows(prompt: Prompt) -> tuple[str, list[dict[str, object]], str]:
    """The format that a prompt says, its rows as that format is read, and the question."""
    said = next(said for said in READ if f"written as {said};" in prompt.messages[0].content)
    text, _, question = prompt.messages[1].content.rpartition("\n\n")
    inner = text.split("\n", 1)[1].rsplit("\n", 1)[0]
    return said, READ[said](inner), question


class Reader:
    """Answers from the rows alone, wrong in `worse` on every `every`th question."""

    def __init__(self, cases: dict[str, frozenset[str]], worse: str = "", every: int = 2):
        self.cases, self.worse, self.every, self.n = cases, worse, every, 0

    def __call__(self, prompt: Prompt) -> Answer:
        said, rows, question = shown_rows(prompt)
        ids = sorted(self.cases[json.dumps(rows) + question])
        if said == self.worse:
            self.n += 1
            if self.n % self.every == 0:
                ids = ["none"]
        tokens = len(prompt.messages[1].content) // 4
        return Answer(json.dumps({"ids": ids}), prompt_tokens=tokens, completion_tokens=5)


def reader_for(wanted: Wanted, **faults: object) -> ChatDouble:
    cases = row_cases(MadeUp(), plan_of_shape(wanted.shape), wanted.cases, wanted.seed)
    known = {json.dumps(list(case.rows)) + case.question: case.answer for case in cases}
    return ChatDouble(Reader(known, **faults))  # type: ignore[arg-type]


def test_a_reader_of_every_format_gets_the_cheapest(project: Project) -> None:
    wanted = Wanted(cases=250)
    found = propose_row_format(project, reader_for(wanted), wanted)
    assert all(all(one.right) for one in found.measured.arms)
    assert found.choice.chosen in ("csv", "tsv")
    assert found.proposal is not None
    choice = read_choice(found.proposal.draft.after or "")
    assert choice.format == found.choice.chosen
    assert choice.certificate is not None
    assert (choice.certificate.cases, choice.certificate.losses) == (250, 0)
    assert choice.certificate.worse_by_at_most < 0.03
    keeper, number = keeper_of("format"), found.proposal.proposal_id
    approve(project=project, keeper=keeper, proposal_id=number, actor="ann", why="cheap")
    assert row_format(project) == choice.format
    undo(project=project, keeper=keeper, proposal_id=number, actor="ann", why="no")
    assert row_format(project) == "json"


def test_a_model_that_misreads_tables_keeps_json(project: Project) -> None:
    wanted = Wanted(cases=150)
    model = reader_for(wanted, worse=FORMATS["csv"].said)
    found = propose_row_format(project, model, wanted)
    state = {one.name: one.state for one in found.choice.arms}
    assert state["csv"] == "worse"
    assert found.choice.chosen != "csv"


def test_nested_rows_leave_the_formats_that_hold_them(project: Project) -> None:
    wanted = Wanted("nested", cases=10)
    found = propose_row_format(project, reader_for(wanted), wanted)
    assert set(found.measured.ineligible) == {"csv", "tsv", "markdown"}
    assert found.proposal is None
    assert "10 cases do not show" in found.choice.why


def test_a_case_that_one_format_got_no_answer_for_counts_for_none() -> None:
    cases = row_cases(MadeUp(), plan_of_shape("nested"), 6)
    n = 0

    def rule(prompt: Prompt) -> Answer:
        nonlocal n
        n += 1
        if n == 2:
            return Answer("", failure="failed", why="the server went away")
        return Answer("I think it is k1.", prompt_tokens=3)

    found = measure(ChatDouble(rule), cases)
    assert [len(one.right) for one in found.arms] == [5, 5, 5]
    assert found.left_out == {"a format got no answer: the server went away": 1}
    assert found.unparsed == {"json": 5, "json-lines": 5, "json-indented": 5}


def test_rows_that_are_too_few_for_so_many_questions_say_so() -> None:
    source = OwnRows(Columns(), ({"id": "a"}, {"id": "b"}), {})
    dimensions = {"addressing": ("position",), "cardinality": ("one",)}
    with pytest.raises(NotEnough, match="different questions"):
        row_cases(source, Plan("x", dimensions), 20)


def test_ids_are_read_from_words_around_them_and_as_numbers() -> None:
    assert ids_in('Here: {"ids": ["k1", 7]} as asked') == {"k1", "7"}
    assert ids_in('{"ids": "k1"}') is None
    assert ids_in("k1") is None


# Files


def test_two_settings_are_changed_and_every_other_line_stays() -> None:
    text = '# mine\n[project]\nname = "a"  # [judge]\n\n[judge] # here\nfew_shots = 3\n[judges.x]\n'
    made = with_levers(text, levers_text(True, 2000))
    assert tomllib.loads(made)["judge"] == {
        "few_shots": 3,
        "include_tool_calls": True,
        "max_message_chars": 2000,
    }
    assert [line for line in made.split("\n") if line not in text.split("\n")] == [
        "max_message_chars = 2000",
        "include_tool_calls = true",
    ]
    again = with_levers(made.replace("= true", "= true  # see the wiki"), levers_text(False, 0))
    assert "include_tool_calls = false  # see the wiki\n" in again
    assert with_levers(made, None) == text
    assert tomllib.loads(again)["judge"]["include_tool_calls"] is False
    assert tomllib.loads(with_levers("", levers_text(True, 5)))["judge"]["max_message_chars"] == 5


@pytest.mark.parametrize(
    "after",
    [
        "[judge]\nfew_shots = 9\n",
        '[judge]\ninclude_tool_calls = "yes"\n',
        "[judge]\nmax_message_chars = -1\n",
        '[judge]\nmax_message_chars = 5\n[web]\nhost = "0.0.0.0"\n',
        "[judge\n",
        "judge = 3\n",
    ],
)
def test_an_edited_proposal_of_settings_changes_nothing_else(after: str) -> None:
    with pytest.raises(BadInput):
        check_levers_alone("[judge]\ninclude_tool_calls = false\n", after)


def test_a_choice_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match="there is no format 'xml'"):
        read_choice('format = "xml"')
    with pytest.raises(BadInput, match="Extra inputs"):
        read_choice('format = "csv"\nrun = "rm"')


def test_the_command_writes_rows_as_they_were_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.json").write_text('[{"a": 1, "b": "x"}, {"a": 2, "b": null}]')
    (tmp_path / "ragged.jsonl").write_text('{"a": 1}\n{"b": 1}\n')
    (tmp_path / "formats").mkdir()
    (tmp_path / "formats" / "rows.toml").write_text('format = "csv"\n')
    (tmp_path / "flywheel.toml").touch()
    write = ["--project", str(tmp_path), "evolution", "formats", "write"]
    main([*write, str(tmp_path / "rows.json")])
    assert capsys.readouterr().out == "a,b\n1,x\n2,\n"
    main([*write, str(tmp_path / "ragged.jsonl")])
    said = capsys.readouterr()
    assert said.out == '[{"a":1},{"b":1}]\n'
    assert "written as json, not csv: rows have different columns" in said.err


def test_tokens_are_counted_by_the_tokenizer_that_is_named(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"a": 0, "?": 1}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert counter_of(str(tmp_path))("a b a") == 3
    with pytest.raises(NotFound, match=r"tokenizer\.json in the folder"):
        counter_of(str(tmp_path.parent))


def test_settings_that_changed_meanwhile_are_left_alone(project: Project) -> None:
    from flywheel.evolution.evidence import Evidence
    from flywheel.evolution.proposals import Draft, propose

    file = project.folder / PROJECT_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    before = '[judge]\nfew_shots = 1\n[web]\nsecret = "a-key-that-signs"\n'
    file.write_text(before)
    after = levers_text(True, 0)
    draft = Draft("format", PROJECT_FILE, "redefine", levers_in(before), after, "y", Evidence("z"))
    proposal = propose(project.stores.ledger, draft, "x")
    assert proposal is not None
    assert "a-key-that-signs" not in str(proposal)
    file.write_text(before.replace("few_shots = 1", "include_tool_calls = false"))
    wanted = {"project": project, "keeper": keeper_of("format"), "actor": "ann", "why": "y"}
    with pytest.raises(Refused, match="changed after"):
        approve(proposal_id=proposal.proposal_id, **wanted)  # type: ignore[arg-type]
    # What else stands in the file is none of it.
    before = before.replace("few_shots = 1", "few_shots = 2")
    file.write_text(before)
    with pytest.raises(BadInput, match="and nothing else"):
        approve(proposal_id=1, text=f"{after}[web]\nsecret = 'mine'\n", **wanted)  # type: ignore[arg-type]
    approve(proposal_id=proposal.proposal_id, **wanted)  # type: ignore[arg-type]
    assert tomllib.loads(file.read_text())["judge"] == {
        **{"include_tool_calls": True, "max_message_chars": 0, "few_shots": 2},
    }
    undo(proposal_id=proposal.proposal_id, **wanted)  # type: ignore[arg-type]
    assert file.read_text() == before
