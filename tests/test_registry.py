"""Versions, the aliases that move over them, and the way back."""

import json

import pytest
import sqlalchemy as sa

from flywheel.errors import BadInput, NotFound, Refused
from flywheel.registry import (
    Promotion,
    alias_of,
    history,
    list_versions,
    promote,
    register,
    rollback,
    set_alias,
)
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import audit_log, gate_verdicts


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


def _rule(ledger: Ledger, challenger: str, champion: str, passed: bool) -> None:
    """Store a verdict as the gate does."""
    ruling = {"rule": "mcnemar", "labels_needed": 0, "looks": 1, "alpha_spent": 0.03}
    with ledger.begin() as connection:
        n = connection.execute(sa.select(sa.func.count()).select_from(gate_verdicts)).scalar()
        connection.execute(
            gate_verdicts.insert().values(
                target="judge",
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
    with pytest.raises(Refused, match="has no predecessor"):
        rollback(ledger, "app", "ada")
