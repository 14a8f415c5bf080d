"""A study drawn from known laws: every run that `configs/papers/kaplan2020.yaml` plans, as if trained.

Names, tags, batches, schedules and learning rates are those of the real plan; losses are `paper_truth.py`'s:

    final loss       L(N, D) (1.5), or what its experiment is about, times exp(noise of its trunk and own)
    learning curve   L(N, S_min) (5.6) while the rate is constant, and from there down to the final loss
    `data` runs      L(N, unique tokens) at the lowest point of the curve; if they reach it, they stop early
    position T       a + b T^-c, of mean L; an LSTM's is constant from 16 tokens on
    foreign corpora  the loss on `test` and an offset

Only what is read later is written: the losses by position are those of `test`.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tests.support.paper_truth import N_VOCAB, TRUTHS, FloatArray, KaplanTruth, Training

from scaling_laws.study.conventions import compute_flops, times_reused
from scaling_laws.study.records import RunRecord, read_record, write_question, write_record
from scaling_laws.study.schedule import Schedule, evaluation_steps
from scaling_laws.study.units import PF_DAY_FLOPS
from scaling_laws.sweeps.plan.experiments import Plan, PlannedRun, begun, filled, rough_seconds
from scaling_laws.sweeps.plan.planning import write_plan
from scaling_laws.sweeps.plan.reading import load_sweep
from scaling_laws.sweeps.plan.reference import reference_of_size
from scaling_laws.sweeps.plan.run_specs import RunSpec

ROOT = Path(__file__).parents[2]
TRAIN_TOKENS = 12_500_000
BYTES_PER_TOKEN = 2.6
N_FOLDS = 4
WINDOWS_A_FOLD = 8
EARLY_POSITIONS = 4
"""Evaluations before the last of which losses by position are written."""


def write_synthetic_paper(
    folder: Path,
    *,
    law: str = "kaplan",
    seed: int = 0,
    noise: float = 0.002,
    corpus_noise: float = 0.0,
    N_ref: float = 3e5,
    scale: str = "cpu",
    experiments: tuple[str, ...] = (),
) -> Path:
    """Write a study as `scaling-laws paper kaplan2020` would leave it, and return its folder.

    Args:
        folder: the study's folder; its name is the study's name.
        law: `kaplan`, `other`, or `flat`: nothing scales, and what should not matter does.
        seed: of all noise.
        noise: standard deviation of a trunk's ln loss; a run adds a quarter of it of its own.
        corpus_noise: the same of a run's loss on text of another kind: what was sampled of it.
        N_ref: parameters of the reference network, of which all sizes are shares.
        scale: a file of `configs/scales/`.
        experiments: names of those to plan; all by default.
    """
    plan, specs = _plan(folder, N_ref, scale, experiments)
    folder.mkdir(parents=True, exist_ok=True)
    write_plan(plan)
    write_question(folder, plan.sweep.question)
    truth = TRUTHS[law]()
    rng = np.random.default_rng(seed)
    diverging = _diverging(plan)
    for trunk in plan.jobs:
        trunk_noise = rng.normal(0, noise)
        for run in trunk.runs:
            own_noise = rng.normal(0, noise / 4)
            record, training = _record(folder.name, trunk.name, run, specs[run.run_id])
            if run.name == diverging:
                write_record(folder / run.name, _diverged(record))
                continue
            _write_run(folder / run.name, truth, record, training, run, trunk_noise + own_noise, rng)
            if corpus_noise:
                _shake_foreign(folder / run.name, corpus_noise, rng)
    return folder


def _shake_foreign(folder: Path, noise: float, rng: np.random.Generator) -> None:
    """Losses on text of another kind with the sampling error of a difference between networks."""
    record = read_record(folder / "record.json")
    losses = {
        corpus: values
        if corpus in ("test", "val")
        else values | {"loss_nats": values["loss_nats"] * float(np.exp(rng.normal(0, noise)))}
        for corpus, values in record.losses.items()
    }
    write_record(folder, replace(record, losses=losses))


def _plan(
    folder: Path, N_ref: float, scale: str, experiments: tuple[str, ...]
) -> tuple[Plan, dict[str, RunSpec]]:
    """The plan, and the spec of each of its runs, by its id."""
    sweep = load_sweep(ROOT / "configs/papers/kaplan2020.yaml", scale=scale)
    if experiments:
        sweep = replace(sweep, include=tuple(f"configs/sweeps/{name}.yaml" for name in experiments))
    study = begun(replace(sweep, study=folder.name), logs=folder.parent)
    references = {
        each.study: reference_of_size(study.sweep, each, N_ref)
        for each in study.experiments
        if each.needs_reference
    }
    specs: dict[str, RunSpec] = {}

    def cost(spec: RunSpec, tokens: int) -> float:
        specs[spec.run_id] = spec
        return rough_seconds(spec, tokens)

    return filled(replace(study, references=references), cost), specs


def _diverging(plan: Plan) -> str | None:
    """The run of the highest rate of the largest size of `lr`."""
    of_lr = [run for run in plan.runs if run.tags == ("lr",)]
    return max(of_lr, key=lambda run: (run.N, run.learning_rate)).name if of_lr else None


def _record(study: str, trunk: str, run: PlannedRun, spec: RunSpec) -> tuple[RunRecord, Training]:
    """The record but for its losses, and what a truth asks."""
    network = spec.network
    shape = dict(network.arguments) | {"n_ctx": network.n_ctx, "n_vocab": N_VOCAB}
    halvings = run.config["data"]["train_halvings"]
    patience = run.config["recorder"]["patience"]
    unique = min(run.D, TRAIN_TOKENS >> halvings)
    tokens_per_s = 2e9 / (network.N + 1e4)
    record = RunRecord(
        run_id=run.run_id,
        name=run.name,
        study=study,
        trunk=trunk,
        status="complete",
        family=run.family,
        shape=shape,
        parameters=network.parameters,
        flops_per_token=network.flops_per_token,
        tokens=run.D,
        unique_tokens=unique,
        batch_tokens=run.batch_tokens,
        steps=run.steps,
        optimizer={"name": "adamw", "learning_rate": run.learning_rate},
        schedule=asdict(spec.schedule),
        after_cooldown=spec.schedule.brings_down(run.steps),
        seed=run.seed,
        losses={},
        best_losses={},
        train_loss_nats=None,
        corpus={
            "name": "synthetic",
            "manifest_hash": "0" * 64,
            "train_halvings": halvings,
            "noise_suffix_tokens": 0,
        },
        elapsed_s=run.trained_tokens / tokens_per_s,
        trained_tokens=run.trained_tokens,
        tokens_per_s=tokens_per_s,
        peak_memory_bytes=400_000_000,
        git_revision="0000000",
        versions={"scaling_laws": "0"},
        host="nowhere",
        tags=run.tags,
        evaluated_step=run.steps,
        model_flops_utilisation=0.3,
    )
    training = Training(
        family=run.family,
        N=network.N,
        n_layer=int(shape["n_layer"]),
        d_model=int(shape["d_model"]),
        n_ctx=network.n_ctx,
        n_reuse=times_reused(shape),
        D=run.D,
        unique_tokens=unique,
        steps=run.steps,
        batch_tokens=run.batch_tokens,
        learning_rate=run.learning_rate,
        schedule=Schedule(**asdict(spec.schedule)),
        patience=patience,
        experiments=run.tags,
    )
    return record, training


def _diverged(record: RunRecord) -> RunRecord:
    reason = "the loss was not finite at step 31; the weights kept are those after step 20"
    return replace(record, status="diverged", reason=reason, after_cooldown=False)


def _write_run(
    folder: Path,
    truth: KaplanTruth,
    record: RunRecord,
    training: Training,
    run: PlannedRun,
    log_noise: float,
    rng: np.random.Generator,
) -> None:
    """Losses, curve and positions of a run, and its record."""
    settings = run.config["recorder"]
    evaluated = evaluation_steps(
        run.batch_tokens,
        run.steps,
        settings["evaluations_per_doubling"],
        settings["evaluation_every_n_steps"],
    )
    steps = np.array(
        sorted(
            evaluated | set(range(settings["log_every_n_steps"], run.steps, settings["log_every_n_steps"]))
        )
    )
    losses = np.exp(log_noise) * _test_losses(truth, training, steps)
    is_evaluated = np.isin(steps, list(evaluated))
    if training.n_ctx < 64:
        losses = np.array([truth.short_context(training, loss) for loss in losses])
    last = best = len(steps) - 1
    if training.patience:
        last, best = _early_stop(np.where(is_evaluated, losses, np.inf), is_evaluated, training.patience)
    steps, losses, is_evaluated = steps[: last + 1], losses[: last + 1], is_evaluated[: last + 1]
    record = _with_losses(truth, training, record, float(losses[best]), int(steps[best]), int(steps[-1]))
    folder.mkdir(exist_ok=True)
    curve = _curve(truth, training, record, run, steps, losses, is_evaluated, rng)
    curve.to_csv(folder / "curve.csv", index=False, float_format="%.6g")
    at = np.flatnonzero(is_evaluated)
    early = at[:-1][np.linspace(0, len(at) - 2, EARLY_POSITIONS).astype(int)] if len(at) > 1 else at[:0]
    rows = [(int(steps[k]), float(losses[k]), 1) for k in dict.fromkeys(early)]
    rows.append((int(steps[-1]), float(losses[best]), N_FOLDS))
    _write_positions(folder / "position_losses.csv", truth, training, rows, rng)
    write_record(folder, record)


def _test_losses(truth: KaplanTruth, training: Training, steps: FloatArray) -> FloatArray:
    """Without noise: at the constant rate, and from there down to the final loss as the rate falls."""
    losses = truth.at_constant_rate(training, steps.astype(float))
    final = truth.final(training)
    lowest = truth.stops_at(training)
    if lowest is not None:  # overfitting begins slowly
        over = np.log(np.maximum(steps / (1.1 * lowest), 1))
        return np.asarray(np.maximum(losses, final) * (1 + 0.05 * over))
    if training.patience:  # never comes so far: what is missing is made up for at the end
        return np.asarray(losses * (final / losses[-1]) ** ((steps / training.steps) ** 4))
    factors = training.rate_factors[steps - 1]
    factors = np.where(steps <= training.schedule.warmup_steps, 1.0, factors)
    if factors[-1] > 0.5:
        return losses
    fallen = (1 - factors) / (1 - factors[-1])
    return np.asarray(losses + fallen * (final - losses[-1]))


def _early_stop(losses: FloatArray, is_evaluated: FloatArray, patience: int) -> tuple[int, int]:
    """Rows of the last evaluation and of the best, as the recorder's patience has them."""
    best, without = -1, 0
    for row in np.flatnonzero(is_evaluated):
        if best < 0 or losses[row] < losses[best]:
            best, without = int(row), 0
        else:
            without += 1
        if without >= patience:
            return int(row), best
    return len(losses) - 1, best


