"""Tokens per second of vLLM with and without the plugin, by the number of requests at once.

Every configuration runs in a process of its own, with the model loaded once. The parent asks them in turn, in
an order that rotates from round to round, so that whatever slows the machine down slows all of them down.
While one works the others wait for a line and use no CPU; each holds the model and a KV cache, 2 to 3 GB for
SmolLM2. Prints a table, and writes every measurement as a JSON line.

    python benchmarks/throughput.py --model DIR --head DIR --out rows.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import attrs

PROMPTS = (
    "Name the capital of Portugal and one thing that it is known for.",
    "Write a Python function that returns the largest of three numbers.",
    "Explain in three sentences why the sky is blue.",
    "A baker sells rolls at 2 dollars each. How much do 9 rolls cost? Show your steps.",
    "Translate into French: The dog waits at the door.",
    "Summarize: Trees take in carbon dioxide and water, and with the light of the sun they make sugar from "
    "them. They give off oxygen, which animals breathe.",
    "Write a short story about a clock that runs backwards.",
    "List four kinds of bread and say where each comes from.",
)


@attrs.frozen
class Configuration:
    """What vLLM is asked to run with.

    Attributes:
        name: in the table.
        drafts: whether it drafts at all.
        settings: of the plugin; None leaves the plugin out of it.
    """

    name: str
    drafts: bool
    settings: dict[str, Any] | None = None


CONFIGURATIONS = (
    Configuration("no drafting", drafts=False),
    Configuration("full vocabulary", drafts=True),
    Configuration("nanospec auto", drafts=True, settings={"strategy": "nanospec"}),
    Configuration("nanospec", drafts=True, settings={"strategy": "nanospec", "drafts": "always"}),
    Configuration(
        "nanospec per request",
        drafts=True,
        settings={"strategy": "nanospec", "drafts": "always", "sets": "per_request"},
    ),
    Configuration(
        "static 8192", drafts=True, settings={"strategy": "static", "drafts": "always", "size": "8192"}
    ),
)


@attrs.frozen(kw_only=True)
class Measurement:
    """One batch of one configuration.

    Attributes:
        configuration: its name.
        batch: requests at once.
        round: in which it was measured.
        tokens: emitted by all requests.
        seconds: for all of them.
        tau: tokens per target pass and request; 1 without drafting.
        head_ms: of the choice of drafted tokens per step of a chain; None without drafting.
        active: tokens that were active at the last step, per request; None without the plugin.
        learning_ms: what the plugin took on the host per step, the head aside; None without it.
        learning_share: the part of all seconds that this is.
        memory_mib: of the active sets and the buffers of their gather backends; None without the plugin.
        undrafted: share of steps that drafted nothing because drafts do not pay; None where that is not
            decided.
        texts: ids of every request, to compare.
    """

    configuration: str
    batch: int
    round: int
    tokens: int
    seconds: float
    tau: float
    head_ms: float | None
    active: float | None
    learning_ms: float | None
    learning_share: float | None
    memory_mib: float | None
    undrafted: float | None
    texts: list[list[int]]


def serve(connection: Connection, configuration: Configuration, arguments: argparse.Namespace) -> None:
    """Load vLLM, and answer batches until there are no more."""
    if arguments.cpu_time:
        time.perf_counter = time.process_time  # for the plugin too, which decides by it
    from vllm import LLM, SamplingParams

    chosen: dict[str, Any] = {}
    if configuration.drafts:
        chosen["speculative_config"] = {
            "method": arguments.method,
            "model": arguments.head,
            "num_speculative_tokens": arguments.chain,
        }
    if configuration.settings is not None:
        chosen["additional_config"] = {"specframe": configuration.settings}
    llm = LLM(
        model=arguments.model,
        dtype=arguments.dtype,
        max_model_len=arguments.max_model_len,
        max_num_seqs=max(arguments.batches),
        disable_log_stats=False,
        enable_prefix_caching=False,
        enforce_eager=True,
        seed=0,
        **chosen,
    )
    sampling = SamplingParams(temperature=0, max_tokens=arguments.tokens, ignore_eos=True)
    if configuration.drafts:
        llm.collective_rpc(_time_head)
    chats = llm.get_tokenizer().chat_template is not None  # a base model has none
    connection.send("loaded")
    while (asked := connection.recv()) is not None:
        ask = llm.chat if chats else llm.generate
        prompts = [[{"role": "user", "content": prompt}] for prompt in asked] if chats else asked
        before, start = _counters(llm), time.perf_counter()
        answers = ask(prompts, sampling, use_tqdm=False)
        seconds = time.perf_counter() - start
        gained = {
            name: value - before.get(name, 0) if name.endswith("_total") else value
            for name, value in _counters(llm).items()
        }
        connection.send((seconds, [list(answer.outputs[0].token_ids) for answer in answers], gained))


_head = {"head_calls_total": 0.0, "head_seconds_total": 0.0}


def _time_head(worker: Any) -> None:
    """Have it timed how a worker of model runner V1 chooses drafted tokens, with the plugin or without."""
    drafter = worker.model_runner.drafter
    choose = drafter._greedy_sample

    def timed(hidden: Any) -> Any:
        start = time.perf_counter()
        tokens = choose(hidden)
        _head["head_seconds_total"] += time.perf_counter() - start
        _head["head_calls_total"] += 1
        return tokens

    drafter._greedy_sample = timed


def _learning(worker: Any) -> dict[str, float]:
    """Return what a worker of model runner V1 took for learning, and the memory of its active sets."""
    from specframe_vllm.hooks.v1 import drafting_of

    drafting = drafting_of(worker.model_runner)
    if drafting is None:
        return {}
    use = drafting.sets.memory()
    return {
        "learning_seconds_total": drafting.seconds,
        "learning_steps_total": drafting.steps,
        "memory_bytes": use.packed_bytes + use.store_bytes,
    }


def _counters(llm: Any) -> dict[str, float]:
    """Return what vLLM, the plugin and `_time_head` count, by name; the engine is in this process."""
    from prometheus_client import REGISTRY

    found = dict(_head) | llm.collective_rpc(_learning)[0]
    for family in REGISTRY.collect():
        for sample in family.samples:
            if sample.name.startswith(
                ("vllm:spec_decode_num_drafts", "vllm:spec_decode_num_accepted_tokens")
            ):
                if "position" not in sample.labels:
                    found[sample.name] = found.get(sample.name, 0.0) + sample.value
            elif sample.name.startswith("specframe"):
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def measure(arguments: argparse.Namespace) -> Iterator[Measurement]:
    """Start every configuration, and yield each one's answers to every batch, round by round."""
    # Read when vLLM is imported, in the processes that follow; the counters are in the engine's process.
    os.environ |= {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",  # a function is sent to the worker, which is this process
        "HF_HUB_OFFLINE": "1",
    }
    context, running = get_context("spawn"), []
    for configuration in CONFIGURATIONS:
        if arguments.only and configuration.name not in arguments.only:
            continue
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, configuration, arguments))
        process.start()
        there.close()
        running.append((configuration, here, process))
        here.recv()
        _ask(here, PROMPTS[:1])
    for number in range(-arguments.warm_up, arguments.rounds):
        for batch in arguments.batches:
            prompts = [PROMPTS[(number + index) % len(PROMPTS)] for index in range(batch)]
            turn = number % len(running)
            for configuration, here, _ in [*running[turn:], *running[:turn]]:
                row = _measured(configuration.name, batch, number, _ask(here, prompts))
                if number >= 0:
                    yield row
    for _, here, process in running:
        here.send(None)
        process.join()


