"""`laws.json` as typed laws: read value for value, written again, refused with one line where it is wrong."""

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from scaling_laws.laws.forms.joint import KaplanND
from scaling_laws.laws.results.schema import laws_schema, schema_text
from scaling_laws.laws.results.types import NOT_MEASURED, OPTIONAL, Laws, family_keys
from scaling_laws.study.errors import InputError

GONE = ("training_time", "ladder", "kaplan_counting")
"""Keys of older files, which hold what papers made of a study."""


def load(name):
    with open(f"results/{name}/laws.json") as file:
        return json.load(file)


@pytest.fixture(scope="module", params=["quick", "cpu"])
def recorded(request):
    return load(request.param)


@pytest.fixture(scope="module")
def quick():
    return load("quick")


def covers(written, recorded):
    """Whether everything recorded is in what is written."""
    if isinstance(recorded, dict):
        return all(key in written and covers(written[key], value) for key, value in recorded.items())
    if isinstance(recorded, list):
        return len(written) == len(recorded) and all(map(covers, written, recorded))
    return written == recorded


def test_recorded_laws_come_back_value_for_value(recorded):
    laws = Laws.from_json(recorded, "laws.json")
    written = laws.to_json()
    kept = {key: value for key, value in recorded.items() if key not in GONE}
    assert covers(written, kept)
    assert Laws.from_json(json.loads(json.dumps(written, allow_nan=False)), "laws.json") == laws
    assert [fit["family"] for fit in recorded["fits"]] == [
        laws.family for laws in laws.by_family for _ in laws.fits
    ]


def test_a_fit_is_a_law_with_draws(recorded):
    laws = Laws.from_json(recorded, "laws.json")
    fit = laws.of("transformer").fit("kaplan_nd")
    assert isinstance(fit.law, KaplanND) and fit.law.alpha_N == fit.parameters["alpha_N"] == fit.value(
        "alpha_N"
    )
    assert fit.value("a_opt") == fit.derived["a_opt"] and fit.value("gamma") is None
    assert fit.interval("alpha_N") == fit.intervals["alpha_N"]
    assert fit.draws.alpha_N.shape == (len(fit.resamples["alpha_N"]),)
    assert laws.of("transformer").allocation_by("isoflop").method == "isoflop"


def test_draws_of_a_critical_batch_may_be_infinite(recorded):
    for laws in Laws.from_json(recorded, "laws.json").by_family:
        if laws.critical_batch.resamples:
            unbounded = [value is None for value in laws.critical_batch.resamples["alpha_B"]]
            assert np.isinf(laws.critical_batch.draws.alpha_B).tolist() == unbounded


def test_a_family_without_laws_says_why(quick):
    nothing = Laws.from_json(quick, "laws.json").of("mamba")
    assert nothing.fits == () and nothing.fit("chinchilla") is None
    assert nothing.frontier.reason == nothing.critical_batch.reason == NOT_MEASURED
    assert nothing.allocation_by("envelope").exponent is None


REQUIRED = [key for key in family_keys() if key not in OPTIONAL]


@pytest.mark.parametrize("key", ["study", "noise", "families", *REQUIRED])
def test_a_key_that_is_missing_is_named(quick, key):
    laws = {name: value for name, value in quick.items() if name != key}
    with pytest.raises(InputError, match=rf"^a/laws.json: lacks {key}; make it again with"):
        Laws.from_json(laws, "a/laws.json")


def test_older_files_have_no_laws_of_novel_tokens(quick):
    older = {name: value for name, value in quick.items() if name != "novel"}
    assert all(laws.novel == () for laws in Laws.from_json(older, "laws.json").by_family)
    first = quick["fits"][0] | {"family": "transformer"}
    (law,) = Laws.from_json(older | {"novel": [first]}, "laws.json").of("transformer").novel
    assert law.form == first["form"]


@pytest.mark.parametrize("key", REQUIRED)
def test_every_entry_must_have_all_its_fields(quick, key):
    field = next(name for name in reversed(quick[key][0]) if name not in {"family", *OPTIONAL})
    laws = deepcopy(quick)
    del laws[key][0][field]
    with pytest.raises(InputError, match=rf"laws.json: .*{key}\[0\].*{field}"):
        Laws.from_json(laws, "laws.json")


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("fits", 3, "objective"), "much", "fits[3].objective"),
        (("fits", 0, "certificate", "starts"), None, "fits[0].certificate.starts"),
        (("fits", 0, "family"), 7, "fits[0].family"),
        (("isoflop", 0, "points", 1, "N"), [1], "isoflop[0].points[1].N"),
        (("approaches", 0, "approaches", 2, "optima"), "none", "approaches[0].approaches[2].optima"),
        (("conventions", "N"), 1, "conventions.N"),
        (("warnings",), "one", "warnings"),
        (("rollout", 0, "axis"), "E", "rollout[0].axis"),
    ],
)
def test_a_wrong_type_is_one_line_that_names_file_and_field(quick, path, value, field):
    laws = deepcopy(quick)
    parent = laws
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value
    with pytest.raises(InputError) as error:
        Laws.from_json(laws, "a/laws.json")
    message = str(error.value)
    assert message.startswith(f"a/laws.json: {field}: ") and "\n" not in message
    assert message.endswith("; make it again with: scaling-laws laws")


def test_other_schemas_and_second_entries_are_refused(quick):
    with pytest.raises(InputError, match=r"not a laws\.json of schema 1"):
        Laws.from_json(quick | {"schema": 2}, "laws.json")
    twice = quick | {"frontier": [quick["frontier"][0], quick["frontier"][0]]}
    with pytest.raises(InputError, match=r"frontier\[1\]: a second entry of one family"):
        Laws.from_json(twice, "laws.json")


def test_the_schema_is_what_the_types_say(quick):
    assert Path("docs/laws.schema.json").read_text(encoding="utf-8") == schema_text()
    schema = laws_schema()
    assert set(schema["properties"]) == set(Laws.from_json(quick, "laws.json").to_json())
    assert set(schema["required"]) == set(schema["properties"]) - OPTIONAL
    assert set(schema["required"]) == set(quick) - set(GONE) - OPTIONAL
    certificate = schema["$defs"]["LawCertificate"]
    assert set(certificate["required"]) == set(certificate["properties"]) - {"profile"}
