"""Eight reviewers at one server, killed in the middle: no work is lost, and none done twice."""

from flywheel.store import Project
from tests.reviewing import review_through_a_crash


def test_eight_reviewers_and_a_killed_server_lose_nothing(project: Project) -> None:
    outcome = review_through_a_crash(project, n_items=500, n_reviewers=8, seconds=5, claim_s=2)
    assert outcome.lost == []
    assert outcome.crowded == []
    assert outcome.stuck is None
    assert all(shift.decisions for shift in outcome.shifts)
