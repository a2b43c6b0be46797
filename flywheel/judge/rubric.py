"""The rubric: what a perceived error is, in words, for whoever decides on a trace.

A Markdown file in, its text and its version out; the one idea is that the version is the hash of
the text, so that a decision says by which words it was made.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from flywheel.errors import BadInput

FILE = "perceived_error.md"
_BUNDLED = Path(__file__).with_name(FILE)


@dataclass(frozen=True, slots=True)
class Rubric:
    """The text, Markdown; `version` is the first 12 digits of its SHA-256.

    `label` is what it decides, as the key of a judge's reply: the name of its metric.
    """

    version: str
    text: str
    label: str = "perceived_error"


def load_rubric(metrics_dir: Path) -> Rubric:
    """The project's own rubric, `perceived_error.md` beside its metrics, else the bundled one.

    Raises BadInput where that file is no UTF-8.
    """
    own = metrics_dir / FILE
    path = own if own.is_file() else _BUNDLED
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
    return Rubric(hashlib.sha256(text.encode()).hexdigest()[:12], text)
