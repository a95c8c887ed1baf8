"""``specframe chat``."""

from __future__ import annotations

from typing import Annotated

import typer

from specframe.cli.commands.run import StopArguments, TemplateArguments
from specframe.cli.options import takes_options
from specframe.config import RunConfig
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.registry.named import check_named


@takes_options
def chat(
    run_config: RunConfig,
    *,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the model is told before the first turn.")
    ] = None,
    template: TemplateArguments,
    ends: StopArguments,
) -> None:
    """Talk to a model: one turn a line, what was said before stays in the caches.

    Ctrl-C ends an answer, /new starts over, /quit or the end of the input ends the chat.
    """
    arguments, tools = template.arguments(), template.descriptions()
    check_named(run_config, build_registry(create_plugin_manager()))

    from specframe.cli.talk import talk
    from specframe.engine.assembly import build_engine
    from specframe.engine.conversation import Conversation

    engine = build_engine(run_config)
    talk(
        Conversation(
            engine,
            system,
            stop=ends.stop,
            stop_ids=ends.stop_id,
            template_args=arguments,
            tools=tools,
        )
    )
