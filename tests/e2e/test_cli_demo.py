"""``specframe run`` without a model and without a prompt."""

from __future__ import annotations

import json

from command_line import CommandLine

from specframe.model.target import Target
from specframe.request.prompts import BUILT_IN_PROMPT, encode_prompt


def test_the_demo_model_answers_the_built_in_prompt_as_a_chat(cli: CommandLine, smollm2: Target) -> None:
    outcome = cli("run", "--strategy", "autoregressive", "--json", "--max-new-tokens", 4)
    assert (outcome.exit_code, outcome.err) == (0, "")
    report = json.loads(outcome.out)
    prompt_ids = encode_prompt(smollm2.tokenizer, BUILT_IN_PROMPT, chat=True)
    assert (report["model"], report["prompt_tokens"]) == ("smollm2-135m", len(prompt_ids))
    assert report["text"].strip()
