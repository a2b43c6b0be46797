"""The folder of a causal adapter: PEFT's two files, and the card.

A trained model in, files out that plain `peft` loads anywhere, the same bytes for the same weights.
The folder is whole or absent.
"""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flywheel.models.adapter_card import AdapterCard, write_card
from flywheel.models.adapters import quiet_peft
from flywheel.store.artifacts import sync_folder


def write_adapter(model: Any, card: AdapterCard, out: Path) -> None:  # noqa: ANN401
    """Write the adapter of a PEFT model as it is now to `out`, which is new or empty."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=".new-") as scratch:
        made = Path(scratch) / "adapter"
        with quiet_peft():
            model.save_pretrained(str(made), safe_serialization=True)
        # A form that says nothing of this adapter; its card does.
        (made / "README.md").unlink(missing_ok=True)
        config = made / "adapter_config.json"
        known = json.loads(config.read_text(encoding="utf-8"))
        # By its name and not by where it stands here; in an order that is the same each time.
        known["base_model_name_or_path"] = card.base
        if isinstance(known["target_modules"], list):
            known["target_modules"] = sorted(known["target_modules"])
        config.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        write_card(made, card)
        sync_folder(made)
        os.replace(made, out)
    sync_folder(out.parent)
