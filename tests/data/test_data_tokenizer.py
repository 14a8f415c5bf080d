"""Tokenizers: exact round trips, whatever the text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling_laws.data.corpus_file import SEPARATOR
from scaling_laws.data.tokenizer import load_tokenizer, train_tokenizer
from scaling_laws.study.errors import InputError

TRAINING_TEXT = [
    f"def f_{i}(x):\n    return x + {i}\n\nThe quick brown fox, {i * i} times.\n" for i in range(300)
]
TOKENIZERS = {
    "bpe": train_tokenizer("bpe", 400, TRAINING_TEXT),
    "bytes": train_tokenizer("bytes", 256, []),
}


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_round_trip(kind, text):
    tokenizer = TOKENIZERS[kind]
    (ids,) = tokenizer.encode([text])
    assert tokenizer.decode(ids) == text
    assert tokenizer.separator_id not in ids
    assert ids.max(initial=0) < tokenizer.n_vocab


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\r\n\t\x00\x7f",
        SEPARATOR,
        f"a {SEPARATOR} b",
        "\ufeffmark",
        "ÿ\u00a0\u00ad",
        "e\u0301 \u2126",
        "😀" * 9,
    ],
)
def test_round_trip_of_awkward_texts(tokenizer, text):
    (ids,) = tokenizer.encode([text])
    assert tokenizer.decode(ids) == text
    assert tokenizer.separator_id not in ids


def test_bytes_are_bytes():
    text = "".join(map(chr, range(0x250))) + "€😀"
    (ids,) = TOKENIZERS["bytes"].encode([text])
    assert bytes(ids.tolist()) == text.encode("utf-8")
    assert TOKENIZERS["bytes"].n_vocab == 256


def test_separator_decodes_to_its_name(tokenizer):
    (ids,) = tokenizer.encode(["text"])
    assert tokenizer.decode([tokenizer.separator_id, *ids]) == SEPARATOR + "text"


def test_saved_and_loaded_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert (loaded.n_vocab, loaded.separator_id) == (tokenizer.n_vocab, tokenizer.separator_id)
    texts = [*TRAINING_TEXT[:5], f"x{SEPARATOR}y", "äöü"]
    for ours, theirs in zip(tokenizer.encode(texts), loaded.encode(texts), strict=True):
        assert ours.tolist() == theirs.tolist()


def test_frequent_words_become_tokens():
    (ids,) = TOKENIZERS["bpe"].encode(["    return x"])
    assert len(ids) <= 4
    assert TOKENIZERS["bpe"].n_vocab == 400


def test_too_little_text_for_the_vocabulary():
    with pytest.raises(InputError, match="n_vocab is 5000, but the training text yields only"):
        train_tokenizer("bpe", 5000, ["a few words"])
