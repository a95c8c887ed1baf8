"""The doctor goes on past everything that is broken, and names it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from stranger import STRATEGY, install_plugin

from specframe.cli.examination import DoctorOptions, examine, is_broken, to_json, to_rows
from specframe.errors import UsageError
from specframe.registry.components import Finding
from specframe.registry.installed import DISABLE_VARIABLE

GATHER = """
import attrs
from specframe.registry.components import Component, Finding
from specframe.registry.hookspecs import hookimpl


@attrs.frozen
class Options:
    pass


def supports(setting):
    {supports}


def diagnose(request):
    {diagnose}


@hookimpl
def specframe_gather_backends():
    return [
        Component(
            name="theirs",
            summary="a stranger's",
            options=Options,
            factory=lambda options, context: None,
            supports=supports,
            diagnose=diagnose,
            compile_targets=("gpu_1", "gpu_2"),
        )
    ]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sys.path where distributions can be installed."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install_gather(
    site: Path, name: str, *, supports: str = "return None", diagnose: str = "return []"
) -> None:
    install_plugin(site, name, GATHER.format(supports=supports, diagnose=diagnose))


def found(subject: str, **options: Any) -> Finding:
    """Return the one finding about a subject."""
    (finding,) = [finding for finding in examine(DoctorOptions(**options)) if finding.subject == subject]
    return finding


def test_nothing_is_broken_in_this_installation() -> None:
    assert not is_broken(examine(DoctorOptions()))


@pytest.mark.parametrize("subject", ["specframe", "python", "torch", "transformers", "pluggy"])
def test_versions_are_told(subject: str) -> None:
    finding = found(subject)
    assert finding.ok
    assert finding.message[0].isdigit()


def test_a_package_that_cannot_be_imported_is_a_finding_and_ends_the_examination(
    monkeypatch: pytest.MonkeyPatch, site: Path
) -> None:
    monkeypatch.delitem(sys.modules, "pluggy")
    (site / "pluggy.py").write_text("raise OSError('no such library')\n", encoding="utf-8")
    finding = examine(DoctorOptions())[-1]
    assert finding == Finding("pluggy", False, "cannot be imported: OSError: no such library")


def test_the_cpu_and_the_demo_models_are_information_or_fine() -> None:
    assert found("cpu").ok is None
    assert "threads" in found("cpu").message
    assert found("demo model smollm2-135m").ok is not False


def test_a_plugin_that_works_is_named_with_its_distribution(site: Path) -> None:
    install_plugin(site, "working-strategy", STRATEGY.format(name="theirs"), version="2.5")
    assert found("plugin working-strategy") == Finding(
        "plugin working-strategy", True, "working-strategy 2.5"
    )
    assert found("strategy theirs").ok


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("broken-import", "import no_such_module_anywhere\n", "failed to import: ModuleNotFoundError"),
        (
            "raising-hook",
            "from specframe.registry.hookspecs import hookimpl\n\n@hookimpl\n"
            "def specframe_drafters():\n    return 1 / 0\n",
            "raised in specframe_drafters(): ZeroDivisionError",
        ),
        ("same-name", STRATEGY.format(name="nanospec"), "is registered by both"),
    ],
)
def test_a_plugin_that_does_not_work_is_a_finding_and_the_others_are_looked_at(
    site: Path, name: str, source: str, complaint: str
) -> None:
    install_plugin(site, name, source)
    finding = found(f"plugin {name}")
    assert finding.ok is False
    assert complaint in finding.message
    assert found("strategy nanospec").ok


def test_a_plugin_that_is_left_out_is_not_loaded(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(site, "left-out", "import no_such_module_anywhere\n")
    monkeypatch.setenv(DISABLE_VARIABLE, "left-out")
    finding = found("plugin left-out")
    assert (finding.ok, finding.message) == (None, f"left-out 1.0, left out by {DISABLE_VARIABLE}")


def test_what_a_component_cannot_do_here_is_information(site: Path) -> None:
    install_gather(site, "choosy-gather", supports="return f'not on {setting.device}'")
    assert found("gather backend theirs") == Finding(
        "gather backend theirs", None, "cannot run here: not on cpu"
    )


def test_supports_that_raises_is_a_finding(site: Path) -> None:
    install_gather(site, "raising-supports", supports="raise KeyError('x')")
    assert found("gather backend theirs") == Finding(
        "gather backend theirs",
        False,
        "plugin raising-supports (raising-supports 1.0) raised in supports() of gather backend 'theirs': "
        "KeyError: 'x'; set SPECFRAME_DISABLE_PLUGINS=raising-supports to go on without it",
    )


def test_a_component_diagnoses_itself_for_its_own_compile_targets(site: Path) -> None:
    install_gather(
        site,
        "diagnosed-gather",
        diagnose="yield Finding('their kernels', True, ' '.join(request.compile_targets))",
    )
    assert found("their kernels", compile_targets=("gpu_2",)).message == "gpu_2"


def test_diagnose_that_raises_is_a_finding(site: Path) -> None:
    install_gather(site, "raising-diagnose", diagnose="raise KeyError('x')")
    findings = examine(DoctorOptions())
    assert Finding("gather backend theirs", False, "diagnose() raised KeyError: 'x'") in findings


def test_a_compile_target_that_nobody_knows_is_refused_with_the_known_ones(site: Path) -> None:
    install_gather(site, "compiling-gather")
    with pytest.raises(UsageError, match="unknown compile target 'gpu_3'; did you mean 'gpu_2'"):
        examine(DoctorOptions(compile_targets=("gpu_3",)))


def test_without_a_component_that_compiles_no_target_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DISABLE_VARIABLE, "specframe-builtin")
    with pytest.raises(UsageError, match="no installed component compiles kernels"):
        examine(DoctorOptions(compile_targets=("sm_80",)))


def test_without_any_plugin_there_is_no_gather_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DISABLE_VARIABLE, "specframe-builtin")
    assert found("gather backend auto").ok is False


def test_a_drafter_without_checks_of_its_own_takes_no_checkpoint(site: Path) -> None:
    drafter = STRATEGY.replace("specframe_vocabularies", "specframe_drafters")
    install_plugin(site, "unchecked-drafter", drafter.format(name="unchecked"))
    with pytest.raises(UsageError, match="drafter 'unchecked' cannot check a checkpoint"):
        examine(DoctorOptions(drafter="unchecked", checkpoint=Path("head")))


def test_a_drafter_that_a_broken_plugin_may_have_is_a_finding_beside_that_plugin(site: Path) -> None:
    install_plugin(site, "broken-drafter", "import no_such_module_anywhere\n")
    findings = examine(DoctorOptions(drafter="theirs"))
    broken = [finding.subject for finding in findings if finding.ok is False]
    assert broken == ["plugin broken-drafter", "options"]


@pytest.mark.parametrize(("ok", "mark"), [(True, "ok"), (False, "BROKEN"), (None, "-")])
def test_rows_and_json_say_the_same(ok: bool | None, mark: str) -> None:
    findings = [Finding("it", ok, "what it is")]
    assert to_rows(findings) == [(mark, "it", "what it is")]
    assert json.loads(to_json(findings)) == {
        "ok": ok is not False,
        "findings": [{"subject": "it", "ok": ok, "message": "what it is"}],
    }
