"""A server that is killed in the middle: what it acknowledged is there, and there once."""

from flywheel.store import Project
from tests.dying_server import kill_again_and_again, stop_under_load


def test_what_was_acknowledged_survives_the_death_of_the_server_once(project: Project) -> None:
    fate = kill_again_and_again(project, rounds=2, seed=1)
    assert fate.kills == 2
    assert fate.acknowledged
    assert not fate.lost
    assert not fate.twice
    assert not fate.unsent


def test_a_server_that_is_asked_to_end_answers_first_and_loses_nothing(project: Project) -> None:
    fate, code = stop_under_load(project, n_answers=20)
    assert code == 0
    assert len(fate.acknowledged) >= 20
    assert not fate.lost
    assert not fate.twice
    assert not fate.unsent
