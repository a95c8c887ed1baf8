"""The model ``specframe`` of lm-eval scores what ``hf`` scores, and specframe writes its texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from tiny_models import tiny_model, tiny_tokenizer

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'specframe[lm-eval]'")

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from specframe.errors import UsageError
from specframe_plugins.lm_eval import model as ours
from specframe_plugins.lm_eval.model import SpecframeLM

PROMPTS = ["w5 w17 w42 w8 w33 w12 w5 w17 w42", "w70 w64 w21 w9", "w11 w11 w30 w77 w90 w3"]
TASKS = {
    "tiny_text": {
        "output_type": "generate_until",
        "generation_kwargs": {"until": ["w0"], "max_gen_toks": 24, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    },
    "tiny_choice": {
        "output_type": "multiple_choice",
        "doc_to_choice": ["w5", "w60 w61", "w7"],
        "doc_to_target": 0,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    },
}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder with two tasks and their data."""
    lines = [json.dumps({"prompt": prompt, "answer": "w5 w17"}) for prompt in PROMPTS]
    (tmp_path / "data.jsonl").write_text("\n".join(lines), encoding="utf-8")
    shared = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "data.jsonl")}},
        "test_split": "test",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{answer}}",
    }
    for name, task in TASKS.items():  # JSON is YAML
        (tmp_path / f"{name}.yaml").write_text(json.dumps({"task": name} | shared | task), encoding="utf-8")
    return tmp_path


@pytest.fixture
def drafts(tiny_head: Path) -> dict[str, Any]:
    return {"strategy": "nanospec", "drafter": "eagle", "drafter.checkpoint": str(tiny_head)}


@pytest.fixture
def models(drafts: dict[str, Any]) -> tuple[SpecframeLM, HFLM]:
    """Specframe's and lm-eval's around the same weights."""
    model, tokenizer = tiny_model(), tiny_tokenizer()
    model.name_or_path = "tiny-llama"
    return (
        SpecframeLM(model, tokenizer=tokenizer, batch_size=2, **drafts),
        HFLM(model, tokenizer=tokenizer, batch_size=2),
    )


def evaluated(lm: HFLM, folder: Path, **settings: Any) -> dict[str, Any]:
    found = simple_evaluate(
        model=lm,
        tasks=[*TASKS],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        **settings,
    )
    assert found is not None
    return dict(found)


def texts(lm: HFLM, **asked: Any) -> list[str]:
    requests = [
        Instance(
            request_type="generate_until", doc={}, arguments=(prompt, {"max_gen_toks": 24} | asked), idx=0
        )
        for prompt in PROMPTS
    ]
    return lm.generate_until(requests, disable_tqdm=True)


def test_two_tasks_have_the_scores_and_samples_of_hf(models: tuple[SpecframeLM, HFLM], tasks: Path) -> None:
    specframe, hf = (evaluated(lm, tasks) for lm in models)
    assert specframe["results"] == hf["results"]
    for task in TASKS:
        answers, expected = ([one["resps"] for one in each["samples"][task]] for each in (specframe, hf))
        assert answers == expected


def test_the_log_likelihood_of_whole_texts_is_that_of_hf(models: tuple[SpecframeLM, HFLM]) -> None:
    requests = [
        Instance(request_type="loglikelihood_rolling", doc={}, arguments=(prompt,), idx=0)
        for prompt in PROMPTS
    ]
    specframe, hf = (lm.loglikelihood_rolling(requests, disable_tqdm=True) for lm in models)
    assert specframe == hf


def test_texts_come_from_drafts(models: tuple[SpecframeLM, HFLM], monkeypatch: pytest.MonkeyPatch) -> None:
    engines, made = [], ours.engine_for
    monkeypatch.setattr(ours, "engine_for", lambda *given: engines.append(made(*given)) or engines[-1])
    texts(models[0])
    assert len(engines) == 2  # of three rows in batches of two
    assert len({id(engine) for engine in engines}) == 1
    assert engines[0].report.drafter == "eagle"
    assert engines[0].report.strategy == "nanospec"


def test_a_text_ends_before_a_stop_string_inside_of_what_a_pass_brought(
    models: tuple[SpecframeLM, HFLM],
) -> None:
    specframe, hf = models
    whole = texts(hf)
    stop = whole[0].split()[10]
    assert texts(specframe, until=[stop]) == texts(hf, until=[stop]) == [one.split(stop)[0] for one in whole]


def test_rows_of_a_batch_are_what_each_would_be_alone(models: tuple[SpecframeLM, HFLM], drafts: Any) -> None:
    specframe, _ = models
    alone = SpecframeLM(specframe.model, tokenizer=specframe.tokenizer, batch_size=1, **drafts)
    assert texts(specframe) == texts(alone)


def test_the_seed_decides_samples(models: tuple[SpecframeLM, HFLM]) -> None:
    import torch

    def sampled(seed: int) -> list[str]:
        torch.manual_seed(seed)
        return texts(models[0], do_sample=True, temperature=0.8, top_p=0.9)

    assert sampled(1) == sampled(1) != sampled(2)


def test_a_chat_template_makes_the_prompts_of_hf(models: tuple[SpecframeLM, HFLM], tasks: Path) -> None:
    for lm in models:
        lm.tokenizer.chat_template = "w4 {% for m in messages %}{{ m['content'] }} w6 {% endfor %}w8"
    specframe, hf = (evaluated(lm, tasks, apply_chat_template=True) for lm in models)
    assert specframe["results"] == hf["results"]
    prompts = [[one["arguments"][0][0] for one in each["samples"]["tiny_text"]] for each in (specframe, hf)]
    assert prompts[0] == prompts[1]
    assert prompts[0][0].startswith("w4 w5")


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"strategy": "nanospc"}, "unknown strategy 'nanospc'; did you mean 'nanospec'"),
        ({"vocabulary.capcity": 9}, "unknown option.*capcity"),
        ({"temperature": 0.5}, "temperature is no argument of the model; allowed: --gen_kwargs NAME=VALUE"),
        ({"max_new_tokens": 5}, "allowed: --gen_kwargs max_gen_toks=N"),
    ],
)
def test_what_cannot_run_is_said_before_a_model_is_loaded(settings: dict[str, Any], error: str) -> None:
    with pytest.raises(UsageError, match=error):
        SpecframeLM("no-such-model", **settings)


def test_one_command_evaluates(cli: CommandLine, tasks: Path, tiny_directory: Path, tiny_head: Path) -> None:
    arguments = f"pretrained={tiny_directory},dtype=float32,drafter.checkpoint={tiny_head}"
    done = cli(
        *("lm-eval", "run", "--model", "specframe", "--model_args", arguments, "--device", "cpu"),
        *("--include_path", tasks, "--tasks", ",".join(TASKS)),
    )
    assert done.exit_code == 0
    assert "|tiny_text" in done.out.replace(" ", "")


def test_a_mistake_is_one_line(cli: CommandLine) -> None:
    done = cli(
        "lm-eval",
        "run",
        "--model",
        "specframe",
        "--model_args",
        "pretrained=x,strategy=x",
        "--tasks",
        "wikitext",
    )
    assert done.exit_code == 2
    assert done.err.splitlines()[-1].startswith("specframe: unknown strategy 'x'")
