"""The sizes at one compute and the minimum between them: N_opt measured without a parametric law.

Needs at least three sizes at a compute, and the best of them between two others: otherwise the optimum may be
a size that was not trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scaling_laws.laws.allocation.frontier import SAME_COMPUTE, SizeCurve, draw_noise, slice_weights
from scaling_laws.laws.allocation.minima import Method, loss_at, minima, minimum
from scaling_laws.laws.fit.intervals import DEFAULT_RESAMPLES, Interval, percentile_interval
from scaling_laws.laws.forms.joint import JointLaw
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN, FloatArray

OFF_CENTRE = 0.5
"""Distance of the minimum from the mean ln N, over half the slice's width, beyond which it is off centre."""
LARGE_BIAS = float(np.log(1.1))
"""Bias of ln N_opt, on the fitted law, that a slice is flagged for."""


@dataclass(frozen=True, kw_only=True)
class SlicePoint:
    """One size of a slice. Units as in `forms/`."""

    N: float
    D: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The sizes at one compute, and the minimum of the curve through their losses.

    Attributes:
        C: FLOPs.
        points: the sizes in order, with their tokens and losses at C.
        N_opt, D_opt, loss_opt: at the minimum; None where the slice does not contain one.
        N_opt_interval, D_opt_interval: 90 %, from noise added to the measured losses.
        warning: what is wrong with the slice; empty if nothing is.
        method: the curve: a parabola in ln N, or Akima's through ln loss.
        interpolated: whether losses were interpolated within a size; False where the runs had this compute.
        bias_log_N: ln N_opt of the same curve through the fitted law's losses at the same N and D, less ln
            N_opt of the law: what the method would get wrong without any noise. None without a law, where C
            is not 6 N D, or where that curve has no minimum inside.
    """

    C: float
    points: tuple[SlicePoint, ...]
    N_opt: float | None
    D_opt: float | None
    loss_opt: float | None
    N_opt_interval: Interval | None
    D_opt_interval: Interval | None
    warning: str
    method: Method
    interpolated: bool
    bias_log_N: float | None


def isoflop_slice(
    curves: list[SizeCurve],
    C: float,
    *,
    method: Method = "parabola",
    law: JointLaw | None = None,
    noise_sd: float | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Slice:
    """The sizes at compute C, and the minimum between them (Hoffmann 2022, approach 2; Porian 2024).

    At a planned compute the runs stand as they are; elsewhere losses are interpolated within a size, in ln
    loss over ln C. The minimum is refused where the lowest loss lies at the smallest or largest size: the
    optimum may be outside the slice. With noise, Akima's estimate is the median of the noisy minima, as in
    Porian 2024.

    Args:
        method: which curve goes through the losses.
        law: the joint law fitted to these runs: shows the bias of the method on its noise-free losses.
        noise_sd: standard deviation of one run's ln loss; without it there is no interval.
    """
    log_C = np.log([C])
    weights = slice_weights(curves, log_C)
    present = [i for i in range(len(curves)) if np.isfinite(weights[i]).all()]
    sizes = [curves[i] for i in present]
    at_C = [weights[i][0] for i in present]
    log_N = np.log([curve.N for curve in sizes])
    log_D = np.array([at @ np.log(curve.D) for at, curve in zip(at_C, sizes, strict=True)])
    log_loss = np.array([at @ curve.log_loss for at, curve in zip(at_C, sizes, strict=True)])
    vertex, refused = minimum(log_N, log_loss, method)
    warnings = [refused] if refused else []
    N_interval = D_interval = None
    if vertex is not None and noise_sd is not None:
        noise = draw_noise(sizes, noise_sd, resamples, np.random.default_rng(seed))
        noisy = log_loss + np.stack([of @ at for of, at in zip(noise, at_C, strict=True)], axis=1)
        draws = minima(log_N, noisy, method)
        N_interval = percentile_interval(np.exp(draws))
        D_interval = percentile_interval(np.exp(np.interp(draws, log_N, log_D)))
        if np.mean((draws <= log_N[0]) | (draws >= log_N[-1])) > 0.05:
            warnings.append("the interval of N_opt reaches the edge of the slice")
        if method == "akima":
            vertex = float(np.median(draws))
    if vertex is not None:
        warnings += _off_centre(log_N, vertex)
    bias = None if law is None or vertex is None else _bias(law, C, log_N, log_D, method)
    if bias is not None and abs(bias) > LARGE_BIAS:
        size = f"{100 * np.expm1(abs(bias)):.0f} % too {'large' if bias > 0 else 'small'}"
        warnings.append(f"on the fitted law's own losses these sizes put N_opt {size}")
    return Slice(
        C=C,
        points=tuple(
            SlicePoint(N=curve.N, D=D, loss=loss)
            for curve, D, loss in zip(sizes, np.exp(log_D).tolist(), np.exp(log_loss).tolist(), strict=True)
        ),
        N_opt=None if vertex is None else float(np.exp(vertex)),
        D_opt=None if vertex is None else float(np.exp(np.interp(vertex, log_N, log_D))),
        loss_opt=None if vertex is None else loss_at(log_N, log_loss, vertex, method),
        N_opt_interval=N_interval,
        D_opt_interval=D_interval,
        warning="; ".join(warnings),
        method=method,
        interpolated=bool(any(((at > 0) & (at < 1)).any() for at in at_C)),
        bias_log_N=bias,
    )


def _off_centre(log_N: FloatArray, vertex: float) -> list[str]:
    """A sentence, where the sizes are not spread around their minimum."""
    offset = (vertex - log_N.mean()) / (np.ptp(log_N) / 2)
    if abs(offset) <= OFF_CENTRE:
        return []
    which = "larger" if offset > 0 else "smaller"
    return [f"the minimum is off the centre of the sizes, which biases it: train {which} ones as well"]


def _bias(law: JointLaw, C: float, log_N: FloatArray, log_D: FloatArray, method: Method) -> float | None:
    if np.abs(np.log(FLOPS_PER_PARAMETER_TOKEN) + log_N + log_D - np.log(C)).max() > 1.5 * SAME_COMPUTE:
        return None
    found, _ = minimum(log_N, np.log(law.loss(np.exp(log_N), np.exp(log_D))), method)
    return None if found is None else float(found - np.log(law.optimum(C)[0]))
