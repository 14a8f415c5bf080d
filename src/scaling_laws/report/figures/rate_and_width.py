"""Does the best learning rate hold from narrow to wide networks? (Yang et al. 2022, arXiv 2203.03466.)"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.fit.rate_transfer import RateTransfer, rate_transfers
from scaling_laws.laws.results.types import Laws
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.text import short

NEEDS_WIDTHS = "Needs runs of `scaling-laws sweep configs/sweeps/mup.yaml`."
TITLES = {"standard": "standard", "mup": "muP", "completep": "CompleteP"}


@dataclass(frozen=True, kw_only=True)
class RatesAtWidths:
    """Of the main family.

    Attributes:
        D: training tokens.
        transfers: one a parametrisation, `standard` first.
    """

    D: int
    transfers: tuple[RateTransfer, ...]


def _describe(data: RatesAtWidths) -> str:
    """How the best rate goes with the width, and what one rate for all widths costs."""
    widths = data.transfers[0].best["d_model"]
    return (
        f"From width {widths.min():g} to {widths.max():g}, at D = {short(data.D)} tokens: "
        + "; ".join(_in_words(each) for each in data.transfers)
        + f". Intervals are 90 %, by the scatter of {len(widths)} widths alone."
    )


def _in_words(found: RateTransfer) -> str:
    name = TITLES.get(found.parametrization, found.parametrization)
    if found.exponent is None or found.interval is None:
        n_inside = int(found.best["inside"].sum())
        law = f"under {name} the best rate of {n_inside} of {len(found.best)} widths lies between others"
    else:
        low, high = found.interval
        law = f"under {name} the best rate goes as width^{found.exponent:.2f} [{low:.2f}, {high:.2f}]"
    if found.excess_percent is None:
        return law
    return f"{law}, and the narrowest's best costs {found.excess_percent:.1f} % of the loss at the widest"


def _draw(data: RatesAtWidths) -> Figure:
    """A panel a parametrisation: loss against rate, a line a width. Last: the best rate against the width."""
    n_panels = len(data.transfers) + 1
    figure, axes = st.panels(n_panels, width=3.6 * n_panels + 1.0, height=4.6)
    widths = np.unique(np.concatenate([each.losses["d_model"] for each in data.transfers]))
    losses = np.concatenate([each.losses["loss"] for each in data.transfers])
    shown = losses <= 1.4 * losses.min()
    colours = st.SizeColours(widths)
    for panel, found in zip(axes, data.transfers, strict=False):
        for width in found.best["d_model"]:
            of_width = found.losses[found.losses["d_model"] == width]
            panel.plot(
                of_width["learning_rate"], of_width["loss"], "o-", color=colours(width), label=f"{width:g}"
            )
        st.log_x(panel, found.losses["learning_rate"], "learning rate")
        st.log_y(panel, losses[shown], "loss on test, nats per token" if panel is axes[0] else "")
        panel.set_title(TITLES.get(found.parametrization, found.parametrization))
        st.legend_below(panel, columns=4, title="width")
    _draw_best(axes[-1], data)
    return figure


def _draw_best(axes: Axes, data: RatesAtWidths) -> None:
    rates = np.concatenate([each.best["learning_rate"] for each in data.transfers])
    for number, found in enumerate(data.transfers):
        colour = st.FAMILY_COLOURS[number]
        best = found.best
        label = TITLES.get(found.parametrization, found.parametrization)
        axes.plot(best["d_model"], best["learning_rate"], "-", color=colour, linewidth=1.1)
        for inside, part in best.groupby("inside"):
            axes.plot(
                part["d_model"],
                part["learning_rate"],
                "D",
                color=colour,
                mfc=colour if inside else "none",
                label=label if inside else f"{label}, at the edge",
            )
    st.log_x(axes, data.transfers[0].best["d_model"], "width")
    st.log_y(axes, rates, "best learning rate")
    axes.set_title("Best rate against width")
    st.legend_below(axes, columns=1)


@figure(
    "learning_rate_and_width",
    "Does the best learning rate hold at other widths?",
    "batch",
    order=4,
    draw=_draw,
    describe=_describe,
)
def learning_rate_and_width(study: StudyTables, laws: Laws) -> RatesAtWidths | str:
    """Of the main family."""
    D, transfers = rate_transfers(study.complete_of(study.main_family))
    return RatesAtWidths(D=D, transfers=transfers) if transfers else NEEDS_WIDTHS
