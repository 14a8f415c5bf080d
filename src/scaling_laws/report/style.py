"""How every figure of a report looks: one size of text, one meaning of a colour, axes that can be read.

colour of a network   log N on viridis without its pale end: uniform to the eye, safe for colour-blind
                      readers, and still in order of N when printed in black and white
family                marker and line style (and a colour of its own where families are compared)
logarithmic axes      powers of ten over more than two decades, plain round numbers below
"""

from __future__ import annotations

import functools
import io
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullFormatter, NullLocator

from scaling_laws.models.families import FAMILIES, LABELS
from scaling_laws.report.text import short, tex
from scaling_laws.study.conventions import C_CONVENTIONS, N_CONVENTIONS
from scaling_laws.study.names import one_line

Arguments = ParamSpec("Arguments")

STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.titlecolor": "#222222",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "figure.facecolor": "white",
    "figure.autolayout": False,  # `styled` lays out
    "figure.constrained_layout.use": False,
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # letters stay letters
    "svg.hashsalt": "scaling-laws",  # the same figure is the same bytes
}

SIZES = ("size", "linewidth")
"""How the names of settings end that a smaller figure scales."""
GREY = "#777777"
INK = "#222222"
FIT = "#B3123B"
"""Fitted lines: no point is drawn in this colour."""
BAND_ALPHA = 0.18

FAMILY_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
FAMILY_MARKERS = ("o", "s", "^", "D")
FAMILY_LINES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1, 1.4)), (0, (5, 1.5, 1, 1.5)))
CORPUS_MARKERS = ("o", "s", "^", "D", "v", "P")

PARAMETER_LABELS = {name: convention.label for name, convention in N_CONVENTIONS.items()}
COMPUTE_LABELS = {name: convention.label for name, convention in C_CONVENTIONS.items()}
UNKNOWN_N, UNKNOWN_C = "N, parameters", "C, training FLOPs"
"""Of a table that does not say what it counts."""
LOSS_LABEL = "loss, nats per token"
MANY_POINTS = 2_000
"""A cloud of more points is drawn as pixels in an SVG, too: each would cost it a hundred bytes."""
LARGEST_LOG = 700.0
"""Of an axis: a bootstrap's draw of a scale may be 1e280, and 1e309 is no number."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """How wide a figure may be.

    Attributes:
        width: inches.
        stacked: panels stand below one another.
        text: size of the text over that of `STYLE`.
    """

    width: float
    stacked: bool
    text: float


ONE_COLUMN = Sheet(width=3.4, stacked=True, text=0.78)
"""Of a journal's two columns, or of a phone."""
TWO_COLUMNS = Sheet(width=7.0, stacked=False, text=0.72)
"""A journal's page."""
FEW_TICKS = 4
"""So many labels as long as 2 x 10^12 fit under a narrow panel."""
LETTER, LEGEND_MARK = 0.55, 0.45
"""Width of a letter over the size of the text; of a legend's mark and margins, inches."""
LOWER = 1.3
"""A legend's distance from a narrow panel, which is less high, over that from a wide one."""
NARROW_NAME = 24
"""Signs of a row's name in a line of a narrow figure."""
LONG_LABEL = 50
"""Signs of an axis' label that is broken at its last comma in a narrow figure."""
EMPTY_PANEL = {False: 0.02, True: 0.3}
"""Height of a stacked panel that shows nothing, without and with a sentence, over that of one that does."""
LOWEST_PANEL = 0.72
"""Height over width of a panel that stands alone in its row."""
_sheet: ContextVar[Sheet | None] = ContextVar("sheet", default=None)


