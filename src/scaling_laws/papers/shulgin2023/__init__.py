"""Shulgin & Richtarik 2023: where independent subnetwork training takes a quadratic."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.straight_line import line_through, mean_interval
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.shulgin2023.subnetwork_simulation import (
    SubnetworkSimulation,
    Trained,
    simulate_and_train,
)
from scaling_laws.papers.shulgin2023.subnetworks import FloatArray
from scaling_laws.report.claims import Claim, Finding, Limit, Measured, inconclusive, not_measured
from scaling_laws.report.reproduction import Paper
from scaling_laws.report.text import Table, number

N_ERRORS = 3.0
"""Standard errors either side of a mean: the intervals of this page, wider than the usual 90 %."""
RMS = "root mean square of the errors over all parameters, in standard errors"
THREE = "The interval is three standard errors either side."


def _place(simulation: SubnetworkSimulation) -> tuple[float, float, str]:
    """Mean place on the line from the predicted limit, 0, to the optimum, 1; standard error; in words."""
    places = [each.places for each in simulation.problems]
    mean = float(np.mean([each.mean() for each in places]))
    error = float(np.sqrt(np.sum([each.var(ddof=1) / len(each) for each in places])) / len(places))
    return mean, error, f"{len(places)} problems, each trained {len(places[0])} times"


def _limit(simulation: SubnetworkSimulation, laws: Laws) -> Measured:
    mean, error, context = _place(simulation)
    z = np.concatenate([each.z for each in simulation.problems])
    rms = float(np.sqrt(np.mean(z**2)))
    return Measured(
        value=mean,
        interval=_around(mean, error),
        context=f"{context}; {RMS}: {rms:.2f}",
        limited={RMS: rms},
    )


def _optimum(simulation: SubnetworkSimulation, laws: Laws) -> Measured:
    mean, error, context = _place(simulation)
    biases = [each.bias for each in simulation.problems]
    lengths = f"{min(biases):.2f} to {max(biases):.2f} lengths of the optimum away"
    return Measured(value=1 - mean, interval=_around(1 - mean, error), context=f"{context}; {lengths}")


def _step(simulation: SubnetworkSimulation, laws: Laws) -> Measured:
    rates = np.log([each.rate for each in simulation.by_rate])
    line = line_through(rates, np.log([each.bias for each in simulation.by_rate]))
    return Measured(value=line.slope, interval=line.interval, context=f"{len(rates)} learning rates")


def _interpolation(simulation: SubnetworkSimulation, laws: Laws) -> Measured:
    return _left_over(simulation.at_zero, lambda one: float(np.linalg.norm(one.x0)))


def _agreement(simulation: SubnetworkSimulation, laws: Laws) -> Measured:
    return _left_over(simulation.elsewhere, lambda one: float(np.linalg.norm(one.problem.optimum)))


def _left_over(trained: Sequence[Trained], length: Callable[[Trained], float]) -> Measured:
    """Distance of the mean iterate from the optimum after the training, over a length."""
    shares = [float(np.linalg.norm(one.path[-1] - one.problem.optimum)) / length(one) for one in trained]
    context = f"{len(shares)} problems, {trained[0].steps} rounds; the interval is their range"
    return Measured(value=float(np.mean(shares)), interval=(min(shares), max(shares)), context=context)


def _around(mean: float, error: float) -> Interval:
    return mean - N_ERRORS * error, mean + N_ERRORS * error


def _by_workers(simulation: SubnetworkSimulation, laws: Laws) -> Measured | Finding:
    """Slope of ln(excess loss) in ln n, the whole being n = 1 of every J."""
    data = simulation.network
    if isinstance(data, str):
        return not_measured(data)
    pieces = data.table(part=1)
    n, y, groups = [], [], []
    for J in sorted({run.local_steps for run, _ in pieces if run.workers > 1}):
        for run, excess in pieces:
            if run.workers == 1 or run.local_steps == J:
                n.append(run.workers)
                y.append(np.log(excess))
                groups.append(f"{J}-{run.seed}")
    return _slope(np.log(n), np.array(y), groups, f"{len(set(n))} numbers of workers")


def _by_local_steps(simulation: SubnetworkSimulation, laws: Laws) -> Measured | Finding:
    """Slope of ln(excess loss) in ln J."""
    data = simulation.network
    if isinstance(data, str):
        return not_measured(data)
    pieces = [(run, excess) for run, excess in data.table(part=1) if run.workers > 1]
    J = [run.local_steps for run, _ in pieces]
    groups = [f"{run.workers}-{run.seed}" for run, _ in pieces]
    y = np.array([np.log(excess) for _, excess in pieces])
    return _slope(np.log(J), y, groups, f"{len(set(J))} numbers of local steps")


def _slope(x: FloatArray, y: FloatArray, groups: Sequence[str], what: str) -> Measured | Finding:
    if len(np.unique(x)) < 2:
        return inconclusive("too few trainings are complete")
    line = line_through(x, y, groups)
    return Measured(value=line.slope, interval=line.interval, context=f"{what}, {len(set(groups))} series")


def _against_a_part(simulation: SubnetworkSimulation, laws: Laws) -> Measured | Finding:
    """Excess loss of the whole trained in n pieces over that of one piece trained alone, J = 1."""
    data = simulation.network
    if isinstance(data, str):
        return not_measured(data)
    alone = {(run.part, run.seed): excess for run, excess in data.table() if run.part > 1}
    ratios = [
        np.log(excess / alone[run.workers, run.seed])
        for run, excess in data.table(part=1)
        if run.workers > 1 and run.local_steps == 1 and (run.workers, run.seed) in alone
    ]
    if len(ratios) < 2:
        return inconclusive("too few trainings are complete")
    mean, interval = mean_interval(ratios)
    return Measured(value=mean, interval=interval, context=f"{len(ratios)} pairs, at equal compute")


def pieces_table(simulation: SubnetworkSimulation) -> Table:
    """Every training of the network, its seeds' mean."""
    columns = ("workers", "local steps", "hidden units", "loss above the entropy, nats")
    data = simulation.network
    if isinstance(data, str):
        return Table(columns=columns, rows=(), caption=data)
    by_kind: dict[tuple[int, int, int], list[float]] = {}
    for run, excess in data.table():
        by_kind.setdefault((run.part, run.workers, run.local_steps), []).append(excess)
    rows = tuple(
        (str(n), str(J), "all" if part == 1 else f"1/{part}", ", ".join(f"{loss:.4f}" for loss in excess))
        for (part, n, J), excess in sorted(by_kind.items())
    )
    caption = f"At equal compute; a loss for each seed; scale {data.scale}."
    return Table(columns=columns, rows=rows, caption=caption)


