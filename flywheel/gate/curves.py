"""The picture of a gate verdict: precision against recall, champion and challenger.

The gate's items in, a PNG out.
"""

import io
from collections.abc import Sequence

import numpy as np

from flywheel import statistics
from flywheel.errors import BadInput
from flywheel.gate.items import GateItem, draw_weights


def picture(items: Sequence[GateItem]) -> bytes:
    """Precision-recall curves of champion and challenger, weighted, as a PNG.

    Raises BadInput where no item is a perceived error, or every one, as corrections are.
    """
    from matplotlib.figure import Figure
    from sklearn.metrics import precision_recall_curve

    truth, weight = np.array([i.truth for i in items], bool), draw_weights(items)
    if not truth.any() or truth.all():
        how_many = "every" if truth.any() else "no"
        raise BadInput(
            f"{how_many} item of the holdout is a perceived error; there is no curve to draw"
        )
    figure = Figure(figsize=(4.8, 3.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    for name, colour in (("champion", "#8a8f98"), ("challenger", "#1f6feb")):
        given = np.array([getattr(item, name) for item in items], float)
        # A reply that could not be read is no probability.
        said = ~np.isnan(given)
        y, p, w = truth[said], given[said], weight[said]
        precision, recall, _ = precision_recall_curve(y, p, sample_weight=w)
        area = statistics.pr_auc(y, p, w)
        label = f"{name}, AP {area:.2f}"
        axes.step(recall, precision, where="post", color=colour, linewidth=1.8, label=label)
    share = float(np.average(truth, weights=weight))
    axes.axhline(share, color="#8a8f98", linewidth=1, linestyle=":", label=f"chance, {share:.2f}")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title(f"{len(items)} holdout labels, {int(truth.sum())} perceived errors", fontsize=9)
    axes.grid(color="#e6e8eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    page = io.BytesIO()
    figure.savefig(page, format="png", metadata={"Software": None})
    return page.getvalue()
