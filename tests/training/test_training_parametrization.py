"""Parametrisations: one network at the base shape, rates by the table, activations that do not grow."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from examples.modern_decoder import ModernDecoder
from tests.support.small_sweep import edited
from tests.support.tiny_runs import assert_same_state, assert_same_tables, config, fail_in_step, weights
from torch import nn

from scaling_laws.cli import main
from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.models.optimizer_parts import make_optimizer
from scaling_laws.models.parametrization import Scaling, parametrised
from scaling_laws.models.transformer import Transformer
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import read_record
from scaling_laws.sweeps.plan.experiments import plan
from scaling_laws.sweeps.plan.reading import load_sweep
from scaling_laws.training.coordinate_check import activations, growth
from scaling_laws.training.run import train_trunk
from scaling_laws.training.trained import export_network, read_trained

NETWORKS = {
    "transformer": {
        "class_path": "scaling_laws.models.transformer.Transformer",
        "init_args": {"n_layer": 2, "d_model": 16, "n_heads": 4, "tied": False},
    },
    "modern": {
        "class_path": "examples.modern_decoder.ModernDecoder",
        "init_args": {"n_layer": 2, "d_model": 16, "n_heads": 4},
    },
}
BASE = {"base_width": 16, "base_depth": 2}


def planned(corpus: TokenCorpus, folder: Path, network: str, **model: Any) -> dict[str, Any]:
    run = config(corpus, folder, steps=12)
    run["model"] |= {"network": NETWORKS[network], **model}
    return run


# --- at the base shape ------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
def test_at_the_base_shape_all_are_one_network_bit_for_bit(
    byte_corpus: TokenCorpus, tmp_path: Path, network: str
) -> None:
    train_trunk([planned(byte_corpus, tmp_path / "standard", network)])
    for name in ("mup", "completep"):
        train_trunk([planned(byte_corpus, tmp_path / name, network, parametrization=name, **BASE)])
        one, other = weights(tmp_path / "standard"), weights(tmp_path / name)
        assert all(torch.equal(value, other[key]) for key, value in one.items())
        final = Path("checkpoints") / "final.ckpt"
        assert_same_state(tmp_path / "standard" / final, tmp_path / name / final)
        assert read_record(tmp_path / name / "record.json").optimizer["parametrization"] == name


def test_a_wider_network_is_another_and_resumes_exactly(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    rules = {"parametrization": "completep", "base_width": 8, "base_depth": 1}
    train_trunk([planned(byte_corpus, tmp_path / "whole", "transformer", **rules)])
    resumed = planned(byte_corpus, tmp_path / "resumed", "transformer", **rules)
    fail_in_step(resumed, 7)
    train_trunk([resumed])
    assert_same_tables(tmp_path / "whole", tmp_path / "resumed")
    train_trunk([planned(byte_corpus, tmp_path / "standard", "transformer")])
    one, other = weights(tmp_path / "standard"), weights(tmp_path / "whole")
    assert not any(torch.equal(value, other[key]) for key, value in one.items() if value.ndim == 2)


def test_an_export_computes_what_the_run_does(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    rules = {"parametrization": "completep", "base_width": 8, "base_depth": 1}
    train_trunk([planned(byte_corpus, tmp_path / "run", "transformer", **rules)])
    trained = read_trained(tmp_path / "run")
    export_network(trained, tmp_path / "out")
    loaded = runpy.run_path(str(tmp_path / "out" / "load.py"))["network"]
    tokens = torch.arange(20)[None]
    assert torch.equal(loaded(tokens), trained.network(tokens))
    plain = Transformer(**{**trained.arguments}).eval()
    plain.load_state_dict(trained.network.state_dict())
    assert not torch.allclose(plain(tokens), trained.network(tokens))


# --- the table --------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", {"class_path": "torch.optim.Adam"}], ids=["adamw", "adam"])
@pytest.mark.parametrize(
    ("name", "rate", "decay", "epsilon"), [("mup", 1 / 4, 1.0, 1.0), ("completep", 1 / 4, 4.0, 1 / 12)]
)
def test_rates_decays_and_epsilons_are_those_of_the_table(
    optimizer: Any, name: Any, rate: float, decay: float, epsilon: float
) -> None:
    network = Transformer(n_vocab=11, n_ctx=8, n_layer=6, d_model=32, n_heads=4)
    scaling = parametrised(network, name, optimizer, base_width=8, base_depth=2)
    made = make_optimizer(
        optimizer, network, learning_rate=0.1, betas=(0.9, 0.95), weight_decay=0.2, scaling=scaling
    )
    names = {weight: name for name, weight in network.named_parameters()}
    for group in made.param_groups:
        for weight in group["params"]:
            hidden = weight.ndim == 2 and "embedding" not in names[weight]
            assert group.get("learning_rate_factor", 1.0) == pytest.approx(rate if hidden else 1.0)
            assert group["eps"] == pytest.approx(1e-8 * epsilon)
            if optimizer == "adamw":
                usual = 0.2 if weight.ndim == 2 else 0.0
                assert group["weight_decay"] == pytest.approx(usual * (decay if hidden else 1.0))


@pytest.mark.parametrize("kind", [Transformer, ModernDecoder])
def test_queries_branches_logits_and_embeddings_are_scaled(kind: type[Any]) -> None:
    """Width 4 times the base's, depth 2 times, as many heads: heads are 4 times as wide."""
    torch.manual_seed(0)
    standard = kind(n_vocab=11, n_ctx=8, n_layer=2, d_model=32, n_heads=4)
    torch.manual_seed(0)
    scaled = kind(n_vocab=11, n_ctx=8, n_layer=2, d_model=32, n_heads=4)
    scaling = parametrised(scaled, "completep", "adamw", base_width=8, base_depth=1)
    assert scaling == Scaling(name="completep", m_d=4.0, m_L=2.0, head_ratio=1 / 4)
    embedding = standard.token_embedding.weight
    torch.testing.assert_close(scaled.token_embedding.weight, 2 * embedding)
    block, plain = scaled.blocks[0], standard.blocks[0]
    # q.k / sqrt(h) with queries times sqrt(base h / h) is q.k sqrt(base h) / h.
    assert block.attention.query_scale == pytest.approx(0.5)
    for each in (block, plain):
        nn.init.normal_(each.feed_forward.project.weight, std=0.1)
        each.feed_forward.project.weight.data = torch.ones_like(each.feed_forward.project.weight)
    x = torch.randn(1, 3, 32)
    arguments = (scaled.cosine[:3], scaled.sine[:3]) if kind is ModernDecoder else ()
    moved, usual = (each(x, *arguments) - x for each in (block, plain))
    torch.testing.assert_close(moved, usual / 2)
    with torch.no_grad():
        standard.token_embedding.weight.mul_(2)
        for each in (scaled, standard):
            for block in each.blocks:
                nn.init.zeros_(block.feed_forward.project.weight)
        tokens = torch.arange(6)[None]
        torch.testing.assert_close(scaled(tokens), standard(tokens) / 4)


