"""Claims of a paper: the rule that decides about each, as data, and the table and files of what runs say.

A rule compares a 90 % interval with bounds that were written down before a run was looked at. Where the
interval reaches across a bound, or the runs do not suffice, the verdict is `inconclusive`.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.level import LEVEL
from scaling_laws.laws.fit.straight_line import chance_beyond
from scaling_laws.laws.results.types import Laws
from scaling_laws.report.text import NOTHING, Table, plain, with_interval

Verdict = Literal["confirmed", "inconclusive", "contradicted", "not measured"]
VERDICTS: tuple[Verdict, ...] = ("confirmed", "inconclusive", "contradicted", "not measured")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What runs say about a claim.

    Attributes:
        verdict: by the claim's rule.
        why: one sentence of numbers, or what is missing.
        value, interval: of the claim's quantity, 90 %; None where it was not measured.
        p: how likely a quantity on the nearest bound of the rule gives so clear a verdict, one-sided, by a
            normal law of the interval's width; None where no interval decided.
    """

    verdict: Verdict
    why: str
    value: float | None = None
    interval: Interval | None = None
    p: float | None = None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A claim's quantity, for its rule to judge.

    Attributes:
        value, interval: 90 %; an end that is not known is None.
        context: what it was measured on, in words.
        limited: what the claim's limits are about, by their names.
    """

    value: float
    interval: Interval
    context: str = ""
    limited: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What must hold of a measurement for its interval to count.

    Attributes:
        name: what is limited, with its unit.
        words: the same as a part of a sentence, with `{least:g}` or `{most:g}`.
        least, most: bounds.
        contradicts_above: beyond this the claim is contradicted, where all else confirms it.
        always: whether a contradiction needs it as much as a confirmation.
    """

    name: str
    words: str
    least: float = -math.inf
    most: float = math.inf
    contradicts_above: float = math.inf
    always: bool = False

    def holds(self, measured: Measured) -> bool:
        return self.least <= measured.limited[self.name] <= self.most

    def __str__(self) -> str:
        return self.words.format(least=self.least, most=self.most)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement of a paper.

    Attributes:
        slug: its name: what it says, in a few words.
        text: the statement.
        source: where it is made.
        quantity: what is measured, with its unit.
        paper: the paper's value of that quantity; empty where it gives none.
        method: how it is measured, in sentences; empty where `quantity` says it.
        confirmed: where the whole interval must lie, from and to (may be infinite); where both are one
            number, the interval must hold it. Contradicted is what has no part of its interval there.
        limits: what else must hold.
        contradicted_if: what else contradicts the claim, in words; `measure` then returns the finding.
        caveat: what the rule cannot tell, known before any run: in sentences.
        needs: name of the file in `configs/sweeps/` that trains the runs; empty where none of them does.
        measure: (study's tables, laws) -> the quantity, or a finding where there is nothing to judge.
    """

    slug: str
    text: str
    source: str
    quantity: str
    paper: str
    method: str = ""
    confirmed: tuple[float, float]
    limits: tuple[Limit, ...] = ()
    contradicted_if: str = ""
    caveat: str = ""
    needs: str = ""
    measure: Callable[[Any, Laws], Measured | Finding]

    @property
    def sweep(self) -> str:
        return f"configs/sweeps/{self.needs}.yaml" if self.needs else ""

    @property
    def rule(self) -> str:
        """The rule in words."""
        inside, outside = _bounds_in_words(*self.confirmed)
        always = [str(limit) for limit in self.limits if limit.always]
        conditions = [f"it {inside}", *(str(limit) for limit in self.limits if not limit.always)]
        refutations = [f"it {outside}", *([self.contradicted_if] if self.contradicted_if else [])]
        refutations += [
            f"{limit.name} is above {limit.contradicts_above:g} where all else confirms it"
            for limit in self.limits
            if limit.contradicts_above < math.inf
        ]
        decided = f"Confirmed: {_joined(conditions, 'and')}. Contradicted: {_joined(refutations, 'or')}."
        needed = f"Either verdict needs that {_joined(always, 'and')}. " if always else ""
        rule = f"{needed}{decided.replace(': it ', ': the interval ', 1)}"
        return " ".join(part for part in (self.method, rule, self.caveat) if part)

    def finding(self, study: Any, laws: Laws) -> Finding:
        """What a study says about the claim."""
        measured = self.measure(study, laws)
        return self.judge(measured) if isinstance(measured, Measured) else measured

    def judge(self, measured: Measured) -> Finding:
        """The rule, applied to what was measured."""
        value, interval, context = measured.value, measured.interval, measured.context
        if not all(limit.holds(measured) for limit in self.limits if limit.always):
            return inconclusive(context, value, interval)
        if interval == (None, None):
            return inconclusive(f"it has no interval; {context}", value)
        verdict, where = self._verdict(
            -math.inf if interval[0] is None else interval[0],
            math.inf if interval[1] is None else interval[1],
        )
        why = f"the interval {where}; {context}" if context else f"the interval {where}"
        broken = [limit for limit in self.limits if not limit.holds(measured)]
        if verdict == "confirmed" and broken:
            verdict, why = "inconclusive", context
            if all(measured.limited[limit.name] > limit.contradicts_above for limit in broken):
                verdict, why = "contradicted", f"{broken[0].name} is too large: {context}"
        decided = verdict in ("confirmed", "contradicted")
        p = _chance(value, interval, self.confirmed) if decided else None
        return Finding(verdict=verdict, why=why, value=value, interval=interval, p=p)

    def _verdict(self, bottom: float, top: float) -> tuple[Verdict, str]:
        low, high = self.confirmed
        if low == high:
            holds = bottom <= low <= top
            return ("confirmed", f"holds {low:g}") if holds else ("contradicted", f"leaves {low:g} out")
        if low <= bottom and top <= high:
            return "confirmed", f"lies {_band(low, high)}"
        if top < low or bottom > high:
            return "contradicted", f"lies below {low:.3g}" if top < low else f"lies above {high:.3g}"
        crossed = [f"{end:.3g}" for end in (low, high) if math.isfinite(end) and bottom <= end <= top]
        return "inconclusive", f"lies on both sides of {' and '.join(crossed)}"


def _chance(value: float, interval: Interval, bounds: tuple[float, float]) -> float | None:
    """`Finding.p`; None where the rule is a point, or the interval is open towards the bound."""
    if bounds[0] == bounds[1]:
        return None
    chances = []
    for bound in bounds:
        end = interval[0] if bound < value else interval[1]
        if math.isinf(bound) or end is None or end == value:
            continue
        chances.append(chance_beyond(value, end, bound))
    return max(chances, default=None)  # the nearest bound


def after_holm(found: Findings) -> tuple[list[str], list[str]]:
    """Claims decided by an interval: those that stand, and those that do not, after Holm's correction.

    The chance of any wrong verdict among those that stand is at most what a single one has, 5 %.
    """
    known = sorted((finding.p, claim.slug) for claim, finding in found if finding.p is not None)
    stands: list[str] = []
    for place, (p, slug) in enumerate(known):
        if p > (1 - LEVEL) / 2 / (len(known) - place):
            break
        stands.append(slug)
    return stands, [slug for _, slug in known[len(stands) :]]


def multiplicity(found: Findings) -> str:
    """How many verdicts chance alone would give, and which do not stand when that is allowed for."""
    stands, falls = after_holm(found)
    n = len(stands) + len(falls)
    if not n:
        return ""
    words = (
        f"{n} verdicts rest on a 90 % interval; were every quantity on its bound, {n * (1 - LEVEL) / 2:.1f} "
        f"of them would be wrong by chance. After Holm's correction {len(stands)} stand"
    )
    return words + (f"; without it alone: {', '.join(f'`{slug}`' for slug in falls)}." if falls else ".")


def inconclusive(why: str, value: float | None = None, interval: Interval | None = None) -> Finding:
    """The runs are there, and their range or their precision does not suffice."""
    return Finding(verdict="inconclusive", why=why, value=value, interval=interval)


def not_measured(why: str) -> Finding:
    """There are no runs for it."""
    return Finding(verdict="not measured", why=why)


def _bounds_in_words(low: float, high: float) -> tuple[str, str]:
    """Where the interval lies if a claim is confirmed, and if it is contradicted."""
    if low == high:
        return f"holds {low:g}", f"leaves {low:g} out"
    if low == -high:
        return f"lies within {high:g} of 0", "lies outside"
    outside = "below" if math.isinf(high) else "above" if math.isinf(low) else "outside"
    return f"lies {_band(low, high)}", f"lies {outside}"


def _band(low: float, high: float) -> str:
    if math.isinf(low):
        return f"below {high:.3g}"
    if math.isinf(high):
        return f"above {low:.3g}"
    return f"between {low:.3g} and {high:.3g}"


def _joined(parts: Sequence[str], word: str) -> str:
    *first, last = parts
    return f"{', '.join(first)}{',' * (len(first) > 1)} {word} {last}" if first else last


# --- What runs say about all claims of a paper ----------------------------------------------------

Findings = Sequence[tuple[Claim, Finding]]


def findings(claims: Sequence[Claim], study: Any, laws: Laws) -> Findings:
    """What a study says about every claim."""
    return [(claim, claim.finding(study, laws)) for claim in claims]


def counted(found: Findings) -> str:
    """`10 confirmed, 12 inconclusive, 4 contradicted`."""
    counts = Counter(finding.verdict for _, finding in found)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])


def claims_table(found: Findings) -> Table:
    """One row a claim, and how many there are of each verdict."""
    rows = tuple(
        (
            str(place),
            claim.text,
            claim.quantity,
            with_interval(finding.value, finding.interval),
            claim.paper or NOTHING,
            finding.verdict,
            finding.why
            + (f"; needs {claim.sweep}" if finding.verdict == "not measured" and claim.sweep else ""),
        )
        for place, (claim, finding) in enumerate(found, start=1)
    )
    return Table(
        columns=("", "claim", "quantity", "these runs", "paper", "verdict", "why"),
        rows=rows,
        caption=f"{counted(found)}. Brackets: 90 % intervals, where a rule does not say otherwise. "
        f"The rules are in claims.md. {multiplicity(found)}".rstrip(),
    )


def claim_files(title: str, found: Findings) -> dict[str, str]:
    """The contents of `claims.json`, `claims.csv` and `claims.md`, by name."""
    entries = [_entry(place, *each) for place, each in enumerate(found, start=1)]
    return {
        "claims.json": json.dumps(entries, indent=1, allow_nan=False) + "\n",
        "claims.csv": _csv(entries),
        "claims.md": _markdown(title, found),
    }


def _entry(place: int, claim: Claim, finding: Finding) -> dict[str, Any]:
    low, high = finding.interval or (None, None)
    return {
        "number": place,
        "slug": claim.slug,
        "claim": claim.text,
        "source": claim.source,
        "quantity": claim.quantity,
        "value": finding.value,
        "low": low,
        "high": high,
        "paper": claim.paper,
        "verdict": finding.verdict,
        "why": finding.why,
        "p": finding.p,
        "rule": claim.rule,
        "sweep": claim.sweep,
    }


def _csv(entries: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(entries[0]) if entries else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries)
    return text.getvalue()


def _markdown(title: str, found: Findings) -> str:
    """The table, and below it every rule."""
    table = claims_table(found)
    rules = (
        f"{place}. `{claim.slug}` **{claim.text}** ({claim.source}). {claim.rule}"
        + (f" Runs: `{claim.sweep}`." if claim.sweep else "")
        for place, (claim, _) in enumerate(found, start=1)
    )
    blocks = [f"# {plain(title)}", table.markdown(), table.caption, "## Rules", "\n".join(rules)]
    return "\n\n".join(blocks) + "\n"