def _ask(connection: Connection, prompts: Sequence[str]) -> Any:
    connection.send(list(prompts))
    return connection.recv()


def _measured(name: str, batch: int, number: int, answer: Any) -> Measurement:
    seconds, texts, gained = answer
    passes = gained.get("vllm:spec_decode_num_drafts_total", 0.0)
    accepted = gained.get("vllm:spec_decode_num_accepted_tokens_total", 0.0)
    calls = gained.get("head_calls_total", 0.0)
    steps, learning = gained.get("learning_steps_total", 0.0), gained.get("learning_seconds_total", 0.0)
    decided = gained.get("specframe_steps_total", 0.0)
    return Measurement(
        configuration=name,
        batch=batch,
        round=number,
        tokens=sum(map(len, texts)),
        seconds=seconds,
        tau=1 + accepted / passes if passes else 1.0,
        head_ms=1e3 * gained["head_seconds_total"] / calls if calls else None,
        active=gained.get("specframe_active_tokens"),
        learning_ms=1e3 * learning / steps if steps else None,
        learning_share=learning / seconds if steps else None,
        memory_mib=gained["memory_bytes"] / 2**20 if steps else None,
        undrafted=gained["specframe_undrafted_steps_total"] / decided if decided else None,
        texts=texts,
    )


