"""What a reader can explore in the page: every run, and every learning curve.

Plotly draws them from JSON that stands in the page (`interactive.js`); no Python takes part. In print, and
where no script runs, a still figure of the same runs stands in their place.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.report import style as st
from scaling_laws.report.budget_slider import slider_of
from scaling_laws.report.pictures import embedded_figure
from scaling_laws.report.study_tables import StudyTables, c_label, n_label, training_losses
from scaling_laws.study.names import one_line

CURVE_POINTS = 36_000
"""Of all curves of a page together; none has fewer than `FEWEST_POINTS` if it was measured that often."""
FEWEST_POINTS, MOST_POINTS = 12, 120
COLOUR_STEPS = 9


@dataclass(frozen=True, kw_only=True)
class Explorer:
    """What the page's script is given.

    Attributes:
        data: runs, curves, names and colours as JSON, safe inside a script element.
        plotly: the library, compressed, in base64.
        plotly_hash: of the library, as a content security policy names it.
        families: names to show, in the order of `data`.
        experiments: that asked for a run.
        conventions_N, conventions_C: key -> words.
        chosen_N, chosen_C: the conventions of the laws.
        still: data URL of the figure for print.
        has_curves: whether any run left losses during training.
        slider: what `data` holds for the slider of budgets; None where there is no law to plan by.
    """

    data: Markup
    plotly: str
    plotly_hash: str
    families: tuple[str, ...]
    experiments: tuple[str, ...]
    conventions_N: Mapping[str, str]
    conventions_C: Mapping[str, str]
    chosen_N: str
    chosen_C: str
    still: str
    has_curves: bool
    slider: Mapping[str, Any] | None


def explorer_of(tables: StudyTables, laws: Laws) -> Explorer | None:
    """The explorer of a study; `None` where no run is complete."""
    if tables.complete.empty:
        return None
    data, slider = explorer_data(tables, laws), slider_of(tables, laws)
    # The package brings the script; it is not imported.
    script = distribution("plotly").locate_file("plotly/package_data/plotly.min.js")
    plotly = Path(str(script)).read_bytes()
    return Explorer(
        data=script_json({**data, "slider": slider}),
        plotly=base64.b64encode(gzip.compress(plotly, compresslevel=9, mtime=0)).decode("ascii"),
        plotly_hash=policy_hash(plotly),
        families=tuple(data["families"]),
        experiments=tuple(data["experiments"]),
        conventions_N={
            key: words.removeprefix("N, ") for key, words in _known(tables, parameter_labels(tables, laws))
        },
        conventions_C=dict(_known(tables, compute_labels(tables, laws))),
        chosen_N=laws.conventions.N,
        chosen_C=laws.conventions.C,
        still=embedded_figure(draw_still(tables, laws)),
        has_curves=any(data["curves"]),
        slider=slider,
    )


def parameter_labels(tables: StudyTables, laws: Laws) -> dict[str, str]:
    """What the columns of N count, where that is known."""
    return {**st.PARAMETER_LABELS, laws.conventions.N: n_label(tables, laws)}


def compute_labels(tables: StudyTables, laws: Laws) -> dict[str, str]:
    """What the columns of C count, where that is known."""
    return {**st.COMPUTE_LABELS, laws.conventions.C: c_label(tables, laws)}


def explorer_data(tables: StudyTables, laws: Laws) -> dict[str, Any]:
    """Every complete run as columns, its learning curve, and what colours and marks mean.

    Returns:
        runs: column -> a value a run; `family` and `experiments` are indices into the lists of names.
        curves: tokens and losses on the main corpus during training, a pair of lists a run; empty without.
    """
    runs = tables.complete.sort_values(["family", "N", "D", "run"]).reset_index(drop=True)
    families = st.families_of(runs["family"])
    asked = [[name for name in str(names).split(", ") if name] for names in runs["experiments"]]
    experiments = sorted({name for names in asked for name in names})
    in_laws = set(tables.runs["run"]) if len(tables.runs) else set()
    columns: dict[str, list[Any]] = {
        "run": [str(name) for name in runs["run"]],
        "family": [families.index(family) for family in runs["family"]],
        "experiments": [[experiments.index(name) for name in names] for names in asked],
        "in_laws": [run in in_laws for run in runs["run"]],
        "loss": [_rounded(loss, 6) for loss in runs["loss"]],
    }
    columns |= {
        name: [_rounded(value, 7) for value in runs[name]]
        for name in (*st.PARAMETER_LABELS, "D", "unique_tokens", *st.COMPUTE_LABELS)
        if name in runs
    }
    colours = st.SizeColours([1.0, 10.0]).colours
    return {
        "runs": {**columns, "run": [one_line(run) for run in columns["run"]]},
        "curves": _curves(tables, columns["run"]),
        "families": [one_line(st.family_name(family)) for family in families],
        "experiments": [one_line(name) for name in experiments],
        "colours": [to_hex(colours(step / (COLOUR_STEPS - 1))) for step in range(COLOUR_STEPS)],
        "labels": {
            **parameter_labels(tables, laws),
            **compute_labels(tables, laws),
            "loss": st.LOSS_LABEL,
        },
    }


def _known(tables: StudyTables, labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """The conventions by which these runs were counted, with their labels."""
    return [(name, label) for name, label in labels.items() if name in tables.complete]


def script_json(data: Any) -> Markup:
    """JSON that ends no script element and opens no comment, whatever its strings hold."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


