"""Tokens as the model counts them that is shown a text.

A tokenizer's name in, a function that counts out; without one the server's own count is taken.
"""

from collections.abc import Callable
from pathlib import Path

from flywheel.errors import NotFound

_FILE = "tokenizer.json"


def counter_of(name: str) -> Callable[[str], int]:
    """A count by the tokenizer of a folder, or of a repository of the hub.

    Raises NotFound where there is none.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_file_of(name)))
    tokenizer.no_truncation()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _file_of(name: str) -> Path:
    folder = Path(name)
    if folder.is_dir():
        if (folder / _FILE).is_file():
            return folder / _FILE
        raise NotFound(f"{_FILE} in the folder", name, None)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, _FILE))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise NotFound("tokenizer of the hub or of a folder", name, None) from error
