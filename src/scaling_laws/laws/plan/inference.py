"""The cheapest model over its whole life, training and serving together.

Sardana et al. 2024 (arXiv 2401.00448), equation 2: minimise 6 N D + 2 N T over all (N, D) that reach a loss,
T the tokens served. A forward pass costs 2 N FLOPs per token; both at the same price, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scaling_laws.laws.forms.joint import JointLaw
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.study.errors import InputError

FORWARD_FLOPS_PER_PARAMETER_TOKEN = 2.0


@dataclass(frozen=True, kw_only=True)
class ServedPlan:
    """What to train for a loss and a demand. FLOPs throughout.

    Attributes:
        loss_nats: nats per token, reached by both models.
        served_tokens: T.
        N, D: parameters, tokens of the cheapest model.
        training, inference, total: 6 N D, 2 N T, and their sum.
        optimal_N, optimal_D: of the model that is cheapest to train.
        optimal_total: what that one costs with serving.
        saving: 1 - total/optimal_total.
    """

    loss_nats: float
    served_tokens: float
    N: float
    D: float
    training: float
    inference: float
    total: float
    optimal_N: float
    optimal_D: float
    optimal_total: float
    saving: float


def plan_served(law: JointLaw, loss_nats: float, served_tokens: float) -> ServedPlan:
    """The size and the tokens of the least 6 N D + 2 N T that reach `loss_nats`.

    Serving favours fewer parameters, so that the optimum lies between the smallest size that ever reaches the
    loss and the one that is cheapest to train; the sum has one minimum there in ln N.

    Raises:
        InputError: the demand is not positive, or the loss is never reached.
    """
    from scipy.optimize import minimize_scalar

    if not (np.isfinite(served_tokens) and served_tokens > 0):
        raise InputError(f"served tokens are {served_tokens}: give a positive number")
    least = float(law.compute_to_reach(loss_nats))
    if not np.isfinite(least):
        raise InputError(f"a loss of {loss_nats:g} nats is never reached by the law; ask for a higher loss")
    optimal_N, optimal_D = (float(value) for value in law.optimum(least))

    smallest = float(law.log_smallest_size(loss_nats))
    largest = float(np.log(optimal_N))

    def log_total(share: float) -> float:
        N = np.exp(smallest + share * (largest - smallest))
        tokens = FLOPS_PER_PARAMETER_TOKEN * law.tokens_to_reach(loss_nats, N)
        return float(np.log(N * (tokens + FORWARD_FLOPS_PER_PARAMETER_TOKEN * served_tokens)))

    found = minimize_scalar(log_total, bounds=(1e-6, 1.0), method="bounded", options={"xatol": 1e-10})
    N = float(np.exp(smallest + found.x * (largest - smallest)))
    D = float(law.tokens_to_reach(loss_nats, N))
    training = FLOPS_PER_PARAMETER_TOKEN * N * D
    inference = FORWARD_FLOPS_PER_PARAMETER_TOKEN * N * served_tokens
    optimal_total = least + FORWARD_FLOPS_PER_PARAMETER_TOKEN * optimal_N * served_tokens
    return ServedPlan(
        loss_nats=loss_nats,
        served_tokens=served_tokens,
        N=N,
        D=D,
        training=training,
        inference=inference,
        total=training + inference,
        optimal_N=optimal_N,
        optimal_D=optimal_D,
        optimal_total=optimal_total,
        saving=1 - (training + inference) / optimal_total,
    )