@st.styled
def draw_still(tables: StudyTables, laws: Laws) -> Figure:
    """Every complete run: loss against size and against compute, families by marker, N by colour."""
    N, C = laws.conventions.N, laws.conventions.C
    runs = tables.complete
    runs = runs[(runs[N] > 0) & (runs[C] > 0)]
    figure, axes = st.panels(2)
    if runs.empty:
        return figure
    colours = st.SizeColours(runs[N])
    families = st.families_of(runs["family"])
    for panel, column, label in ((axes[0], N, n_label(tables, laws)), (axes[1], C, c_label(tables, laws))):
        for place, family in enumerate(families):
            of_family = runs[runs["family"] == family]
            marker = st.FAMILY_MARKERS[place % len(st.FAMILY_MARKERS)]
            panel.scatter(
                of_family[column],
                of_family["loss"],
                c=[colours(value) for value in of_family[N]],
                s=16,
                marker=marker,
            )
            st.legend_entry(panel, st.plain(st.family_name(family)), marker=marker)
        st.log_x(panel, runs[column], label)
        st.log_y(panel, runs["loss"], st.LOSS_LABEL if panel is axes[0] else "")
        st.legend_below(panel, columns=4)
    colours.bar(figure, axes, n_label(tables, laws))
    return figure


def _curves(tables: StudyTables, runs: list[str]) -> list[list[list[float | None]]]:
    """Tokens and losses of each run, log-spaced; an empty list for a run that left none."""
    keep = max(FEWEST_POINTS, min(MOST_POINTS, CURVE_POINTS // len(runs)))
    by_run = {str(run): curve for run, curve in training_losses(tables).groupby("run", sort=False)}
    return [_curve(by_run.get(run), keep) for run in runs]


def _curve(curve: pd.DataFrame | None, keep: int) -> list[list[float | None]]:
    if curve is None:
        return []
    points = curve.iloc[st.thin(len(curve), keep)]
    return [
        [_rounded(tokens, 7) for tokens in points["tokens"]],
        [_rounded(loss, 5) for loss in points["loss"]],
    ]


def _rounded(value: Any, digits: int) -> float | int | None:
    """To `digits` digits, whole where it is; `None` where it is no number: JSON knows no NaN."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def policy_hash(script: bytes) -> str:
    """A script as a page's content security policy allows it: by its SHA-256."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode('ascii')}'"
