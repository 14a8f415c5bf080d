"""Remove corpora that builds made: `make clean`. Standard library only: it runs without an environment.

PYTHONPATH=src python3 -m scaling_laws.data.clean data
"""

from __future__ import annotations

import sys
from pathlib import Path

from scaling_laws.data.manifest import STAMP_FILE, read_manifest
from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import remove_own_files
from scaling_laws.study.records import sha256_of


def remove_corpora(root: Path) -> list[Path]:
    """Remove every corpus in a folder of `root` that is as it was built.

    Returns:
        The folders that stay, as they hold other files, too.
    """
    stays = []
    for folder in sorted(path for path in root.glob("*") if path.is_dir() and not path.is_symlink()):
        try:
            hashes = {name: entry["sha256"] for name, entry in read_manifest(folder)["files"].items()}
        except (InputError, KeyError, TypeError, AttributeError):
            hashes = {}  # no corpus; perhaps what an interrupted build left
        else:
            hashes["manifest.json"] = sha256_of(folder / "manifest.json")
            if not (folder / STAMP_FILE).is_symlink():
                (folder / STAMP_FILE).unlink(missing_ok=True)
        remove_own_files(folder, hashes)
        if folder.exists():
            stays.append(folder)
    return stays


if __name__ == "__main__":
    for kept in remove_corpora(Path(sys.argv[1])):
        print(f"{kept}: stays, for it holds files that no build wrote")
