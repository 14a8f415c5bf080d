"""What a run measures on its way, and how it ends before its horizon."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from tests.support.tiny_runs import assert_same_run, config, fail_in_step, weights

from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import RunRecord, read_record
from scaling_laws.study.schedule import evaluation_steps
from scaling_laws.training.device_peak import matrix_dtype, matrix_peak_flops
from scaling_laws.training.kept_weights import BestWeights, DivergenceGuard
from scaling_laws.training.metrics import PositionLoss
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.noise_scale import SMALL_PART, NoiseScale, estimates
from scaling_laws.training.probe import FILE_NAME, ProbeLosses
from scaling_laws.training.run import train_trunk
from scaling_laws.training.run_record import git_revision
from scaling_laws.training.verbs import training_cli


def trained(planned: dict[str, Any]) -> RunRecord:
    train_trunk([planned])
    return read_record(Path(planned["trainer"]["default_root_dir"]) / "record.json")


def changed(planned: dict[str, Any], **sections: dict[str, Any]) -> dict[str, Any]:
    planned = copy.deepcopy(planned)
    for section, values in sections.items():
        planned[section] = planned.get(section, {}) | values
    return planned


# --- the curve ------------------------------------------------------------------------------------


def test_every_point_has_compute_by_every_convention(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = changed(config(byte_corpus, tmp_path / "run"), recorder={"log_every_n_steps": 5})
    record = trained(planned)
    curve = pd.read_csv(tmp_path / "run" / "curve.csv")
    N = sum(record.parameters[group] for group in ("attention", "feed_forward", "norm"))
    np.testing.assert_allclose(curve["C"], 6 * N * curve["tokens"])
    mask = record.flops_per_token["attention_mask"]
    np.testing.assert_allclose(curve["C_attention"], (6 * N + 3 * mask) * curve["tokens"])
    np.testing.assert_allclose(curve["C_exact"], 3 * sum(record.flops_per_token.values()) * curve["tokens"])
    for convention in ("C", "C_attention", "C_exact"):
        np.testing.assert_allclose(curve[f"{convention}_pf_days"] * 8.64e19, curve[convention])
    # Five steps of warm-up, and a cooldown over the last six of thirty.
    rates = [0.01 * min(1.0, (step + 1) / 6) * (1 - math.sqrt(max(0, step - 24) / 6)) for step in range(30)]
    np.testing.assert_allclose(curve["summed_learning_rate"], np.cumsum(rates)[curve["step"] - 1])
    assert record.summed_learning_rate == pytest.approx(sum(rates))
    np.testing.assert_allclose(curve["learning_rate"], np.array(rates)[curve["step"] - 1])


def test_gradient_norm_and_utilisation(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = changed(config(byte_corpus, tmp_path / "run", steps=1), recorder={"log_every_n_steps": 1})
    planned["model"]["network"]["init_args"]["dropout"] = 0.0
    cli = training_cli(planned)
    trainer, module, data = cli.trainer, cli.model, cli.datamodule
    data.trainer = trainer
    window = next(iter(data.train_dataloader()))
    gradients = torch.autograd.grad(module.training_step(window, 0), list(module.parameters()))
    expected = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
    record = trained(planned)
    row = pd.read_csv(tmp_path / "run" / "curve.csv").iloc[0]
    assert expected > 1.05  # clipped at 1.0, but reported before that
    assert row["gradient_norm"] == pytest.approx(expected, rel=1e-5)
    peak = matrix_peak_flops(torch.device("cpu"), torch.float32)
    flops_per_token = 3 * sum(record.flops_per_token.values())
    assert row["model_flops_utilisation"] == pytest.approx(
        flops_per_token * row["tokens_per_s"] / peak, rel=1e-2
    )
    assert 1e9 < peak < 1e14 and 0 < row["model_flops_utilisation"] < 1


def test_matrix_products_are_timed_in_the_runs_precision() -> None:
    assert matrix_dtype("32-true") == torch.float32 and matrix_dtype("64-true") == torch.float64
    assert matrix_dtype("bf16-mixed") == matrix_dtype("bf16-true") == torch.bfloat16


def test_evaluations_every_n_steps() -> None:
    assert evaluation_steps(2048, 100, per_doubling=0, every_n_steps=30) == {30, 60, 90, 100}
    assert evaluation_steps(2**15, 9, per_doubling=1, every_n_steps=0) == {1, 2, 4, 8, 9}


# --- the noise scale ------------------------------------------------------------------------------


def test_estimates_are_unbiased_and_exact_without_noise() -> None:
    assert estimates(small=4.0, big=4.0, small_tokens=8, big_tokens=32) == (4.0, 0.0)
    rng = np.random.default_rng(0)
    G, sigma = rng.normal(size=20), 3.0  # tr(Sigma) = 20 * 9
    tokens = G + sigma * rng.normal(size=(20000, 16, 20))
    small, big = ((tokens[:, :n].mean(1) ** 2).sum(-1) for n in (4, 16))
    signal, noise = np.mean([estimates(a, b, 4, 16) for a, b in zip(small, big, strict=True)], axis=0)
    assert signal == pytest.approx((G**2).sum(), rel=0.02)
    assert noise == pytest.approx(20 * sigma**2, rel=0.02)


def test_a_quarter_of_the_batch_tells_more_than_a_half() -> None:
    rng = np.random.default_rng(0)
    G = rng.normal(size=400)
    gradients = G + rng.normal(size=(2000, 16, 400)) * 4.5 * np.arange(1, 401) ** -0.25  # of windows
    whole = (gradients.mean(1) ** 2).sum(-1)
    spread = {}
    for part in (2, SMALL_PART):
        small = (gradients[:, : 16 // part].mean(1) ** 2).sum(-1)
        measured = [estimates(a, b, 16 / part, 16) for a, b in zip(small, whole, strict=True)]
        spread[part] = np.std(measured, axis=0) / np.abs(np.mean(measured, axis=0))
    assert (spread[SMALL_PART] < 0.85 * spread[2]).all()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_noise_scale_against_gradients_taken_by_hand(
    byte_corpus: TokenCorpus, tmp_path: Path, accumulate: int
) -> None:
    planned = changed(
        config(byte_corpus, tmp_path / "run", steps=1),
        noise_scale={"every_n_steps": 1, "decay": 0.0},
        data={"batch_sequences": 8},
        trainer={"accumulate_grad_batches": accumulate},
    )
    planned["model"]["network"]["init_args"]["dropout"] = 0.0
    cli = training_cli(planned)
    trainer, module, data = cli.trainer, cli.model, cli.datamodule
    data.trainer = trainer
    batches = list(data.train_dataloader())
    weights = list(module.parameters())

    def squared_norm(window: torch.Tensor) -> float:
        gradients = torch.autograd.grad(module.training_step(window, 0), weights)
        return sum(float(gradient.square().sum()) for gradient in gradients)

    whole, last = torch.cat(batches), batches[-1]
    part = last[: max(1, len(last) // SMALL_PART)]
    signal, noise = estimates(squared_norm(part), squared_norm(whole), len(part) * 32, len(whole) * 32)
    trained(planned)
    measured = pd.read_csv(tmp_path / "run" / "curve.csv")["noise_scale_tokens"].iloc[0]
    if noise / signal > 0:
        assert measured == pytest.approx(noise / signal, rel=1e-3)
    else:
        assert math.isnan(measured)


def test_measuring_the_noise_changes_nothing(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    for name, every in (("without", 0), ("with", 3)):
        trained(changed(config(byte_corpus, tmp_path / name), noise_scale={"every_n_steps": every}))
    for name, weight in weights(tmp_path / "with").items():
        assert torch.equal(weight, weights(tmp_path / "without")[name]), name
    assert pd.read_csv(tmp_path / "with" / "curve.csv")["noise_scale_tokens"].notna().any()


def test_one_window_has_no_half(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = changed(
        config(byte_corpus, tmp_path / "run", steps=3),
        noise_scale={"every_n_steps": 1},
        data={"batch_sequences": 1},
    )
    assert trained(planned).status == "complete"
    assert pd.read_csv(tmp_path / "run" / "curve.csv")["noise_scale_tokens"].isna().all()


def test_averages_are_kept_apart_and_resumed() -> None:
    callback = NoiseScale(every_n_steps=1, decay=0.5)
    assert callback.tokens is None
    callback.load_state_dict({"signal": 2.0, "noise": 500.0})
    assert callback.tokens == 250.0 and callback.state_dict() == {"signal": 2.0, "noise": 500.0}
    callback.load_state_dict({"signal": -1.0, "noise": 500.0})
    assert callback.tokens is None
    for wrong in ({"every_n_steps": -1}, {"decay": 1.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            NoiseScale(**wrong)


# --- held-out text --------------------------------------------------------------------------------


def test_other_corpora_are_measured_at_the_end_alone(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    """Fewer of their windows, and `all` of a corpus where that is asked for; test losses stay as they are."""
    both = [
        trained(changed(config(byte_corpus, tmp_path / name), recorder=recorder))
        for name, recorder in {
            "all": {"final_windows": "all"},
            "test": {"final_windows": "all", "evaluation_corpora": ["test"], "other_windows": 5},
        }.items()
    ]
    curves = [pd.read_csv(tmp_path / name / "curve.csv") for name in ("all", "test")]
    evaluated = [curve.dropna(subset=["test_loss_nats"]) for curve in curves]
    pd.testing.assert_series_equal(*(rows["test_loss_nats"] for rows in evaluated))
    assert len(evaluated[1]) > 2
    others = [corpus for corpus in byte_corpus.held_out if corpus != "test"]
    for corpus in others:
        assert evaluated[0][f"{corpus}_loss_nats"].notna().all()
        assert curves[1][f"{corpus}_loss_nats"].notna().sum() == 1
        assert both[1].losses[corpus]["tokens"] == 5 * 32
        assert list(both[1].best_losses) == list(both[0].best_losses)
    assert both[0].losses["test"] == both[1].losses["test"]
    assert both[0].losses["test"]["tokens"] == (len(byte_corpus.tokens("test")) - 1) // 32 * 32
    positions = pd.read_csv(tmp_path / "test" / "position_losses.csv")
    before_the_end = positions[positions["step"] < positions["step"].max()]
    assert set(before_the_end["corpus"]) == {"test"} and set(positions["corpus"]) == set(byte_corpus.held_out)


def test_a_corpus_to_be_measured_must_be_held_out(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = changed(config(byte_corpus, tmp_path / "run"), recorder={"evaluation_corpora": ["tset"]})
    with pytest.raises(InputError, match=r"evaluation_corpora names 'tset'; the corpus holds out val"):
        trained(planned)


def test_the_sampling_error_of_text_is_between_its_parts() -> None:
    """By hand: of two folds of 2 and 1 windows, means 1 and 4 nats, and of one fold, which says nothing."""
    metric = PositionLoss(2, n_folds=16)
    metric.update(torch.tensor([[1.0, 1.0], [1.0, 1.0], [4.0, 4.0]]), torch.tensor([0, 0, 3]))
    # The mean is 2; the folds' sums lie -4 and +4 from what it would have them be.
    assert metric.standard_error() == pytest.approx(math.sqrt(2 / 1 * (16 + 16)) / 6)
    one_fold = PositionLoss(2, n_folds=16)
    one_fold.update(torch.tensor([[1.0, 3.0]]), torch.tensor([5]))
    assert one_fold.standard_error() is None


# --- the probe ------------------------------------------------------------------------------------


def test_probe_follows_every_token_of_one_text(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = changed(config(byte_corpus, tmp_path / "run"), recorder={"probe_windows": 3})
    trained(planned)
    with np.load(tmp_path / "run" / FILE_NAME) as probe:
        windows, steps, losses = (probe[name] for name in ("windows", "steps", "loss_nats"))
    evaluated = pd.read_csv(tmp_path / "run" / "curve.csv").dropna(subset=["test_loss_nats"])
    assert steps.tolist() == evaluated["step"].tolist()
    assert windows.shape == (3, 33) and losses.shape == (len(steps), 3, 32)
    module = training_cli(planned).model
    module.load_state_dict(weights(tmp_path / "run"))
    module.eval()
    with torch.no_grad():
        np.testing.assert_allclose(losses[-1], module.token_losses(torch.from_numpy(windows)), rtol=1e-5)


def test_probe_of_another_text_or_damaged_is_refused(tmp_path: Path) -> None:
    windows = torch.arange(10).view(2, 5)
    ProbeLosses(tmp_path, windows, 0, writes=True).add(4, torch.ones(2, 4))
    ProbeLosses(tmp_path, windows, 4, writes=True).add(8, torch.zeros(2, 4))
    with np.load(tmp_path / FILE_NAME) as probe:
        assert probe["steps"].tolist() == [4, 8]
    with pytest.raises(InputError, match="another text's losses"):
        ProbeLosses(tmp_path, windows + 1, 8, writes=True)
    (tmp_path / FILE_NAME).write_bytes((tmp_path / FILE_NAME).read_bytes()[:100])
    with pytest.raises(InputError, match="damaged"):
        ProbeLosses(tmp_path, windows, 8, writes=True)


# --- divergence -----------------------------------------------------------------------------------


def test_what_counts_as_divergence() -> None:
    guard = DivergenceGuard(torch.nn.Linear(2, 2), n_vocab=100)
    guard.first_loss_nats = 5.0
    assert guard.fault(6.9, 3.0, True) == ""
    assert "training loss is nan" in guard.fault(math.nan, 1.0, True)
    assert "gradient's norm is inf" in guard.fault(3.0, math.inf, True)
    assert "a weight is not finite" in guard.fault(3.0, 1.0, False)
    assert "8 nats" in guard.fault(8.0, 1.0, True)


def poisoned(monkeypatch: pytest.MonkeyPatch, step: int, poison: Any) -> None:
    """From `step` on, every training loss goes through `poison`."""
    original = LanguageModel.training_step

    def training_step(self: LanguageModel, window: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = original(self, window, batch_idx)
        return poison(loss) if self.trainer.global_step >= step else loss

    monkeypatch.setattr(LanguageModel, "training_step", training_step)


@pytest.mark.parametrize(
    ("poison", "says"),
    [
        (lambda loss: loss * math.nan, "the training loss is nan"),
        (lambda loss: loss * 10, "times the untrained network's"),
        # The value of the loss stays as it is; the derivative of a root at zero is infinite.
        (lambda loss: loss + (loss - loss.detach()).clamp(min=0).sqrt(), "at step 16"),
    ],
    ids=["nan", "spike", "gradient"],
)
def test_a_training_that_goes_wrong_ends_within_an_interval_with_good_weights(
    byte_corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, poison: Any, says: str
) -> None:
    planned = config(byte_corpus, tmp_path / "good", steps=STOP)
    planned["model"]["schedule"] = {"decay": "constant", "warmup_steps": 5}
    trained(planned)
    good = weights(tmp_path / "good")

    longer = config(byte_corpus, tmp_path / "bad")
    longer["model"]["schedule"] = planned["model"]["schedule"]
    poisoned(monkeypatch, STOP, poison)
    record = trained(longer)
    assert record.status == "diverged" and says in record.reason and record.losses == {}
    assert f"those after step {STOP}" in record.reason
    assert record.steps == STOP + 4  # the row after
    kept = sorted((tmp_path / "bad" / "checkpoints").iterdir())
    assert kept, "no weights were kept"
    state = torch.load(kept[0], weights_only=True)["state_dict"]
    for name, weight in good.items():
        assert torch.equal(weight, state[name]), name


STOP = 12
"""A step with a row of the curve (every fourth has one): its weights are the last good ones."""


# --- early stopping -------------------------------------------------------------------------------


def overfitting(corpus: TokenCorpus, folder: Path) -> dict[str, Any]:
    """A network that soon knows its few windows by heart."""
    planned = changed(
        config(corpus, folder, steps=400),
        recorder={
            "patience": 3,
            "evaluations_per_doubling": 0,
            "evaluation_every_n_steps": 10,
            "evaluation_windows": 24,
            "log_every_n_steps": 10,
        },
        data={"batch_sequences": 4, "train_halvings": 9},
    )
    planned["model"]["learning_rate"] = 0.03
    planned["model"]["schedule"] = {"decay": "constant", "warmup_steps": 5}
    planned["model"]["network"]["init_args"] = {"n_layer": 1, "d_model": 32, "n_heads": 2}
    return planned


def test_early_stopping_takes_the_best_weights(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = overfitting(byte_corpus, tmp_path / "run")
    record = trained(planned)
    curve = pd.read_csv(tmp_path / "run" / "curve.csv")
    best = curve.loc[curve["val_loss_nats"].idxmin()]
    assert record.status == "complete" and record.stopped_early and not record.after_cooldown
    assert record.evaluated_step == best["step"] == record.steps - 3 * 10
    assert record.best_losses["val"] == best["val_loss_nats"]
    # The losses of the record are those of the best weights, which are also the final checkpoint's.
    cli = training_cli(planned)
    module, data = cli.model, cli.datamodule
    module.load_state_dict(weights(tmp_path / "run"))
    module.eval()

    def loss(corpus: str, n_windows: int) -> float:
        with torch.no_grad():
            return float(module.token_losses(data.held_out(corpus, n_windows)[0]).double().mean())

    assert record.losses["test"]["loss_nats"] == pytest.approx(loss("test", 32), rel=1e-6)
    assert best["val_loss_nats"] == pytest.approx(loss("val", 24), rel=1e-6)


def test_early_stopping_resumes_exactly(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    whole, resumed = (overfitting(byte_corpus, tmp_path / name) for name in ("whole", "resumed"))
    record = trained(whole)
    fail_in_step(resumed, record.steps - 4)  # the best weights lie behind the interruption
    train_trunk([resumed])
    assert_same_run(tmp_path / "whole", tmp_path / "resumed")


def test_patience_counts_evaluations() -> None:
    network = torch.nn.Linear(1, 1)
    best = BestWeights(network, patience=2)
    for step, loss, exhausted in ((1, 3.0, False), (2, 2.0, False), (3, 2.5, False), (4, 2.0, True)):
        with torch.no_grad():
            network.weight.fill_(step)
        best.add(step, loss)
        assert best.exhausted == exhausted
    best.restore()
    assert best.step == 2 and network.weight.item() == 2.0


def test_patience_on_an_unknown_corpus_is_refused(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = changed(
        config(byte_corpus, tmp_path / "run"), recorder={"patience": 2, "patience_corpus": "books"}
    )
    with pytest.raises(InputError, match="holds out val, test, numbers"):
        train_trunk([planned])


# --- optimisers and schedules ---------------------------------------------------------------------


def test_adafactor_trains_and_resumes_exactly(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    whole, resumed = (
        changed(config(byte_corpus, tmp_path / name), model={"optimizer": "adafactor", "learning_rate": 0.05})
        for name in ("whole", "resumed")
    )
    record = trained(whole)
    assert record.optimizer["name"] == "adafactor" and "betas" not in record.optimizer
    assert record.losses["test"]["loss_nats"] < math.log(256) - 1
    fail_in_step(resumed, 18)
    train_trunk([resumed])
    assert_same_run(tmp_path / "whole", tmp_path / "resumed")


def test_adafactor_keeps_rows_and_columns_only(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    sizes = {}
    for name in ("adamw", "adafactor"):
        planned = changed(config(byte_corpus, tmp_path / name, steps=2), model={"optimizer": name})
        cli = training_cli(planned)
        trainer, module, data = cli.trainer, cli.model, cli.datamodule
        trainer.fit(module, datamodule=data)
        sizes[name] = sum(
            value.numel()
            for state in trainer.optimizers[0].state.values()
            for value in state.values()
            if value.ndim
        )
    matrices = sum(weight.numel() for weight in module.parameters() if weight.ndim >= 2)
    assert sizes["adamw"] >= 2 * matrices and sizes["adafactor"] < 0.3 * matrices


@pytest.mark.parametrize("decay", ["cosine", "linear", "linear_cooldown", "constant"])
def test_a_run_of_any_schedule_says_whether_its_rate_came_down(
    byte_corpus: TokenCorpus, tmp_path: Path, decay: str
) -> None:
    planned = config(byte_corpus, tmp_path / "run", steps=10)
    planned["model"]["schedule"]["decay"] = decay
    record = trained(planned)
    assert record.schedule["decay"] == decay and record.after_cooldown == (decay != "constant")


@pytest.mark.parametrize("stop_step", [7, 12, 16])  # no row of the curve, a row, and one with evaluations
def test_stopped_by_lightning_is_measured_at_the_end(
    byte_corpus: TokenCorpus, tmp_path: Path, stop_step: int
) -> None:
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            trainer.should_stop = trainer.global_step == stop_step

    planned = config(byte_corpus, tmp_path / "run")
    cli = training_cli(planned)
    trainer, module, data = cli.trainer, cli.model, cli.datamodule
    trainer.callbacks.insert(0, Stop())  # type: ignore[attr-defined]
    trainer.fit(module, datamodule=data)
    record = read_record(tmp_path / "run" / "record.json")
    assert record.steps == record.evaluated_step == stop_step and not record.after_cooldown
    assert record.losses["test"]["tokens"] == 32 * 32
    steps = pd.read_csv(tmp_path / "run" / "curve.csv")["step"]
    assert steps.is_unique and steps.iloc[-1] == stop_step
    positions = pd.read_csv(tmp_path / "run" / "position_losses.csv")
    assert not positions.duplicated(["step", "corpus", "fold", "position"]).any()


def test_nodes_without_git_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_revision() == "unknown"
