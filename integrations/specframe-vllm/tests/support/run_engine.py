"""Answers prompts with an engine in a process of its own: ``python run_engine.py CONFIG.json OUTCOME.json``.

CONFIG has ``model``, ``prompts``, ``tokens`` and ``arguments`` of the engine, ``sampling`` where answers are
not greedy, and ``alone`` where each prompt is to be answered before the next: an engine in another process
batches them as they happen to arrive. A ``script`` says which steps are drafted.
"""

from __future__ import annotations

import json
import os
import sys
import types
from pathlib import Path


def pretend_that_triton_runs_here() -> None:
    """Let vLLM take its Triton kernels on a CPU, where Triton's interpreter runs them."""
    import triton.backends

    triton.backends.backends["cpu"] = types.SimpleNamespace(driver=None, compiler=None)


def main(config_file: str, outcome_file: str) -> None:
    """Answer the prompts and write what came out."""
    config = json.loads(Path(config_file).read_text(encoding="utf-8"))
    if os.environ.get("TRITON_INTERPRET") == "1":
        pretend_that_triton_runs_here()
    # Imported late: what it finds of Triton, vLLM finds when it is imported.
    from scripted import scripted
    from vllm import LLM, SamplingParams

    defaults = {
        "dtype": "float32",
        "max_model_len": 256,
        "max_num_seqs": 4,
        "max_num_batched_tokens": 256,
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "disable_log_stats": False,
        "seed": 0,
    }
    llm = LLM(config["model"], **(defaults | config["arguments"]))
    if "script" in config:
        scripted(llm, *config["script"])
    asked = {"temperature": 0} | config.get("sampling", {})
    sampling = SamplingParams(max_tokens=config["tokens"], ignore_eos=True, **asked)
    prompts = config["prompts"]
    batches = [[prompt] for prompt in prompts] if config.get("alone") else [prompts]
    outputs = [output for batch in batches for output in llm.generate(batch, sampling, use_tqdm=False)]
    counts = {metric.name: getattr(metric, "value", 0) for metric in llm.get_metrics()}
    outcome = {
        "token_ids": [list(answer.token_ids) for output in outputs for answer in output.outputs],
        "drafts": counts.get("vllm:spec_decode_num_drafts", 0),
        "accepted": counts.get("vllm:spec_decode_num_accepted_tokens", 0),
        "figures": _figures(),
    }
    Path(outcome_file).write_text(json.dumps(outcome), encoding="utf-8")


def _figures() -> dict[str, float]:
    """Return the plugin's metrics by name."""
    from prometheus_client import REGISTRY

    samples = (sample for metric in REGISTRY.collect() for sample in metric.samples)
    return {sample.name: sample.value for sample in samples if sample.name.startswith("specframe_")}


if __name__ == "__main__":
    main(*sys.argv[1:])
