"""``specframe doctor``: looks at everything that a run depends on and says what is broken.

Most imports are late: a package that cannot be imported is a finding and not a traceback.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from specframe import __version__
from specframe.cli.run_memory import memory_finding
from specframe.config import AUTO, DEFAULT_DRAFTER, RunConfig
from specframe.contracts.kinds import KINDS, Kind
from specframe.contracts.options import option, same_option
from specframe.errors import PluginError, SpecframeError, UsageError, one_line, unknown_name
from specframe.model.loading import DEMO_MODELS, default_model
from specframe.registry.components import Component, DoctorRequest, Finding
from specframe.registry.registry import Registration, Registry

if TYPE_CHECKING:
    from specframe.costs.model import CostModel
    from specframe.engine.forwards import ForwardTimes
    from specframe.engine.heads import HeadTimes
    from specframe.model.target import Target
    from specframe.registry.components import Setting

_PACKAGES = ("torch", "transformers", "triton", "pluggy")
_MARKS = {True: "ok", False: "BROKEN", None: "-"}


@attrs.frozen(slots=True, kw_only=True)
class DoctorOptions:
    """What to look at."""

    costs: bool = option(
        False,
        help="Show what the parts of a step cost here, and the drafts that follow; measures the target, "
        "which forward runs it fastest, and whether an exact screen finds its first choices faster.",
    )
    device: str = same_option(RunConfig, "device", absent=RunConfig().device)
    dtype: str = same_option(RunConfig, "dtype", absent=RunConfig().dtype)
    compile_targets: Sequence[str] = option(
        (),
        help="Compile the kernels for a GPU that need not be here, for example sm_90 or gfx942. Repeatable.",
        flags=("--compile",),
        metavar="TARGET",
    )
    model: str | None = option(
        None,
        help="Load this target and check what ships for it.",
        absent="none, or an installed demo model if there is a drafter to check",
        metavar="MODEL",
    )
    drafter: str | None = option(None, help="Check this drafter.", absent=DEFAULT_DRAFTER, metavar="NAME")
    checkpoint: Path | None = option(
        None,
        help="Check this checkpoint of the drafter against the target.",
        absent="the one that ships for the target",
        metavar="DIR",
    )

    @property
    def wants_target(self) -> bool:
        """Whether a model has to be loaded."""
        return (self.model, self.drafter, self.checkpoint) != (None, None, None)


def examine(options: DoctorOptions, broken: Sequence[PluginError] = ()) -> list[Finding]:
    """Return everything there is to say, from the installation to the checkpoint.

    Args:
        options: what to look at.
        broken: what is known to be wrong with plugins.

    Raises:
        UsageError: the options ask for something that is not there.
    """
    findings = list(_packages())
    if is_broken(findings):
        return findings
    from specframe.registry.placement import find_device, find_dtype

    options, placed = _placed(options)
    request = DoctorRequest(
        device=find_device(options.device),
        dtype=find_dtype(options.dtype),
        compile_targets=tuple(options.compile_targets),
        target=None,
        checkpoint=options.checkpoint,
    )
    registry, plugins = _working_plugins(broken)
    try:
        _check(options, registry)
    except UsageError as error:
        if not is_broken(plugins):
            raise
        # What was asked for may be in the plugin that does not work.
        return [*findings, *plugins, Finding("options", False, str(error))]
    findings += [*_machine(), *placed, *_demo_models(), *plugins, *_supported(options, registry, request)]
    if options.wants_target:
        target, finding = _load_target(options.model or default_model(), request)
        findings.append(finding)
        if target is not None and target.device.type == "cpu":
            weights = target.parameters * target.dtype.itemsize
            findings.append(memory_finding(target.name, options.dtype, options.device, weights))
        request = attrs.evolve(request, target=target, data=registry.data)
    return [*findings, *_diagnosed(options, registry, request)]


def is_broken(findings: Iterable[Finding]) -> bool:
    """Return whether anything does not work."""
    return any(finding.ok is False for finding in findings)


def to_rows(findings: Iterable[Finding]) -> list[tuple[str, str, str]]:
    """Return verdict, subject and message of each finding, for people."""
    return [(_MARKS[finding.ok], finding.subject, finding.message) for finding in findings]


def to_json(
    findings: list[Finding],
    costs: CostModel | None = None,
    forwards: ForwardTimes | None = None,
    heads: HeadTimes | None = None,
) -> str:
    """Return the findings, and the costs if there are any, as one JSON object."""
    from specframe.cli.cost_tables import to_values

    found: dict[str, Any] = {"ok": not is_broken(findings), "findings": [attrs.asdict(f) for f in findings]}
    return json.dumps(found if costs is None else {**found, "costs": to_values(costs, forwards, heads)})


def _packages() -> Iterator[Finding]:
    yield Finding("specframe", True, __version__)
    yield Finding("python", True, platform.python_version())
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            yield Finding(package, None, "not installed")
            continue
        try:
            version = importlib.import_module(package).__version__
        except Exception as error:  # a broken installation may raise anything
            yield Finding(package, False, f"cannot be imported: {one_line(error)}")
        else:
            yield Finding(package, True, version)


def _working_plugins(known: Sequence[PluginError]) -> tuple[Registry, list[Finding]]:
    """Return what the plugins that work register, and one finding per plugin.

    Where two claim one name, the stranger's is left out.
    """
    from specframe.registry.installed import DISABLE_VARIABLE, disabled_plugins, installed_plugins
    from specframe.registry.manager import build_registry, create_plugin_manager

    broken = list(known)
    registry = build_registry(create_plugin_manager(broken=broken), broken)
    plugins, findings = installed_plugins(), []
    disabled, wrong = disabled_plugins(plugins), {error.plugin: error for error in broken}
    for plugin in plugins:
        subject, origin = f"plugin {plugin.name}", f"{plugin.distribution} {plugin.version}"
        if plugin in disabled:
            findings.append(Finding(subject, None, f"{origin}, left out by {DISABLE_VARIABLE}"))
        elif (error := wrong.get(str(plugin))) is not None:
            findings.append(Finding(subject, False, str(error)))
        else:
            findings.append(Finding(subject, True, origin))
    others = {str(error): error for error in broken if not error.plugin}.values()
    return registry, [*findings, *(Finding(DISABLE_VARIABLE, False, str(error)) for error in others)]


def _check(options: DoctorOptions, registry: Registry) -> None:
    """Raise unless everything that was asked for is there; nothing has been loaded or compiled yet."""
    known = {name for entry in registry.registrations() for name in entry.component.compile_targets}
    for name in options.compile_targets:
        if not known:
            raise UsageError("no installed component compiles kernels")
        if name not in known:
            raise unknown_name("compile target", name, known)
    if options.drafter is not None or options.checkpoint is not None:
        drafter = registry.get("drafter", options.drafter or DEFAULT_DRAFTER)
        if options.checkpoint is not None and drafter.diagnose is None:
            raise UsageError(f"drafter {drafter.name!r} cannot check a checkpoint")
    if options.wants_target and options.model is None:
        default_model()


def _placed(options: DoctorOptions) -> tuple[DoctorOptions, list[Finding]]:
    """Return the options with a device and a dtype for `auto`, and one finding for each that was chosen."""
    from specframe.model.loading import stored_dtype
    from specframe.registry.placement import auto_device, auto_dtype, find_device

    findings = []
    if options.device == AUTO:
        device = auto_device()
        options = attrs.evolve(options, device=device.name)
        findings.append(Finding("device auto", True, f"takes {device.name}: {device.reason}"))
    if options.dtype == AUTO:
        model = options.model or RunConfig().model
        dtype = auto_dtype(find_device(options.device), stored_dtype(model))
        options = attrs.evolve(options, dtype=dtype.name)
        findings.append(Finding("dtype auto", True, f"takes {dtype.name} for {model}: {dtype.reason}"))
    return options, findings


def _machine() -> Iterator[Finding]:
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} threads"
    yield Finding("cpu", None, ", ".join([platform.machine(), capability, threads, *_memory()]))
    toolkit = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    if torch.version.cuda is None and torch.version.hip is None:
        yield Finding("gpu", None, "this build of torch is for the CPU only")
    elif not torch.cuda.is_available():
        yield Finding("gpu", None, f"this build of torch is for {toolkit}, but finds no device")
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        message = f"{device.name}, {toolkit}, {_gib(device.total_memory)}"
        yield Finding(f"gpu cuda:{index}", True, message)


def _memory() -> list[str]:
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return []
    return [_gib(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]


def _gib(size: int) -> str:
    return f"{size / 2**30:.0f} GiB memory"


def _demo_models() -> Iterator[Finding]:
    for demo in DEMO_MODELS.values():
        state = "installed" if demo.installed else f"not installed; install it with: {demo.install}"
        yield Finding(f"demo model {demo.name}", True if demo.installed else None, state)


def _supported(options: DoctorOptions, registry: Registry, request: DoctorRequest) -> Iterator[Finding]:
    """Ask every component whether it runs beside the default ones."""
    from specframe.registry.choice import resolve_gather, setting_for

    config = RunConfig(drafter=options.drafter or DEFAULT_DRAFTER)
    setting = setting_for(config, request.device, request.dtype)
    try:
        config = resolve_gather(config, registry, setting)
    except UsageError as error:
        yield Finding("gather backend auto", False, str(error))
    except Exception as error:  # a stranger's `supports` may raise anything
        yield Finding("gather backend auto", False, f"raised {one_line(error)}")
    else:
        yield Finding("gather backend auto", True, f"takes {config.gather}")
    setting = attrs.evolve(setting, gather=config.gather)
    for entry in registry.registrations():
        yield _verdict(entry, setting, f"{request.device} in {options.dtype}")


def _verdict(entry: Registration, setting: Setting, where: str) -> Finding:
    component = entry.component
    subject = f"{KINDS[entry.kind].label} {component.name}"
    chosen: dict[str, Any] = {entry.kind: component.name}
    try:
        reason = component.supports(attrs.evolve(setting, **chosen))
    except SpecframeError as error:
        return Finding(subject, False, str(error))
    if reason is not None:
        return Finding(subject, None, f"cannot run here: {reason}")
    return Finding(subject, True, f"runs on {where}")


def _load_target(name: str, request: DoctorRequest) -> tuple[Target | None, Finding]:
    from specframe.model.loading import open_pretrained
    from specframe.model.target import Target as TargetAdapter

    subject = f"target {name}"
    try:
        target = TargetAdapter(open_pretrained(name, request.dtype, request.device))
    except SpecframeError as error:
        return None, Finding(subject, False, str(error))
    beyond = sum(token_id >= target.vocab_size for token_id in target.tokenizer.get_vocab().values())
    if beyond:
        message = f"{beyond} tokens of the tokenizer are beyond the {target.vocab_size} rows of the LM head"
        return target, Finding(subject, False, message)
    message = (
        f"V={target.vocab_size}, H={target.hidden_size}, tokenizer {target.tokenizer_fingerprint}; "
        f"{len(target.required_ids)} ids always active, {len(target.stop_ids)} end a generation"
    )
    return target, Finding(subject, True, message)


def _diagnosed(options: DoctorOptions, registry: Registry, request: DoctorRequest) -> Iterator[Finding]:
    """Let the components look for themselves; of the drafters only the one that was asked for."""
    drafter = options.drafter or DEFAULT_DRAFTER
    for entry in registry.registrations():
        component = entry.component
        if entry.kind == "drafter" and component.name != drafter:
            continue
        own = tuple(name for name in request.compile_targets if name in component.compile_targets)
        yield from _guarded(entry.kind, component, attrs.evolve(request, compile_targets=own))


def _guarded(kind: Kind, component: Component, request: DoctorRequest) -> Iterator[Finding]:
    if component.diagnose is None:
        return
    try:
        yield from component.diagnose(request)
    except SpecframeError as error:
        yield Finding(f"{KINDS[kind].label} {component.name}", False, str(error))