def _with_losses(
    truth: KaplanTruth, training: Training, record: RunRecord, loss: float, evaluated_step: int, steps: int
) -> RunRecord:
    by_corpus = {"test": loss} | {
        corpus: float(truth.foreign(training, corpus, loss)) for corpus in truth.offsets
    }
    stopped = steps < record.steps
    tokens = steps * record.batch_tokens
    return replace(
        record,
        steps=steps,
        tokens=tokens,
        unique_tokens=min(tokens, record.unique_tokens),
        trained_tokens=tokens if stopped else record.trained_tokens,
        evaluated_step=evaluated_step,
        stopped_early=stopped,
        after_cooldown=record.after_cooldown and not stopped,
        summed_learning_rate=float(record.optimizer["learning_rate"] * training.rate_factors[:steps].sum()),
        train_loss_nats=loss - 0.02,
        losses={
            corpus: {
                "loss_nats": value,
                "bits_per_byte": value / np.log(2) / BYTES_PER_TOKEN,
                "tokens": 65536.0,
            }
            for corpus, value in by_corpus.items()
        },
        best_losses=by_corpus,
    )


def _curve(
    truth: KaplanTruth,
    training: Training,
    record: RunRecord,
    run: PlannedRun,
    steps: FloatArray,
    losses: FloatArray,
    is_evaluated: FloatArray,
    rng: np.random.Generator,
) -> pd.DataFrame:
    tokens = steps * run.batch_tokens
    flops = compute_flops(record.parameters, record.flops_per_token, 1, training.n_reuse)
    C = {convention: each * tokens for convention, each in flops.items()}
    rates = training.learning_rate * training.rate_factors
    every = run.config["noise_scale"]["every_n_steps"]
    measured = (steps >= every) if every else np.zeros(len(steps), dtype=bool)
    # What a run sees again and again it knows better than held-out text.
    epochs = tokens / max(1, record.unique_tokens)
    train_losses = losses * (1 - 0.04 * np.log(np.maximum(epochs, 1)))
    noise_scale = truth.noise_scale(losses) * np.exp(rng.normal(0, 0.1, len(steps)))
    table = pd.DataFrame(
        {
            "step": steps,
            "tokens": tokens,
            **C,
            **{f"{convention}_pf_days": each / PF_DAY_FLOPS for convention, each in C.items()},
            "learning_rate": rates[steps - 1],
            "summed_learning_rate": np.cumsum(rates)[steps - 1],
            "train_loss_nats": train_losses * np.exp(rng.normal(0, 0.004, len(steps))),
            "gradient_norm": 0.5,
            "noise_scale_tokens": np.where(measured, noise_scale, np.nan),
            "tokens_per_s": record.tokens_per_s,
            "model_flops_utilisation": 0.3,
            "elapsed_s": tokens / record.tokens_per_s,
        }
    )
    noisy = losses * np.exp(rng.normal(0, 0.0005, len(steps)))
    for corpus in record.losses:
        values = noisy if corpus == "test" else truth.foreign(training, corpus, noisy)
        table[f"{corpus}_loss_nats"] = np.where(is_evaluated, values, np.nan)
    return table


def _write_positions(
    path: Path,
    truth: KaplanTruth,
    training: Training,
    rows: list[tuple[int, float, int]],
    rng: np.random.Generator,
) -> None:
    """Sums by fold and position (1-based) at each (step, loss, number of folds)."""
    T = np.arange(1, training.n_ctx + 1)
    count = WINDOWS_A_FOLD * max(1, 128 // training.n_ctx)
    lines = ["step,corpus,fold,position,loss_sum_nats,count"]
    for step, loss, n_folds in rows:
        means = truth.position_losses(training, loss)
        hardness = rng.normal(0, 0.01, n_folds)  # documents differ
        noisy = means * (1 + (hardness - hardness.mean())[:, None])
        sums = noisy * (1 + rng.normal(0, 0.004, noisy.shape)) * count
        for fold, of_fold in enumerate(sums.tolist()):
            lines += [
                f"{step},test,{fold},{position},{value:.6g},{count}"
                for position, value in zip(T.tolist(), of_fold, strict=True)
            ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