@contextmanager
def drawn_for(sheet: Sheet | None) -> Iterator[None]:
    """Figures are drawn for this width; for a wide page without."""
    token = _sheet.set(sheet)
    try:
        yield
    finally:
        _sheet.reset(token)


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Draw with `STYLE`, whatever the process's own matplotlib settings are."""

    @functools.wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        sheet = _sheet.get()
        with matplotlib.rc_context(STYLE if sheet is None else _scaled(sheet.text)):
            figure = draw(*args, **kwargs)
            if sheet is not None:
                _fit_words(figure, sheet)
                if sheet.stacked:
                    _close_gaps(figure)
            if layout := figure.get_layout_engine():
                layout.execute(figure)  # laid out once, not again for every file
                if sheet is not None:
                    layout.execute(figure)  # legends moved with their panels
                figure.set_layout_engine(None)  # a placeholder would have every file drawn twice
            return figure

    return drawn


def _scaled(text: float) -> Any:
    """`STYLE` with smaller text, lines and marks."""
    sizes = {key: value * text for key, value in STYLE.items() if key.endswith(SIZES)}
    return STYLE | sizes


def _fit_words(figure: Figure, sheet: Sheet) -> None:
    """Words that are too long for a narrow figure are broken, or cut where nothing breaks them."""
    room = sheet.width * figure.dpi
    suptitle = [figure._suptitle] if getattr(figure, "_suptitle", None) else []  # type: ignore[attr-defined]
    for words in (*suptitle, *(axes.title for axes in figure.axes)):
        text = words.get_text()
        if words in suptitle:
            words.set_fontsize(STYLE["axes.titlesize"] * sheet.text)
        of_width = room if sheet.stacked or words in suptitle else words.axes.bbox.width
        longest = 0.92 * of_width / (LETTER * words.get_fontsize() * figure.dpi / 72)
        if text and len(text) > longest and "$" not in text:
            words.set_text(textwrap.fill(text, max(int(longest), 12), break_on_hyphens=False))
    legends = [*figure.legends, *(legend for axes in figure.axes if (legend := axes.get_legend()))]
    for words in (words for legend in legends for words in legend.get_texts()):
        most = int((sheet.width - LEGEND_MARK) / (LETTER * float(words.get_fontsize()) / 72))
        if len(text := words.get_text()) > most and "$" not in text.replace(r"\$", ""):
            words.set_text(f"{text[:most]}…")  # a user's name, perhaps
    for axes in figure.axes if sheet.stacked else ():
        names = [label.get_text() for label in axes.get_yticklabels()]
        if any(len(name) > LONG_LABEL for name in names):  # a user's, perhaps
            cut = [name if len(name) <= LONG_LABEL else f"{name[:NARROW_NAME]}…" for name in names]
            axes.set_yticks(axes.get_yticks(), cut)
        label = axes.get_xlabel()
        if len(label) > LONG_LABEL and ", " in label:
            axes.set_xlabel(",\n".join(label.rsplit(", ", 1)).replace(" (", "\n("))


def _close_gaps(figure: Figure) -> None:
    """Stacked panels that are empty, or hold a sentence alone, take no more room than that."""
    placed = [(axes, place.get_gridspec()) for axes in figure.axes if (place := axes.get_subplotspec())]
    stacked = [(axes, grid) for axes, grid in placed if grid.ncols == 1 and grid.nrows > 1]
    if not stacked:
        return
    grid = stacked[0][1]
    heights = [1.0 if axes.axison else EMPTY_PANEL[bool(axes.texts)] for axes, of in stacked if of is grid]
    if grid.nrows == len(heights) and min(heights) < 1:
        grid.set_height_ratios(heights)
        figure.set_figheight(figure.get_figheight() * sum(heights) / len(heights))


def rendered(figure: Figure, format: str, **options: Any) -> bytes:
    """The figure as a PNG, SVG or PDF file's content; the same figure gives the same bytes."""
    file = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(file, format=format, **options)
    return file.getvalue()


