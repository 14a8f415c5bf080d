"""Text to token ids and back, exactly: bytes, or byte-level byte-pair encoding trained here.

Both kinds, and what `vocabulary.py` reads, are a `tokenizers.Tokenizer`, saved as the usual tokenizer.json.
One id is the document separator, which no text can produce: texts are encoded without looking for special
tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from scaling_laws.data.corpus_file import SEPARATOR
from scaling_laws.study.errors import InputError


class TextTokenizer:
    """Encodes and decodes; made by `train_tokenizer`, `read_vocabulary` or `load_tokenizer`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.encode_special_tokens = (
            True  # "<|endoftext|>" in a text is plain text; not saved in the file
        )
        self._tokenizer = tokenizer
        # Not the number of entries: OpenAI's vocabularies leave some ids out.
        self.n_vocab: int = max(tokenizer.get_vocab().values()) + 1
        separator_id = tokenizer.token_to_id(SEPARATOR)
        assert separator_id is not None
        self.separator_id: int = separator_id

    encodes_parts = False
    """Whether the parts of a text (`Document.parts`) have the tokens that the whole has."""

    def encode(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        """Token ids of each text, int64 (n_tokens,), without separators; on all cores."""
        for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            yield np.array(encoding.ids, dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """The text; inverse of `encode`. Bytes cut from their character become U+FFFD."""
        return self._tokenizer.decode([int(token) for token in ids], skip_special_tokens=False)

    def save(self, path: Path) -> None:
        """Write tokenizer.json."""
        path.write_text(self.to_json(), encoding="utf-8")

    def to_json(self) -> str:
        """The text of tokenizer.json."""
        text: str = self._tokenizer.to_str(pretty=True) + "\n"
        return text


class ByteTokenizer(TextTokenizer):
    """A token is a byte: nothing is looked up."""

    encodes_parts = True

    def encode(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        for text in texts:
            yield np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int64)


class TrainedTokenizer(TextTokenizer):
    """Byte pairs trained here, which lie within the words of GPT-2's pattern."""

    encodes_parts = True


def train_tokenizer(kind: Literal["bytes", "bpe"], n_vocab: int, texts: Iterable[str]) -> TextTokenizer:
    """Make a tokenizer; `texts` are read by `bpe` alone.

    Raises:
        InputError: the texts hold too few different pairs for `n_vocab`.
    """
    if kind == "bytes":
        return ByteTokenizer(_byte_tokenizer())
    tokenizer = byte_level(Tokenizer(models.BPE()))
    trainer = trainers.BpeTrainer(
        vocab_size=n_vocab,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != n_vocab:
        raise InputError(
            f"n_vocab is {n_vocab}, but the training text yields only {tokenizer.get_vocab_size()} tokens; "
            "lower n_vocab or give more text"
        )
    return TrainedTokenizer(tokenizer)


def load_tokenizer(path: Path) -> TextTokenizer:
    """Read a tokenizer.json written by `TextTokenizer.save`.

    Raises:
        InputError: it is none.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # `tokenizers` raises nothing narrower
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be read as a vocabulary ({reason}); build the corpus again"
        ) from None
    if tokenizer.token_to_id(SEPARATOR) is None:
        raise InputError(f"{path}: has no {SEPARATOR}, which separates documents; build the corpus again")
    return TextTokenizer(tokenizer)


def _byte_tokenizer() -> Tokenizer:
    """Id b is byte b. UTF-8 has no byte 255: that id is the separator."""
    characters = {byte: character for character, byte in byte_characters().items() if byte != 0xFF}
    vocabulary = {character: byte for byte, character in sorted(characters.items())} | {SEPARATOR: 0xFF}
    tokenizer = byte_level(Tokenizer(models.BPE(vocab=vocabulary, merges=[])))
    tokenizer.add_special_tokens([AddedToken(SEPARATOR, special=True)])
    return tokenizer


def byte_characters() -> dict[str, int]:
    """The printable character that stands for each byte in byte-level tokenizers (GPT-2's table)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    shifted = {chr(256 + index): byte for index, byte in enumerate(others)}
    return {chr(byte): byte for byte in printable} | shifted


def byte_level(tokenizer: Tokenizer) -> Tokenizer:
    """Make it split text as GPT-2's does, and spell the bytes of each piece in `byte_characters`."""
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
