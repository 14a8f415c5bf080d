"""What was trained, used: text that it writes, a folder without us, Lightning's `load_from_checkpoint`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.tiny_runs import config, refused, weights

from scaling_laws.cli import main
from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.run import train_trunk
from scaling_laws.training.trained import TrainedNetwork, read_trained, written_on
from scaling_laws.training.verbs import training_cli

Printed = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def trained(undisturbed: dict[str, Path]) -> TrainedNetwork:
    return read_trained(undisturbed["transformer"])


def refusal(arguments: list[str], capsys: Printed) -> str:
    return refused(lambda: main(arguments), capsys)


# --- generate -----------------------------------------------------------------------------------------


def test_the_likeliest_text_is_what_the_network_finds_likeliest(trained: TrainedNetwork) -> None:
    text = "import json\n" * 4  # longer than the context
    written = written_on(trained, text, n_tokens=8, temperature=0.0, top_k=None, seed=0)
    ids = list(text.encode())
    for byte in written.encode():
        logits = trained.network(torch.tensor([ids[-32:]]))[0, -1]
        assert byte == int(logits.argmax())
        ids.append(byte)
    assert len(written.encode()) == 8


def test_draws_follow_temperature_and_top_k(trained: TrainedNetwork) -> None:
    def write(**settings: Any) -> str:
        plain = {"n_tokens": 30, "temperature": 1.0, "top_k": None, "seed": 1}
        return written_on(trained, "def ", **(plain | settings))

    likeliest = write(temperature=0.0)
    assert write() == write() != write(seed=2)
    assert write(top_k=1) == write(temperature=1e-9) == likeliest != write()
    with torch.no_grad():
        best = set(trained.network(torch.tensor([list(b"def ")]))[0, -1].topk(3).indices.tolist())
    firsts = {write(n_tokens=1, top_k=3, seed=seed).encode()[0] for seed in range(20)}
    assert firsts <= best and len(firsts) > 1


def test_a_document_that_ends_is_left_at_its_end(trained: TrainedNetwork) -> None:
    class Ending(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(*tokens.shape, 256)
            logits[..., ord("x")] = 1.0
            logits[:, 5:, trained.tokenizer.separator_id] = 2.0
            return logits

    ending = TrainedNetwork(**{**vars(trained), "network": Ending()})
    assert written_on(ending, "ab", n_tokens=50, temperature=0.0, top_k=None, seed=0) == "xxxx"


def test_generate_prints_the_text_and_goes_on(undisturbed: dict[str, Path], capsys: Printed) -> None:
    for family in ("transformer", "lstm"):
        main(
            [
                "generate",
                str(undisturbed[family]),
                "def main",
                "--n",
                "12",
                "--temperature",
                "0.5",
                "--top-k",
                "9",
            ]
        )
        printed = capsys.readouterr().out
        assert printed.startswith("def main") and len(printed) > len("def main") + 1
    before = {path.name for path in undisturbed["lstm"].iterdir()}
    main(["generate", str(undisturbed["lstm"])])
    assert {path.name for path in undisturbed["lstm"].iterdir()} == before


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--temperature", "-1"], "temperature is -1"),
        (["--n", "0"], "n is 0"),
        (["--top-k", "0"], "top_k is 0"),
        (["--temperature", "nan"], "temperature is nan"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    undisturbed: dict[str, Path], capsys: Printed, more: list[str], says: str
) -> None:
    assert says in refusal(["generate", str(undisturbed["lstm"]), "a", *more], capsys)


def test_a_folder_without_weights_is_one_line(
    byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed
) -> None:
    assert "holds no finished run" in refusal(["generate", str(tmp_path), "a"], capsys)
    planned = config(byte_corpus, tmp_path / "run", steps=2) | {"checkpoints": {"keep": "nothing"}}
    train_trunk([planned])
    said = refusal(["export", str(tmp_path / "run"), "-o", str(tmp_path / "out")], capsys)
    assert "its weights were not kept" in said and not (tmp_path / "out").exists()


# --- export -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["transformer", "lstm"])
def test_an_export_is_loaded_by_its_ten_lines(
    undisturbed: dict[str, Path], tmp_path: Path, capsys: Printed, family: str
) -> None:
    folder = tmp_path / "out"
    main(["export", str(undisturbed[family]), "-o", str(folder)])
    assert "load.py loads them" in capsys.readouterr().out
    state = torch.load(folder / "weights.pt", weights_only=True)
    for name, weight in weights(undisturbed[family]).items():
        assert torch.equal(state[name.removeprefix("network.")], weight)
    text = "import "
    result = subprocess.run(
        [sys.executable, str(folder / "load.py"), text],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    trained = read_trained(undisturbed[family])
    with torch.no_grad():
        likeliest = trained.network(torch.tensor([list(text.encode())]))[0, -1].topk(5).indices
    assert result.stdout.strip() == str([trained.tokenizer.decode([int(i)]) for i in likeliest])
    assert len((folder / "load.py").read_text().strip().splitlines()) <= 14
    assert json.loads((folder / "config.json").read_text())["losses"] == trained.record.losses


def test_an_export_replaces_nothing_of_somebodys_own(
    undisturbed: dict[str, Path], tmp_path: Path, capsys: Printed
) -> None:
    (tmp_path / "load.py").write_text("mine", encoding="utf-8")
    said = refusal(["export", str(undisturbed["lstm"]), "-o", str(tmp_path)], capsys)
    assert "--force" in said and (tmp_path / "load.py").read_text() == "mine"


# --- load_from_checkpoint ------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["transformer", "lstm"])
def test_lightnings_load_from_checkpoint_needs_no_arguments(
    undisturbed: dict[str, Path], family: str
) -> None:
    path = undisturbed[family] / "checkpoints" / "final.ckpt"
    module = LanguageModel.load_from_checkpoint(path)
    assert isinstance(module, LanguageModel)
    assert module.learning_rate == 0.01 and module.schedule.warmup_steps == 5
    for name, weight in weights(undisturbed[family]).items():
        assert torch.equal(module.state_dict()[name], weight)


def test_what_a_checkpoint_says_of_its_module_is_what_was_asked(
    byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    cli = training_cli(config(byte_corpus, tmp_path / "run"))
    assert cli.model.settings["network"]["init_args"]["n_vocab"] == 256
    assert cli.model.settings["network"]["init_args"]["n_ctx"] == 32
