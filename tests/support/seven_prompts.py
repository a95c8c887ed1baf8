"""One prompt per task: the first of each that ships with specframe."""

from __future__ import annotations

from specframe.request.tasks import built_in_tasks, choose

SEVEN_PROMPTS: dict[str, str] = {task.task: task.prompt for task in choose(built_in_tasks(), limit=1)}
