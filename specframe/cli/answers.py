"""What a target has answered so far, beside the file made of it, so that an interrupt loses one answer."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from specframe.contracts.records import write_whole
from specframe.errors import SpecframeError


class KeptAnswers:
    """Token ids by prompt, in a file that is gone when it is no longer needed.

    Args:
        path: of the file; answers of something else are not used.
        about: everything besides the prompt that decides an answer.

    Raises:
        SpecframeError: the file cannot be written.
    """

    def __init__(self, path: Path, about: Mapping[str, object]) -> None:
        self._path = path
        self._answers: dict[str, list[int]] = {}
        head = json.dumps(about, sort_keys=True)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            first, *lines = path.read_text(encoding="utf-8").splitlines()
            # The last line may be cut off: then it is no JSON, and the answers before it stay.
            for line in lines if first == head else []:
                kept = json.loads(line)
                self._answers[kept["prompt"]] = kept["ids"]
        lines = [head, *(_line(prompt, ids) for prompt, ids in self._answers.items())]
        write_whole(path, "".join(f"{line}\n" for line in lines).encode())

    def get(self, prompt: str) -> list[int] | None:
        """Return the answer to a prompt, or None."""
        return self._answers.get(_digest(prompt))

    def add(self, prompt: str, ids: Sequence[int]) -> None:
        """Keep an answer.

        Raises:
            SpecframeError: it cannot be written.
        """
        self._answers[_digest(prompt)] = [*ids]
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{_line(_digest(prompt), ids)}\n")
        except OSError as error:
            raise SpecframeError(f"cannot write {self._path}: {error.strerror}") from None

    def remove(self) -> None:
        """Forget all answers."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _line(digest: str, ids: Sequence[int]) -> str:
    return json.dumps({"prompt": digest, "ids": [*ids]})


def _digest(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()[:32]
