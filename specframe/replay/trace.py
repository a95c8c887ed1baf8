"""What a trace holds: everything a vocabulary strategy sees of a request, and nothing of the model.

Shapes: T prompt tokens, P recorded prompt positions, S target passes, N nodes of one tree, k top ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import islice

import attrs
import torch
from torch import Tensor

from specframe.contracts.report import VERSION
from specframe.contracts.tree import DraftTree, Verdict

FORMAT = 2
READABLE = (1, FORMAT)  # 1 knows no hidden states


@attrs.frozen(slots=True, kw_only=True)
class TraceHeader:
    """What all requests of a trace have in common.

    Attributes:
        format: version of the file format.
        model: the target, as the user named it.
        tokenizer_fingerprint: of its tokenizer.
        dtype: of its weights.
        vocab_size: V, rows of its LM head.
        hidden_size: H, width of a row of the drafter's LM head, or of the target's without a drafter.
        draft_ids: id of every row of a drafter's own LM head; None for a drafter with the target's.
        required_ids: ids that every active set keeps.
        stop_ids: ids that end a generation.
        topk: k, how many of the target's top ids are recorded per position.
        prompt_window: for how many of the last prompt positions, at most.
        strategy: the strategy that ran, options included; ``autoregressive`` for trees without drafts.
        drafter: what drafted; None for nothing.
        branching: the drafter's; 1 without one.
        max_depth: deepest level of its trees, 0 without one.
        max_nodes: largest N of its trees.
        hidden_states: whether those of the drafter are recorded.
        states_key: of the states that screens of its LM head are fitted to; None where none are recorded.
        head_digest: of its LM head, if that is the target's; None likewise, and for a drafter's own.
        specframe_version: that recorded it.
    """

    format: int = FORMAT
    model: str
    tokenizer_fingerprint: str
    dtype: str
    vocab_size: int
    hidden_size: int
    draft_ids: tuple[int, ...] | None
    required_ids: tuple[int, ...]
    stop_ids: tuple[int, ...]
    topk: int
    prompt_window: int
    strategy: str
    drafter: str | None
    branching: int
    max_depth: int
    max_nodes: int
    hidden_states: bool = False
    states_key: str | None = None
    head_digest: str | None = None
    specframe_version: str = VERSION


@attrs.frozen(slots=True, eq=False)
class TracedPass:
    """One target pass.

    Attributes:
        tree: the verified tree, N nodes.
        verdict: what the verifier decided.
        emitted: how many of the verdict's ids were emitted before the generation ended.
        topk_ids: the target's top ids after each node [N, k] int64, the largest logit first.
        levels: the drafter's hidden states of each call of its LM head, each [n, H] float16; none where none
            are recorded, or nothing was drafted.
    """

    tree: DraftTree
    verdict: Verdict
    emitted: int
    topk_ids: Tensor
    levels: tuple[Tensor, ...] = ()


@attrs.frozen(kw_only=True, eq=False)
class TracedRequest:
    """One generation, ragged arrays with one length per target pass.

    Attributes:
        id: name of the request.
        task: its task.
        prompt_ids: [T] int32.
        prompt_topk_ids: the target's top ids after each of the last P prompt positions [P, k] int32.
        nodes: N of each tree [S] int32.
        token_ids: tokens of all trees [sum N] int32.
        parents: their parents, counted within their tree [sum N] int32; -1 for roots.
        depths: their depths [sum N] int32.
        log_probs: their draft log-probabilities [sum N] float32.
        topk_ids: the target's top ids after each node [sum N, k] int32.
        path_nodes: length of each accepted path, the root included [S] int32.
        paths: the accepted paths [sum path_nodes] int32.
        next_tokens: the bonus or recovered token of each pass [S] int32.
        emitted: ids emitted by each pass, cut at the end of the generation [S] int32.
        head_calls: calls of the drafter's LM head before each pass [S] int32; None without hidden states.
        states: hidden states of each of them [sum head_calls] int32; likewise.
        hidden: the hidden states [sum states, H] float16; likewise.
    """

    id: str
    task: str
    prompt_ids: Tensor
    prompt_topk_ids: Tensor
    nodes: Tensor
    token_ids: Tensor
    parents: Tensor
    depths: Tensor
    log_probs: Tensor
    topk_ids: Tensor
    path_nodes: Tensor
    paths: Tensor
    next_tokens: Tensor
    emitted: Tensor
    head_calls: Tensor | None = None
    states: Tensor | None = None
    hidden: Tensor | None = None

    @cached_property
    def passes(self) -> list[TracedPass]:
        """The target passes in order."""
        passes, sizes = [], self.nodes.tolist()
        whole = (self.token_ids.long(), self.parents.long(), self.depths.long(), self.log_probs)
        per_tree = [tensor.split(sizes) for tensor in (*whole, self.topk_ids.long())]
        paths = self.paths.split(self.path_nodes.tolist())
        scalars = (self.next_tokens.tolist(), self.emitted.tolist())
        for token_ids, parents, depths, log_probs, topk_ids, path, next_token, emitted, levels in zip(
            *per_tree, paths, *scalars, self._levels(), strict=True
        ):
            nodes = path.tolist()
            verdict = Verdict(
                path=tuple(nodes),
                accepted_ids=tuple(token_ids[nodes[1:]].tolist()),
                next_token=next_token,
                path_ends_at_leaf=not bool((parents == nodes[-1]).any()),
            )
            tree = DraftTree(token_ids, parents, depths, log_probs)
            passes.append(TracedPass(tree, verdict, emitted, topk_ids, levels))
        return passes

    def _levels(self) -> list[tuple[Tensor, ...]]:
        """Return the hidden states of each pass, by call of the LM head."""
        if self.hidden is None or self.states is None or self.head_calls is None:
            return [()] * len(self.nodes)
        calls = iter(self.hidden.split(self.states.tolist()))
        return [tuple(islice(calls, count)) for count in self.head_calls.tolist()]


def from_passes(
    id: str,
    task: str,
    prompt_ids: Tensor,
    prompt_topk_ids: Tensor,
    passes: list[TracedPass],
    hidden_size: int | None = None,
) -> TracedRequest:
    """Return the request of at least one target pass; tensors may be on any device, one copy each.

    Args:
        id: name of the request.
        task: its task.
        prompt_ids: [T].
        prompt_topk_ids: [P, k].
        passes: in order.
        hidden_size: H of the recorded hidden states; None where none are.
    """

    def ragged(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts).to("cpu", torch.int32)

    trees, verdicts = [one.tree for one in passes], [one.verdict for one in passes]
    return TracedRequest(
        id=id,
        task=task,
        prompt_ids=prompt_ids.to("cpu", torch.int32),
        prompt_topk_ids=prompt_topk_ids.to("cpu", torch.int32),
        nodes=_counts(map(len, trees)),
        token_ids=ragged([tree.token_ids for tree in trees]),
        parents=ragged([tree.parents for tree in trees]),
        depths=ragged([tree.depths for tree in trees]),
        log_probs=torch.cat([tree.log_probs for tree in trees]).to("cpu", torch.float32),
        topk_ids=ragged([one.topk_ids for one in passes]),
        path_nodes=_counts(len(verdict.path) for verdict in verdicts),
        paths=_counts(node for verdict in verdicts for node in verdict.path),
        next_tokens=_counts(verdict.next_token for verdict in verdicts),
        emitted=_counts(one.emitted for one in passes),
        **({} if hidden_size is None else _hidden(passes, hidden_size)),
    )


def _hidden(passes: list[TracedPass], hidden_size: int) -> dict[str, Tensor]:
    levels = [level for one in passes for level in one.levels]
    return {
        "head_calls": _counts(len(one.levels) for one in passes),
        "states": _counts(map(len, levels)),
        "hidden": torch.cat([torch.empty(0, hidden_size), *(level.cpu() for level in levels)]).half(),
    }


def _counts(values: Iterable[int]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.int32)
