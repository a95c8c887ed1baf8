"""From ``specframe vocab`` to files of token maps, and what is said about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import torch
from torch import Tensor

from specframe.cli.answers import KeptAnswers
from specframe.config import AUTOREGRESSIVE, RunConfig
from specframe.contracts.report import VERSION
from specframe.engine.assembly import build_engine
from specframe.errors import UsageError
from specframe.model.loading import default_model, open_pretrained
from specframe.model.target import Target
from specframe.ops.notes import note
from specframe.ops.progress_line import ProgressLine
from specframe.request.request import Request
from specframe.request.tasks import BUILT_IN, built_in_tasks, choose, read_tasks
from specframe.vocabulary.token_maps.frequencies import TokenFrequencies, select_ids
from specframe.vocabulary.token_maps.reading import Holds, read_map
from specframe.vocabulary.token_maps.sizes import parse_size
from specframe.vocabulary.token_maps.text import token_ids_of
from specframe.vocabulary.token_maps.writing import Form, form_of, write_map

_SHOWN = 8  # tokens at either end, and of a list of what is missing
_SHARES = (0.9, 0.99, 0.999)


@attrs.frozen(slots=True, kw_only=True)
class Counting:
    """What is counted; the fields are the options of ``specframe vocab build``."""

    text: Path | None
    tasks: Path | None
    from_target: bool
    limit_per_task: int | None
    skip_per_task: int
    max_new_tokens: int

    def __attrs_post_init__(self) -> None:
        if (self.text is not None) == (self.tasks is not None or self.from_target):
            raise UsageError("nothing or too much to count; allowed: --text, or --tasks and --from-target")
        if self.limit_per_task is not None and self.limit_per_task < 1:
            raise UsageError(f"--limit-per-task is {self.limit_per_task}; allowed: 1 or more")


@attrs.frozen(slots=True)
class MapFile:
    """A map to read.

    Attributes:
        path: file or directory.
        model: whose tokens; None for an installed demo model.
        holds: what bare integers are; None for what names say.
    """

    path: Path
    model: str | None
    holds: Holds | None

    def read(self) -> tuple[TokenFrequencies, Target]:
        """Return the map and whose it is; raises ``UsageError`` as ``read_map`` does."""
        if not self.path.exists():
            raise UsageError(f"cannot read {self.path}: No such file or directory")
        target = _target(self.model)
        return read_map(self.path, target, self.holds), target


class NewFile:
    """A map to write.

    Args:
        path: of the file.
        form: how; None for what the name says.

    Attributes:
        answers: a file beside it, for what the target has answered so far.

    Raises:
        UsageError: the file exists, its folder does not, or nothing says how.
    """

    def __init__(self, path: Path, form: Form | None) -> None:
        if path.exists():
            raise UsageError(f"{path} exists; allowed: a new file")
        if not path.parent.is_dir():
            raise UsageError(
                f"{path.parent} is no folder to write {path.name} into; allowed: one that exists"
            )
        self._path, self._form = path, form_of(path, form)
        self.answers = path.with_name(f".{path.name}.answers")

    def write(self, frequencies: TokenFrequencies, target: Target, text: Path | None = None) -> str:
        """Write a map with the required ids that it lacks; return lines that say what was written.

        Args:
            frequencies: the map.
            target: whose tokens.
            text: to say the coverage of; None for none.

        Raises:
            UsageError: the text cannot be read.
            SpecframeError: the file cannot be written.
        """
        lacking = frequencies.lacking(target.required_ids.cpu())
        whole = frequencies.with_ids(lacking)
        covers = "" if text is None else f"\ncoverage: {_coverage(whole, target, text)}"
        added = "".join(f"\nadded {what}: {listed}" for what, listed in _by_kind(target, lacking))
        write_map(self._path, whole, target, self._form)
        return (
            f"{self._path}: {len(whole.token_ids):,} of {target.vocab_size:,} tokens of {target.name}; "
            f"{frequencies.source}{added}{covers}"
        )


def build(out: NewFile, model: str | None, counting: Counting) -> str:
    """Count tokens and write their frequencies; return lines that say what was written.

    What the target has answered is kept beside the file until that is written: an interrupt loses one answer.

    Args:
        out: file to write.
        model: whose tokens; None for an installed demo model.
        counting: what is counted.

    Raises:
        UsageError: what is to be counted cannot be read.
        SpecframeError: ``out`` cannot be written.
    """
    if counting.text is not None:
        if not counting.text.is_file():
            raise UsageError(f"cannot read {counting.text}: no such file")
        target = _target(model)
        ids, source = token_ids_of(target.tokenizer, counting.text), str(counting.text)
        return out.write(TokenFrequencies.counted(ids, source), target)
    prompts = _prompts(counting)
    target = _target(model)
    of = f"{len(prompts)} prompts of {counting.tasks or BUILT_IN}"
    if not counting.from_target:
        ids = torch.tensor(list(_of_prompts(target, prompts)), dtype=torch.int64)
        return out.write(TokenFrequencies.counted(ids, of), target)
    answers = KeptAnswers(
        out.answers,
        {
            "model": target.name,
            "tokenizer": target.tokenizer_fingerprint,
            "max_new_tokens": counting.max_new_tokens,
            "version": VERSION,
        },
    )
    ids = torch.tensor(_written(target, prompts, counting.max_new_tokens, answers), dtype=torch.int64)
    source = f"{len(ids):,} tokens that {target.name} wrote on {of}"
    said = out.write(TokenFrequencies.counted(ids, source), target)
    answers.remove()
    return said


def convert(file: MapFile, out: NewFile, text: Path | None) -> str:
    """Write a map in another form; return lines that say what was written.

    Args:
        file: to read.
        out: to write.
        text: to say the coverage of; None for none.

    Raises:
        UsageError: the map does not fit the model, or a file cannot be read.
        SpecframeError: ``out`` cannot be written.
    """
    return out.write(*file.read(), text)


def cut(file: MapFile, out: NewFile, size: str, text: Path | None) -> str:
    """Write the most frequent part of a map; return lines that say what was written.

    Args:
        file: to read.
        out: to write.
        size: how many tokens, the required ones among them, or the share that they cover besides those.
        text: to say the coverage of; None for none.

    Raises:
        UsageError: as ``convert`` does, or the map does not say which tokens are frequent, or has too few.
        SpecframeError: ``out`` cannot be written.
    """
    try:
        wanted = parse_size(size)
    except ValueError as error:
        raise UsageError(str(error)) from None
    whole, target = file.read()
    if not whole.ranked:
        raise UsageError(
            f"{file.path} lists its ids in rising order and so does not say which are frequent; allowed: a "
            "map with counts, or by falling frequency"
        )
    required = target.required_ids.cpu()
    most = len(whole.token_ids) + len(whole.lacking(required))
    if isinstance(wanted, int) and wanted > most:
        raise UsageError(f"{file.path} has {most} tokens with those that it lacks; allowed: at most that")
    kept = whole.only(select_ids(wanted, whole, required, target.vocab_size))
    return out.write(kept, target, text)


def inspect(file: MapFile, text: Path | None) -> Sequence[Sequence[str]]:
    """Return rows of a name and what is known, about a map.

    Args:
        file: to read.
        text: to say the coverage of; None for none.

    Raises:
        UsageError: the map does not fit the model, or a file cannot be read.
    """
    frequencies, target = file.read()
    ids, counts = frequencies.token_ids, frequencies.counts
    rows = [
        ("tokens", f"{len(ids):,} of {target.vocab_size:,} ({len(ids) / target.vocab_size:.1%})"),
        ("model", f"{target.name}, tokenizer {target.tokenizer_fingerprint}"),
        ("source", frequencies.source),
        ("order", "falling frequency" if frequencies.ranked else "rising ids"),
    ]
    if counts is not None:
        shares = ", ".join(f"{share:g} by {frequencies.covering(share):,}" for share in _SHARES)
        rows += [("counted", f"{int(counts.sum()):,} tokens"), ("covered", shares)]
    lacking = frequencies.lacking(target.required_ids.cpu())
    rows += [(f"missing {what}", listed) for what, listed in _by_kind(target, lacking)]
    if text is not None:
        rows.append(("coverage", _coverage(frequencies, target, text)))
    return [*rows, ("first", _listed(target, ids[:_SHOWN])), ("last", _listed(target, ids[-_SHOWN:]))]


def _by_kind(target: Target, lacking: Tensor) -> Iterator[tuple[str, str]]:
    """Yield what kind of required ids a map lacks, and which."""
    eos, ends = target.declared_eos, target.stop_ids - target.declared_eos
    for what, wanted in (("EOS", eos), ("end of turn", ends)):
        ids = [token_id for token_id in lacking.tolist() if token_id in wanted]
        if ids:
            yield what, _listed(target, torch.tensor(ids))
    special = torch.tensor([token_id for token_id in lacking.tolist() if token_id not in target.stop_ids])
    if len(special):
        more = f" and {len(special) - _SHOWN} more" if len(special) > _SHOWN else ""
        yield "special tokens", _listed(target, special[:_SHOWN]) + more


def _listed(target: Target, ids: Tensor) -> str:
    return ", ".join(f"{target.tokenizer.decode([token_id])!r} ({token_id})" for token_id in ids.tolist())


def _coverage(frequencies: TokenFrequencies, target: Target, text: Path) -> str:
    ids = token_ids_of(target.tokenizer, text)
    return f"{frequencies.coverage_of(ids):.3f} of the {len(ids):,} tokens of {text}"


def _target(model: str | None) -> Target:
    return Target(open_pretrained(model or default_model(), torch.float32))


def _prompts(counting: Counting) -> list[str]:
    tasks = built_in_tasks() if counting.tasks is None else read_tasks(counting.tasks).tasks
    chosen = choose(tasks, skip=counting.skip_per_task, limit=counting.limit_per_task)
    if not chosen:
        raise UsageError("no prompts are left; allowed: a smaller --skip-per-task")
    return [task.prompt for task in chosen]


def _of_prompts(target: Target, prompts: Sequence[str]) -> Iterator[int]:
    """Yield the tokens of prompts."""
    for prompt in prompts:
        yield from target.tokenizer(prompt, add_special_tokens=False)["input_ids"]


def _written(target: Target, prompts: Sequence[str], max_new_tokens: int, answers: KeptAnswers) -> list[int]:
    """Return the tokens that the target writes on prompts; those of answers that are kept are read."""
    config = RunConfig(
        model=target.name,
        strategy=AUTOREGRESSIVE,
        max_new_tokens=max_new_tokens,
        generation_config="none",
    )
    engine = build_engine(config, target=target)
    known = [prompt for prompt in prompts if answers.get(prompt) is not None]
    written: list[int] = []
    with ProgressLine(f"answers of {target.name}", len(prompts), len(known), "prompts") as progress:
        for done, prompt in enumerate(prompts):
            ids = answers.get(prompt)
            if ids is None:
                try:
                    ids = [*engine.generate(Request(prompt)).token_ids]
                except KeyboardInterrupt:
                    note(
                        f"interrupted after {done} of {len(prompts)} prompts; the same command goes on "
                        "from there"
                    )
                    raise
                answers.add(prompt, ids)
                progress.advance()
            written += ids
    return written
