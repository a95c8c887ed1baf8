"""vLLM's OpenAI server on a port of this machine, and a load of streamed requests for it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx

_START_LIMIT = 240


@attrs.frozen
class Server:
    """A server that answers.

    Attributes:
        url: where.
        model: what it calls its model.
    """

    url: str
    model: str

    def metrics(self) -> dict[str, float]:
        """Return its metrics by name and labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as reply:
            lines = reply.read().decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in samples}


@contextmanager
def serving(model: Path, log: Path, *arguments: str) -> Iterator[Server]:
    """Have a server; its output goes to a file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(model), "--served-model-name", "tiny"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "float32", "--enforce-eager", "--max-model-len", "256"),
        *arguments,
    ]
    # An engine of its own process, as it is served.
    environment = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            server = Server(f"http://127.0.0.1:{port}", "tiny")
            _wait_until_it_answers(server, process, log)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_it_answers(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + _START_LIMIT
    while time.monotonic() < limit:
        if process.poll() is not None:
            raise AssertionError(f"the server ended: {log.read_text()[-4000:]}")
        try:
            with urllib.request.urlopen(f"{server.url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"no server after {_START_LIMIT} s: {log.read_text()[-4000:]}")


@attrs.frozen
class Load:
    """Streamed requests that all run at once.

    Attributes:
        prompts: token ids of each.
        tokens: how many each asks for.
        abort_share: of the requests, how many are given up after a random number of tokens.
        seed: decides which ones, and when they start.
    """

    prompts: Sequence[list[int]]
    tokens: int
    abort_share: float = 0.0
    seed: int = 0

    def run(self, server: Server) -> list[str | None]:
        """Return the texts; None for those that were given up."""
        return asyncio.run(self._run(server))

    async def _run(self, server: Server) -> list[str | None]:
        source = random.Random(self.seed)
        limits = httpx.Limits(max_connections=len(self.prompts))
        async with httpx.AsyncClient(timeout=300, limits=limits) as client:
            asked = []
            for prompt in self.prompts:
                gives_up = source.random() < self.abort_share
                after = source.randrange(1, self.tokens) if gives_up else None
                asked.append(self._ask(client, server, prompt, source.random(), after))
            return await asyncio.gather(*asked)

    async def _ask(
        self, client: httpx.AsyncClient, server: Server, prompt: list[int], delay: float, after: int | None
    ) -> str | None:
        """Stream one answer; give up after so many chunks of it."""
        await asyncio.sleep(delay)
        body: dict[str, Any] = {
            "model": server.model,
            "prompt": prompt,
            "max_tokens": self.tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        text, chunks = "", 0
        async with client.stream("POST", f"{server.url}/v1/completions", json=body) as reply:
            reply.raise_for_status()
            async for line in reply.aiter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                text += json.loads(line.removeprefix("data: "))["choices"][0]["text"]
                chunks += 1
                if after is not None and chunks >= after:
                    return None
        return text