def panels(
    columns: int, rows: int = 1, *, width: float = 11.0, height: float = 4.3
) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` x `columns` axes, in inches, and its axes in reading order.

    In a narrow figure (`drawn_for`) it is smaller, or the panels stand below one another.
    """
    if (sheet := _sheet.get()) is not None:
        if sheet.stacked:
            of_panel = (height / rows) / (width / columns)
            rows, columns = rows * columns, 1
            width, height = sheet.width, rows * sheet.width * max(of_panel, LOWEST_PANEL)
        elif width > sheet.width:
            width, height = sheet.width, height * sheet.width / width * 1.1
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.ravel())


def note_in(axes: Axes, text: str) -> None:
    """Say in one panel of a figure why it is empty, in place of its axes."""
    axes.set_axis_off()
    where: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
    axes.text(
        0.5,
        0.5,
        textwrap.fill(one_line(text), 42, break_on_hyphens=False),
        color=INK,
        parse_math=False,
        **where,
    )


# --- families and sizes ---------------------------------------------------------------------------


def families_of(names: Iterable[str]) -> list[str]:
    """Families in the order of their colours: the transformer first, then by name."""
    return sorted(set(names), key=lambda name: (name != FAMILIES[0].name, name))


def family_style(family: str, families: Sequence[str]) -> dict[str, Any]:
    """`color`, `marker` and `linestyle` of a family among the families of the study."""
    place = list(families).index(family) % len(FAMILY_COLOURS)
    return {
        "color": FAMILY_COLOURS[place],
        "marker": FAMILY_MARKERS[place],
        "linestyle": FAMILY_LINES[place],
    }


def family_name(family: str) -> str:
    return "All runs" if family == "all" else LABELS.get(family, one_line(family))


def plain(name: str) -> str:
    """A user's name for a label: a dollar is a dollar, and a leading underscore does not hide it."""
    return " " * name.startswith("_") + one_line(name).replace("$", r"\$")


class SizeColours:
    """The colour of a value (mostly N) by its logarithm."""

    def __init__(self, values: Iterable[float], colours: str = "viridis") -> None:
        present = np.asarray(list(values), dtype=float)
        low, high = float(present.min()), float(present.max())
        self.one_value = low == high
        if self.one_value:
            low, high = low / 2, high * 2
        self.norm = LogNorm(low, high)
        self.colours: Colormap = LinearSegmentedColormap.from_list(
            f"{colours}-dark", colormaps[colours](np.linspace(0.0, 0.88, 256))
        )

    def __call__(self, value: float) -> Any:
        return self.colours(self.norm(value))

    def bar(self, figure: Figure, axes: Sequence[Axes], label: str) -> None:
        """A colour bar to the right of `axes`, or below stacked ones, unless there is one value only."""
        if self.one_value:
            return
        below = (sheet := _sheet.get()) is not None and sheet.stacked
        where: dict[str, Any] = (
            {"location": "bottom", "shrink": 0.9, "pad": 0.02} if below else {"pad": 0.015}
        )
        scale = ScalarMappable(self.norm, self.colours)
        bar = figure.colorbar(scale, ax=list(axes), aspect=28, **where)
        bar.outline.set_visible(False)
        bar.set_label(label)
        axis = bar.ax.xaxis if below else bar.ax.yaxis
        _log_ticks(axis, float(self.norm.vmin or 1), float(self.norm.vmax or 1))


# --- numbers and axes -----------------------------------------------------------------------------


def log_x(axes: Axes, values: Iterable[float], label: str, margin: float = 0.06) -> None:
    """A logarithmic x axis around `values`."""
    axes.set_xscale("log")
    axes.set_xlim(*_limits(values, margin))
    _log_ticks(axes.xaxis, *axes.get_xlim())
    axes.set_xlabel(label)


def log_y(axes: Axes, values: Iterable[float], label: str, margin: float = 0.06) -> None:
    """A logarithmic y axis around `values`."""
    axes.set_yscale("log")
    axes.set_ylim(*_limits(values, margin))
    _log_ticks(axes.yaxis, *axes.get_ylim())
    axes.set_ylabel(label)


def legend_below(axes: Axes, columns: int = 2, offset: float = -0.16, **options: Any) -> None:
    """A legend under the axis label, never over data."""
    if axes.get_legend_handles_labels()[0] or "handles" in options:
        labels = options.get("labels") or axes.get_legend_handles_labels()[1]
        columns = _columns(columns, labels)
        if (sheet := _sheet.get()) is not None and sheet.stacked:
            offset *= LOWER
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, offset), ncols=columns, **options)


def legend_outside(figure: Figure, panels: Iterable[Axes], columns: int) -> None:
    """A legend under all panels of a figure: each label of `panels` once."""
    found: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    columns = _columns(columns, list(found))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns)


def _columns(wanted: int, labels: Sequence[str]) -> int:
    """As many columns of a legend as fit."""
    if (sheet := _sheet.get()) is None or not labels:
        return wanted
    of_letter = LETTER * sheet.text * STYLE["legend.fontsize"] / 72
    of_column = LEGEND_MARK + max(map(len, labels)) * of_letter
    return max(1, min(wanted, int(sheet.width / of_column)))


def name_rows(axes: Sequence[Axes], names: Sequence[str]) -> None:
    """Names of the rows that panels share: at the first panel, or at each where they stand alone."""
    sheet = _sheet.get()
    alone = sheet is not None and sheet.stacked
    shown = [textwrap.fill(name, NARROW_NAME, break_on_hyphens=False) for name in names] if alone else names
    for place, panel in enumerate(axes):
        panel.set_yticks(range(len(names)), shown if alone or place == 0 else [""] * len(names))


def legend_entry(axes: Axes, label: str, **options: Any) -> None:
    """A legend entry for points whose own colours vary."""
    axes.plot([], [], **({"color": GREY, "marker": "o", "linestyle": "none"} | options), label=label)


def thin(n_points: int, keep: int = 240) -> np.ndarray:
    """Indices of at most `keep` of `n_points`, log-spaced as the eye reads a curve; always the ends."""
    if n_points <= keep:
        return np.arange(n_points)
    return np.unique(np.geomspace(1, n_points, keep).round().astype(int) - 1)


def _limits(values: Iterable[float], margin: float) -> tuple[float, float]:
    present = np.asarray(list(values), dtype=float)
    present = np.log(present[np.isfinite(present) & (present > 0)])
    low, high = float(present.min()), float(present.max())
    room = margin * (high - low) if high - low > 0.01 else math.log(1.5)  # one value stands in the middle
    return math.exp(max(low - room, -LARGEST_LOG)), math.exp(min(high + room, LARGEST_LOG))


def _log_ticks(axis: Axis, low: float, high: float) -> None:
    decades = math.log10(high) - math.log10(low)
    if decades >= 2.3:
        step = math.ceil(decades / 6)
        exponents = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1, step)
        ticks = [10.0**exponent for exponent in exponents]
        plain = low >= 0.01 and high < 2e4
        labels = [f"{tick:g}" if plain else f"$10^{{{e}}}$" for e, tick in zip(exponents, ticks, strict=True)]
        minor = [m * 10.0**e for e in range(exponents[0] - 1, exponents[-1] + 1) for m in range(2, 10)]
    else:
        ticks = _round_numbers(low, high, decades)
        in_words = all(1e-4 <= tick < 1e10 for tick in ticks)  # one way of writing on one axis
        labels = [short(tick, 4) if in_words else f"${tex(tick)}$" for tick in ticks]
        if len(ticks) > FEW_TICKS and (not in_words or _sheet.get() is not None):
            labels = ["" if label.startswith(r"$2 \cdot") else label for label in labels]
        minor = []
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter(labels))
    axis.set_minor_locator(FixedLocator(minor) if minor and decades < 5 else NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _round_numbers(low: float, high: float, decades: float) -> list[float]:
    if decades >= 0.8:
        first = math.floor(math.log10(low))
        ticks = [m * 10.0**e for e in range(first, first + 4) for m in (1, 2, 5)]
    else:
        ticks = [float(tick) for tick in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    return [tick for tick in ticks if low <= tick <= high]