# --- what has no rules ------------------------------------------------------------------------------

LSTM = {"class_path": "scaling_laws.models.lstm.LSTM", "init_args": {"n_layer": 1, "d_model": 8}}
REUSED = {
    "class_path": "scaling_laws.models.transformer.Transformer",
    "init_args": {"n_layer": 1, "d_model": 8, "n_reuse": 2},
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"base_width": None}, "parametrization: mup needs base_width"),
        ({"parametrization": "completep", "base_depth": None}, "completep needs base_depth"),
        ({"network": LSTM}, "mup is not for LSTM: it needs"),
        ({"network": REUSED}, "no rules for blocks that are used more than once"),
        (
            {"optimizer": {"class_path": "torch.optim.SGD"}},
            "rules for Adam and AdamW only, and the opt",
        ),
        ({"optimizer": "adafactor"}, "rules for Adam and AdamW only"),
    ],
)
def test_what_has_no_rules_is_refused_in_one_line(
    byte_corpus: TokenCorpus, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    run = planned(byte_corpus, tmp_path / "run", "transformer", parametrization="mup", **BASE)
    run["model"] |= changes
    with pytest.raises(InputError, match=says) as raised:
        train_trunk([run])
    assert "\n" not in str(raised.value)


# --- activations against width ----------------------------------------------------------------------


def test_activations_are_flat_under_mup_and_grow_under_standard() -> None:
    networks = {
        width: {
            "class_path": "scaling_laws.models.transformer.Transformer",
            "init_args": {"n_layer": 2, "d_model": width, "n_heads": 4},
        }
        for width in (32, 64, 128)
    }
    slopes = {}
    for name in ("standard", "mup", "completep"):
        model = {"learning_rate": 0.01, "parametrization": name, "base_width": 32, "base_depth": 2}
        slopes[name] = growth(activations(networks, model, n_vocab=64, n_ctx=16))
    for name in ("mup", "completep"):
        assert max(abs(slope) for slope in slopes[name].values()) < 0.3
    assert slopes["standard"]["attention"] > 0.6 and slopes["standard"]["feed-forward"] > 0.6
    assert slopes["standard"]["embedding"] < -0.4 and slopes["standard"]["read-out"] > 0.3


def write_scaling_sweep(folder: Path, text_folder: Path) -> Path:
    from tests.support.small_sweep import write_sweep

    ladder = {
        "family": "transformer",
        "learning_rate": 0.01,
        "base_width": 8,
        "vary": {"parametrization": ["standard", "mup"], "shape.d_model": [8, 32]},
        "models": [{"shape": {"n_layer": 1, "n_heads": 4}, "horizons_tokens": [1280]}],
    }
    return edited(write_sweep(folder, text_folder), ladders=[ladder])


def test_the_command_says_what_is_flat_and_draws_it(
    tmp_path: Path, text_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = write_scaling_sweep(tmp_path, text_folder)
    main(["check-scaling", str(sweep), "-o", str(tmp_path / "flat.png"), "--steps", "2"])
    printed = capsys.readouterr().out
    assert "standard, rate 0.01, widths 8, 32: mean |activation| ~ width^x after 2 steps" in printed
    assert "mup, rate 0.01" in printed and (tmp_path / "flat.png").stat().st_size > 1000
    names = [run.name for run in plan(load_sweep(sweep), logs=tmp_path, data=tmp_path).runs]
    assert (
        "transformer-1x32h4-mup-basewidth8-s1-0.00128M" in names and "transformer-1x32h4-s1-0.00128M" in names
    )


def test_a_sweep_is_refused_before_it_trains(tmp_path: Path, text_folder: Path) -> None:
    sweep = write_scaling_sweep(tmp_path, text_folder)
    lstm = {
        "family": "lstm",
        "learning_rate": 0.01,
        "parametrization": "mup",
        "base_width": 8,
        "models": [{"shape": {"n_layer": 1, "d_model": 8}, "horizons_tokens": [1280]}],
    }
    with pytest.raises(InputError, match="mup is not for LSTM"):
        plan(load_sweep(edited(sweep, ladders=[lstm])), logs=tmp_path, data=tmp_path)
