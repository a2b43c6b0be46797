"""Broken files: none of them stops the import, and every row of them is told what became of it."""

from flywheel.store import Project
from tests.fuzzed_files import Held, check
from tests.mutants import FILES, mutant

SEEDS = 80


def test_every_mutant_is_a_file_of_its_own() -> None:
    made = {mutant(seed) for seed in range(200)}
    assert len(made) > 190
    assert mutant(7) == mutant(7)
    assert {path for path, _ in (mutant(seed) for seed in range(500))} == set(FILES)


def test_a_broken_file_costs_its_bad_rows_and_nothing_else(project: Project) -> None:
    with Held(project) as held:
        outcomes = [check(held, seed) for seed in range(SEEDS)]
    assert len(outcomes) == SEEDS
    # Neither are all of them refused nor none.
    assert 0.1 < sum(outcome == "refused" for outcome in outcomes) / SEEDS < 0.9
