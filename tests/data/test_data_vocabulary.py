"""Vocabularies from files: the ids of their makers, exact round trips, one line where they cannot be used."""

import base64
import json
import random

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from scaling_laws.data.corpus_file import SEPARATOR, CorpusConfig, load_config
from scaling_laws.data.tokenizer import byte_characters, byte_level, train_tokenizer
from scaling_laws.data.tokens import build_corpus
from scaling_laws.data.vocabulary import ENCODINGS, PROBES, read_vocabulary
from scaling_laws.study.errors import InputError

TEXTS = [
    f"def f_{i}(x):\n    return x + {i}  # don't\n\n\nThe quick brown fox, {i * i} times.\n  "
    for i in range(300)
]
MADE = train_tokenizer("bpe", 400, TEXTS)
AWKWARD = [
    *TEXTS[:3],
    *PROBES,
    "x\n  ",
    "I'LL, don'T 1234567\t\n \n",
    "".join(random.Random(0).choices([*map(chr, range(32, 0x250)), "\n", " ", " ", "€", "😀"], k=2000)),
]


@pytest.fixture
def folder(tmp_path):
    """vocab.json and merges.txt of `MADE`."""
    MADE._tokenizer.model.save(str(tmp_path))
    return tmp_path


def write_ranks(folder, name):
    """The same tokens as tiktoken keeps them: bytes and rank, without the separator."""
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    values = byte_characters()
    ids = sorted((index, token) for token, index in vocabulary.items() if token != SEPARATOR)
    lines = [
        base64.b64encode(bytes(values[character] for character in token)) + f" {rank}\n".encode()
        for rank, (_, token) in enumerate(ids)
    ]
    path = folder / f"{name}.tiktoken"
    path.write_bytes(b"".join(lines))
    return path


def encoded(tokenizer, texts=AWKWARD):
    return [ids.tolist() for ids in tokenizer.encode(texts)]


