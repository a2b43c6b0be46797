"""The judge before anybody has labelled anything: prototypes alone, in both tiers."""

from flywheel.judge.calibration import Calibration
from flywheel.judge.encoder import EncoderPrototypes
from flywheel.judge.judge import Judge
from flywheel.judge.lexical import LexicalPrototypes
from flywheel.models.embedder import Embedder
from flywheel.records import Tier
from flywheel.traces.conversations import InputLevers

# So that about one in ten of the dialogues of the two public training sets named in the README is
# flagged by either tier. Nothing else is known before there are labels: these probabilities order
# traces, and are no frequencies.
COLD_CALIBRATIONS: dict[Tier, Calibration] = {
    "lexical": Calibration(slope=3.0, bias=1.0),
    "frozen": Calibration(slope=1.0, bias=-1.0),
}


def cold_start_judge(embedder: Embedder, levers: InputLevers) -> Judge:
    """The first champion: it knows the prototype turns of each reason code, and nothing else."""
    return Judge(
        {"lexical": LexicalPrototypes(), "frozen": EncoderPrototypes(embedder)},
        COLD_CALIBRATIONS,
        levers,
        best="frozen",
    )
