"""Text as token ids, to be counted or covered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from specframe.errors import UsageError


def token_ids_of(tokenizer: Any, path: Path) -> Tensor:
    """Return the tokens of a UTF-8 text [n] int64, at least one.

    Args:
        tokenizer: of transformers.
        path: of the text.

    Raises:
        UsageError: it cannot be read, is no UTF-8 text, or has no tokens.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error.reason}") from None
    # verbose=False: that the text is longer than the model's context is no reason to warn here.
    ids = torch.tensor(tokenizer(content, add_special_tokens=False, verbose=False)["input_ids"])
    if len(ids) == 0:
        raise UsageError(f"{path} has no tokens to count")
    return ids.long()
