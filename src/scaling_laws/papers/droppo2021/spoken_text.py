"""Speech made of text, where recorded speech is too little: by `espeak-ng`, a Debian package.

The text is prose of Python's own reference, which comes with every Python (`pydoc_data`). Each paragraph is a
recording of its own, by the next of some voices.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import wave
from collections.abc import Iterable
from pathlib import Path

from scaling_laws.study.errors import InputError

PROGRAM = "espeak-ng"
VOICES = (
    *("en-us", "en-us+f2", "en-us+m3", "en-gb", "en-gb+f3", "en-gb+m7"),
    *("en-gb-scotland+f4", "en-gb-x-rp+f1", "en-gb-x-gbclan+m1"),
)
SHORTEST, LONGEST = 60, 600
"""Characters of a paragraph."""
TIMEOUT_S = 60


def paragraphs() -> list[str]:
    """Paragraphs of prose of Python's reference, without markup, each once."""
    from pydoc_data.topics import topics

    found: dict[str, None] = {}
    for topic in topics.values():
        for part in re.split(r"\n\s*\n", topic):
            text = " ".join(re.sub(r"[*\"`“”]", "", part).split())
            is_prose = re.fullmatch(r"[A-Z][A-Za-z ,;:.'’()—–-]+\.", text)
            if is_prose and SHORTEST <= len(text) <= LONGEST:
                found[text] = None
    return list(found)


def speak(texts: Iterable[str], folder: Path, hours: float) -> list[Path]:
    """A WAV file for each text, in order, until there are so many hours, or no more texts.

    Files that are there are not made again.

    Raises:
        InputError: the program is missing, or fails.
    """
    if shutil.which(PROGRAM) is None:
        raise InputError(
            f"{folder}: {PROGRAM}, which would speak the text, is missing; install Debian's package {PROGRAM}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    left_s = 3600 * hours
    for number, text in enumerate(texts):
        if left_s <= 0:
            break
        path = folder / f"spoken{number:04}.wav"
        if not path.exists():
            part = path.with_suffix(".part")
            voice = VOICES[number % len(VOICES)]
            try:
                subprocess.run(
                    [PROGRAM, "-v", voice, "-w", str(part), text],
                    check=True,
                    capture_output=True,
                    text=True,
                    timeout=TIMEOUT_S,
                )
                part.rename(path)
            except (OSError, subprocess.SubprocessError) as error:
                said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
                raise InputError(f"{PROGRAM} failed ({said[-1] if said else 'no reason given'})") from error
        paths.append(path)
        left_s -= seconds_of(path)
    return paths


def seconds_of(path: Path) -> float:
    """How long a recording is.

    Raises:
        InputError: it is no WAV file.
    """
    try:
        with wave.open(str(path), "rb") as file:
            return file.getnframes() / file.getframerate()
    except (OSError, EOFError, wave.Error) as error:
        raise InputError(f"{path}: cannot be read as speech ({error}); remove it") from error