def table(rows: Sequence[Measurement]) -> str:
    """Return medians over the rounds as a Markdown table, and how many texts are those without drafting."""
    lines = [
        "| requests at once | configuration | tau | active rows | head per call | learning per step | of all "
        "time | memory | undrafted steps | tokens/s | / no drafting | / full vocabulary | equal texts |",
        f"|{'---|' * 13}",
    ]
    plain, full = (
        {(row.batch, row.round): row for row in rows if row.configuration == configuration.name}
        for configuration in CONFIGURATIONS[:2]
    )
    for batch, name in dict.fromkeys((row.batch, row.configuration) for row in sorted(rows, key=_order)):
        found = [row for row in rows if (row.batch, row.configuration) == (batch, name)]
        pairs = [
            (text, other)
            for row in found
            if (row.batch, row.round) in plain
            for text, other in zip(row.texts, plain[row.batch, row.round].texts, strict=True)
        ]
        ratios = [
            [
                others[row.batch, row.round].seconds / row.seconds
                for row in found
                if (row.batch, row.round) in others
            ]
            for others in (plain, full)
        ]
        cells = (
            str(batch),
            name,
            f"{statistics.median(row.tau for row in found):.2f}",
            _median([row.active for row in found], "{:,.0f}"),
            _median([row.head_ms for row in found], "{:.2f} ms"),
            _median([row.learning_ms for row in found], "{:.2f} ms"),
            _median([row.learning_share for row in found], "{:.1%}"),
            _median([row.memory_mib for row in found], "{:.1f} MiB"),
            _median([row.undrafted for row in found], "{:.0%}"),
            f"{statistics.median(row.tokens / row.seconds for row in found):.1f}",
            *(_median(found_ratios, "{:.2f}") for found_ratios in ratios),
            f"{sum(text == other for text, other in pairs)} of {len(pairs)}" if pairs else "",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _order(row: Measurement) -> tuple[int, int]:
    names = [configuration.name for configuration in CONFIGURATIONS]
    return row.batch, names.index(row.configuration)


def _median(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return form.format(statistics.median(known)) if known else ""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="the target, as vLLM takes it")
    parser.add_argument("--head", required=True, help="what `specframe export vllm` wrote")
    parser.add_argument("--method", default="eagle", help="eagle or eagle3")
    parser.add_argument("--chain", type=int, default=3, help="drafted tokens per step")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 32], help="requests at once")
    parser.add_argument("--rounds", type=int, default=3, help="of every batch size")
    parser.add_argument("--warm-up", type=int, default=1, help="rounds before those that count")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count seconds of CPU time: for one thread of a machine that does other things too",
    )
    parser.add_argument("--tokens", type=int, default=64, help="to emit per request")
    parser.add_argument("--dtype", default="float32", help="of the model")
    parser.add_argument("--max-model-len", type=int, default=512, help="positions per request")
    parser.add_argument("--only", nargs="+", help="configurations to run, by name")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one per measurement")
    arguments = parser.parse_args()
    rows = []
    with arguments.out.open("w", encoding="utf-8") as file:
        for row in measure(arguments):
            rows.append(row)
            print(json.dumps(attrs.asdict(row)), file=file, flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
