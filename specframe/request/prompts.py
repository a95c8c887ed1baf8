"""From what the user wrote to the ids the target reads."""

from __future__ import annotations

import inspect
import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specframe.config import split_assignment
from specframe.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

_log = logging.getLogger(__name__)

STDIN = "-"

# Arguments of a template that are none of the user's, besides those that its method has for itself.
_OURS = ("messages", "tools", "add_generation_prompt")

BUILT_IN_PROMPT = (
    "A lighthouse flashes a pattern of its own, so that sailors know which coast they see at night. "
    "Explain in a few sentences how a lighthouse makes its pattern, and how a sailor reads it."
)


def read_prompt(text: str | None = None, file: str | None = None, argument: str | None = None) -> str:
    """Return the prompt; without any, the built-in one.

    Args:
        text: the prompt itself.
        file: a file that holds it, ``-`` for standard input. One newline at its end is left out.
        argument: ``-`` for standard input.

    Raises:
        UsageError: more than one was given, the file cannot be read, or the prompt is empty.
    """
    if argument not in (None, STDIN):
        raise UsageError(
            f"unexpected argument {argument!r}; allowed: -, or --prompt TEXT, or --prompt-file FILE"
        )
    if sum(given is not None for given in (text, file, argument)) > 1:
        raise UsageError("a prompt was given twice; allowed: one of --prompt, --prompt-file and -")
    file = file or argument
    if file is not None:
        text = _read(file).removesuffix("\n")
    if text is None:
        return BUILT_IN_PROMPT
    if not text.strip():
        raise UsageError("the prompt is empty; allowed: at least one token")
    return text


def read_tools(file: Path) -> list[Any]:
    """Return the tools of a JSON file: a list of descriptions, as chat templates take them.

    Raises:
        UsageError: the file cannot be read, or holds something else.
    """
    try:
        tools = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the tools {file}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"the tools in {file} are not valid JSON: {error}") from None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise UsageError(f"{file} holds no tools; allowed: a JSON list of objects")
    return tools


def parse_template_args(assignments: Iterable[str]) -> dict[str, Any]:
    """Return arguments of a chat template from ``NAME=JSON`` strings.

    Raises:
        UsageError: an assignment has another form, or its value is not JSON.
    """
    arguments: dict[str, Any] = {}
    for assignment in assignments:
        name, value = split_assignment(assignment, "NAME=JSON")
        try:
            arguments[name] = json.loads(value)
        except ValueError:
            raise UsageError(
                f"template argument {name} is {value!r}, which is not JSON; allowed: true, 3, a text in "
                "double quotes, and so on"
            ) from None
    return arguments


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    chat: bool | None = None,
    template_args: Mapping[str, Any] | None = None,
    tools: Sequence[Any] | None = None,
) -> Tensor:
    """Return the ids of a prompt [T] int64.

    Args:
        tokenizer: the target's.
        text: the prompt.
        chat: wrap it as one user turn with the generation prompt; None: if there is a chat template.
        template_args: arguments of the chat template, by name.
        tools: descriptions of tools for the chat template.

    Raises:
        UsageError: a chat is asked for and the tokenizer has no chat template, or its template does not take
            what it is given.
    """
    import torch

    if chat is None:
        chat = bool(tokenizer.chat_template)
    if not chat:
        if template_args or tools:
            raise UsageError(
                "template arguments and tools are for the chat template, and this prompt is taken as it is; "
                "allowed: a chat, with a model that has a template"
            )
        _check_text(text)
        ids: list[int] = tokenizer(text)["input_ids"]
        if ids[:2] == [tokenizer.bos_token_id] * 2:
            _log.warning(
                "the prompt begins with %s, which the tokenizer adds as well: the model reads it twice; "
                "leave it out of the prompt",
                tokenizer.bos_token,
            )
        return torch.tensor(ids, dtype=torch.int64)
    return encode_messages(tokenizer, [{"role": "user", "content": text}], template_args, tools)


def encode_messages(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, str]],
    template_args: Mapping[str, Any] | None = None,
    tools: Sequence[Any] | None = None,
) -> Tensor:
    """Return the ids of a conversation [T] int64, up to where the next answer begins.

    Args:
        tokenizer: the target's.
        messages: each with "role" and "content", as the chat template wants them. A content that is a list
            of parts of type text is taken as the parts one after the other.
        template_args: arguments of the chat template, by name.
        tools: descriptions of tools for the chat template.

    Raises:
        UsageError: the tokenizer has no chat template, its template refuses the messages or knows no such
            arguments, or they hold something other than text.
    """
    import torch
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise UsageError(
            "this model has no chat template; allowed: a text as it is (specframe run --raw, chat=False)"
        )
    _check_template(tokenizer, template_args or {}, tools)
    try:
        ids: Any = tokenizer.apply_chat_template(
            [_plain(message) for message in messages],
            tools=tools or None,  # type: ignore[arg-type]  # a sequence of them
            add_generation_prompt=True,
            return_dict=False,
            **(template_args or {}),
        )
    except (TemplateError, TypeError) as error:
        raise UsageError(f"the chat template refuses these messages: {error}") from None
    return torch.tensor(ids, dtype=torch.int64)


def _check_template(
    tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any], tools: Sequence[Any] | None
) -> None:
    """Raise ``UsageError`` for arguments that a chat template would not look at."""
    if not arguments and not tools:
        return
    from jinja2 import Environment, TemplateError, meta

    source = tokenizer.get_chat_template(tools=tools or None)  # type: ignore[arg-type]  # a sequence of them
    environment = Environment(extensions=["jinja2.ext.loopcontrols"])
    try:
        known = meta.find_undeclared_variables(environment.parse(source))
    except TemplateError:  # an extension of transformers
        return
    if tools and "tools" not in known:
        raise UsageError("the chat template of this model takes no tools; allowed: none")
    taken = {*_OURS, *inspect.signature(tokenizer.apply_chat_template).parameters}
    own = sorted(known - taken - {*tokenizer.special_tokens_map})
    for name in arguments:
        if name not in own:
            raise unknown_name("template argument", name, own)


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message whose content is one text, if it has any."""
    plain = dict(message)
    content = plain.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        for part in content:
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            if kind != "text" or not isinstance(part.get("text"), str):
                raise UsageError(f"a message has a part of type {kind!r}; allowed: parts of type text")
        plain["content"] = "".join(part["text"] for part in content)
    elif content is not None and not isinstance(content, str):
        raise UsageError(f"a message's content is {content!r}; allowed: a text, or parts of type text")
    for value in plain.values():
        if isinstance(value, str):
            _check_text(value)
    return plain


def _check_text(text: str) -> None:
    """Raise ``UsageError`` for half of a surrogate pair, which is no character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the prompt has {text[error.start]!r} at character {error.start}, half of a surrogate pair; "
            "allowed: whole characters"
        ) from None


def _read(file: str) -> str:
    try:
        content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        return content.decode("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the prompt file {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"the prompt in {file} is not UTF-8 text") from None