def losses(simulation: SubnetworkSimulation) -> Table:
    """The mean loss at the start, where the training ends, and at the optimum, by problem."""
    rows = tuple(
        (
            str(place),
            *(
                number(float(value), 4)
                for value in (
                    each.problem.loss(np.zeros(each.problem.n)),
                    each.problem.loss(each.last).mean(),
                    each.problem.loss(each.problem.limit),
                    each.problem.loss(each.problem.optimum),
                )
            ),
            f"{each.bias:.3f}",
            f"{np.abs(each.z).max():.2f}",
        )
        for place, each in enumerate(simulation.problems, start=1)
    )
    columns = (
        *("problem", "loss at zero", "after the training", "at the limit", "at the optimum"),
        *("distance from the optimum, in its lengths", "largest error of a parameter, in standard errors"),
    )
    return Table(columns=columns, rows=rows, caption="Workers whose losses are lowest at different points.")


def extent(simulation: SubnetworkSimulation) -> str:
    """Problems, and the trainings with their scale."""
    problems = f"{len(simulation.problems)} quadratic problems"
    data = simulation.network
    if isinstance(data, str):
        return f"{problems}; of the network: {data}."
    seeds = len({run.seed for run in data.runs})
    return (
        f"{problems}; scale {data.scale}: {len(data.runs)} trainings of a network, {seeds} seeds, each with "
        f"the compute of {data.steps:,} steps of the whole."
    )


