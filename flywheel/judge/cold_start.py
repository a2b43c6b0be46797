"""The judge before anybody has labelled anything: prototypes alone, in both tiers."""

from flywheel.judge.calibration import Calibration
from flywheel.judge.encoder import EncoderPrototypes
from flywheel.judge.judge import Judge
from flywheel.judge.lexical import LexicalPrototypes
from flywheel.models.embedder import Embedder
from flywheel.traces.conversations import InputLevers

# Platt scaling over the 1,400 dialogues of the two public training sets named in the README, of
# which 20 % are positive: what no label of the project has yet corrected.
COLD_CALIBRATIONS = {
    "lexical": Calibration(slope=1.0, bias=0.0),
    "frozen": Calibration(slope=0.25, bias=-1.41),
}


def cold_start_judge(embedder: Embedder, levers: InputLevers) -> Judge:
    """The first champion: it knows the prototype turns of each reason code, and nothing else."""
    return Judge(
        {"lexical": LexicalPrototypes(), "frozen": EncoderPrototypes(embedder)},
        {
            "lexical": COLD_CALIBRATIONS["lexical"],
            "frozen": COLD_CALIBRATIONS["frozen"],
        },
        levers,
        best="frozen",
    )
