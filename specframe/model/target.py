"""A transformers causal LM as a target: prefill, tree pass, KV commit."""

from __future__ import annotations

import hashlib
import logging

import attrs
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from specframe.contracts.kinds import ForwardName, TargetHeadName
from specframe.contracts.target_logits import AllLogits, HeadOutput
from specframe.contracts.top_tokens import TopTokens
from specframe.contracts.tree import DraftTree
from specframe.errors import UsageError
from specframe.model.fastest import remembered_head
from specframe.model.forward import append
from specframe.model.language_model import LanguageModel
from specframe.model.loading import LoadedModel
from specframe.model.request_lock import RequestLock
from specframe.model.stored import StoredModel
from specframe.model.target_head import ScreenedTargetHead
from specframe.ops.cpu import why_slow
from specframe.ops.free_memory import free_bytes

# Rows of the LM head's input per product when harvesting a prompt: bounds memory to 32 x V logits, and as
# much again that the product itself needs.
_HARVEST_ROWS = 32

# Tokens that chat templates close a turn with; generation configs often leave them out.
_END_OF_TURN = ("<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|end|>")

# Of what a screen of the LM head holds, as much memory must be free: it is made from a copy, and other work
# wants memory too.
ROOM = 3

_log = logging.getLogger(__name__)


@attrs.frozen(slots=True, eq=False)
class Prefill:
    """What the target says about a prompt of T tokens.

    Attributes:
        logits: after the last position [1, V].
        features: at every position [T, F].
        top: the target's top ids after each of the last P positions [P, k]; None when not asked for.
    """

    logits: Tensor
    features: Tensor
    top: TopTokens | None


@attrs.frozen(slots=True, eq=False)
class TreePass:
    """What the target says about a draft tree: what its LM head does of N nodes, and features [N, F]."""

    output: HeadOutput
    features: Tensor

    @property
    def logits(self) -> Tensor:
        """After each node [N, V]."""
        return self.output.logits