PAPER = Paper(
    module=__name__,
    title="Towards a Better Theoretical Understanding of Independent Subnetwork Training",
    citation="Shulgin & Richtarik 2023 (arXiv 2306.16484)",
    question="If each worker trains its own part of a network, does the whole reach its optimum?",
    experiment=simulate_and_train,
    budget={"smoke": "1 core-minute", "cpu": "11 core-minutes"},
    extent=extent,
    says=(
        "Independent subnetwork training splits a network: each worker receives a part of the parameters, "
        "sees the others as zero, takes a step on its part, and the parts are put together. This saves "
        "memory and traffic. The paper asks what it converges to, and answers for quadratic losses, where "
        "everything can be computed.",
        "If the losses of all workers are lowest at zero (interpolation), the method gets there. In "
        "general it does not reach the optimum: its mean goes to another point, for which the paper has a "
        "formula, and a smaller learning rate does not help.",
    ),
    done=(
        "Twelve problems with 20 workers and 20 parameters are drawn at random. On each the method runs "
        "as it is defined, worker by worker, 100 times over 200 rounds at a learning rate of 0.05. The "
        "mean of the 100 last iterates is compared with the formula, and with the optimum, which a linear "
        "solver gives.",
        "We did not have the paper's result for the spread of the iterates, so it was derived here: each "
        "parameter goes to each worker equally often, so x+ = (1 - γ) x + γ ξ with independent ξ, and the "
        "variance of x is γ/(2 - γ) times that of ξ. The comparison in standard errors tests this, too.",
        "A network is trained in the same way: the hidden units of a small Transformer's feed-forward "
        "block are divided among n workers, and each takes J steps of SGD with its own units. Then each "
        "unit is taken from its owner, and everything else is averaged. The text is generated, so its "
        "entropy is known, and no window repeats. All trainings have the compute of the network that is "
        "trained whole; for comparison one worker's part is trained alone.",
    ),
    trust=(
        "The formula for the mean is exact, so the agreement shows that formula and program are right, and "
        "says nothing about networks. Losses of networks are not quadratic, a part has more than one "
        "parameter, and a worker takes many steps before the parts are put together. The formula does not "
        "say how large the bias is then. The trainings of a network, with a few thousand parameters and "
        "plain SGD, are one example.",
        "The last claim is ours. 'Interpolation' usually means that one set of parameters is best for every "
        "worker, wherever it lies. The paper's result is for zero alone; elsewhere the bias comes back.",
    ),
    claims=(
        Claim(
            slug="subnetworks-go-to-the-limit",
            text="The mean iterate goes to the predicted limit",
            source="general case",
            quantity="place of the mean iterate on the line from the limit, 0, to the optimum, 1",
            paper="0",
            method=THREE,
            confirmed=(0.0, 0.0),
            limits=(
                Limit(name=RMS, words=f"the {RMS} is at most {{most:g}}", most=1.2, contradicts_above=1.2),
            ),
            measure=_limit,
        ),
        Claim(
            slug="subnetworks-miss-the-optimum",
            text="The mean iterate does not go to the optimum",
            source="general case",
            quantity="distance left to the optimum, over that from the limit",
            paper="1",
            method=THREE,
            confirmed=(0.5, np.inf),
            measure=_optimum,
        ),
        Claim(
            slug="small-steps-keep-the-bias",
            text="A smaller learning rate does not remove the bias",
            source="general case",
            quantity="slope of ln(distance from the optimum) in ln(learning rate)",
            paper="0",
            confirmed=(-0.1, 0.1),
            measure=_step,
        ),
        Claim(
            slug="interpolation-has-no-bias",
            text="Where all losses are lowest at zero there is no bias",
            source="interpolation",
            quantity="distance from the optimum after the training, over that at its start",
            paper="0",
            confirmed=(-np.inf, 1e-3),
            measure=_interpolation,
        ),
        Claim(
            slug="agreement-elsewhere-has-no-bias",
            text="Where all losses are lowest at one other place there is no bias either",
            source="not in the paper",
            quantity="distance from the optimum after the training, over its length",
            paper="",
            confirmed=(-np.inf, 1e-2),
            measure=_agreement,
        ),
        Claim(
            slug="more-workers-cost-more",
            text="At equal compute a network trained by more workers is worse",
            source="not in the paper",
            quantity="slope of ln(loss above the text's entropy) in ln n",
            paper="",
            confirmed=(0.0, np.inf),
            measure=_by_workers,
        ),
        Claim(
            slug="rarer-averages-cost-more",
            text="At equal compute a network whose workers take more steps between averages is worse",
            source="not in the paper",
            quantity="slope of ln(loss above the text's entropy) in ln J",
            paper="",
            confirmed=(0.0, np.inf),
            measure=_by_local_steps,
        ),
        Claim(
            slug="pieces-are-worth-more-than-one",
            text="At equal compute the whole, trained in n pieces, is better than one of the pieces alone",
            source="not in the paper",
            quantity="ln of its loss above the text's entropy over that of the piece",
            paper="",
            method="With one local step. If the law depended on N/n alone, it would be 0.",
            confirmed=(-np.inf, 0.0),
            measure=_against_a_part,
        ),
    ),
    tables=lambda simulation, laws: {
        "Losses": losses(simulation),
        "A network in pieces": pieces_table(simulation),
    },
)
