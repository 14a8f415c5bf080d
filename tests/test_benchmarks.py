"""The benchmarks: what they import is there, and what a GPU's folder holds gets into the documents."""

from __future__ import annotations

import ast
import importlib
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEASURED = {
    "alone": {
        "device": "H1",
        "torch": "2.11.0",
        "half_type": "bfloat16",
        "n_vocab": 50257,
        "peak_flops_per_s": 7.9e14,
        "rows": [
            {
                "family": "transformer",
                "shape": {"n_layer": 12, "d_model": 768},
                "n_ctx": 1024,
                "batch_sequences": 32,
                "N": 84_934_656,
                "tokens_per_s": {"ours eager": 4e5, "ours compiled": 5e5},
                "utilisation": {"ours eager": 0.44, "ours compiled": 0.551},
            },
            {"family": "lstm", "shape": {"n_layer": 2, "d_model": 512}, "failed": "OutOfMemoryError: no"},
        ],
    },
    "stacked": {
        "rows": [
            {"how": "alone", "N": 9600, "compiled": False, "n_networks": 1, "times_one_alone": 1.0},
            {"how": "stacked", "N": 9600, "compiled": False, "n_networks": 16, "times_one_alone": 9.87},
        ]
    },
}


def test_every_name_that_a_benchmark_imports_is_there() -> None:
    """Of this project's and of one another's, inside functions, too; without importing what they import."""
    scripts = {path.stem: ast.parse(path.read_text("utf-8")) for path in (ROOT / "benchmarks").glob("*.py")}
    imports = [
        (script, node.module, alias.name)
        for script, tree in scripts.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    ]
    ours = {each for each in imports if each[1].partition(".")[0] == "scaling_laws"}
    others = {each for each in imports if each[1] in scripts}
    assert len(ours) > 100 and len(others) > 10
    missing = {each for each in ours if not _has(*each[1:])}
    missing |= {each for each in others if each[2] not in _defined(scripts[each[1]])}
    assert not missing


def _has(module: str, name: str) -> bool:
    found = importlib.import_module(module)
    is_package = hasattr(found, "__path__")
    return hasattr(found, name) or (is_package and find_spec(f"{module}.{name}") is not None)


def _defined(tree: ast.Module) -> set[str]:
    """Names of a module's own functions, classes and values."""
    targets = (
        target
        for node in tree.body
        for target in (getattr(node, "targets", None) or [getattr(node, "target", None)])
    )
    names = (name for target in targets if target is not None for name in ast.walk(target))
    values = {name.id for name in names if isinstance(name, ast.Name)}
    return values | {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_tables_are_filled_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    on_a_gpu = importlib.import_module("on_a_gpu")
    for name, content in MEASURED.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    documents = [ROOT / "docs/performance.md", ROOT / "docs/scaling-up.md"]
    for document in documents:
        before = document.read_text(encoding="utf-8")
        filled = on_a_gpu.fill(before, tmp_path)
        assert filled.count("<!-- gpu: end -->") == before.count("<!-- gpu: end -->") == 2
        assert on_a_gpu.fill(filled, tmp_path) == filled
        if document.name == "performance.md":
            assert "500.0 (55.1 %)" in filled and "lstm 2 × 512  failed: OutOfMemoryError: no" in filled
            assert "7.9e+14" not in filled and "matrix peak 790 TFLOP/s in bfloat16" in filled
        else:
            assert "| 9,600 | eager | 9.9 × |" in filled
        # What has no file keeps what it says.
        for name in ("precision", "sharing"):
            if f"<!-- gpu: {name} -->" in before:
                kept = before[before.index(f"<!-- gpu: {name} -->") :].split("<!-- gpu: end -->")[0]
                assert kept in filled


def test_what_the_script_needs_is_what_the_project_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    needs = {line.partition("==")[0] for line in importlib.import_module("on_a_gpu")._needs()}
    assert {"pytorch-lightning", "optuna", "sqlalchemy", "typeshed-client", "pytest", "numpy"} <= needs
    assert not {name for name in needs if name.startswith(("torch-", "nvidia", "triton", "sympy"))}
    assert "torch" not in needs