class Target(LanguageModel):
    """The model whose output counts.

    Arguments and errors are those of ``LanguageModel``, and:

    Args:
        head: how first choices are found: ``full``, the product with all rows; ``exact-screen``; or ``auto``,
            which takes the screen where it was measured to be faster here and there is memory for it.

    Raises:
        UsageError: ``exact-screen`` is asked for on another device than a CPU, or ``torch.autocast`` is on.

    Attributes:
        head_name: how first choices are found.
        head_reason: why so, a few words.
        stop_ids: ids that end a generation: EOS, and the end of a turn where the chat template has one.
        request_lock: keeps requests from running into each other, those of several engines included.
        begun: how often ``begin`` was called; what the KV cache held before is gone.
    """

    def __init__(
        self,
        loaded: LoadedModel | StoredModel,
        forward: ForwardName = "auto",
        head: TargetHeadName = "full",
    ) -> None:
        _refuse_autocast("cpu" if isinstance(loaded, StoredModel) else loaded.model.device.type)
        # First, since for a large vocabulary this takes memory that the weights then get.
        self.tokenizer_fingerprint = tokenizer_fingerprint(loaded.tokenizer)
        super().__init__(loaded, forward)
        slow = why_slow(self.dtype) if self.device.type == "cpu" else None
        if slow is not None:
            _log.warning("%s; float32 is faster here", slow)
        self.stop_ids = stop_ids(self.tokenizer, self.declared_eos)
        self._feature_layers: tuple[int, ...] = ()
        self.request_lock = RequestLock()
        self.begun = 0
        if self.forward_name != "transformers" and self.output_head.product is None:
            self.output_head = self.output_head.packed()
        self.head_name: TargetHeadName = "full"
        self.head_reason = "the default"
        self._screened: ScreenedTargetHead | None = None
        if head == "auto":
            head, self.head_reason = self._fastest_head()
            if head == "exact-screen":
                self.screen_head(self.head_reason)
        elif head == "exact-screen":
            self.screen_head()

    @torch.inference_mode()
    def screen_head(self, reason: str = "asked for") -> None:
        """Find first choices by an exact screen from now on.

        Args:
            reason: why so, for reports.

        Raises:
            UsageError: it is on another device than a CPU.
        """
        if self.device.type != "cpu":
            raise UsageError(
                f"target head 'exact-screen' runs on CPUs, and the model is on {self.device}; allowed: full"
            )
        self._screened = ScreenedTargetHead(self.output_head)
        self.head_name, self.head_reason = "exact-screen", reason

    def _fastest_head(self) -> tuple[TargetHeadName, str]:
        """Return what ``auto`` takes as the head, and why."""
        if self.device.type != "cpu":
            return "full", "screens run on CPUs"
        known = remembered_head(self.config, self.dtype, self.forward_name)
        if known is None:
            return "full", "nothing was measured"
        if known == "full":
            return "full", "measured not to pay"
        free, extra = free_bytes(), ScreenedTargetHead.extra_bytes(self.output_head)
        if free is None or free < ROOM * extra:
            return "full", f"a screen takes {extra / 1e6:,.0f} MB more, and there is no room for it"
        return "exact-screen", "measured to be faster"

    @property
    def required_ids(self) -> Tensor:
        """Ids every active set keeps [n]: those that end a generation and the tokenizer's special ids."""
        return required_ids(self.tokenizer, self.stop_ids, self.vocab_size).to(self.device)

    def begin(self, capacity: int, keep: int = 0, feature_layers: tuple[int, ...] = ()) -> None:
        """Begin a request.

        Args:
            capacity: positions of the KV cache to make room for.
            keep: how many of its first positions stay.
            feature_layers: whose inputs are the features of this request, as in ``Forward.run``.
        """
        self._feature_layers = feature_layers
        self.begun += 1
        self.request_lock.pass_by()
        self.forward.begin(capacity, keep)

    @torch.inference_mode()
    def prefill(
        self,
        prompt_ids: Tensor,
        *,
        chunk: int = 512,
        harvest_topk: int = 0,
        harvest_window: int = 0,
        harvest_log_probs: bool = False,
    ) -> Prefill:
        """Read a prompt, chunk by chunk; the LM head runs only over the rows that are asked for.

        Args:
            prompt_ids: [T] int64.
            chunk: prompt tokens per pass.
            harvest_topk: how many of the target's top ids to return per position.
            harvest_window: for how many of the last positions.
            harvest_log_probs: whether to return their log-probabilities too.

        Raises:
            UsageError: ``torch.autocast`` is on.
        """
        _refuse_autocast(self.device.type)
        length = self.forward.committed + len(prompt_ids)
        if self.long_from is not None and length > self.long_from:
            chunk = length  # in parts the first ones would be rotated as those of a short text
        parts = [append(self.forward, ids, self._feature_layers) for ids in prompt_ids.split(chunk)]
        hidden, features = (torch.cat(part) for part in zip(*parts, strict=True))
        top = None
        if harvest_topk and harvest_window:
            rows = hidden[-harvest_window:].split(_HARVEST_ROWS)
            said = (AllLogits(self.output_head.logits(part)) for part in rows)
            top = TopTokens.cat(
                [TopTokens.of(one, harvest_topk, log_probs=harvest_log_probs) for one in said]
            )
        return Prefill(self.output_head.logits(hidden[-1:]), features, top)

    @torch.inference_mode()
    def tree_pass(self, tree: DraftTree, *, whole: bool = False) -> TreePass:
        """Run one forward over all N nodes; every node attends to the context and its ancestors.

        Args:
            tree: N nodes.
            whole: all logits will be needed, so that nothing is screened before.

        Raises:
            UsageError: ``torch.autocast`` is on.
        """
        _refuse_autocast(self.device.type)
        positions = self.forward.committed + tree.depths
        hidden, features = self.forward.run(
            tree.token_ids, positions, tree.ancestor_mask(), self._feature_layers
        )
        if self._screened is None or whole:
            return TreePass(AllLogits(self.output_head.logits(hidden)), features)
        return TreePass(self._screened.look(hidden), features)

    @property
    def room_below(self) -> int:
        """How many levels the next draft tree may have below its root.

        Its last position must exist, and be rotated as its root is.
        """
        ends = (self.max_positions, self.long_from or 0)
        return min(end - 1 - self.forward.committed for end in ends if end > self.forward.committed)

    def commit(self, path: tuple[int, ...]) -> None:
        """Keep the KV entries of the accepted path of the last tree pass, root included."""
        self.forward.commit(path)


def _refuse_autocast(device: str) -> None:
    """Raise ``UsageError`` where PyTorch chooses other dtypes than the model's."""
    if torch.is_autocast_enabled(device):
        raise UsageError(
            "torch.autocast is on, so that layers run in other dtypes than the model's; allowed: a model in "
            "the dtype that is wanted, outside of autocast"
        )


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a short hash of the mapping from tokens to ids; equal for tokenizers that agree on every id."""
    digest = hashlib.sha256()
    for token, token_id in sorted(tokenizer.get_vocab().items(), key=lambda item: (item[1], item[0])):
        digest.update(f"{token_id}\t{token}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def stop_ids(tokenizer: PreTrainedTokenizerBase, declared: frozenset[int]) -> frozenset[int]:
    """Return the ids that end a generation: those that a model declares, and the end of a turn."""
    return declared | _ends_of_turn(tokenizer)


def required_ids(tokenizer: PreTrainedTokenizerBase, ending: frozenset[int], vocab_size: int) -> Tensor:
    """Return the ids every active set keeps [n] int64: the tokenizer's special ids, and those that end."""
    ids = ending | set(tokenizer.all_special_ids)
    return torch.tensor(sorted(i for i in ids if i < vocab_size), dtype=torch.int64)


def _ends_of_turn(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the ids that the chat template, where there is one, ends a turn with."""
    template = str(tokenizer.chat_template or "")
    ids = (tokenizer.convert_tokens_to_ids(token) for token in _END_OF_TURN if token in template)
    return frozenset(id for id in ids if isinstance(id, int) and id != tokenizer.unk_token_id)
