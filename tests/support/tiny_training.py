"""A target on disk, held-out prompts and settings, small enough to train a head within seconds."""

import json

from tiny_models import tiny_model, tiny_tokenizer

SETTINGS = {
    "tokens": 2500,
    "workers": 1,
    "rows": 8,
    "max_request": 8,
    "max_answer": 16,
    "max_length": 60,
    "dtype": "float32",
    "epochs": 2,
    "batch_tokens": 200,
    "frequent_tokens": 40,
    "random_tokens": 8,
    "heldout_prompts": 2,
    "patience": 0,
}


def save_target(folder, **changes):
    """Write a tiny target with its tokenizer, and return the folder."""
    tiny_model(**changes).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def save_tasks(path, tasks):
    """Write one prompt per task name, and return the path."""
    lines = [{"id": str(n), "task": task, "turns": [f"w{n + 5} w9 w8"]} for n, task in enumerate(tasks)]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path
