"""What the rules of a paper's claims can tell: verdicts on simulated studies of the very plan that is trained.

Every run of `scaling-laws paper kaplan2020 --scale cpu` is simulated in three worlds: the paper's, one of networks
that learn otherwise (an irreducible loss, sizes that learn at their own pace, text of another kind that costs
more the better a network is), and one in which nothing scales. Seeds differ by 0.5 % and the losses on text
of another kind by 0.4 % more (its sampling error). A rule that is confirmed as often in another world as in
the paper's cannot fail; one that is confirmed in none cannot pass.

    python benchmarks/claims_power.py --studies 10      -> results/papers/kaplan2020/power.json and power.md

An interrupted run goes on where it was; the numbers do not depend on how the work is shared out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "results/papers/kaplan2020"
PARTS = ROOT / "build/claims_power"
WORLDS = ("kaplan", "other", "flat")
NOISE, CORPUS_NOISE = 0.005, 0.004
N_REFERENCE = 3.55e5
"""Parameters of the largest size that the plan has on two cores."""
RESAMPLES = 100
DECIDES = 0.2
"""Share of the paper's world's studies that a rule must decide; below it is marked in its text."""


def verdicts(world: str, seed: int) -> dict[str, str]:
    """By the slug of each claim, on one simulated study."""
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
            path, law=world, seed=seed, noise=NOISE, corpus_noise=CORPUS_NOISE, N_ref=N_REFERENCE
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


def table(counts: dict[str, dict[str, dict[str, int]]], studies: int) -> str:
    """power.md."""
    rows = []
    for place, (slug, by_world) in enumerate(counts.items(), start=1):
        cells = []
        for world in WORLDS:
            of = Counter(by_world[world])
            decided = of["confirmed"], of["contradicted"], studies - of["confirmed"] - of["contradicted"]
            cells.append(" / ".join(str(number) for number in decided))
        decided_share = (by_world["kaplan"].get("confirmed", 0)) / studies
        rows.append(
            f"| {place} | `{slug}` | {' | '.join(cells)} | {'' if decided_share >= DECIDES else 'no'} |"
        )
    return "\n".join(
        [
            "# What the rules can tell",
            "",
            f"Made by `python benchmarks/claims_power.py --studies {studies}`: {studies} simulated studies of "
            "`scaling-laws paper kaplan2020 --scale cpu` in each of three worlds, seeds that differ by "
            f"{100 * NOISE:g} %. A cell says how many confirm / contradict / leave open the claim. "
            "The worlds are those of tests/support/paper_truth.py. Last column: rules that do not confirm the "
            f"paper's own world in {100 * DECIDES:g} % of the studies.",
            "",
            "| | claim | the paper's world | other networks | nothing scales | can be confirmed |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--studies", type=int, default=10, help="simulated in each world")
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), help="simulate these alone")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    PARTS.mkdir(parents=True, exist_ok=True)
    for seed in range(options.studies):
        for world in options.worlds:
            part = PARTS / f"{world}-{seed}.json"
            if not part.exists():
                part.write_text(json.dumps(verdicts(world, seed)), encoding="utf-8")
                print(part.name, flush=True)
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for world in WORLDS:
        for seed in range(options.studies):
            part = PARTS / f"{world}-{seed}.json"
            if not part.exists():
                sys.exit(f"{part.name} is missing: simulate the world {world}, too")
            for slug, verdict in json.loads(part.read_text(encoding="utf-8")).items():
                of_world = counts.setdefault(slug, {name: {} for name in WORLDS})[world]
                of_world[verdict] = of_world.get(verdict, 0) + 1
    OUTPUT.mkdir(parents=True, exist_ok=True)
    content = {"studies": options.studies, "noise": NOISE, "corpus_noise": CORPUS_NOISE, "claims": counts}
    (OUTPUT / "power.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (OUTPUT / "power.md").write_text(table(counts, options.studies), encoding="utf-8")


if __name__ == "__main__":
    main()
