"""Expected times: a machine with a known cost function is the truth; this machine times two networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from scaling_laws.models.transformer import Transformer
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan import timings as timings_module
from scaling_laws.sweeps.plan.cost_model import MOST_FLOPS, MOST_PROBES, Throughput, measured, probes_of
from scaling_laws.sweeps.plan.networks import PlannedNetwork, planned_network
from scaling_laws.sweeps.plan.sweep_file import Ladder, Model, Sweep
from scaling_laws.sweeps.plan.timings import EVALUATION_SEQUENCES, Probe, Timing
from scaling_laws.training import evaluation
from scaling_laws.training.step_time import measure_step_time

N_VOCAB = 512


def network(family: str = "transformer", *, n_ctx: int = 32, batch: int = 16, **shape: Any) -> PlannedNetwork:
    names: dict[str, Any] = {"class_path": family} if "." in family else {"family": family}
    ladder = Ladder(learning_rate=0.01, models=(Model(shape=shape, horizons_tokens=(10_000,)),), **names)
    sweep = Sweep(
        study="s", question="?", corpus="c.yaml", ladders=(ladder,), n_ctx=n_ctx, batch_sequences=batch
    )
    return planned_network(sweep, ladder, ladder.models[0], N_VOCAB)


def ladder(family: str = "transformer", **more: Any) -> list[PlannedNetwork]:
    return [
        network(family, N_about=N, n_layer=n_layer, **more) for N in (1e4, 1e5, 1e6) for n_layer in (2, 4)
    ]


def step_s(network: PlannedNetwork, batch_tokens: int) -> float:
    """A machine: a start, kernels of every block, 50 GFLOP/s, and logits that are read three times."""
    blocks = network.arguments["n_layer"] * network.n_reuse
    flops = 3 * sum(network.flops_per_token.values()) * batch_tokens
    return 1e-3 + 4e-4 * blocks + flops / 50e9 + 3e-9 * batch_tokens * N_VOCAB


def timed(network: PlannedNetwork) -> Timing:
    held_out = min(network.batch_sequences, EVALUATION_SEQUENCES) * network.n_ctx
    return Timing(
        network=network,
        step_s=step_s(network, network.batch_tokens),
        evaluation_s=step_s(network, held_out) / 3,
    )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[Probe]:
    """The machine above instead of this one; what it was asked to time."""
    asked: list[Probe] = []

    def answers(
        probes: Mapping[str, Probe], device: str, precision: str, watch: Callable[[Probe], None]
    ) -> Iterator[tuple[str, tuple[float, float] | str]]:
        for key, probe in probes.items():
            asked.append(probe)
            watch(probe)
            found = timed(probe.network)
            yield key, (found.step_s, found.evaluation_s)

    monkeypatch.setattr(timings_module, "_timed", answers)
    return asked


def test_shapes_that_were_not_timed_are_predicted(tmp_path: Path, machine: list[Probe]) -> None:
    plan = ladder() + ladder(batch=4) + ladder(n_ctx=128, batch=4) + ladder("lstm")
    throughput = measured(
        tmp_path / "t.json", probes_of(plan, device="cpu"), device="cpu", precision="32-true"
    )
    others = [
        network(N_about=3e4, n_layer=3),
        network(N_about=5e5, n_layer=1, batch=8),
        network(N_about=4e6, n_layer=6),
        network(N_about=3e4, n_layer=2, n_ctx=64),
        network("lstm", N_about=3e5, n_layer=3),
    ]
    for other in others:
        steps = 1000 / other.batch_tokens
        assert throughput.seconds(other, tokens=1000, batch_tokens=other.batch_tokens) == pytest.approx(
            steps * step_s(other, other.batch_tokens), rel=0.15
        )
        held_out = EVALUATION_SEQUENCES * other.n_ctx
        assert throughput.evaluation_seconds(other, 1000) == pytest.approx(
            1000 / held_out * step_s(other, held_out) / 3, rel=0.15
        )


def test_a_step_has_a_price_beside_its_tokens(machine: list[Probe], tmp_path: Path) -> None:
    """Half the batch takes more than half the seconds."""
    asked = network(N_about=1e5, n_layer=2)
    throughput = Throughput.fitted([timed(probe.network) for probe in probes_of([asked], device="cpu")])
    whole = throughput.seconds(asked, tokens=512, batch_tokens=512)
    assert whole == pytest.approx(step_s(asked, 512))
    halves = throughput.seconds(asked, tokens=512, batch_tokens=256)
    assert halves == pytest.approx(2 * step_s(asked, 256), rel=1e-3) and halves > 1.05 * whole


def test_reused_blocks_take_their_time(machine: list[Probe], tmp_path: Path) -> None:
    plan = [network(N_about=N, n_layer=2, n_reuse=4) for N in (1e4, 1e5)]
    throughput = measured(
        tmp_path / "t.json", probes_of(plan, device="cpu"), device="cpu", precision="32-true"
    )
    other = network(N_about=3e4, n_layer=2, n_reuse=8)
    assert throughput.seconds(other, tokens=512, batch_tokens=512) == pytest.approx(
        step_s(other, 512), rel=0.15
    )


def test_probes_are_few_affordable_and_far_apart() -> None:
    plan = [network(N_about=10 ** (4 + k / 10), n_layer=2, n_ctx=128) for k in range(50)]
    plan += ladder("lstm") + ladder("lstm", n_ctx=64)
    probes = probes_of([*plan, *plan], device="cpu", compiled=True)
    for family in ("transformer", "lstm"):
        shapes = [probe.network for probe in probes if probe.network.family == family]
        assert 2 <= len(shapes) <= MOST_PROBES
        for shape in shapes:
            flops = 3 * sum(shape.flops_per_token.values()) * shape.batch_tokens
            assert flops <= MOST_FLOPS["cpu"]
        assert max(shape.N for shape in shapes) > 20 * min(shape.N for shape in shapes)
        assert {shape.batch_sequences for shape in shapes} > {4}
    assert len({str(probe.as_json()) for probe in probes}) == len(probes)
    assert all(probe.compiled for probe in probes)
    huge = network(n_layer=2, d_model=8192, n_heads=8)
    (probe,) = probes_of([huge], device="cpu")
    assert probe.network == replace(huge, batch_sequences=1)


def test_only_what_is_missing_is_timed(machine: list[Probe], tmp_path: Path) -> None:
    path = tmp_path / "new" / "t.json"
    probes = probes_of(ladder(), device="cpu")
    first = measured(path, probes, device="cpu", precision="32-true")
    assert machine == list(probes)
    assert measured(path, probes, device="cpu", precision="32-true") == first
    assert len(machine) == len(probes)
    more = Probe(network=network("lstm", n_layer=1, d_model=8))
    measured(path, [*probes, more], device="cpu", precision="32-true")
    assert machine[len(probes) :] == [more]


@pytest.mark.parametrize(
    "change", ["device", "precision", "host", "torch", "batch", "optimizer", "compiled", "dropout"]
)
def test_other_conditions_are_timed_anew(
    machine: list[Probe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    probe = Probe(network=network(n_layer=1, d_model=8))
    measured(tmp_path / "t.json", [probe], device="cpu", precision="32-true")
    here = timings_module.machine("cpu")
    assert here["host"] and here["torch"] and here["processor"]
    options = {"device": "cpu", "precision": "32-true"}
    match change:
        case "device" | "precision":
            options[change] = "gpu" if change == "device" else "bf16-mixed"
        case "host" | "torch":
            monkeypatch.setattr(timings_module, "machine", lambda device: here | {change: "another"})
        case "batch":
            probe = replace(probe, network=network(n_layer=1, d_model=8, batch=2))
        case "dropout":
            probe = replace(probe, network=network(n_layer=1, d_model=8, dropout=0.1))
        case _:
            probe = replace(probe, **{change: "adafactor" if change == "optimizer" else True})  # type: ignore[arg-type]
    measured(tmp_path / "t.json", [probe], **options)
    assert len(machine) == 2
    monkeypatch.undo()
    assert len(json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["timings"]) == 2


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"timings": 3}', '{"timings": [3]}', '{"timings": [{"step_s": "x"}]}', "\x00"]
)
def test_a_damaged_file_is_made_anew(machine: list[Probe], tmp_path: Path, content: str) -> None:
    path, probes = tmp_path / "t.json", [Probe(network=network(n_layer=1, d_model=8))]
    path.write_text(content, encoding="utf-8")
    first = measured(path, probes, device="cpu", precision="32-true")
    assert measured(path, probes, device="cpu", precision="32-true") == first and len(machine) == 1


@pytest.mark.parametrize("seconds", [0, -1, "NaN", None, 1e999])
def test_times_that_are_none_are_made_anew(machine: list[Probe], tmp_path: Path, seconds: Any) -> None:
    path, probes = tmp_path / "t.json", [Probe(network=network(n_layer=1, d_model=8))]
    measured(path, probes, device="cpu", precision="32-true")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["timings"][0]["step_s"] = seconds
    path.write_text(json.dumps(content), encoding="utf-8")
    measured(path, probes, device="cpu", precision="32-true")
    assert len(machine) == 2


def test_a_file_that_cannot_be_kept_is_none(machine: list[Probe], tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, no folder", encoding="utf-8")
    asked = network(n_layer=1, d_model=8)
    throughput = measured(
        tmp_path / "data" / "t.json", [Probe(network=asked)], device="cpu", precision="32-true"
    )
    assert throughput.seconds(asked, tokens=512, batch_tokens=512) == pytest.approx(step_s(asked, 512))


def test_a_family_that_was_not_timed_has_no_time(machine: list[Probe]) -> None:
    throughput = Throughput.fitted([timed(network(n_layer=1, d_model=8))])
    with pytest.raises(InputError, match=r"lstm .*no network of this family was timed"):
        throughput.seconds(network("lstm", n_layer=1, d_model=8), tokens=1, batch_tokens=1)


# --- this machine ---------------------------------------------------------------------------------


class Fragile(Transformer):
    """Counts well, and may be impossible to run with real numbers."""

    def __init__(self, n_vocab: int, n_ctx: int, n_layer: int, d_model: int, fails: bool = False) -> None:
        super().__init__(n_vocab, n_ctx, n_layer, d_model)
        self.family = "fragile"
        self.fails = fails

    def forward(self, tokens: Tensor) -> Tensor:
        if self.fails:
            raise RuntimeError("cannot be\nrun")
        return super().forward(tokens)


def test_this_machine_times_networks_in_a_process_of_their_own(tmp_path: Path) -> None:
    """More work takes more time; one of a family may fail, but not all."""
    small, large, bad = (
        network("test_sweeps_throughput.Fragile", n_layer=n_layer, d_model=d_model, fails=fails, batch=4)
        for n_layer, d_model, fails in ((1, 16, False), (4, 64, False), (1, 16, True))
    )
    watched: list[Probe] = []
    probes = [Probe(network=each) for each in (bad, small, large)]
    path = tmp_path / "t.json"
    throughput = measured(path, probes, device="cpu", precision="32-true", watch=watched.append)
    assert watched == probes
    assert len(json.loads(path.read_text(encoding="utf-8"))["timings"]) == 2
    less, more = (throughput.seconds(each, tokens=1e6, batch_tokens=128) for each in (small, large))
    assert 0 < less < more < 1000 * less
    assert 0 < throughput.evaluation_seconds(large, 1e6) < more
    with pytest.raises(InputError, match=r"fragile: no network .* timed: RuntimeError: cannot be run$"):
        measured(tmp_path / "none.json", [probes[0]], device="cpu", precision="32-true")


def test_a_process_that_dies_gets_one_line(tmp_path: Path) -> None:
    probe = Probe(network=replace(network(n_layer=1, d_model=8), class_path="test_sweeps_throughput.Deadly"))
    with pytest.raises(InputError, match=r"its process ended with exit status 7$"):
        measured(tmp_path / "t.json", [probe], device="cpu", precision="32-true")


class Deadly(nn.Module):
    def __init__(self, **_: Any) -> None:
        import os

        os._exit(7)


def test_held_out_batches_are_those_of_the_evaluation() -> None:
    assert EVALUATION_SEQUENCES == evaluation.EVALUATION_SEQUENCES


def test_a_step_is_timed_with_the_optimiser_and_compiler_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda network: compiled.append(network))
    shape = {"n_layer": 1, "d_model": 8}
    found = measure_step_time(
        "scaling_laws.models.transformer.Transformer",
        shape,
        n_vocab=64,
        n_ctx=8,
        batch_sequences=40,
        device="cpu",
        precision="bf16-mixed",
        optimizer="adafactor",
        compiled=True,
    )
    assert found.step_s > 0 and found.evaluation_s > 0 and len(compiled) == 1
