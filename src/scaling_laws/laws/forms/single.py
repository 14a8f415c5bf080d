"""Laws of one variable: Kaplan's power laws, the same above an irreducible loss, and their competitors."""

from __future__ import annotations

import numpy as np

from scaling_laws.laws.forms.terms import FloatArray, Law, Numbers, SumOfPowers, Term


class KaplanN(SumOfPowers, form="kaplan_n", of=(Term("N", "N_c", "alpha_N"),), notation="scale"):
    """Kaplan 2020, equation (1.1): ample data, trained to convergence."""

    alpha_N: Numbers
    N_c: Numbers


class KaplanD(SumOfPowers, form="kaplan_d", of=(Term("D", "D_c", "alpha_D"),), notation="scale"):
    """Kaplan 2020, equation (1.2): a large model, stopped early."""

    alpha_D: Numbers
    D_c: Numbers


class KaplanC(SumOfPowers, form="kaplan_c", of=(Term("C", "C_c", "alpha_C"),), notation="scale"):
    """Kaplan 2020, section 3.3: the best loss over N at each compute, at one batch."""

    alpha_C: Numbers
    C_c: Numbers


class KaplanCMin(
    SumOfPowers, form="kaplan_c_min", of=(Term("C_min", "C_c_min", "alpha_C_min"),), notation="scale"
):
    """Kaplan 2020, equation (1.3): the best loss over N at C_min, compute far below the critical batch."""

    alpha_C_min: Numbers
    C_c_min: Numbers


class PowerN(SumOfPowers, form="power_n", of=(Term(None, "E"), Term("N", "A", "alpha"))):
    """A power law in N above an irreducible loss E (Hoffmann 2022's form at ample data)."""

    E: Numbers
    A: Numbers
    alpha: Numbers


class PowerD(SumOfPowers, form="power_d", of=(Term(None, "E"), Term("D", "B", "beta"))):
    """A power law in D above an irreducible loss E."""

    E: Numbers
    B: Numbers
    beta: Numbers


class PowerC(SumOfPowers, form="power_c", of=(Term(None, "E"), Term("C", "K", "gamma"))):
    """A power law in C above an irreducible loss E."""

    E: Numbers
    K: Numbers
    gamma: Numbers


class PowerCMin(SumOfPowers, form="power_c_min", of=(Term(None, "E"), Term("C_min", "K", "gamma"))):
    """A power law in C_min above an irreducible loss E."""

    E: Numbers
    K: Numbers
    gamma: Numbers


class Position(SumOfPowers, form="position", of=(Term(None, "a"), Term("T", "b", "c"))):
    """Loss at position T of the context: a power law above a constant (Kaplan 2020, figure 20)."""

    a: Numbers
    b: Numbers
    c: Numbers


class Logarithmic(Law):
    """A loss linear in the logarithm, the comparator of Kaplan 2020, figure 23. It ends below zero."""

    a: Numbers
    b: Numbers

    def __init_subclass__(cls, *, form: str, variable: str) -> None:
        super().__init_subclass__(
            form=form,
            variables=(variable,),
            formula=f"a - b ln {variable}",
            units={"a": "nats/token", "b": "nats/token per e-fold"},
        )

    def at(self, x: FloatArray) -> FloatArray:
        return np.asarray(self.a - self.b * np.log(x))


class LogN(Logarithmic, form="log_n", variable="N"):
    """In N."""


class LogD(Logarithmic, form="log_d", variable="D"):
    """In D."""


class LogC(Logarithmic, form="log_c", variable="C"):
    """Guo 2024 (arXiv 2404.19484): linear in ln C, however C is split between N and D."""


class Broken(Law):
    """A smoothly broken power law, one break (Caballero 2023, arXiv 2210.14891, n = 1).

    The exponent is c_0 far below the break at x = d_1 and c_0 + c_1 far above it; f_1 is the break's width in
    ln x.
    """

    E: Numbers
    b: Numbers
    c_0: Numbers
    c_1: Numbers
    d_1: Numbers
    f_1: Numbers

    def __init_subclass__(cls, *, form: str, variable: str) -> None:
        super().__init_subclass__(
            form=form,
            variables=(variable,),
            formula=f"E + b {variable}^-c_0 [1 + ({variable}/d_1)^(1/f_1)]^(-c_1 f_1)",
            units={"E": "nats/token", "b": "nats/token", "d_1": "of the variable"},
        )

    def at(self, x: FloatArray) -> FloatArray:
        log_ratio = np.log(x) - np.log(self.d_1)
        bend = np.asarray(self.c_1 * self.f_1) * np.logaddexp(0.0, log_ratio / self.f_1)
        return np.asarray(self.E + self.b * x ** -np.asarray(self.c_0) * np.exp(-bend))


class BrokenN(Broken, form="broken_n", variable="N"):
    """In N."""


class BrokenD(Broken, form="broken_d", variable="D"):
    """In D."""


class BrokenC(Broken, form="broken_c", variable="C"):
    """In C."""
