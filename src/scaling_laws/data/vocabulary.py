"""Somebody's vocabulary, GPT-2's for one, as a `TextTokenizer`.

Read are

    tokenizer.json                 what the `tokenizers` library saves
    a folder                       with vocab.json and merges.txt, or OpenAI's encoder.json and vocab.bpe
    <encoding>.tiktoken            OpenAI's ranks; the name of the file says how text is split

Whatever it is, it must hold the document separator and give every text back byte for byte.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from scaling_laws.data.corpus_file import SEPARATOR
from scaling_laws.data.tokenizer import TextTokenizer, byte_characters, byte_level
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import sha256_of

PAIRS_OF_FILES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))

# The patterns of tiktoken 0.14's openai_public.py for Oniguruma, where `{1,3}+` is not possessive and `$` is
# the end of a line: so quantifiers are plain (the same matches: no branch can use what it would give back),
# and the end of the text is \z.
_GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+\z|\s+(?!\S)|\s"
_CL100K_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s+\z|\s*[\r\n]|\s+(?!\S)|\s"
)
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_O200K_PATTERN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ENCODINGS = {
    "r50k_base": (_GPT2_PATTERN, 50256),
    "p50k_base": (_GPT2_PATTERN, 50256),
    "cl100k_base": (_CL100K_PATTERN, 100257),
    "o200k_base": (_O200K_PATTERN, 199999),
}
"""By name of the rank file: how text is split, and the id of the separator, which the file leaves out."""

PROBES = (
    "",
    " a  b ",
    "\r\n\tTwo\n\n  lines\r",
    f"a{SEPARATOR}b",
    "e\u0301 \u00e9 \ufeff\u2126 ﬁ İ 1½",  # every normal form would change one of these
    # Every byte that UTF-8 has: all characters of one and two bytes, then each first byte of longer ones.
    "".join(map(chr, range(0x800))),
    "".join(map(chr, (0x800, *range(0x1000, 0xD000, 0x1000), 0xD000, 0xE000, 0xF000))),
    "".join(map(chr, (0x10000, 0x40000, 0x80000, 0xC0000, 0x100000))),
)
"""Texts that a vocabulary must reproduce: an exact one does, a normalising or incomplete one does not."""


def read_vocabulary(path: str, n_vocab: int | None = None) -> TextTokenizer:
    """Read a vocabulary and see that it can be used.

    Args:
        path: file or folder, see above.
        n_vocab: the size that it must have, if any.

    Raises:
        InputError: it is missing, cannot be read, has no separator, is of another size, or changes texts.
    """
    files = _files(path)
    try:
        tokenizer = _read(files)
    except InputError:
        raise
    except Exception as error:  # `tokenizers` raises nothing narrower
        raise InputError(
            f"{path}: cannot be read as a vocabulary ({' '.join(str(error).split())})"
        ) from error
    if tokenizer.token_to_id(SEPARATOR) is None:
        raise InputError(f"{path}: has no {SEPARATOR}, which separates documents; add it to the vocabulary")
    tokenizer.add_special_tokens([AddedToken(SEPARATOR, special=True, normalized=False)])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    result = TextTokenizer(tokenizer)
    if n_vocab not in (None, result.n_vocab):
        raise InputError(
            f"n_vocab is {n_vocab}, but {path} has {result.n_vocab} tokens; leave n_vocab out, or correct it"
        )
    for probe, ids in zip(PROBES, result.encode(PROBES), strict=True):
        if result.decode(ids) != probe or result.separator_id in ids:
            raise InputError(
                f"{path}: does not give the text {probe[:20]!a} back as it was; "
                "use a byte-level vocabulary without a normaliser"
            )
    return result


def vocabulary_sha256(path: str) -> dict[str, str]:
    """SHA-256 of each file of a vocabulary, by path.

    Raises:
        InputError: it is missing.
    """
    return {str(file): sha256_of(file) for file in _files(path)}


def _files(path: str) -> list[Path]:
    where = Path(path)
    if where.is_file():
        return [where]
    for names in PAIRS_OF_FILES:
        if all((where / name).is_file() for name in names):
            return [where / name for name in names]
    raise InputError(
        f"tokenizer_path {path}: neither a file nor a folder with vocab.json and merges.txt; correct the path"
    )


def _read(files: list[Path]) -> Tokenizer:
    if len(files) == 2:
        vocabulary, merges = models.BPE.read_file(*map(str, files))
        return byte_level(Tokenizer(models.BPE(vocabulary, merges)))
    (file,) = files
    if file.suffix == ".tiktoken":
        return _from_ranks(file)
    json.loads(file.read_bytes())  # its errors name the place; those of `tokenizers` do not
    return Tokenizer.from_file(str(file))


def _from_ranks(file: Path) -> Tokenizer:
    """tiktoken's byte-pair encoding: neighbours that are a token together merge, the lowest rank first."""
    if file.stem not in ENCODINGS:
        raise InputError(
            f"{file}: does not say how text is split; name it as OpenAI does: {', '.join(ENCODINGS)}"
        )
    pattern, separator_id = ENCODINGS[file.stem]
    ranks: dict[bytes, int] = {}
    for line in file.read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token, validate=True)] = int(rank)
    if separator_id in ranks.values():
        raise InputError(
            f"{file}: is not {file.stem}, whose {SEPARATOR} has the id {separator_id}; rename it"
        )
    characters = {byte: character for character, byte in byte_characters().items()}
    spelling = {token: "".join(characters[byte] for byte in token) for token in ranks}
    merges = [
        (spelling[token[:cut]], spelling[token[cut:]])
        for token in sorted(ranks, key=lambda token: ranks[token])
        for cut in range(1, len(token))
        if token[:cut] in ranks and token[cut:] in ranks
    ]
    vocabulary = {spelling[token]: rank for token, rank in ranks.items()} | {SEPARATOR: separator_id}
    # tiktoken takes a piece that is a token as it is, without merging.
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
