"""A model on disk whose weights are read when they are needed, and only once."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor, nn

from specframe.errors import SpecframeError
from specframe.model.answer import Record, text_ids
from specframe.model.lean.architecture import strange_names, why_not
from specframe.model.quiet import quiet_transformers
from specframe.model.supported import has_window_of_one
from specframe.ops.heap import give_back
from specframe.ops.packed_linear import PackedLinear, can_pack
from specframe.ops.weight_files import SUPPORTED, FileRows, WeightFiles

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_DECODER = "model."
_EMBEDDING, _HEAD = f"{_DECODER}embed_tokens.weight", "lm_head.weight"


@attrs.frozen(slots=True, kw_only=True, eq=False)
class StoredModel:
    """A checkpoint whose decoder the lean forward can run straight from its files.

    Attributes:
        config: of the model.
        tokenizer: its tokenizer.
        name: what users call it.
        dtype: to run it in.
        files: its weights.
        generation_config: what its generation config sets, by name.
        known: what the model said before; None if it was not asked yet.
        record_path: where what it says is kept.
        load: loads the model as transformers does.
    """

    config: Any
    tokenizer: PreTrainedTokenizerBase
    name: str
    dtype: torch.dtype
    files: WeightFiles
    generation_config: dict[str, Any]
    known: Record | None
    record_path: Path
    load: Callable[[], PreTrainedModel]

    @property
    def head_name(self) -> str:
        """The weight of the LM head, among ``files``."""
        return _HEAD if _HEAD in self.files.names else _EMBEDDING

    def head_rows(self) -> FileRows:
        """Return the rows of the LM head."""
        return self.files.rows(self.head_name, self.dtype)

    def packed_head(self) -> PackedLinear:
        """Return the LM head in the order that the CPU multiplies by."""
        give_back()  # what reading the tokenizer left behind, before the peak
        product = PackedLinear(self.files.converted(self.files.tensor(self.head_name), self.dtype))
        self.files.release()
        return product

    def ask(self) -> Record | None:
        """Return what the model says; one that was not asked before is loaded for it, and then dropped.

        None where the lean forward cannot run it.
        """
        if self.known is not None:
            return self.known
        try:
            model = self._reference()
            if model is None or why_not(model) is not None:
                return None
            vocab_size = self.head_rows().shape[0]
            record = Record.of(model, text_ids(self.tokenizer, vocab_size, model.device), self.name)
        except SpecframeError:
            raise
        except Exception:  # loading it whole says what is wrong with it
            return None
        record.save(self.record_path)
        del model
        give_back()
        self.files.release()
        return record

    def _reference(self) -> PreTrainedModel | None:
        """Return the model with its weights in the dtype to run in; None if it has weights that no file has.

        No weight is in memory twice.
        """
        from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

        classes: Any = MODEL_FOR_CAUSAL_LM_MAPPING
        tensors = {name: self.files.tensor(name) for name in self.files.names}
        stored = next(iter(tensors.values())).dtype
        # The tables of transformers are untyped; without a name it takes the weights that it is given.
        with quiet_transformers():
            loaded: Any = classes[type(self.config)].from_pretrained(
                None,
                config=self.config,
                state_dict=tensors,
                dtype=stored,
                attn_implementation="sdpa",
                output_loading_info=True,
            )
        model, info = loaded
        if info["missing_keys"]:
            return None
        for parameter in model.parameters():
            parameter.data = self.files.converted(parameter.data, self.dtype)
        model.config.dtype = self.dtype
        return model.eval()  # type: ignore[no-any-return]  # the tables are untyped


class StoredParts:
    """The ``DecoderParts`` of a model on disk.

    Args:
        stored: the model.
        record: what it says.
    """

    def __init__(self, stored: StoredModel, record: Record) -> None:
        self.config, self.facts = record.config, record.facts
        self.dtype, self.device = stored.dtype, torch.device("cpu")
        self.embed: nn.Module = StoredEmbedding(
            stored.files.rows(_EMBEDDING, stored.dtype), self.facts.embedding_scale
        )
        self._files = stored.files

    def weight(self, name: str) -> Tensor | None:
        """Return a weight by its name below the decoder, or None where the model has none."""
        full = _DECODER + name
        if full not in self._files.names:
            return None
        return self._files.converted(self._files.tensor(full), self.dtype)

    def taken(self) -> None:
        """Give back the pages of what has been copied."""
        self._files.release()


class StoredEmbedding(nn.Module):
    """An input embedding whose rows are read from a file.

    Args:
        rows: [V, H].
        scale: factor on the rows.
    """

    def __init__(self, rows: FileRows, scale: float) -> None:
        super().__init__()
        self._rows = rows
        self._scale = None if scale == 1.0 else torch.tensor(scale, dtype=rows.dtype)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the embeddings of ids [...] as [..., H]."""
        rows = self._rows.at(ids)
        return rows if self._scale is None else rows * self._scale


def open_files(folder: Path, dtype: torch.dtype) -> WeightFiles | None:
    """Return the weights of a checkpoint, or None where they cannot be read one by one or packed.

    Anything unusual, a broken file included, is left to transformers.

    Args:
        folder: of the checkpoint.
        dtype: to run it in.
    """
    if not SUPPORTED or not can_pack(torch.empty(0, dtype=dtype)):
        return None
    if (folder / "adapter_config.json").exists():
        return None
    try:
        return WeightFiles(_weight_paths(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def are_known(files: WeightFiles, config: Any) -> bool:
    """Return whether weights are all that a decoder of the lean forward and its LM head consist of.

    Args:
        files: the weights.
        config: of the model.
    """
    if hasattr(config, "quantization_config") or config.get_text_config() is not config:
        return False
    if has_window_of_one(config):
        return False
    names = set(files.names)
    tied = bool(config.tie_word_embeddings)
    heads = set() if tied else {_HEAD}
    if (names & {_HEAD}) != heads or len({files.tensor(name).dtype for name in names}) != 1:
        return False
    inside = {name.removeprefix(_DECODER) for name in names - heads if name.startswith(_DECODER)}
    return len(inside) == len(names - heads) and strange_names(inside, config) is None


def record_path(folder: Path, files: WeightFiles, dtype: torch.dtype, place: Path) -> Path:
    """Return where what a model says is kept: a name for its files as they are, and for what reads them.

    Args:
        folder: of the checkpoint.
        files: its weights.
        dtype: to run it in.
        place: directory of such files.
    """
    about = [str(dtype), torch.__version__, importlib.metadata.version("transformers")]
    about.append((folder / "config.json").read_text(encoding="utf-8"))
    for path in files.paths:
        stat = path.stat()
        about.append(f"{path.name} {stat.st_size} {stat.st_mtime_ns}")
    digest = hashlib.sha256("\n".join(about).encode()).hexdigest()
    return place / f"{digest[:32]}.safetensors"


def _weight_paths(folder: Path) -> Iterable[Path]:
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists() or not index.exists():
        return [whole]
    shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    return [folder / name for name in sorted(set(shards))]
