"""Lock files, and environments with a pip of one's choice to install them into."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent
# Environments of scripts/test-envs.sh: Debian 12's pip, and the newest.
OLD_PIP, NEW_PIP = "pip-old", "pip-new"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\]+)", re.MULTILINE)
_PROJECT_FILES = ("pyproject.toml", "README.md", "LICENSE", "hatch_build.py")
_SHOW = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"


def pins(lock: str) -> dict[str, str]:
    """The versions that a lock names, by package."""
    return dict(_PINNED.findall((REPOSITORY / lock).read_text()))


def copy_of_checkout(place: Path) -> Path:
    """The files of this checkout that set-up goes by, and those of the program."""
    place.mkdir(parents=True)
    for path in (*REPOSITORY.glob("requirements*.lock"), *(REPOSITORY / name for name in _PROJECT_FILES)):
        shutil.copy(path, place)
    for folder in ("remotefs", "scripts"):
        shutil.copytree(REPOSITORY / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return place


def fresh_environment(home: Path, pip: str) -> Path:
    """Make an environment with nothing but a release of pip in it; its interpreter."""
    source = REPOSITORY / ".envs" / pip
    assert source.exists(), f"{source} is missing: `make test` prepares it"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    packages = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    for part in (source / packages).glob("pip*"):
        shutil.copytree(part, home / packages / part.name)
    return home / "bin" / "python"


def installed(python: Path) -> dict[str, str]:
    """The versions of what an environment holds, by package; pip left out."""
    shown = subprocess.run([python, "-c", _SHOW], capture_output=True, text=True, check=True)
    versions: dict[str, str] = json.loads(shown.stdout)
    return {name.lower().replace("_", "-"): version for name, version in versions.items() if name != "pip"}


def run(*command: object, env: Mapping[str, str], cwd: Path = REPOSITORY, timeout_s: float = 600) -> str:
    """Run a command that has to succeed; what it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout
