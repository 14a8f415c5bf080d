"""Where and by what a run was made."""

from __future__ import annotations

import platform
import resource
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

RECORDED_PACKAGES = ("torch", "pytorch-lightning", "numpy", "tokenizers")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result may depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in RECORDED_PACKAGES}}


def peak_memory_bytes() -> int:
    """Most memory this process has held: on the CUDA device where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    kilobytes_per_unit = 1 if platform.system() == "Linux" else 1 / 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobytes_per_unit * 1024)


def git_revision() -> str:
    """Revision of the code, with `+` where files differ from it; `unknown` outside a checkout."""
    folder = Path(__file__).parent
    commands = (["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no", "."])
    answers = [
        subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        for command in commands
    ]
    if any(answer.returncode for answer in answers):
        return "unknown"
    return answers[0].stdout.strip() + ("+" if answers[1].stdout else "")
