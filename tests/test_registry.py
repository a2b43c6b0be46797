"""Versions, the aliases that move over them, and the way back."""

import json

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from flywheel.cli.main import cli
from flywheel.errors import BadInput, NotFound, Refused
from flywheel.registry import (
    Promotion,
    alias_of,
    clear_shadow,
    count_lineage,
    decisions_behind,
    history,
    list_versions,
    promote,
    register,
    rollback,
    set_alias,
    set_shadow,
    versions_made_by,
    versions_made_of,
)
from flywheel.store import Project
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import audit_log, decisions, gate_verdicts


@pytest.fixture
def ledger(project) -> Ledger:
    """A ledger with four judges, lexical-1 the champion."""
    made: Ledger = project.stores.ledger
    for version in ("lexical-1", "frozen-2", "lora-3", "lora-4"):
        register(made, "judge", version, {"rank": 8}, f"{version}.tar", "lexical-1", "ada")
    set_alias(made, "judge", "champion", "lexical-1", "ada", "cold start")
    return made


def _champion(ledger: Ledger) -> str:
    version = alias_of(ledger, "judge", "champion")
    assert version is not None
    return version.version


def _rule(
    ledger: Ledger, challenger: str, champion: str, passed: bool, target: str = "judge"
) -> None:
    """Store a verdict as the gate does."""
    ruling = {"rule": "mcnemar", "labels_needed": 0, "looks": 1, "alpha_spent": 0.03}
    with ledger.begin() as connection:
        n = connection.execute(sa.select(sa.func.count()).select_from(gate_verdicts)).scalar()
        connection.execute(
            gate_verdicts.insert().values(
                target=target,
                challenger=challenger,
                champion=champion,
                passed=passed,
                why="The holdout has 100 labels.\nThe challenger passes.",
                evidence=json.dumps(ruling),
                alpha_spent=0.03,
                look_key=str(n),
                decided_at=now(),
            )
        )


def _crown(ledger: Ledger, version: str) -> Promotion:
    _rule(ledger, version, _champion(ledger), passed=True)
    return promote(ledger, "judge", version, "ada", "passed the gate")


def _actions(ledger: Ledger) -> list[str]:
    with ledger.begin() as connection:
        rows = connection.execute(sa.select(audit_log.c.action).order_by(audit_log.c.entry_id))
        return list(rows.scalars())


def test_registering_a_version_again_changes_nothing(ledger: Ledger):
    before, actions = list_versions(ledger, "judge"), _actions(ledger)
    again = register(ledger, "judge", "lora-3", {"rank": 16}, None, None, "bob")
    assert again.manifest == {"rank": 8}
    assert list_versions(ledger, "judge") == before
    assert _actions(ledger) == actions


def test_a_version_of_one_target_cannot_be_registered_for_another(ledger: Ledger):
    with pytest.raises(BadInput, match="is a judge already, and no app"):
        register(ledger, "app", "lora-3", {}, None, None, "ada")


def test_versions_are_listed_newest_first_with_aliases_and_the_last_verdict(ledger: Ledger):
    set_alias(ledger, "judge", "challenger", "lora-4", "ada", "trained today")
    _rule(ledger, "lora-4", "lexical-1", passed=False)
    _rule(ledger, "lora-4", "lexical-1", passed=True)
    listed = list_versions(ledger, "judge")
    assert [v.version for v in listed] == ["lora-4", "lora-3", "frozen-2", "lexical-1"]
    assert [v.aliases for v in listed] == [("challenger",), (), (), ("champion",)]
    assert listed[0].verdict is not None
    assert listed[0].verdict.passed
    assert listed[1].verdict is None
    assert (listed[0].parent, listed[0].artifact) == ("lexical-1", "lora-4.tar")
    assert listed[0].created_at.utcoffset() is not None


def test_an_alias_that_nobody_set_is_on_nothing(ledger: Ledger):
    assert alias_of(ledger, "judge", "challenger") is None
    assert alias_of(ledger, "app", "champion") is None


