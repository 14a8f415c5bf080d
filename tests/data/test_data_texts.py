"""Text files as people have them: separators, other encodings, other things, long lines, few documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaling_laws.cli import main
from scaling_laws.data import sources
from scaling_laws.data.corpus import split_documents
from scaling_laws.data.corpus_file import CorpusConfig
from scaling_laws.study.errors import InputError

Printed = pytest.CaptureFixture[str]


def config(*paths: Path, **more: object) -> CorpusConfig:
    plain = {"val_share": 0.2, "test_share": 0.3, "n_vocab": 300}
    return CorpusConfig(name="mine", source="text", paths=tuple(map(str, paths)), **(plain | more))


def texts_of(given: CorpusConfig) -> list[str]:
    """All documents, in the order of their places."""
    documents = [document for split in split_documents(given).values() for document in split]
    return [each.read() for each in sorted(documents, key=lambda each: int(each.name.rpartition(":")[2]))]


# --- the separator between documents -------------------------------------------------------------------


@pytest.mark.parametrize("block_bytes", [1_000_000, 7])
def test_a_separator_cuts_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(sources, "BLOCK_BYTES", block_bytes)
    stories = [f"Once upon a time, {i} ünicorns.\n" for i in range(30)]
    file = tmp_path / "stories.txt"
    file.write_text("<|endoftext|>".join([*stories, "", ""]), encoding="utf-8")
    assert texts_of(config(file, document_separator="<|endoftext|>")) == stories


def test_a_separator_that_nobody_named_is_noted(tmp_path: Path, capsys: Printed) -> None:
    for number in range(9):
        (tmp_path / f"{number}.txt").write_text(f"story {number}<|endoftext|>another", encoding="utf-8")
    split_documents(config(tmp_path))
    said = capsys.readouterr().err
    assert "<|endoftext|> stands 9 times" in said and 'document_separator: "<|endoftext|>"' in said


@pytest.mark.parametrize("more", [{"piece_bytes": 10, "document_separator": "x"}, {"document_separator": ""}])
def test_separators_that_make_no_sense(tmp_path: Path, more: dict[str, object]) -> None:
    with pytest.raises(InputError, match="document_separator"):
        config(tmp_path, **more)


# --- what is not UTF-8 ---------------------------------------------------------------------------------


def test_all_bad_files_are_named_with_what_they_are(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.txt").write_text(f"text {number}", encoding="utf-8")
    (tmp_path / "photo.txt").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF")
    (tmp_path / "letter.txt").write_bytes("grüße".encode("cp1252"))
    (tmp_path / "torn.txt").write_bytes("text".encode("utf-16")[:-1])
    (tmp_path / "noise.bin").write_bytes(b"\xfe\0\0")
    with pytest.raises(InputError) as refused:
        split_documents(config(tmp_path))
    said = str(refused.value)
    assert "photo.txt: not UTF-8 at byte 0; a JPEG image" in said
    assert "letter.txt: not UTF-8 at byte 2; text in another encoding" in said
    assert "torn.txt: not UTF-8 at byte 0; UTF-16 that is cut off" in said
    assert "noise.bin: not UTF-8 at byte 0; binary" in said
    assert "\n" not in said


def test_all_bad_lines_and_all_missing_paths_are_named(tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"text": "good"}\n{\n{"body": 3}\n', encoding="utf-8")
    given = CorpusConfig(name="mine", source="jsonl", paths=(str(lines),), n_vocab=300)
    with pytest.raises(InputError, match=r"a\.jsonl:2: .* \| .*a\.jsonl:3: .*; correct such lines"):
        split_documents(given)
    foreign = {"news": (str(tmp_path / "news"),)}
    with pytest.raises(InputError, match=r"one\.txt, .*two\.txt, .*news: no such file or folder"):
        split_documents(config(tmp_path / "one.txt", tmp_path / "two.txt", foreign=foreign))


def test_a_bad_file_in_pieces_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(("größe\n" * 100).encode("latin-1"))
    with pytest.raises(InputError) as refused:
        split_documents(config(tmp_path, piece_bytes=20))
    assert str(refused.value).count("a.txt") == 1


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("cut", [{}, {"piece_bytes": 50}, {"document_separator": "\n"}])
def test_utf16_with_its_mark_is_read(tmp_path: Path, encoding: str, cut: dict[str, object]) -> None:
    texts = [f"Größe {i}, 東京, 😀" for i in range(12)]
    (tmp_path / "one.txt").write_bytes("\ufeff".encode(encoding) + "\n".join(texts).encode(encoding))
    for number in range(12):
        (tmp_path / f"{number}.txt").write_text(f"text {number}", encoding="utf-8")
    documents = [each for split in split_documents(config(tmp_path, **cut)).values() for each in split]
    pieces = sorted(
        (int(each.name.rpartition(":")[2] or 0) if ":" in each.name else 0, each.read())
        for each in documents
        if "one.txt" in each.name
    )
    joint = "\n" if "document_separator" in cut else ""
    assert joint.join(text for _, text in pieces) == "\n".join(texts)


# --- long lines ----------------------------------------------------------------------------------------


LINES = [
    "".join(f"words{number} " for number in range(900)),
    "".join(map(chr, range(0x4E00, 0x5800))),
    "".join(f"é{number}" for number in range(900)) + "\nshort\n" + "".join(map(str, range(1500))),
]


@pytest.mark.parametrize("line", LINES)
def test_a_very_long_line_is_cut(tmp_path: Path, line: str) -> None:
    file = tmp_path / "line.txt"
    file.write_text(line, encoding="utf-8")
    pieces = texts_of(config(file, piece_bytes=200))
    assert "".join(pieces) == line and len(pieces) > 5
    assert max(len(piece.encode()) for piece in pieces) <= 600
    if "words" in line:
        assert all(piece.endswith(" ") for piece in pieces)


# --- few documents -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_documents", [3, 4, 8])
@pytest.mark.parametrize("share", [0.001, 0.45])
def test_few_documents_are_one_a_split_at_least(
    tmp_path: Path, capsys: Printed, n_documents: int, share: float
) -> None:
    for number in range(n_documents):
        (tmp_path / f"{number}.txt").write_text(f"text {number}", encoding="utf-8")
    splits = split_documents(config(tmp_path, val_share=share, test_share=share))
    assert all(splits.values()) and sum(map(len, splits.values())) == n_documents
    if share < 0.01:
        said = capsys.readouterr().err
        assert f"of {n_documents} documents none fell to 'val'" in said


def test_fewer_than_three_documents_are_refused_with_their_number(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.txt").write_text(f"text {number}", encoding="utf-8")
    with pytest.raises(InputError, match=r"no document is left for .* of 2 in all"):
        split_documents(config(tmp_path))


# --- an edited text ------------------------------------------------------------------------------------


def test_an_edited_text_says_the_whole_command(tmp_path: Path, capsys: Printed) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text(f"some text with the number {number}", encoding="utf-8")
    file, folder = tmp_path / "mine.yaml", tmp_path / "corpus"
    file.write_text(
        f"name: mine\nsource: text\npaths: [{tmp_path}/1.txt, {tmp_path}/2.txt, {tmp_path}/3.txt]\n"
        "tokenizer: bytes\nn_vocab: 256\n",
        encoding="utf-8",
    )
    main(["data", "build", str(file), "-o", str(folder)])
    (tmp_path / "2.txt").write_text("other text", encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["data", "build", str(file), "-o", str(folder)])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    command = f"scaling-laws data build {file} -o {folder} --force"
    assert "the texts are no longer those" in said and said.endswith(command)
    main(command.split()[1:])
    (tmp_path / "2.txt").unlink()
    with pytest.raises(SystemExit):
        main(["data", "build", str(file), "-o", str(folder)])
    assert f"{tmp_path}/2.txt: no such file or folder" in capsys.readouterr().err


def test_one_path_need_not_be_a_list(tmp_path: Path, capsys: Printed) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"name: mine\nsource: text\npaths: {tmp_path}/typo\ntokenizer: bytes\nn_vocab: 256\n",
        encoding="utf-8",
    )
    with pytest.raises(SystemExit):
        main(["data", "build", str(file), "-o", str(tmp_path / "corpus")])
    assert f"{tmp_path}/typo: no such file or folder" in capsys.readouterr().err
