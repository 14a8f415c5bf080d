"""An exam for the planner in rounds that anybody can repeat: it alone chooses what is trained.

Run from the repository's root: `python benchmarks/planner_exam.py`. It writes
results/bench/planner_exam.json; seeds that are there already, of the same budget, are kept.

The task: one of 4,096 symbols is drawn with probability ~ rank^-1.2 and embedded as a fixed random unit
vector in R^d; W in R^(512 x d) is trained by Adam (cosine to a tenth, batch 64) to give each symbol's
distribution over 512 outcomes, the softmax of fixed normal logits times a scale from U(0, 4). N = 512 d,
D = symbols drawn, C = 6 N D. The loss is the exact expected cross-entropy, so that nothing but the training
is random; its irreducible part is the mean entropy of the distributions. A seed is another task.

Three ways to spend the same FLOPs, each judged by the loss of its last run, and a control:

- `planner`: `plan_rounds` as it is (5 % to screen, 15 % to learn, the rest for the last run). Its rules were
  changed once after an exam, on seeds 0 to 9 (docs/log.md, 2026-11-30): since then it sits seeds 10 to 19;
- `equal thirds`: the same planner with a third for each;
- `one size`: all of it on one size by D = 20 N, at the rate with which the planner's screen begins;
- `one size, planner's rate`, with `--control`: the same at the rate that the planner found for its last run,
  at no cost: what of the difference is the size, and not the rate.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.plan.rounds import FIRST_RATE, Campaign, RoundsPlan, plan_rounds

SYMBOLS, OUTCOMES, ZIPF, MOST_SCALE = 4096, 512, 1.2, 4.0
BATCH = 64
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
LAST_RATE = 0.1
"""Of the peak, at the end of the cosine."""
STEPS_A_BLOCK = 1024
EQUAL = (1 / 3, 1 / 3, 1 / 3)
TOKENS_PER_PARAMETER = 20.0
COMMAND = "python benchmarks/planner_exam.py"
Array = NDArray[np.float32]


class Exam:
    """One task, and networks trained on it.

    Args:
        seed: of the distributions, of the embeddings and of the batches.
    """

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        logits = random.normal(size=(SYMBOLS, OUTCOMES)) * random.uniform(0, MOST_SCALE, size=(SYMBOLS, 1))
        self._seed = seed
        self.targets = _softmax(logits.astype(np.float32))
        weights = np.arange(1, SYMBOLS + 1) ** -ZIPF
        self.probability = weights / weights.sum()
        self._cumulated = np.cumsum(self.probability)
        entropy = -np.sum(self.targets * np.log(self.targets), axis=1, dtype=np.float64)
        self.irreducible = float(self.probability @ entropy)

    def embeddings(self, d: int) -> Array:
        """(SYMBOLS, d), of length 1."""
        vectors = np.random.default_rng([self._seed, d]).normal(size=(SYMBOLS, d))
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    def train(self, d: int, steps: int, rate: float, seed: int) -> float:
        """The exact loss, nats, after so many steps; infinite where it diverged."""
        x = self.embeddings(d)
        W = np.zeros((OUTCOMES, d), dtype=np.float32)
        mean, square = np.zeros_like(W), np.zeros_like(W)
        scratch = np.empty_like(W)
        random = np.random.default_rng([self._seed, d, steps, seed])
        for step in range(steps):
            if step % STEPS_A_BLOCK == 0:
                drawn = np.searchsorted(self._cumulated, random.random((STEPS_A_BLOCK, BATCH)))
            symbols = np.minimum(drawn[step % STEPS_A_BLOCK], SYMBOLS - 1)
            inputs = x[symbols]
            wrong = _softmax(inputs @ W.T)
            wrong -= self.targets[symbols]
            gradient = wrong.T @ (inputs / np.float32(BATCH))
            mean += np.float32(1 - BETA1) * (gradient - mean)
            np.multiply(gradient, gradient, out=gradient)
            square += np.float32(1 - BETA2) * (gradient - square)
            share = LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + np.cos(np.pi * step / steps))
            unbiased = np.sqrt(1 - BETA2 ** (step + 1)) / (1 - BETA1 ** (step + 1))
            np.sqrt(square, out=scratch)
            scratch += np.float32(EPSILON)
            np.divide(mean, scratch, out=scratch)
            scratch *= np.float32(rate * share * unbiased)
            W -= scratch
        return self.loss(W, x)

    def loss(self, W: Array, x: Array) -> float:
        logits = (x @ W.T).astype(np.float64)
        if not np.isfinite(logits).all():
            return float("inf")
        largest = logits.max(axis=1)
        log_sum = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
        losses = log_sum - np.sum(self.targets * logits, axis=1)
        return float(self.probability @ losses)


def _softmax(logits: Array) -> Array:
    """Of the rows; overwrites them."""
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def shape_of(N: float, C: float) -> tuple[int, int]:
    """d and steps of a network of about N parameters whose training costs at most C."""
    d = max(round(N / OUTCOMES), 1)
    return d, max(int(C / (6 * OUTCOMES * d * BATCH)), 1)


def by_planner(exam: Exam, compute: float, shares: tuple[float, float, float] | None) -> dict[str, Any]:
    """Train what the planner says until its last run has ended."""
    more = {} if shares is None else {"shares": shares}
    campaign = Campaign(compute=compute, smallest_N=OUTCOMES, settings={"batch_tokens": BATCH}, **more)
    ledger, trained = None, 0
    while True:
        plan = plan_rounds(campaign, ledger)
        ledger = plan.ledger
        for i in ledger.index[ledger["loss"].isna()]:
            d, steps = shape_of(ledger.at[i, "N"], ledger.at[i, "C"])
            loss = exam.train(d, steps, ledger.at[i, "learning_rate"], trained)
            ledger.loc[i, ["N", "D", "loss"]] = [OUTCOMES * d, BATCH * steps, loss]
            trained += 1
        if plan.purpose == "last run":
            return _of_last(plan, float(ledger["loss"].iloc[-1]), exam, len(ledger))


def _of_last(plan: RoundsPlan, actual: float, exam: Exam, n_runs: int) -> dict[str, Any]:
    last = plan.last
    assert last is not None
    low, high = last.loss_interval
    known = last.loss_nats is not None
    return {
        "runs": n_runs,
        "N": last.N,
        "D": last.D,
        "C": last.C,
        "learning_rate": last.learning_rate,
        "predicted": last.loss_nats,
        "interval": [low, high],
        "loss": actual,
        "above_irreducible": actual - exam.irreducible,
        "relative_error": last.loss_nats / actual - 1 if last.loss_nats is not None else None,
        "inside": (low is None or low <= actual) and (high is None or actual <= high) if known else None,
        "source": last.source,
        "notes": list(last.notes),
    }


def on_one_size(exam: Exam, compute: float, rate: float) -> dict[str, Any]:
    """All on the size of 20 symbols a parameter."""
    d, steps = shape_of(float(np.sqrt(compute / 6 / TOKENS_PER_PARAMETER)), compute)
    loss = exam.train(d, steps, rate, 0)
    N, D = OUTCOMES * d, BATCH * steps
    return {
        "runs": 1,
        "N": N,
        "D": D,
        "C": 6 * N * D,
        "learning_rate": rate,
        "loss": loss,
        "above_irreducible": loss - exam.irreducible,
    }


def sit(seed: int, compute: float, with_control: bool) -> dict[str, Any]:
    """All ways of one seed."""
    exam = Exam(seed)
    planner = by_planner(exam, compute, None)
    found = {
        "seed": seed,
        "irreducible": exam.irreducible,
        "planner": planner,
        "equal thirds": by_planner(exam, compute, EQUAL),
        "one size": on_one_size(exam, compute, FIRST_RATE),
    }
    if with_control:
        found[CONTROL] = on_one_size(exam, compute, planner["learning_rate"])
    return found


CONTROL = "one size, planner's rate"
WAYS = ("planner", "equal thirds", "one size", CONTROL)


def summary(found: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Over the seeds: mean loss above the irreducible one, wins of the planner, errors of the predictions."""
    result: dict[str, dict[str, float | None]] = {}
    for way in WAYS:
        with_way = [each for each in found if way in each]
        if not with_way:
            continue
        above = np.array([each[way]["above_irreducible"] for each in with_way])
        planners = np.array([each["planner"]["above_irreducible"] for each in with_way])
        errors = [each[way].get("relative_error") for each in with_way]
        known = [abs(error) for error in errors if error is not None]
        inside = [each[way]["inside"] for each in with_way if each[way].get("inside") is not None]
        result[way] = {
            "seeds": len(with_way),
            "mean_above_irreducible": float(above.mean()),
            "sd_above_irreducible": float(above.std(ddof=1)) if len(above) > 1 else None,
            "planner_is_lower": int(np.sum(planners < above)),
            "mean_absolute_error": float(np.mean(known)) if known else None,
            "predicted": len(known),
            "inside_interval": int(np.sum(inside)),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compute", type=float, default=1e12)
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first-seed", type=int, default=10, help="0 to 9 were seen before today's rules")
    parser.add_argument("--control", action="store_true", help="one size at the planner's rate, too")
    parser.add_argument("-o", "--output", type=Path, default=Path("results/bench/planner_exam.json"))
    options = parser.parse_args()
    kept: dict[str, Any] = {}
    if options.output.exists():
        kept = json.loads(options.output.read_text(encoding="utf-8"))
    same = kept.get("compute") == options.compute and kept["seeds"][0]["seed"] == options.first_seed
    found = kept["seeds"] if same else []
    before_s = kept["cpu_s"] if found else 0.0
    for seed in range(options.first_seed + len(found), options.first_seed + options.seeds):
        started_s = time.process_time()
        found.append(sit(seed, options.compute, options.control))
        before_s += time.process_time() - started_s
        losses = ", ".join(
            f"{way} {found[-1][way]['above_irreducible']:.4f}" for way in WAYS if way in found[-1]
        )
        print(f"seed {seed}, nats above the irreducible loss: {losses}", flush=True)
        content = {
            "command": f"{COMMAND} --compute {options.compute:g} --first-seed {options.first_seed} "
            f"--seeds {len(found)}",
            "compute": options.compute,
            "cpu_s": round(before_s, 1),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "summary": summary(found),
            "seeds": found,
        }
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(summary(found), indent=1))


if __name__ == "__main__":
    main()
