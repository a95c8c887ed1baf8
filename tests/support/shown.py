"""Target passes written out by hand, and what a command would tell of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from specframe.cli.shown.origins import Origins
from specframe.cli.shown.story import Span, Story
from specframe.contracts.drafted_pass import DraftedNode, DraftedPass
from specframe.contracts.report import GenerationReport, Rejection
from specframe.request.output import Chunk
from specframe.request.streaming import TextStream


def drafted(
    root: int,
    accepted: Sequence[int],
    next_token: int,
    rejection: Rejection | None = None,
    *,
    rejected: Sequence[int] = (),
    source: str | None = None,
    emitted: int | None = None,
) -> DraftedPass:
    """Return a pass over a path of accepted tokens, below whose end others were rejected."""
    nodes = [DraftedNode(root, -1, 0, 1.0, None, True)]
    for token_id in accepted:
        nodes.append(DraftedNode(token_id, len(nodes) - 1, len(nodes), 0.5, source, True))
    last, depth = len(accepted), len(accepted) + 1
    nodes += [DraftedNode(token_id, last, depth, 0.25, source, True) for token_id in rejected]
    all_of_them = (*accepted, next_token)
    return DraftedPass(
        nodes=nodes,
        path=tuple(range(len(accepted) + 1)),
        emitted_ids=all_of_them[:emitted],
        next_token=next_token,
        next_active=rejection != "oov",
        rejection=rejection,
        active_size=7,
    )


class Told:
    """A story and its spans, told of a first token and then of passes."""

    def __init__(self, tokenizer: Any, first: int, *passes: DraftedPass, has_head: bool = True) -> None:
        self.story = Story(tokenizer, Origins("eagle", has_head=has_head))
        self.spans: list[list[Span]] = []
        stream = TextStream(tokenizer)
        for one in (None, *passes):
            ids = (first,) if one is None else one.emitted_ids
            if one is not None:
                self.story.note(one)
            text = stream.push(ids)
            if one is (passes[-1] if passes else None):
                text += stream.finish()
            self.spans.append(self.story.add(Chunk(tuple(ids), text)))

    def painted(self, paint: Callable[[list[Span]], str]) -> str:
        return "".join(map(paint, self.spans))


def report_of(told: Told, **changed: Any) -> GenerationReport:
    """Return the report of what was told."""
    story = told.story
    ids = [token.token_id for token in story.tokens]
    values: dict[str, Any] = {
        "id": "", "task": "", "strategy": "nanospec", "drafter": "eagle", "verifier": "greedy",
        "gather": "torch", "model": "a-model", "dtype": "float32", "device": "cpu", "seed": 0,
        "prompt_tokens": 3, "kept_tokens": 0, "token_ids": ids, "text": "", "finish_reason": "length",
        "new_tokens": len(ids), "target_passes": len(story.passes),
        "tau": (len(ids) - 1) / max(len(story.passes), 1), "wall_s": 1.0, "active_mean": 7.0, "active_max": 7,
        "coverage": 0.9, "oov_rejections": sum(one.rejection == "oov" for one in story.passes),
        "drafter_misses": sum(one.rejection == "drafter_miss" for one in story.passes),
        "accept_by_depth": [1.0, 0.25, 0.0], "peak_rss_bytes": 0, "specframe_version": "0",
    }  # fmt: skip
    return GenerationReport(**(values | changed))
