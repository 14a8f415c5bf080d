"""The one table of the conventions of N and C."""

from __future__ import annotations

from scaling_laws.models.transformer_config import TransformerConfig
from scaling_laws.report.style import COMPUTE_LABELS, PARAMETER_LABELS
from scaling_laws.study.conventions import (
    C_CONVENTIONS,
    COUNT_ONCE,
    N_CONVENTIONS,
    compute_flops,
    parameter_counts,
)


def test_each_convention_is_what_the_paper_counts() -> None:
    config = TransformerConfig(n_vocab=100, n_ctx=16, n_layer=2, d_model=8, n_reuse=3, bias=False)
    parameters, flops = config.parameters_by_group(), config.flops_per_token()
    N = 12 * 2 * 8**2 + 5 * 8  # and the norms
    assert parameter_counts(parameters, flops, 3) == {
        "N": N,
        "N_with_head": N + 100 * 8,
        "N_total": N + 100 * 8 + 16 * 8,
        "N_reused": 3 * N,
    }
    C = compute_flops(parameters, flops, 10, 3)
    assert C["C"] == 6 * 3 * N * 10
    assert C["C_attention"] == C["C"] + 3 * 10 * 2 * 2 * 3 * 16 * 8
    assert C["C_exact"] == 3 * 10 * sum(flops.values())


def test_names_are_the_same_everywhere() -> None:
    config = TransformerConfig(n_vocab=10, n_ctx=4, n_layer=1, d_model=4)
    parts = config.parameters_by_group(), config.flops_per_token()
    assert list(parameter_counts(*parts)) == list(N_CONVENTIONS) == list(PARAMETER_LABELS)
    assert list(compute_flops(*parts, 1)) == list(C_CONVENTIONS) == list(COMPUTE_LABELS)
    assert set(COUNT_ONCE) == N_CONVENTIONS.keys() - {"N_reused"}
