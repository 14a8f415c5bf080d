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


def normal(column: str) -> str:
    """A name without signs and in lower case."""
    return re.sub("[^a-z0-9]", "", column.lower())
