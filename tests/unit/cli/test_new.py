from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from command_line import CommandLine

from specframe.cli.scaffold.package import NewPackage
from specframe.contracts import protocols
from specframe.contracts.kinds import KINDS
from specframe.registry.manager import build_registry, create_plugin_manager

VARIANTS = (
    ("strategy", ()),
    ("gather", ()),
    ("drafter", ()),
    ("drafter", ("--with-head",)),
    ("verifier", ()),
)
every_variant = pytest.mark.parametrize(("kind", "flags"), VARIANTS, ids=str)
# What a contract has that only goes with something else: a screen, or another answer than the stub's.
FOR_OTHERS = {"candidate_topk", "resume", "skip"}


@every_variant
def test_a_package_holds_all_that_it_takes(
    cli: CommandLine, tmp_path: Path, kind: str, flags: tuple[str, ...]
) -> None:
    outcome = cli("new", kind, "my-own", "--into", tmp_path, *flags)
    folder = tmp_path / "specframe-my-own"
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert str(folder) in outcome.out
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    code = {"vocabulary": "strategy"}.get(kind, kind)
    assert found == {
        "README.md",
        "pyproject.toml",
        *(f"specframe_my_own/{name}" for name in ("__init__.py", "component.py", f"{code}.py", "py.typed")),
        f"tests/test_{code}.py",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["specframe-my-own"]
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["specframe"] == {"my-own": "specframe_my_own"}
    assert project["optional-dependencies"]["test"]


@every_variant
def test_a_package_is_found_through_its_hook_and_names_every_member_of_its_contract(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, flags: tuple[str, ...]
) -> None:
    name = f"member-{kind}" + "-head" * len(flags)
    cli("new", kind, name, "--into", tmp_path, *flags)
    folder = tmp_path / f"specframe-{name}"
    monkeypatch.syspath_prepend(folder)
    module = importlib.import_module(f"specframe_{name.replace('-', '_')}")
    manager = create_plugin_manager(entry_points=False)
    manager.register(module)
    info = next(one for one in KINDS.values() if one.setting == kind)
    component = build_registry(manager).get(info.name, name)
    assert component.summary
    contract = getattr(protocols, info.protocol)
    members = {one for one in (*vars(contract), *contract.__annotations__) if not one.startswith("_")}
    code = (folder / module.__name__ / f"{kind}.py").read_text(encoding="utf-8")
    assert {one for one in members if one not in code} <= FOR_OTHERS


@pytest.mark.skipif(shutil.which("ruff", path=Path(sys.executable).parent) is None, reason="needs ruff")
@pytest.mark.parametrize("name", ["x", "twenty-letters-long1"])
@every_variant
def test_a_package_is_in_good_style_whatever_its_name(
    tmp_path: Path, kind: str, flags: tuple[str, ...], name: str
) -> None:
    folder = NewPackage.of(kind, name, "0.1.0", with_head=bool(flags)).write(tmp_path)
    ruff = Path(sys.executable).with_name("ruff")
    for arguments in (("check", "--quiet"), ("format", "--check", "--quiet")):
        done = subprocess.run(
            [ruff, *arguments, "--no-cache", "."], cwd=folder, capture_output=True, check=False, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("version", "bound"),
    [
        ("0.1.0", ">=0.1.dev0,<0.2"),
        ("0.1.dev12+g123abc", ">=0.1.dev0,<0.2"),
        ("0.12.3rc1", ">=0.12.dev0,<0.13"),
        ("1.4.0", ">=1.4.dev0,<2"),
    ],
)
def test_a_package_is_bound_to_the_minor_version_and_its_previews(version: str, bound: str) -> None:
    assert NewPackage.of("verifier", "mine", version).bound == bound


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["verifer", "mine"], "unknown kind 'verifer'; did you mean 'verifier'? known: drafter, gather"),
        (["strategy", "Mine"], "name 'Mine' is none for a strategy; allowed: lower-case letters"),
        (["strategy", "my_own"], "name 'my_own' is none for a strategy"),
        (["strategy", "3d"], "name '3d' is none for a strategy"),
        (["strategy", "../up"], "name '../up' is none for a strategy"),
        (["strategy", "a--b"], "name 'a--b' is none for a strategy"),
        (["gather", "a" * 21], "at most 20 characters"),
        (["gather", "auto"], "name 'auto' means something else"),
        (["strategy", "autoregressive"], "name 'autoregressive' means something else"),
        (
            ["strategy", "plugins"],
            "name 'plugins' would write over specframe-plugins; allowed",
        ),
        (["strategy", "nanospec"], "strategy 'nanospec' is registered by specframe-builtin"),
        (["vocabulary", "static"], "strategy 'static' is registered by specframe-builtin"),
        (["gather", "mine", "--with-head"], "--with-head is for drafters, and 'gather' is none"),
        (["drafter", "mine", "--into", "no/such/folder"], "no/such/folder is no folder"),
        (["drafter"], "Missing argument 'NAME'"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cli("new", *arguments)
    assert outcome.exit_code == 2
    assert complaint in outcome.complaint
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays_as_it_is(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "specframe-mine").mkdir()
    outcome = cli("new", "verifier", "mine", "--into", tmp_path)
    assert (outcome.exit_code, outcome.complaint.partition(";")[0]) == (
        2,
        f"{tmp_path}/specframe-mine exists",
    )
    assert list((tmp_path / "specframe-mine").iterdir()) == []


def test_a_disk_that_is_full_leaves_nothing_half_written(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    write_text = Path.write_text

    def write(path: Path, text: str, encoding: str) -> int:
        written.append(path)
        if len(written) > 2:
            raise OSError(28, "No space left on device")
        return write_text(path, text, encoding)

    monkeypatch.setattr(Path, "write_text", write)
    outcome = cli("new", "verifier", "mine", "--into", tmp_path)
    assert outcome.exit_code == 2
    assert "specframe-mine: No space left on device" in outcome.complaint
    assert list(tmp_path.iterdir()) == []


def test_a_package_is_written_without_waiting_for_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from specframe.cli.app import app; "
        f"app(['new', 'drafter', 'mine', '--into', {str(tmp_path)!r}], standalone_mode=False); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
