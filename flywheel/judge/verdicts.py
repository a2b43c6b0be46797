"""A look at the verdicts in use: rows that cannot be right, and how those of a day are spread.

Rows of `scores` in, counts and a picture out.
"""

import io
from dataclasses import dataclass
from datetime import date

import numpy as np

from flywheel.errors import NotEnough
from flywheel.store import Stores

N_BINS = 20


@dataclass(frozen=True, slots=True)
class BrokenScores:
    """Scores with a probability outside [0, 1], and scores of traces that were never imported."""

    probability_out_of_bounds: int
    unknown_trace: int

    @property
    def total(self) -> int:
        """How many there are."""
        return self.probability_out_of_bounds + self.unknown_trace


def broken_scores(stores: Stores) -> BrokenScores:
    """How many scores of the warehouse cannot be right, by what is wrong."""
    with stores.warehouse.read() as connection:
        (row,) = connection.run("judge/broken_scores").fetchall()
    return BrokenScores(*row)


def draw_probabilities(stores: Stores, day: date) -> bytes:
    """How the probabilities of a perceived error spread over the day's traces, as a PNG.

    Raises NotEnough where the day has no verdict.
    """
    from matplotlib.figure import Figure

    with stores.warehouse.read() as connection:
        rows = connection.table("judge/probabilities_of_day", day=day)
    if not rows.num_rows:
        raise NotEnough(f"verdicts on {day}", 0, 1)
    probability, tier = rows["probability"].to_numpy(), rows["tier"].to_numpy()
    tiers = sorted(set(tier))
    figure = Figure(figsize=(4.8, 2.6), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.hist(
        [probability[tier == name] for name in tiers],
        bins=np.linspace(0, 1, N_BINS + 1).tolist(),
        stacked=True,
        label=[f"{name}, {(tier == name).sum()}" for name in tiers],
        color=["#1f6feb", "#8a8f98", "#d29922", "#8250df"][: len(tiers)],
    )
    axes.axvline(0.5, color="#24292f", linewidth=1, linestyle=":")
    axes.set(xlim=(0, 1), xlabel="probability of a perceived error", ylabel="traces")
    flagged = (probability >= 0.5).sum()
    axes.set_title(f"{day}: {len(probability)} verdicts, {flagged} at .5 or more", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    # Not where it fits best: to find that takes seconds on a day of 100,000 traces.
    axes.legend(frameon=False, fontsize=8, loc="upper center")
    page = io.BytesIO()
    figure.savefig(page, format="png", metadata={"Software": None})
    return page.getvalue()
