"""What is installed is whole: the wheel in an empty environment, and imports that cost nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from conftest import ROOT

HEAVY = ("torch", "onnx", "numpy", "onnxruntime", "graphviz", "pygraphviz", "safetensors", "PIL")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel, its base dependencies, and nothing else."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    source.mkdir()
    for name in ("compiler", "grammar"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place, cwd=source)
    (wheel,) = place.glob("*.whl")
    venv.create(place / "empty", with_pip=True)
    programs = place / "empty" / ("Scripts" if os.name == "nt" else "bin")
    run(programs / "python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel)
    return programs


def test_the_wheel_compiles_a_spec(installed: Path, tmp_path: Path) -> None:
    spec = shutil.copy(ROOT / "specs" / "lenet5.arch", tmp_path)
    assert "LeNet-5 is right" in run(installed / "archc", "check", spec, cwd=tmp_path)
    run(installed / "archc", "build", spec, cwd=tmp_path)
    built = {path.suffix for path in (tmp_path / "build" / "lenet5").iterdir()}
    assert built >= {".py", ".onnx", ".safetensors", ".dot", ".svg", ".png", ".pdf", ".txt"}


def test_commands_that_need_an_extra_name_it(installed: Path, tmp_path: Path) -> None:
    spec = shutil.copy(ROOT / "specs" / "mlp.arch", tmp_path)
    run(installed / "archc", "build", spec, cwd=tmp_path)
    for command, extra in ((["verify", "build/mlp"], "archc-nn["), (["run", "build/mlp", "x.png"], "archc-nn[run]")):
        done = subprocess.run([str(installed / "archc"), *command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert extra in done.stderr
        assert "Traceback" not in done.stderr


def test_importing_archc_loads_nothing_heavy() -> None:
    code = "import sys, archc; print(*[name for name in sys.modules])"
    loaded = set(run(sys.executable, "-c", code).split())
    assert not loaded & {*HEAVY, "lark"}


@pytest.mark.parametrize("command", ["check", "summary", "explain", "fmt --check"])
def test_quick_commands_load_nothing_heavy(command: str) -> None:
    words = [*command.split(), str(ROOT / "specs" / "vgg_e.arch")]
    code = f"import sys\nfrom archc.cli import main\ns = main({words!r})\nprint('loaded', *sys.modules)\nsys.exit(s)"
    loaded = set(run(sys.executable, "-c", code).rpartition("loaded ")[2].split())
    assert "lark" in loaded
    assert not loaded & set(HEAVY)


def test_every_package_is_shipped() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(settings["tool"]["setuptools"]["packages"]) - {"archc.grammar"}
    found = {
        ".".join(path.parent.relative_to(ROOT / "compiler").parts) for path in (ROOT / "compiler").rglob("__init__.py")
    }
    assert listed == found
