"""
What an sdist, a wheel and a systemd unit carry to other machines.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "setup.py").exists(), reason="needs the checkout"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Build an sdist, and a wheel out of that sdist, in a copy of the checkout.
    """
    folder = tmp_path_factory.mktemp("packaging")
    checkout = folder / "checkout"
    shutil.copytree(
        ROOT,
        checkout,
        ignore=shutil.ignore_patterns(
            *(".*", "venv", "build", "dist", "*.egg-info", "__pycache__"),
            *("dropin.cache", "node[0-9]"),
        ),
    )
    # What may lie about in a checkout, and is nobody else's business.
    (checkout / "twisted" / "plugins" / "dropin.cache").write_bytes(b"stale")
    (checkout / "node0").mkdir()
    (checkout / "node0" / "hraftd.sqlite3").write_bytes(b"data")
    _build(checkout, "build_sdist", folder)
    [sdist] = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    [unpacked] = (folder / "unpacked").iterdir()
    _build(unpacked, "build_wheel", folder)
    return folder


def _build(project: Path, hook: str, folder: Path) -> None:
    """
    Ask setuptools, as pip does, but without the index: it is here already.
    """
    pytest.importorskip("setuptools", reason="needs setuptools to build with")
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"from setuptools import build_meta; build_meta.{hook}({str(folder)!r})",
        ],
        cwd=project,
        check=True,
        capture_output=True,
        timeout=120,
    )


@pytest.fixture
def wheel(built: Path) -> set[str]:
    """
    Name the files of the wheel.
    """
    [file] = built.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        return set(archive.namelist())


@pytest.fixture
def sdist(built: Path) -> set[str]:
    """
    Name the files of the sdist, without the folder that all are in.
    """
    [file] = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def _sources() -> set[str]:
    return {
        file.relative_to(ROOT).as_posix() for file in (ROOT / "hraftd").rglob("*.py")
    }


def test_wheel(wheel: set[str]) -> None:
    """
    The package with its types, and the plugin in Twisted's own folder; nothing of
    Twisted's is replaced, and nothing that is no part of hraftd comes along.
    """
    files = {name for name in wheel if ".dist-info/" not in name}
    assert files == _sources() | {
        "hraftd/py.typed",
        "twisted/plugins/hraftd_plugin.py",
    }


def test_entry_point(built: Path) -> None:
    """
    There is a command ``hraftd``.
    """
    [file] = built.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        [name] = [name for name in archive.namelist() if "entry_points" in name]
        assert "hraftd = hraftd.console:main" in archive.read(name).decode()


def test_sdist(sdist: set[str]) -> None:
    """
    All that is needed to read, build, test and run it.
    """
    needed = {
        *("setup.py", "pyproject.toml", "MANIFEST.in"),
        *("README.rst", "CHANGELOG.rst", "LICENSE"),
        *("hraftd/py.typed", "twisted/plugins/hraftd_plugin.py"),
        *("conf/hraftd@.service", "conf/node0.env"),
    }
    needed |= _sources()
    for folder, pattern in (("tests", "*.py"), ("docs", "*.rst"), ("conf", "*")):
        needed |= {
            file.relative_to(ROOT).as_posix()
            for file in (ROOT / folder).rglob(pattern)
            if file.is_file() and "__pycache__" not in file.parts
        }
    assert needed <= sdist, needed - sdist
    for name in sdist:
        assert "__init__" not in name or not name.startswith("twisted")
        assert not name.endswith(("dropin.cache", ".sqlite3", ".pyc")), name


def test_plugin_is_no_package() -> None:
    """
    An ``__init__.py`` there would hide Twisted itself.
    """
    assert not list((ROOT / "twisted").rglob("__init__.py"))
    assert [file.name for file in (ROOT / "twisted").rglob("*.py")] == [
        "hraftd_plugin.py"
    ]


# What an operator copies.


def _unit() -> str:
    return (ROOT / "conf" / "hraftd@.service").read_text()


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="needs systemd-analyze; in Debian: apt install systemd",
)
def test_unit(tmp_path: Path) -> None:
    """
    Every line of the unit is understood by systemd.

    In a copy that runs a program which is there, as a user who is there: both are
    looked up, and hraftd need not be installed in /opt here.
    """
    unit = _unit()
    environment = tmp_path / "node0.env"
    environment.write_text((ROOT / "conf" / "node0.env").read_text())
    copied, programs = re.subn(
        r"^ExecStart=\S+", "ExecStart=/bin/true", unit, flags=re.M
    )
    copied, files = re.subn(
        r"^EnvironmentFile=.*", f"EnvironmentFile={environment}", copied, flags=re.M
    )
    copied, users = re.subn(r"^(User|Group)=.*", r"\1=root", copied, flags=re.M)
    assert (programs, files, users) == (1, 1, 2)
    (tmp_path / "hraftd@node0.service").write_text(copied)
    verified = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            "--man=no",
            str(tmp_path / "hraftd@node0.service"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # It also speaks of other units of the machine.
    ours = [line for line in verified.stderr.splitlines() if "hraftd" in line]
    assert ours == []


def test_unit_names_real_options() -> None:
    """
    What the unit and its environment file write is what hraftd takes.
    """
    from hraftd.tap import Options

    environment = dict(
        line.partition("=")[::2]
        for line in (ROOT / "conf" / "node0.env").read_text().splitlines()
        if line and not line.startswith("#")
    )
    [command] = re.findall(r"^ExecStart=(.*)$", _unit(), flags=re.M)
    words = shlex.split(
        re.sub(r"\$\{?(\w+)\}?", lambda name: environment[name[1]], command).replace(
            "%i", "node0"
        )
    )
    options = Options()
    options.parseOptions(words[1:])
    assert options.settings is not None
    assert options.settings.me.id == "node0"
    assert options.settings.me.raft == environment["HRAFTD_RADDR"]
    assert options.settings.data_dir == Path("/var/lib/hraftd/node0")


# What the README promises.


def _commands() -> list[str]:
    """
    Return the blocks of commands in the README, without prompts.
    """
    blocks: list[str] = []
    lines = (ROOT / "README.rst").read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        if not re.fullmatch(
            r"\s*\.\. code(-block)?:: *(console|sh|bash|shell)\s*", line
        ):
            continue
        block: list[str] = []
        for text in lines[number + 1 :]:
            if text.strip() and not text.startswith((" ", "\t")):
                break
            if text.strip() and not re.fullmatch(r"\s*:\w+:.*", text):
                block.append(re.sub(r"^\s*(\$ )?", "", text))
        blocks.append("\n".join(block))
    return blocks


def test_readme_test_command_is_run() -> None:
    """
    The command that the README gives for testing is the one that CI runs.
    """
    command = 'venv/bin/pip install ".[test]" && venv/bin/python -m pytest'
    assert any(command in block for block in _commands())
    run = (ROOT / ".ci" / "run").read_text()
    assert command in run.replace("pip install --quiet ", "pip install ")


def test_readme_start_command() -> None:
    """
    The README's first command ends with a running node, from nothing.
    """
    first = _commands()[0]
    assert re.search(r"python3? -m venv venv", first)
    assert "pip install ." in first
    assert "twistd -n hraftd --id node0" in first