def test_setting_an_alias_where_it_stands_leaves_no_entry(ledger: Ledger):
    actions = _actions(ledger)
    moved = set_alias(ledger, "judge", "champion", "lexical-1", "ada", "again")
    assert moved == Promotion("lexical-1", "lexical-1")
    assert _actions(ledger) == actions


def test_promotion_needs_a_verdict(ledger: Ledger):
    with pytest.raises(Refused, match="has not been through the gate"):
        promote(ledger, "judge", "lora-3", "ada", "it feels better")
    assert _champion(ledger) == "lexical-1"


def test_promotion_needs_a_verdict_that_passed(ledger: Ledger):
    _rule(ledger, "lora-3", "lexical-1", passed=True)
    _rule(ledger, "lora-3", "lexical-1", passed=False)
    with pytest.raises(Refused, match="the gate refused 'lora-3' against 'lexical-1'"):
        promote(ledger, "judge", "lora-3", "ada", "it passed once")


def test_promotion_needs_a_verdict_against_the_champion_of_now(ledger: Ledger):
    _rule(ledger, "lora-3", "lexical-1", passed=True)
    _crown(ledger, "frozen-2")
    with pytest.raises(Refused, match="compared 'lora-3' with 'lexical-1', and the champion is"):
        promote(ledger, "judge", "lora-3", "ada", "it passed")


def test_a_forced_promotion_goes_without_and_is_logged_as_such(ledger: Ledger):
    moved = promote(ledger, "judge", "lora-3", "ada", "an emergency", force=True)
    assert moved == Promotion("lexical-1", "lora-3")
    last = history(ledger, "judge")[-1]
    assert (last.action, last.actor, last.why) == ("force_promote", "ada", "an emergency")
    assert (last.alias, last.previous, last.version) == ("champion", "lexical-1", "lora-3")


def test_the_first_champion_of_a_target_needs_no_verdict(ledger: Ledger):
    register(ledger, "app", "base", {}, None, None, "ada")
    assert promote(ledger, "app", "base", "ada", "the first") == Promotion(None, "base")


def test_the_first_champion_may_not_have_been_refused(ledger: Ledger):
    register(ledger, "shop", "shop-1", {}, None, None, "ada")
    _rule(ledger, "shop-1", "lexical-1", passed=False, target="shop")
    with pytest.raises(Refused, match="the gate refused 'shop-1' against 'lexical-1'"):
        promote(ledger, "shop", "shop-1", "ada", "it is ours")
    _rule(ledger, "shop-1", "lexical-1", passed=True, target="shop")
    # It takes the place of the judge of all applications, as that is now.
    set_alias(ledger, "judge", "champion", "frozen-2", "ada", "another one")
    with pytest.raises(Refused, match="with 'lexical-1', and the champion is now 'frozen-2'"):
        promote(ledger, "shop", "shop-1", "ada", "passed")
    set_alias(ledger, "judge", "champion", "lexical-1", "ada", "back")
    assert promote(ledger, "shop", "shop-1", "ada", "passed").current == "shop-1"


def test_a_promoted_version_is_no_challenger_any_more(ledger: Ledger):
    set_alias(ledger, "judge", "challenger", "lora-3", "ada", "trained today")
    _crown(ledger, "lora-3")
    assert alias_of(ledger, "judge", "challenger") is None


def test_an_unknown_version_is_not_found_and_the_nearest_named(ledger: Ledger):
    with pytest.raises(NotFound, match=r"no version of judge 'lora3'; did you mean 'lora-3'"):
        promote(ledger, "judge", "lora3", "ada", "a slip")
    with pytest.raises(NotFound):
        set_alias(ledger, "judge", "challenger", "nothing", "ada", "a slip")


def test_rollback_restores_the_champion_before(ledger: Ledger):
    _crown(ledger, "frozen-2")
    assert rollback(ledger, "judge", "bob") == Promotion("frozen-2", "lexical-1")
    assert _champion(ledger) == "lexical-1"
    last = history(ledger, "judge")[-1]
    assert (last.action, last.actor, last.why) == ("rollback", "bob", "back from frozen-2")


def test_rolling_back_again_goes_further_back_and_not_forward(ledger: Ledger):
    for version in ("frozen-2", "lora-3", "lora-4"):
        _crown(ledger, version)
    assert rollback(ledger, "judge", "ada").current == "lora-3"
    assert rollback(ledger, "judge", "ada").current == "frozen-2"
    _crown(ledger, "lora-4")
    assert rollback(ledger, "judge", "ada").current == "frozen-2"
    assert rollback(ledger, "judge", "ada").current == "lexical-1"
    with pytest.raises(Refused, match="the champion of judge has no predecessor to go back to"):
        rollback(ledger, "judge", "ada")
    assert _champion(ledger) == "lexical-1"


def test_other_aliases_do_not_disturb_a_rollback(ledger: Ledger):
    _crown(ledger, "frozen-2")
    set_alias(ledger, "judge", "challenger", "lora-3", "ada", "trained today")
    assert rollback(ledger, "judge", "ada").current == "lexical-1"


def test_there_is_nothing_to_roll_back_to_without_a_champion(ledger: Ledger):
    with pytest.raises(Refused, match="app has no champion to go back from"):
        rollback(ledger, "app", "ada")


def test_the_first_champion_of_an_application_is_rolled_back_to_none(ledger: Ledger):
    for version in ("shop-1", "shop-2"):
        register(ledger, "shop", version, {}, None, None, "ada")
    promote(ledger, "shop", "shop-1", "ada", "the first")
    promote(ledger, "shop", "shop-2", "ada", "the second", force=True)
    assert rollback(ledger, "shop", "bob") == Promotion("shop-2", "shop-1")
    assert rollback(ledger, "shop", "bob", "it errs", seen="shop-1") == Promotion("shop-1", None)
    assert alias_of(ledger, "shop", "champion") is None
    last = history(ledger, "shop")[-1]
    assert (last.action, last.actor, last.previous, last.version) == (
        *("rollback", "bob", "shop-1"),
        None,
    )
    assert last.why == "back from shop-1: it errs"
    with pytest.raises(Refused, match="shop has no champion"):
        rollback(ledger, "shop", "bob")
    promote(ledger, "shop", "shop-2", "ada", "again", force=True)
    assert rollback(ledger, "shop", "bob") == Promotion("shop-2", None)


def test_a_shadow_is_another_version_than_the_champion_and_can_be_cleared(ledger: Ledger):
    with pytest.raises(Refused, match="a shadow is another version"):
        set_shadow(ledger, "judge", "lexical-1", "ada", "a slip")
    set_shadow(ledger, "judge", "lora-3", "ada", "to see it at work")
    shadow = alias_of(ledger, "judge", "shadow")
    assert shadow is not None
    assert shadow.version == "lora-3"
    assert clear_shadow(ledger, "judge", "ada", "seen enough") == "lora-3"
    assert alias_of(ledger, "judge", "shadow") is None
    assert history(ledger, "judge")[-1].version is None
    with pytest.raises(Refused, match="no shadow to clear"):
        clear_shadow(ledger, "judge", "ada", "again")


def test_a_promoted_shadow_is_no_shadow_any_more(ledger: Ledger):
    set_shadow(ledger, "judge", "lora-3", "ada", "to see it at work")
    _crown(ledger, "lora-3")
    assert alias_of(ledger, "judge", "shadow") is None
    assert rollback(ledger, "judge", "ada", "it errs").current == "lexical-1"
    assert history(ledger, "judge")[-1].why == "back from lora-3: it errs"


def _decide(ledger: Ledger, trace_id: str, corrected: str | None = None) -> int:
    said = {
        "reviewer": "ada",
        "perceived_error": corrected is not None,
        "corrected_text": corrected,
    }
    place = {"trace_id": trace_id, "content_hash": "h", "rubric_version": "1", "is_audit": False}
    turn = None if corrected is None else 1
    with ledger.begin() as connection:
        made = connection.execute(
            decisions.insert().values(
                kind="decide", decided_at=now(), corrected_turn=turn, **said, **place
            )
        )
        return int(made.inserted_primary_key[0])


