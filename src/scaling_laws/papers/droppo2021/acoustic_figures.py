"""Losses on speech by size and hours, drawn."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.droppo2021.acoustic_runs import FAMILIES, AcousticRuns
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure


def draw_losses(data: AcousticRuns) -> Figure:
    """Loss against N, a line for each amount of speech, by family."""
    drawing, panels = st.panels(2, width=11.0, height=4.4)
    colours = st.SizeColours(data.hours)
    for panel, family in zip(panels, FAMILIES, strict=True):
        N, hours, loss = data.of(family)
        for amount in np.unique(hours):
            its = hours == amount
            order = np.argsort(N[its])
            panel.plot(N[its][order], loss[its][order], "o-", ms=4, lw=1.2, color=colours(amount))
        st.log_x(panel, N, "N, parameters")
        st.log_y(panel, data.loss, "mean absolute error")
        panel.set_title(st.family_name(family))
    colours.bar(drawing, panels, "hours of speech")
    return drawing


def describe_losses(data: AcousticRuns) -> str:
    parts = []
    for family in FAMILIES:
        N, hours, loss = data.of(family)
        all_hours = hours == hours.max()
        small, large = loss[all_hours][N[all_hours].argmin()], loss[all_hours][N[all_hours].argmax()]
        parts.append(f"from {small:.3f} to {large:.3f} by {st.family_name(family)}")
    return (
        f"With all recordings the error falls from the smallest to the largest network {' and '.join(parts)}."
    )


@figure(
    "speech_losses",
    "The loss on speech, by size and hours",
    "scale",
    order=1,
    draw=draw_losses,
    describe=describe_losses,
)
def speech_losses(study: AcousticRuns | str, laws: Laws) -> AcousticRuns | str:
    return study
