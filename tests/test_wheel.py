"""The package as others install it: a wheel, used outside the clone, with all packages and with few."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.test_installs import TABLE
from tests.test_readme import command_lines

from scaling_laws import __version__
from scaling_laws.cli import EXAMPLES
from scaling_laws.study.configurations import config_files
from scaling_laws.study.records import read_record

ROOT = Path(__file__).parents[1]
NO_REGISTRY = ("from versions: none", "ConnectionError", "Temporary failure in name resolution", "ProxyError")
"""What pip says where it reaches no packages."""
ENOUGH_FOR_TESTS = ("pytest", "pytest-xdist", "hypothesis", "packaging")
TESTS_OF_LOWEST = ("tests/test_plan_command.py", "tests/test_laws_command.py", "tests/laws/test_laws_fit.py")
TESTS_OF_LOWEST += ("tests/reports/test_reports_tables.py",)
OUTSIDE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
"""An environment that does not lead to the source."""

pytestmark = pytest.mark.systems


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build needs, copied: it leaves its folders beside the source."""
    folder = tmp_path_factory.mktemp("clone")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "configs", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", str(clone), "--no-deps", "--no-build-isolation", "-w", str(folder))
    (built,) = folder.glob("*.whl")
    return built


def pip(python: str | Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if any(words in done.stderr for words in NO_REGISTRY):
        pytest.skip(f"pip reaches no packages here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A new virtual environment's Python."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    return tmp_path / "venv" / "bin" / "python"


def caller(folder: Path, python: str | Path, **variables: str) -> Callable[..., str]:
    """Runs `scaling-laws` in a folder, and returns what it prints; nothing names the source."""

    def scaling_laws(*arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [str(python), "-m", "scaling_laws", *arguments],
            cwd=folder,
            env=OUTSIDE | variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert str(ROOT / "src") not in done.stdout and "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return scaling_laws


def test_it_holds_every_file_of_the_package_and_every_configuration(wheel: Path) -> None:
    """Templates, scripts and `py.typed` with the modules."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    files = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True).stdout
    ours = {line.removeprefix("src/") for line in files.splitlines()}
    assert {"scaling_laws/py.typed", "scaling_laws/cli.py"} <= ours <= inside
    assert {Path(name).suffix for name in ours} >= {".jinja", ".js"}
    shipped = {
        f"scaling_laws/shipped/configs/{path.parent.name}/{path.name}" for path in config_files().values()
    }
    shipped |= {f"scaling_laws/shipped/examples/{path.name}" for path in (ROOT / "examples").glob("*.py")}
    assert {name for name in inside if "/shipped/" in name} == shipped


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked; other packages are those of these tests."""
    folder = tmp_path_factory.mktemp("site")
    pip(sys.executable, "install", "--no-deps", "--target", str(folder), str(wheel))
    return folder


def test_readmes_commands_run_outside_the_clone(site: Path, tmp_path: Path) -> None:
    """In the order given, where there is no configs/, and where nothing but ASCII can be printed."""
    (tmp_path / "README.md").symlink_to(ROOT / "README.md")
    scaling_laws = caller(tmp_path, sys.executable, PYTHONPATH=str(site), PYTHONIOENCODING="ascii")
    assert scaling_laws("--version").split()[-1] == __version__
    printed = scaling_laws("study", "tiny")
    lines = command_lines("scaling-laws")
    assert len(lines) >= 3
    for line in lines:
        command, _, file = line.partition(" > ")
        output = scaling_laws(*shlex.split(command)[1:])
        if file:
            (tmp_path / file).write_text(output, encoding="utf-8")
        printed += output
    logs = tmp_path / "lightning_logs"
    again = read_record(logs / "again" / "record.json")
    first = read_record(logs / "tiny" / again.name / "record.json")
    assert again.losses == first.losses  # its config.yaml reproduces a run, to the same loss
    assert "test/loss_nats" in printed and "tokens, mean loss" in printed
    scaling_laws("sweep", "tiny", "--status")
    scaling_laws("sweep", "own_network", "--dry-run")  # its network is in the wheel
    copies = {"my_text.yaml", "mine.yaml"}
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "data", "lightning_logs"} | copies
    for example in set(EXAMPLES.values()):
        scaling_laws(*shlex.split(example))


def test_without_torch(wheel: Path, environment: Path, tmp_path: Path) -> None:
    """What requirements-laws.txt brings is enough for laws, plans, reports and Python, as it says."""
    requirements = str(ROOT / "requirements-laws.txt")
    pip(environment, "install", "--no-deps", str(wheel), "-r", requirements)
    (tmp_path / "runs.csv").write_text(TABLE, encoding="utf-8")
    scaling_laws = caller(tmp_path, environment)
    printed = scaling_laws("laws", "runs.csv", "--form", "chinchilla", "--bootstrap", "20", "-o", "laws.json")
    assert "0.34" in printed
    assert "tokens" in scaling_laws("plan", "--compute", "1e21", "--laws", "laws.json")
    assert "report.html" in scaling_laws("report", "runs.csv")
    assert "kaplan2020" in scaling_laws("paper")
    assert "is not installed" in scaling_laws("study", "tiny", status=2)
    python = "import scaling_laws as sl; print(sl.fit('runs.csv', resamples=20).plan(compute='1e21 FLOPs'))"
    subprocess.run([environment, "-c", python], cwd=tmp_path, env=OUTSIDE, check=True)


def test_the_lowest_releases(wheel: Path, environment: Path) -> None:
    requirements, lowest = str(ROOT / "requirements-laws.txt"), str(ROOT / "constraints-lowest.txt")
    pip(environment, "install", "-r", requirements, "-c", lowest, *ENOUGH_FOR_TESTS)
    pip(environment, "install", "--no-deps", str(wheel))
    done = subprocess.run(
        # Of releases of that age every warning is known.
        [environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", *TESTS_OF_LOWEST],
        cwd=ROOT,
        env=OUTSIDE,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_an_editable_install_has_the_configurations(clone: Path, environment: Path, tmp_path: Path) -> None:
    site_packages = next((environment.parents[1] / "lib").glob("python*")) / "site-packages"
    # First: a new environment may have a setuptools of its own, which is too old.
    line = f"import sys; sys.path.insert(0, {sysconfig.get_path('purelib')!r})"
    (site_packages / "these.pth").write_text(line, encoding="utf-8")
    pip(environment, "install", "--no-deps", "--no-build-isolation", "--editable", str(clone))
    printed = caller(tmp_path, environment)("config", "quick")
    assert printed == (ROOT / "configs" / "sweeps" / "quick.yaml").read_text(encoding="utf-8")
    python = "import scaling_laws; print(scaling_laws.__file__)"
    command = [environment, "-c", python]
    found = subprocess.run(command, cwd=tmp_path, env=OUTSIDE, capture_output=True, text=True).stdout
    assert found.startswith(str(clone))
