"""Corpus files: read strictly, refused in one line that names the file and the key."""

from pathlib import Path

import pytest

from scaling_laws.data.corpus_file import CorpusConfig, load_config
from scaling_laws.study.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs" / "data"


def test_every_shipped_file_is_valid():
    names = {path.stem: load_config(path) for path in CONFIGS.glob("*.yaml")}
    assert {"embedded", "tiny", "my_text"} <= names.keys()
    assert all(config.name == stem for stem, config in names.items())
    assert names["embedded"].n_vocab == 1024


def test_values_arrive_with_their_types(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "name: mine\nsource: jsonl\npaths: [a.jsonl, b]\nforeign: {news: [n]}\nval_share: 0.1\n"
        "max_train_bytes: 1_000\ntokenizer: bytes\nn_vocab: 256\n"
    )
    assert load_config(path) == CorpusConfig(
        name="mine",
        source="jsonl",
        paths=("a.jsonl", "b"),
        foreign={"news": ("n",)},
        val_share=0.1,
        max_train_bytes=1000,
        tokenizer="bytes",
        n_vocab=256,
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "config"),
        ("- 1\n", "config"),
        ("name: [\n", "pars"),
        ("seed: 1\n", "name"),
        ("name: a\nvocabulary: 3\n", "vocabulary"),
        ("name: a\nval_share: much\n", "val_share"),
        ("name: a\nseed: 1.5\n", "seed"),
        ("name: a\nsource: web\n", "source"),
        ("name: a\nsource: text\npaths: {my: txt}\n", "paths"),
        ("name: a\nsource: text\n", "paths is empty"),
        ("name: a\npaths: [my.txt]\n", "source: text"),
        ("name: a/b\n", "name"),
        ("name: ..\n", "begins with a letter or digit"),
        ("name: .\n", "begins with a letter or digit"),
        ("name: -rf\n", "begins with a letter or digit"),
        ("name: caf\u00e9\n", "begins with a letter or digit"),
        ("name: a\nval_share: 0\n", "val_share"),
        ("name: a\nval_share: 0.6\ntest_share: 0.5\n", "test_share"),
        ("name: a\nmax_train_bytes: 0\n", "max_train_bytes"),
        ("name: a\nmax_foreign_bytes: -1\n", "max_foreign_bytes"),
        ("name: a\ntokenizer: bytes\n", "n_vocab"),
        ("name: a\nn_vocab: 256\n", "n_vocab"),
        ("name: a\nsource: text\npaths: [x]\npiece_bytes: -1\n", "piece_bytes"),
        ("name: a\nsource: jsonl\npaths: [x]\npiece_bytes: 10\n", "piece_bytes"),
        ("name: a\nsource: text\npaths: [x]\nn_vocab: null\n", "n_vocab"),
        ("name: a\nsource: huggingface\npaths: [x]\npiece_bytes: 10\n", "piece_bytes"),
        ("name: a\nsource: huggingface\n", "paths is empty"),
        ("name: a\nstreaming: true\n", "streaming"),
        ("name: a\ntokenizer: file\n", "tokenizer_path"),
        ("name: a\nn_vocab: 300\ntokenizer_path: x.json\n", "tokenizer_path"),
        ("name: a\ntokenizer: file\ntokenizer_path: nowhere.json\n", "tokenizer_path nowhere.json"),
        ("name: a\nsource: text\npaths: [x]\nforeign: {test: [y]}\n", "foreign"),
        ("name: a\nsource: text\npaths: [x]\nforeign: {'a/b': [y]}\n", "foreign"),
    ],
)
def test_refused_in_one_line_naming_file_and_key(tmp_path, text, says):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(path)
    message = str(caught.value)
    assert str(path) in message
    assert says in message.removeprefix(f"{path}: ")
    assert "\n" not in message
    assert not any(word in message for word in ("class", "Union", "typing", "Parser", "Option"))


def test_a_wrong_key_or_value_is_said_in_the_files_words(tmp_path):
    path = tmp_path / "c.yaml"
    for text, says in {
        "name: a\npath: x\n": "no key 'path'; did you mean paths?",
        "name: a\nn_vocab: 1k\n": "n_vocab is '1k'; it must be a whole number",
        "name: a\ntokenizer: gpt2\n": "tokenizer is 'gpt2'; it must be one of bytes, bpe, file",
        "name: a\nforeign: [x]\n": "foreign is ['x']; it must be a mapping, each value a list of texts",
        "name: a\nsource: package\npackages: [{nam: x}]\n": "packages[0]: no key 'nam'; did you mean name?",
        "seed: 1\n": "name is missing",
    }.items():
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            load_config(path)
        assert str(caught.value) == f"{path}: {says}; configs/data/my_text.yaml explains the keys"


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")