@pytest.mark.parametrize("names", [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")])
def test_two_files_give_the_ids_of_their_maker(folder, names):
    for old, new in zip(("vocab.json", "merges.txt"), names, strict=True):
        (folder / old).rename(folder / new)
    tokenizer = read_vocabulary(str(folder))
    assert (tokenizer.n_vocab, tokenizer.separator_id) == (400, MADE.separator_id)
    assert encoded(tokenizer) == encoded(MADE)
    assert [tokenizer.decode(ids) for ids in encoded(tokenizer)] == AWKWARD


def test_tokenizer_json_gives_the_ids_of_its_maker_however_long_the_text(tmp_path):
    path = tmp_path / "tokenizer.json"
    MADE.save(path)
    limited = Tokenizer.from_file(str(path))
    limited.enable_truncation(max_length=5)
    limited.enable_padding(length=9)
    limited.save(str(path))
    assert encoded(read_vocabulary(str(path))) == encoded(MADE)


def test_ranks_give_the_ids_of_the_merges(folder):
    """GPT-2's pattern: the same vocabulary, and the separator where OpenAI has it, ids left out before it."""
    tokenizer = read_vocabulary(str(write_ranks(folder, "r50k_base")))
    assert (tokenizer.n_vocab, tokenizer.separator_id) == (50257, 50256)
    shifted = [[index - (index > MADE.separator_id) for index in ids] for ids in encoded(MADE)]
    assert encoded(tokenizer) == shifted
    assert [tokenizer.decode(ids) for ids in encoded(tokenizer)] == AWKWARD


@pytest.mark.parametrize("name", ENCODINGS)
def test_ranks_give_the_ids_of_tiktoken(folder, name, monkeypatch):
    tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is not installed")
    from tiktoken_ext import openai_public

    path = write_ranks(folder, name)
    ranks = tiktoken.load.load_tiktoken_bpe(str(path))
    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: ranks)
    parts = getattr(openai_public, name)() | {"explicit_n_vocab": None}
    theirs = tiktoken.Encoding(**parts)
    assert encoded(read_vocabulary(str(path))) == [theirs.encode(t, disallowed_special=()) for t in AWKWARD]


def with_normalizer(tokenizer, normalizer):
    tokenizer.normalizer = normalizer
    return tokenizer


def without_byte(character):
    vocabulary = {one: index for index, one in enumerate(sorted({*byte_characters()} - {character}))}
    tokenizer = Tokenizer(models.BPE(vocabulary | {SEPARATOR: 255}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def own():
    return Tokenizer.from_str(MADE._tokenizer.to_str())


def with_prefix_space():
    tokenizer = own()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


UNFAITHFUL = {
    "lower case": lambda: with_normalizer(own(), normalizers.Lowercase()),
    "normal form": lambda: with_normalizer(own(), normalizers.NFC()),
    "compatibility": lambda: with_normalizer(own(), normalizers.NFKC()),
    "strips": lambda: with_normalizer(own(), normalizers.Strip()),
    "prefix space": with_prefix_space,
    "a letter is missing": lambda: without_byte("ñ"),
    "a byte of long characters is missing": lambda: without_byte("ô"),
    "words": lambda: Tokenizer(models.WordLevel({SEPARATOR: 0, "a": 1, "?": 2}, unk_token="?")),
}


@pytest.mark.parametrize("kind", UNFAITHFUL)
def test_a_vocabulary_that_changes_texts_is_refused(tmp_path, kind):
    path = tmp_path / "tokenizer.json"
    UNFAITHFUL[kind]().save(str(path))
    assert "does not give the text" in refused(path)


def refused(path, n_vocab=None):
    with pytest.raises(InputError) as caught:
        read_vocabulary(str(path), n_vocab)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def test_what_cannot_be_used_is_refused_in_one_line(folder):
    assert "neither a file nor a folder" in refused(folder / "nowhere.json")
    assert "has 400 tokens; leave n_vocab out" in refused(folder, 50257)
    bad = folder / "tokenizer.json"
    for content in ("", "{", "[]", '{"model": 3}', MADE._tokenizer.to_str()[:-100]):
        bad.write_text(content, encoding="utf-8")
        assert "cannot be read as a vocabulary" in refused(bad)
    other_ranks = write_ranks(folder, "mine")
    assert "does not say how text is split" in refused(other_ranks)
    for content in ("YQ==", "YQ== one\n", "?! 3\n", "YQ== 1 2\n"):
        ranks = folder / "r50k_base.tiktoken"
        ranks.write_text(content)
        assert "cannot be read as a vocabulary" in refused(ranks)
    ranks.write_text("YQ== 50256\n")
    assert "has the id 50256" in refused(ranks)
    vocabulary = json.loads((folder / "vocab.json").read_text())
    del vocabulary[SEPARATOR]
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    assert f"has no {SEPARATOR}" in refused(folder)


def test_no_text_produces_the_separator_even_where_its_maker_let_it(tmp_path):
    tokenizer = byte_level(Tokenizer(models.BPE({c: i for i, c in enumerate(byte_characters())}, [])))
    tokenizer.add_tokens([AddedToken(SEPARATOR, special=False)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert 256 in tokenizer.encode(f"a{SEPARATOR}b").ids
    found = read_vocabulary(str(tmp_path / "tokenizer.json"))
    assert found.separator_id == 256
    assert encoded(found, [f"a{SEPARATOR}b"]) != [tokenizer.encode(f"a{SEPARATOR}b").ids]


# --- corpora --------------------------------------------------------------------------------------


@pytest.fixture
def config(folder, tmp_path_factory):
    texts = tmp_path_factory.mktemp("texts")
    for i, text in enumerate(TEXTS[:60]):
        (texts / f"{i}.txt").write_text(text + SEPARATOR, encoding="utf-8")
    return CorpusConfig(
        name="own",
        source="text",
        paths=(str(texts),),
        val_share=0.1,
        test_share=0.2,
        tokenizer="file",
        tokenizer_path=str(folder),
    )


def test_an_edited_vocabulary_is_another_corpus(config, folder, tmp_path_factory):
    where = tmp_path_factory.mktemp("corpora") / "c"
    corpus = build_corpus(config, where)
    assert corpus.n_vocab == 400 == build_corpus(config, where).n_vocab
    assert {*corpus.manifest["inputs"]} == {str(folder / "vocab.json"), str(folder / "merges.txt")}
    merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    (folder / "merges.txt").write_text("\n".join(merges[:-1]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"the vocabulary .* no longer .*--force"):
        build_corpus(config, where)
    assert build_corpus(config, where, force=True).manifest_hash != corpus.manifest_hash


def test_a_large_vocabulary_takes_four_bytes_and_keeps_its_ids(config, folder, tmp_path_factory):
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    large = {token: index + 69_601 for token, index in vocabulary.items()}
    (folder / "vocab.json").write_text(json.dumps(large), encoding="utf-8")
    corpus = build_corpus(config, tmp_path_factory.mktemp("corpora") / "c")
    tokens, offsets = corpus.tokens("test"), corpus.documents("test")
    assert tokens.dtype == np.uint32 and corpus.n_vocab == 70_001
    assert np.array_equal(np.flatnonzero(tokens == MADE.separator_id + 69_601), offsets[:-1])
    text = corpus.tokenizer().decode(tokens[1 : offsets[1]])
    (ids,) = MADE.encode([text])
    assert np.array_equal(tokens[1 : offsets[1]], ids + 69_601)


def test_a_corpus_file_learns_the_size_of_its_vocabulary(folder, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(f"name: a\ntokenizer: file\ntokenizer_path: {folder}\n")
    assert load_config(path).n_vocab == 400
    path.write_text(f"name: a\ntokenizer: file\ntokenizer_path: {folder}\nn_vocab: 1024\n")
    with pytest.raises(InputError, match=r"c\.yaml: n_vocab is 1024"):
        load_config(path)
