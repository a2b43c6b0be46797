"""Backup and restore: all of a project in one folder, and a project made of it again.

Ledger, artifacts, warehouse, settings and tombstones in, a folder with a manifest out, and back.
The one idea is that a backup is whole or is none: it is written under a temporary name, every file
of it is named with its hash, and nothing is touched before all of them were read and found right.
"""

from flywheel.backup.manifest import Manifest, read_manifest, verify
from flywheel.backup.restoring import RestoreReport, restore_project
from flywheel.backup.taking import BackupReport, back_up

__all__ = [
    "BackupReport",
    "Manifest",
    "RestoreReport",
    "back_up",
    "read_manifest",
    "restore_project",
    "verify",
]
