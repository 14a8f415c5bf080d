"""How people and trackers call the columns of N, D, C and the loss."""

from __future__ import annotations

import re
from collections.abc import Iterable

USUAL_NAMES = {
    "N": (
        *("params", "nparams", "numparams", "parameters", "nparameters", "numparameters", "modelsize"),
        *("modelparams", "modelnparams", "modelnumparameters", "paramcount", "parametercount", "ntotal"),
        *("totalparams", "trainableparams", "nonembeddingparams", "nparamsnonembedding", "paramsnonemb"),
    ),
    "D": (
        *("tokens", "ntokens", "numtokens", "tokensseen", "ntokensseen", "numtokensseen", "totaltokens"),
        *("traintokens", "trainingtokens", "numinputtokensseen", "consumedtokens", "processedtokens"),
        *("traintokensseen", "throughputtotaltokens", "datasetsize"),
    ),
    "C": ("flops", "compute", "trainflops", "trainingflops", "totalflops", "flop"),
    "loss": (
        *("valloss", "evalloss", "validationloss", "validloss", "testloss", "lossval", "losseval"),
        *("lossvalidation", "validationepochloss", "finalloss", "lossnats", "lmloss", "evalcrossentropy"),
    ),
    "batch_tokens": ("batchtokens", "tokensperstep", "tokensperbatch", "batchsizetokens"),
}
"""Names without signs and in lower case, the likeliest first."""
WORDS = {
    "N": (
        {"params", "param", "parameters", "size"},
        {"batch", "step", "steps", "vocab", "seq", "context", "data", "dataset"},
    ),
    "D": ({"tokens", "token"}, {"per", "step", "batch", "loss", "second", "sec", "unique"}),
    "C": ({"flop", "flops", "compute"}, {"per", "second", "sec"}),
    "loss": ({"loss", "bpb", "ppl", "perplexity", "nll"}, {"train", "training", "aux"}),
}
"""Words that speak for a column, and words that speak against it."""
GROUPS = re.compile(r"(config|summary|params|metrics|hparams|hyperparameters)[./]", re.IGNORECASE)
"""What trackers put before a name."""


def usual_column(header: Iterable[str], role: str) -> str | None:
    """The column whose name is a usual one for N, D, C, the loss or the tokens of a step."""
    header = list(header)
    own, others = (role.lower(),), USUAL_NAMES.get(role, ())
    for wanted in (*others, *own) if role == "loss" else (*own, *others):  # `loss` is often that of training
        for column in header:
            if wanted in (normal(column), normal(GROUPS.sub("", column, count=1))):
                return column
    return None


def likely_column(header: Iterable[str], role: str) -> str | None:
    """The column to propose for N, D, C or the loss: of a usual name, or with a word that says so."""
    header = list(header)
    if (usual := usual_column(header, role)) is not None:
        return usual
    wanted, unwanted = WORDS[role]
    likely = [name for name in header if words_of(name) & wanted and not words_of(name) & unwanted]
    measured = [name for name in likely if words_of(name) & {"val", "eval", "test", "validation"}]
    return next(iter([*measured, *likely]), None)


def words_of(column: str) -> set[str]:
    """The words of a name, in lower case."""
    return set(re.findall("[a-z]+", column.lower()))


def normal(column: str) -> str:
    """A name without signs and in lower case."""
    return re.sub("[^a-z0-9]", "", column.lower())