def test_lineage_is_read_both_ways(ledger: Ledger):
    first, second = _decide(ledger, "t1"), _decide(ledger, "t2", "Better so.")
    register(ledger, "judge", "lora-5", {}, None, None, "ada", {first: "train", second: "train"})
    register(ledger, "app", "app-1", {}, None, None, "ada", {second: "validation"})
    # Known already: it stays as it was.
    register(ledger, "judge", "lora-5", {}, None, None, "ada", {first: "calibration"})
    assert count_lineage(ledger, "lora-5") == {"train": 2}
    behind = decisions_behind(ledger, "lora-5")
    assert [(d.decision_id, d.trace_id, d.is_correction) for d in behind] == [
        (second, "t2", True),
        (first, "t1", False),
    ]
    assert [d.decision_id for d in decisions_behind(ledger, "lora-5", before=second)] == [first]
    set_alias(ledger, "app", "champion", "app-1", "ada", "the first")
    made = versions_made_by(ledger, second)
    assert [(m.version, m.part, m.aliases) for m in made] == [
        ("app-1", "validation", ("champion",)),
        ("lora-5", "train", ()),
    ]
    assert [m.version for m in versions_made_of(ledger, "t1")] == ["lora-5"]
    assert versions_made_by(ledger, 10_000) == []


def _command(project: Project, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--project", str(project.folder), "registry", *arguments])


def test_the_command_line_moves_and_tells_of_every_target(project: Project):
    ledger = project.stores.ledger
    decision = _decide(ledger, "t1", "Better so.")
    register(ledger, "judge", "judge-1", {"base": "mini"}, None, None, "ada", {decision: "train"})
    register(ledger, "shop", "shop-1", {}, None, None, "ada")
    register(ledger, "shop", "shop-2", {}, None, None, "ada")
    listed = json.loads(_command(project, "list", "--json").stdout)
    assert [(row["target"], row["version"]) for row in listed] == [
        ("judge", "judge-1"),
        ("shop", "shop-2"),
        ("shop", "shop-1"),
    ]
    of_shop = ("--target", "shop", "--json")
    assert json.loads(_command(project, "promote", "shop-1", *of_shop).stdout) == {
        "previous": None,
        "current": "shop-1",
    }
    refused = _command(project, "promote", "shop-2", *of_shop)
    assert (
        isinstance(refused.exception, Refused) or "has not been through the gate" in refused.output
    )
    shadow = json.loads(_command(project, "shadow", "shop-2", *of_shop).stdout)
    assert shadow["current"] == "shop-2"
    assert json.loads(_command(project, "shadow", "--clear", *of_shop).stdout) == {
        "cleared": "shop-2"
    }
    forced = ("--force", "--why", "an emergency")
    assert _command(project, "promote", "shop-2", *forced, *of_shop).exit_code == 0
    back = json.loads(_command(project, "rollback", "--why", "it errs", *of_shop).stdout)
    assert back["current"] == "shop-1"
    gone = _command(project, "rollback", *of_shop)
    assert json.loads(gone.stdout) == {"previous": "shop-1", "current": None}
    assert "shop has no champion any more" in gone.stderr
    (made,) = json.loads(_command(project, "lineage", "--decision", str(decision), "--json").stdout)
    assert (made["version"], made["part"]) == ("judge-1", "train")
    (learnt,) = json.loads(_command(project, "lineage", "judge-1", "--json").stdout)
    assert (learnt["trace_id"], learnt["is_correction"]) == ("t1", True)
    nothing = _command(project, "lineage", "--decision", "4711")
    assert "made no version" in nothing.stderr
    shown = json.loads(_command(project, "show", "judge-1", "--json").stdout)
    assert shown["base"] == "mini"
    assert _command(project, "card", "judge-1").stdout.startswith("# judge / judge-1\n")
    assert (project.stores.artifacts.root / "cards" / "judge-1" / "card.json").is_file()
