"""``specframe run``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

from specframe.cli.options import JsonOption, takes_options
from specframe.config import RunConfig
from specframe.contracts.options import option
from specframe.errors import SpecframeError, UsageError
from specframe.registry.manager import build_registry, create_plugin_manager
from specframe.registry.named import check_named


@attrs.frozen(slots=True, kw_only=True)
class StopArguments:
    """Where a text ends besides where the target ends it."""

    stop: Sequence[str] = option(
        (), help="End the text right before this string. Repeatable.", metavar="TEXT"
    )
    stop_id: Sequence[int] = option((), help="End at this token id. Repeatable.", metavar="ID")


@attrs.frozen(slots=True, kw_only=True)
class TemplateArguments:
    """What the chat template is given besides the messages."""

    template_arg: Sequence[str] = option(
        (),
        help="Argument of the chat template, for example enable_thinking=false. Repeatable.",
        metavar="NAME=JSON",
    )
    tools: Path | None = option(
        None, help="Tools for the chat template: a JSON list of descriptions.", absent="none", metavar="FILE"
    )

    def arguments(self) -> dict[str, Any]:
        """Return the arguments by name; raises as ``parse_template_args`` does."""
        from specframe.request.prompts import parse_template_args

        return parse_template_args(self.template_arg)

    def descriptions(self) -> list[Any]:
        """Return the tools; raises as ``read_tools`` does."""
        from specframe.request.prompts import read_tools

        return [] if self.tools is None else read_tools(self.tools)


@attrs.frozen(slots=True, kw_only=True)
class PromptArguments:
    """The prompt of ``specframe run``."""

    prompt: str | None = option(None, help="The prompt.", absent="a built-in prompt", metavar="TEXT")
    prompt_file: str | None = option(
        None, help="Read the prompt from a file, or - for standard input.", metavar="FILE"
    )
    chat: bool | None = option(
        None,
        help="Wrap the prompt as one user turn, or take it as it is.",
        flags=("--chat/--raw",),
        absent="--chat if the tokenizer has a chat template",
    )


@attrs.frozen(slots=True, kw_only=True)
class ShownArguments:
    """What ``specframe run`` shows besides the text."""

    logprobs: int | None = option(
        None,
        help="Show the target's log-probability of every new token, and its K most likely tokens there.",
        minimum=0,
        absent="none",
        metavar="K",
    )
    show: bool = option(
        False, help="Show what each token came from: drafted by whom and accepted, or the target's own."
    )
    html: Path | None = option(
        None,
        help="Write a page on which every token shows the draft tree of its pass.",
        absent="none",
        metavar="FILE",
    )

    def check(self, *, json: bool) -> None:
        """See, before long work, that all of it can be shown.

        Raises:
            UsageError: ``--show`` is asked for beside JSON, or a page needs a library that is missing.
            SpecframeError: the page cannot be written.
        """
        if self.show and json:
            raise UsageError("--show colours the text, and --json prints none; allowed: one of them")
        if self.html is not None:
            from specframe.cli.shown.page import check_page_place

            check_page_place(self.html)


@takes_options
def run(
    run_config: RunConfig,
    given: PromptArguments,
    template: TemplateArguments,
    ends: StopArguments,
    shown: ShownArguments,
    stdin: Annotated[
        str | None, typer.Argument(metavar="[-]", help="Read the prompt from standard input.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Generate text: stream it as it is accepted, then report."""
    from specframe.request.prompts import read_prompt

    shown.check(json=json)
    text = read_prompt(given.prompt, given.prompt_file, stdin)
    template_args, tools = template.arguments(), template.descriptions()
    check_named(run_config, build_registry(create_plugin_manager()))

    # Imported late, and only after what was typed has been checked: torch takes seconds.
    from specframe.cli.shown.telling import Telling
    from specframe.engine.assembly import build_engine
    from specframe.engine.report import logprob_rows, to_json, to_rows
    from specframe.ops.tables import print_table
    from specframe.request.request import Request

    telling = Telling(show=shown.show, page=shown.html)
    request = Request(
        text,
        chat=given.chat,
        stop=ends.stop,
        stop_ids=ends.stop_id,
        logprobs=shown.logprobs,
        template_args=template_args,
        tools=tools,
        watch_passes=telling.watch_passes,
    )
    engine = build_engine(run_config)
    begun = False
    try:
        for piece in telling.pieces(engine, request):
            if not json:
                print(piece, end="", flush=True)
                begun = True
    except SpecframeError:
        if begun:  # what went wrong is a line of its own
            print(flush=True)
        raise
    assert engine.report is not None
    if json:
        print(to_json(engine.report))
        return
    print("\n")
    for line in telling.closing_lines(engine.report):
        print(line, end="\n\n")
    if engine.report.logprobs is not None:
        tokens = engine.target.tokenizer.convert_ids_to_tokens
        print_table(logprob_rows(engine.report, lambda ids: [str(token) for token in tokens(ids)]))
        print()
    print_table(to_rows(engine.report, engine.target.vocab_size))
