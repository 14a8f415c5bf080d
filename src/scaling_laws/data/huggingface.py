"""Rows of Hugging Face data sets as sources: from the hub, streamed or downloaded, or from the disk.

A data set is named in `paths` as

    name?configuration=...&split=...&revision=...&text_field=...

where every option may be left out. The name is that of a data set on the hub, of a folder that
`save_to_disk` wrote, or of files that `load_dataset` reads (parquet, JSON, ...). A document is called after
the hash of its text, so that the split depends neither on the order of the rows nor on how they were read.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.data.sources import TextSource, read_range
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import sha256_of

if TYPE_CHECKING:
    from scaling_laws.data.corpus_file import CorpusConfig

OPTIONS = ("configuration", "split", "revision", "text_field")


@dataclass(frozen=True, kw_only=True)
class DatasetPath:
    """One entry of `paths`."""

    name: str
    configuration: str | None = None
    split: str | None = None
    """"train" where not given."""
    revision: str | None = None
    """Commit, tag or branch; of the hub only."""
    text_field: str | None = None
    """That of the corpus where not given."""

    def __str__(self) -> str:
        options = [f"{key}={value}" for key, value in asdict(self).items() if key in OPTIONS and value]
        return self.name + ("?" + "&".join(options) if options else "")

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine's disk."""
        return Path(self.name).exists()


def dataset_path(text: str) -> DatasetPath:
    """Read one entry of `paths`.

    Raises:
        InputError: an option is unknown or has no value, or a local data set is given a revision.
    """
    name, _, query = text.partition("?")
    options = dict(option.partition("=")[::2] for option in query.split("&")) if query else {}
    for key, value in options.items():
        if key not in OPTIONS or not value:
            raise InputError(
                f"{text}: the option {key!r} is not one of {', '.join(OPTIONS)}, or has no value"
            )
    path = DatasetPath(name=name, **options)
    if path.is_local and path.revision:
        raise InputError(f"{text}: is on this disk and has no revision; leave the revision out")
    return path


def pinned(config: CorpusConfig) -> CorpusConfig:
    """The configuration with every data set of the hub at the commit that its revision is now.

    Raises:
        InputError: the package is missing, or the hub cannot be reached or does not know a data set.
    """
    _datasets()  # say first what no network would mend
    return replace(
        config,
        paths=tuple(_pinned(path) for path in config.paths),
        foreign={name: tuple(_pinned(path) for path in paths) for name, paths in config.foreign.items()},
    )


def local_sha256(config: CorpusConfig) -> dict[str, str]:
    """A hash of the files, and their names, of every data set of a corpus that is not on the hub."""
    texts = [*config.paths, *(path for paths in config.foreign.values() for path in paths)]
    return {text: _tree_sha256(Path(path.name)) for text in texts if (path := dataset_path(text)).is_local}


def huggingface_sources(
    text: str, text_field: str, *, streaming: bool, scratch: Path | None = None
) -> Iterator[TextSource]:
    """One document a row, in the order of the rows; a row without a text is an empty one.

    Args:
        text: an entry of `paths`.
        text_field: the column that holds the text, where the entry does not say.
        streaming: read rows as they arrive. Their texts are kept in a file of `scratch`, since every document
            is read more than once; without streaming they are read again from the data set's own files.
        scratch: a folder that lives as long as the sources.

    Raises:
        InputError: the package is missing, or the data set cannot be read as said.
    """
    path = dataset_path(text)
    column = path.text_field or text_field
    datasets = _datasets()
    try:
        dataset = _load(datasets, path, streaming).select_columns([column])
    except InputError:
        raise
    except Exception as error:  # those of several libraries, which share no base
        raise InputError(f"{text}: the data set cannot be opened ({_one_line(error)})") from error

    label = Path(path.name).name
    if not streaming:
        for number, content in enumerate(_contents(dataset, text, column)):
            yield TextSource(name=_name(label, content), read=partial(_read_row, dataset, number, column))
        return
    assert scratch is not None
    with tempfile.NamedTemporaryFile(dir=scratch, delete=False) as file:
        for content in _contents(dataset, text, column):
            start = file.tell()
            file.write(content)
            file.flush()  # it is read at once
            yield TextSource(
                name=_name(label, content),
                read=partial(read_range, Path(file.name), start, start + len(content)),
            )


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            'source: huggingface needs the package datasets; pip install "datasets>=4", '
            "or save the texts as JSONL and use source: jsonl"
        ) from error
    return datasets


def _pinned(text: str) -> str:
    path = dataset_path(text)
    if path.is_local:
        return text
    from huggingface_hub import HfApi

    try:
        commit = HfApi().dataset_info(path.name, revision=path.revision).sha
    except Exception as error:  # those of several libraries, which share no base
        raise InputError(
            f"{text}: not on this disk, and the hub does not have it ({_one_line(error)}); correct the name, "
            "or save the data set where there is a network (save_to_disk) and give that folder"
        ) from error
    return str(replace(path, revision=commit))


def _load(datasets: Any, path: DatasetPath, streaming: bool) -> Any:
    """The data set, without a look at its rows."""
    folder = Path(path.name)
    if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
        return _load_saved(datasets, path, streaming)
    split = path.split or "train"
    if folder.is_file():
        return datasets.load_dataset(
            str(folder.parent), data_files=folder.name, split=split, streaming=streaming
        )
    return datasets.load_dataset(
        path.name, path.configuration, split=split, revision=path.revision, streaming=streaming
    )


def _load_saved(datasets: Any, path: DatasetPath, streaming: bool) -> Any:
    """What `save_to_disk` wrote: one split, or a folder of them."""
    dataset = datasets.load_from_disk(path.name)
    if isinstance(dataset, datasets.DatasetDict):
        if (path.split or "train") not in dataset:
            raise InputError(f"{path}: has no such split; its splits are {', '.join(dataset)}")
        dataset = dataset[path.split or "train"]
    elif path.split:
        raise InputError(f"{path}: was saved as one split; leave split out")
    return dataset.to_iterable_dataset() if streaming else dataset


def _contents(dataset: Any, text: str, column: str) -> Iterator[bytes]:
    number = -1
    try:
        for number, row in enumerate(dataset):
            value = row[column]
            if not isinstance(value, str | None):
                raise InputError(f"{text}: row {number}: {column!r} is not text; set text_field")
            yield (value or "").encode("utf-8")
    except InputError:
        raise
    except Exception as error:  # of the network, of decompression, of Arrow
        raise InputError(f"{text}: cannot be read after row {number} ({_one_line(error)}); retry") from error


def _read_row(dataset: Any, number: int, column: str) -> bytes:
    return (dataset[number][column] or "").encode("utf-8")


def _name(label: str, content: bytes) -> str:
    return f"{label}/{hashlib.sha256(content).hexdigest()[:32]}"


def _tree_sha256(path: Path) -> str:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(path).as_posix()}\0".encode())
        digest.update(bytes.fromhex(sha256_of(file)))
    return digest.hexdigest()


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
