"""What the rules of a paper's claims can tell: verdicts on simulated studies of the plan that is trained.

Every run of `scaling-laws paper kaplan2020 --scale english` is simulated in three worlds: the paper's, one of
networks that learn otherwise (an irreducible loss, sizes that learn at their own pace, text of another kind
that costs more the better a network is), and one in which nothing scales. Seeds differ by 0.5 %, losses on
text of another kind by 0.4 % more (its sampling error). A rule that is confirmed as often in another world
as in the paper's cannot fail; one that is confirmed in none cannot pass. The trainings of
`configs/sweeps/copying.yaml` are simulated as they were on source code, and with heads that change nothing.

    python benchmarks/claims_power.py --studies 10      -> results/papers/{kaplan2020,olsson2022}/power.*
    python benchmarks/claims_power.py --studies 2 --worlds kaplan --experiments size seeds batch

An interrupted run goes on where it was; the numbers do not depend on how the work is shared out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.laws.results.types import Conventions, LatePositions, Laws

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "results/papers"
PARTS = ROOT / "build/claims_power"
WORLDS = {"kaplan": "the paper's world", "other": "other networks", "flat": "nothing scales"}
COPYING_WORLDS = {
    "luck": "one head copies by luck, four always",
    "rare": "the same, half as often and half as much",
    "none": "heads change nothing",
}
COPYING_STUDIES = 100
NOISE, CORPUS_NOISE = 0.005, 0.004
N_REFERENCE = 1e6
"""Parameters of the largest size that the plan has on two cores."""
RESAMPLES = 100
DECIDES = 0.2
"""Share of the paper's world's studies that a rule must decide; below it is marked in its text."""


def verdicts(world: str, seed: int, experiments: tuple[str, ...] = ()) -> dict[str, str]:
    """By the slug of each claim, on one simulated study of these experiments; all of the paper by default."""
    from tests.support.synthetic_paper import write_synthetic_paper

    from scaling_laws.laws.fit import DEFAULT_DELTA
    from scaling_laws.laws.fit.noise import seed_noise
    from scaling_laws.laws.positions import late_pairs, losses_by_run
    from scaling_laws.laws.results.family import FamilyTables, critical_batch_of
    from scaling_laws.laws.results.fitted import Settings, position_fits
    from scaling_laws.laws.results.study import curves_of_runs, no_laws
    from scaling_laws.laws.results.types import FamilyLaws, LatePositions
    from scaling_laws.laws.selection import longest_of_each_size, usable_runs
    from scaling_laws.papers.kaplan2020 import PAPER
    from scaling_laws.report.claims import findings
    from scaling_laws.study.runs import load_study

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "paper"
        write_synthetic_paper(
            path,
            law=world,
            seed=seed,
            noise=NOISE,
            corpus_noise=CORPUS_NOISE,
            N_ref=N_REFERENCE,
            scale="english",
            experiments=experiments,
        )
        study = load_study(path)
        settings = Settings(n="N", c="C", delta=DEFAULT_DELTA, resamples=RESAMPLES, seed=seed)
        usable, _ = usable_runs(study.runs)
        noise = seed_noise(usable)
        complete = study.runs[study.runs["family"] == "transformer"]
        transformers = usable[usable["family"] == "transformer"]
        tables = FamilyTables(
            family="transformer",
            complete=complete,
            runs=transformers,
            curves=curves_of_runs(study.curves(), complete),
            noise=noise,
            settings=settings,
        )
        losses = losses_by_run(study.positions(), "test")
        largest = longest_of_each_size(transformers).sort_values("N").tail(1)
        position_from, pairs, reason = late_pairs(usable, losses, seed=seed)
        laws = replace(
            no_laws(study, "simulated"),
            noise=noise,
            by_family=(FamilyLaws(family="transformer", critical_batch=critical_batch_of(tables)),),
            positions=position_fits(largest, losses, settings),
            late_positions=LatePositions(position_from=position_from, pairs=tuple(pairs), reason=reason),
        )
        found = findings(PAPER.claims, PAPER.evidence.read(study, laws), laws)
    return {claim.slug: finding.verdict for claim, finding in found}


def copying_verdicts(world: str, seed: int) -> dict[str, str]:
    """By the slug of each claim about copying: three widths, one head and four, five seeds each.

    A repeated trigram gains 1.1 nats more where a network copies, and 5 % of the tokens repeat something.
    """
    from scaling_laws.papers.olsson2022 import PAPER

    rng = np.random.default_rng(seed)
    chance, gained = {"luck": (1.0, 1.1), "rare": (0.5, 0.55), "none": (0.0, 0.0)}[world]
    rows = []
    for d_model, share in ((48, 0.1), (64, 0.3), (88, 0.6)):
        for n_heads in (1, 4):
            for number in range(1, 6):
                copies = rng.random() < chance * share if n_heads == 1 else world != "none"
                gain = rng.normal(0.35, 0.06) + gained * copies * (
                    1.0 if n_heads == 1 else 0.6 * (0.5 + share)
                )
                novel = 3.4 * (d_model / 64) ** -0.2 * np.exp(rng.normal(0, 0.003))
                row = {"d_model": d_model, "n_heads": n_heads, "seed": number, "novel": novel}
                loss = novel + 0.05 * (0.35 - gain) + rng.normal(0, 0.003)
                rows.append(row | {"gain": gain, "loss": loss, "N": d_model**2, "D": 8e6})
    evidence = SimpleNamespace(trainings=pd.DataFrame(rows))
    laws = Laws(
        study="simulated",
        conventions=Conventions(N="N", C="C", loss="loss"),
        noise=SeedNoise(sd_log_loss=None, n_groups=0, n_runs=0, reason="simulated"),
        late_positions=LatePositions(reason="simulated"),
    )
    return {claim.slug: claim.finding(evidence, laws).verdict for claim in PAPER.claims}


def counted_verdicts(found: dict[str, list[dict[str, str]]]) -> dict[str, dict[str, dict[str, int]]]:
    """How often each verdict, by claim and world."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for world, studies in found.items():
        for slug in studies[0]:
            counts.setdefault(slug, {})[world] = dict(Counter(study[slug] for study in studies))
    return counts


