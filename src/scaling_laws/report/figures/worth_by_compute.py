"""Is a family's lead one number? What one FLOP of it is worth in another, at each compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from scaling_laws.laws.allocation.frontier import size_curves
from scaling_laws.laws.allocation.worth import WorthCurve, worth_by_compute
from scaling_laws.laws.fit.level import interval_words
from scaling_laws.laws.results.types import Laws
from scaling_laws.report import style as st
from scaling_laws.report.decisions import crossing_words
from scaling_laws.report.figure import figure
from scaling_laws.report.study_tables import StudyTables, c_label

NEEDS_TWO = (
    "Needs two families with losses in common: `scaling-laws sweep configs/sweeps/families.yaml` trains them."
)


@dataclass(frozen=True, kw_only=True)
class WorthByCompute:
    """What families' FLOPs are worth in the main one's.

    Attributes:
        reference: the main family.
        curves: by family.
        families: in the order of their colours.
        C_label: of the axis.
    """

    reference: str
    curves: Mapping[str, WorthCurve]
    families: Sequence[str]
    C_label: str


def _describe(data: WorthByCompute) -> str:
    words = []
    for family, curve in data.curves.items():
        sentence = (
            f"One FLOP of {st.family_name(family)}s is worth {curve.worth[0]:.2g} of "
            f"{st.family_name(data.reference)}s at {curve.C[0]:.1e} FLOPs and {curve.worth[-1]:.2g} at "
            f"{curve.C[-1]:.1e}"
        )
        words.append(sentence + crossing_words(curve))
    return "; ".join(words) + "."


def _draw(data: WorthByCompute) -> Figure:
    figure, (axes,) = st.panels(1, width=7.0, height=4.6)
    values = [1.0]
    for family, curve in data.curves.items():
        style = st.family_style(family, data.families)
        name = st.plain(st.family_name(family))
        axes.plot(curve.C, curve.worth, color=style["color"], linestyle=style["linestyle"], label=name)
        band = np.isfinite(curve.low) & np.isfinite(curve.high)
        axes.fill_between(
            curve.C[band], curve.low[band], curve.high[band], color=style["color"], alpha=st.BAND_ALPHA, lw=0
        )
        values += [*curve.worth, *curve.low[band], *curve.high[band]]
    axes.axhline(1, color=st.INK, linewidth=0.9)
    st.log_x(axes, np.concatenate([curve.C for curve in data.curves.values()]), data.C_label)
    st.log_y(axes, values, f"FLOPs of a {st.family_name(data.reference)} that one is worth")
    axes.set_title(f"What a FLOP is worth, with {interval_words()} bands of the noise between seeds")
    st.legend_below(axes)
    return figure


@figure(
    "worth_by_compute",
    "What one family's FLOP is worth in another, at each compute",
    "family",
    order=3,
    draw=_draw,
    describe=_describe,
)
def worth_curves(study: StudyTables, laws: Laws) -> WorthByCompute | str:
    """Every family against the main one."""
    reference = study.main_family
    if reference is None or len(study.families) < 2:
        return NEEDS_TWO
    of_reference = size_curves(study.of(reference))
    noise_sd = laws.noise.sd_log_loss
    curves = {
        family: curve
        for family in study.families
        if family != reference
        and (curve := worth_by_compute(of_reference, size_curves(study.of(family)), noise_sd=noise_sd))
    }
    if not curves:
        return NEEDS_TWO
    return WorthByCompute(
        reference=reference, curves=curves, families=study.families, C_label=c_label(study, laws)
    )
