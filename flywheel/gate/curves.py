"""The picture of a gate verdict: precision against recall, champion and challenger.

The gate's items in, a PNG out.
"""

import io
from collections.abc import Sequence

import numpy as np

from flywheel import statistics
from flywheel.errors import BadInput
from flywheel.gate.evidence import GateItem, draw_weights


def picture(items: Sequence[GateItem]) -> bytes:
    """Precision-recall curves of champion and challenger, weighted, as a PNG.

    Raises BadInput where no item is a perceived error.
    """
    from matplotlib.figure import Figure
    from sklearn.metrics import precision_recall_curve

    truth, weight = np.array([i.truth for i in items], bool), draw_weights(items)
    if not truth.any():
        raise BadInput("no item of the holdout is a perceived error; there is no curve to draw")
    figure = Figure(figsize=(4.8, 3.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    for name, colour in (("champion", "#8a8f98"), ("challenger", "#1f6feb")):
        p = np.array([getattr(item, name) for item in items], float)
        precision, recall, _ = precision_recall_curve(truth, p, sample_weight=weight)
        area = statistics.pr_auc(truth, p, weight)
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