def write(folder: Path, found: dict[str, list[dict[str, str]]], names: dict[str, str], head: str) -> None:
    """power.json and power.md of one paper."""
    counts, studies = counted_verdicts(found), len(next(iter(found.values())))
    folder.mkdir(parents=True, exist_ok=True)
    content = {"studies": studies, "noise": NOISE, "corpus_noise": CORPUS_NOISE, "claims": counts}
    (folder / "power.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / "power.md").write_text(table(counts, studies, names, head), encoding="utf-8")


def table(
    counts: dict[str, dict[str, dict[str, int]]], studies: int, names: dict[str, str], head: str
) -> str:
    """power.md."""
    rows = []
    true = next(iter(names))
    for place, (slug, by_world) in enumerate(counts.items(), start=1):
        cells = []
        for world in names:
            of = Counter(by_world[world])
            decided = of["confirmed"], of["contradicted"], studies - of["confirmed"] - of["contradicted"]
            cells.append(" / ".join(str(number) for number in decided))
        passes = by_world[true].get("confirmed", 0) >= DECIDES * studies
        rows.append(f"| {place} | `{slug}` | {' | '.join(cells)} | {'yes' if passes else 'no'} |")
    return "\n".join(
        [
            "# What the rules can tell",
            "",
            f"{head} A cell says in how many of {studies} simulated studies the claim is confirmed / "
            "contradicted / left open. Last column: whether the rule confirms the world of the first column "
            f"in {100 * DECIDES:g} % of them or more.",
            "",
            f"| | claim | {' | '.join(names.values())} | can be confirmed |",
            f"|---|---|{'---|' * len(names)}---|",
            *rows,
            "",
        ]
    )


def _plan_hash() -> str:
    """Of what is simulated: parts of another plan are not gone on with."""
    files = sorted(ROOT.glob("configs/[sp]*/*.yaml"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--studies", type=int, default=10, help="simulated in each world")
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), help="simulate these alone")
    parser.add_argument("--experiments", nargs="+", help="simulate these alone, and write nothing")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.experiments:
        for seed in range(options.studies):
            for world in options.worlds:
                decided = verdicts(world, seed, tuple(options.experiments))
                for slug in (slug for slug, verdict in decided.items() if verdict != "not measured"):
                    print(f"{world}, study {seed}: {slug} {decided[slug]}", flush=True)
        return
    PARTS.mkdir(parents=True, exist_ok=True)
    plan = _plan_hash()
    for seed in range(options.studies):
        for world in options.worlds:
            part = PARTS / f"{world}-{seed}-{plan}.json"
            if not part.exists():
                part.write_text(json.dumps(verdicts(world, seed)), encoding="utf-8")
                print(part.name, flush=True)
    found: dict[str, list[dict[str, str]]] = {}
    for world in WORLDS:
        parts = [PARTS / f"{world}-{seed}-{plan}.json" for seed in range(options.studies)]
        if missing := [part.name for part in parts if not part.exists()]:
            sys.exit(f"{missing[0]} is missing: simulate the world {world}, too")
        found[world] = [json.loads(part.read_text(encoding="utf-8")) for part in parts]
    write(
        OUTPUT / "kaplan2020",
        found,
        WORLDS,
        f"Made by `python benchmarks/claims_power.py --studies {options.studies}` from the plan of "
        f"`scaling-laws paper kaplan2020 --scale english`; seeds differ by {100 * NOISE:g} %. The worlds are "
        "those of tests/support/paper_truth.py.",
    )
    write(
        OUTPUT / "olsson2022",
        {
            world: [copying_verdicts(world, seed) for seed in range(COPYING_STUDIES)]
            for world in COPYING_WORLDS
        },
        COPYING_WORLDS,
        "Made by `python benchmarks/claims_power.py`: three widths, one head and four, five seeds each, as "
        "in `configs/sweeps/copying.yaml`.",
    )


if __name__ == "__main__":
    main()
