"""Prompts: which champions were trained to answer another one than they are asked with now.

Manifests in, versions out; the one idea is that a rubric may change between two trainings, and that
an adapter answers the one that it has learnt.
"""

import json
from collections.abc import Collection

import sqlalchemy as sa

from flywheel.registry.versions import CHAMPION
from flywheel.store.tables import aliases, versions

# A limit of such a version, and a finding of the doctor's.
OTHER_PROMPT = "was trained to answer another prompt than the rubric makes now"


def of_other_prompts(
    connection: sa.Connection, targets: Collection[str], prompt: str
) -> dict[str, str]:
    """By target, the champion that was trained under another prompt than `prompt`, a hash."""
    is_champion = (aliases.c.alias == CHAMPION, aliases.c.target.in_(targets))
    stored = (
        sa.select(aliases.c.target, aliases.c.version, versions.c.manifest)
        .join(versions, versions.c.version == aliases.c.version)
        .where(*is_champion)
        .order_by(aliases.c.target)
    )
    rows = connection.execute(stored).all()
    return {
        row.target: row.version
        for row in rows
        # A base, which has learnt nothing, names no prompt.
        if json.loads(row.manifest).get("prompt_hash", prompt) != prompt
    }
