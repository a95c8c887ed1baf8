"""A plugin package from templates: written as a whole, or not at all."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from string import Template

import attrs

from specframe.config import AUTO, AUTOREGRESSIVE, OFF
from specframe.contracts.kinds import KINDS, Kind, KindInfo
from specframe.errors import UsageError, unknown_name

_TEMPLATES = Path(__file__).with_name("templates")
# Of the name, so that no line of the code grows too long.
_LONGEST = 20
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_RESERVED = (AUTO, AUTOREGRESSIVE, OFF, "none")
# Of packages and distributions that are this project's.
_OURS = ("heads", "kernels", "plugins", "vllm")
# What the module with the code is called, and what the benchmark in the README compares.
_FILES: Mapping[Kind, str] = {
    "vocabulary": "strategy",
    "gather": "gather",
    "drafter": "drafter",
    "verifier": "verifier",
}
_COMPARED: Mapping[Kind, str] = {
    "vocabulary": "full,nanospec,{}",
    "gather": "nanospec,nanospec:gather={}",
    "drafter": "autoregressive,full:drafter={}",
    "verifier": "nanospec,nanospec:verifier={}",
}


@attrs.frozen(slots=True)
class NewPackage:
    """A package with one component.

    Attributes:
        kind: of the component.
        name: of the component, as users type it.
        variant: of the templates, where a kind has several: ``drafter-with-head`` for one with an LM head.
        version: of specframe, which the package is bound to.
    """

    kind: KindInfo
    name: str
    variant: str
    version: str

    @classmethod
    def of(cls, kind: str, name: str, version: str, *, with_head: bool = False) -> NewPackage:
        """Return the package for what a user typed.

        Raises:
            UsageError: there is no such kind, or the name cannot be one.
        """
        known = {one: info for info in KINDS.values() for one in (info.name, info.setting)}
        if kind not in known:
            raise unknown_name("kind", kind, known)
        info = known[kind]
        if not _NAME.fullmatch(name) or len(name) > _LONGEST:
            raise UsageError(
                f"name {name!r} is none for a {info.label}; allowed: lower-case letters, digits and single "
                f"hyphens between them, a letter first, at most {_LONGEST} characters"
            )
        if name in _RESERVED:
            raise UsageError(f"name {name!r} means something else; allowed: any but {', '.join(_RESERVED)}")
        if name in _OURS:
            raise UsageError(
                f"name {name!r} would write over specframe-{name}; allowed: any but {', '.join(_OURS)}"
            )
        if with_head and info.name != "drafter":
            raise UsageError(f"--with-head is for drafters, and {kind!r} is none; allowed: without it")
        return cls(info, name, "drafter-with-head" if with_head else info.name, version)

    @property
    def distribution(self) -> str:
        """What is installed, and the folder."""
        return f"specframe-{self.name}"

    @property
    def module(self) -> str:
        """What is imported."""
        return self.distribution.replace("-", "_")

    @property
    def bound(self) -> str:
        """The versions of specframe that the package is for: this minor one, its previews included."""
        major, minor = map(int, re.findall(r"\d+", self.version)[:2])
        return f">={major}.{minor}.dev0,<" + (f"0.{minor + 1}" if major == 0 else str(major + 1))

    def files(self) -> dict[str, str]:
        """Return the text of every file by its path."""
        file = _FILES[self.kind.name]
        values = {
            "name": self.name,
            "distribution": self.distribution,
            "module": self.module,
            "title": "".join(part.capitalize() for part in self.name.split("-")),
            "bound": self.bound,
            "kind": self.kind.name,
            "setting": self.kind.setting,
            "label": self.kind.label,
            "hook": self.kind.hook,
            "file": file,
            "compared": _COMPARED[self.kind.name].format(self.name),
        }
        sources = {
            "pyproject.toml": "pyproject.toml",
            "README.md": "README.md",
            f"{self.module}/__init__.py": "__init__.py",
            f"{self.module}/component.py": f"{self.variant}.component.py",
            f"{self.module}/{file}.py": f"{self.variant}.{file}.py",
            f"tests/test_{file}.py": f"{self.variant}.test_{file}.py",
        }
        texts = {
            path: Template((_TEMPLATES / f"{source}.in").read_text(encoding="utf-8")).substitute(values)
            for path, source in sources.items()
        }
        return {**texts, f"{self.module}/py.typed": ""}

    def write(self, into: Path) -> Path:
        """Write the package below a folder, whole or not at all, and return where it is.

        Raises:
            UsageError: there is no such folder, it has one of the package's name, or takes no files.
        """
        if not into.is_dir():
            raise UsageError(f"{into} is no folder; allowed: --into a folder that exists")
        place = into / self.distribution
        if place.exists() or place.is_symlink():
            raise UsageError(f"{place} exists; allowed: another name, or --into another folder")
        texts = self.files()
        try:
            with tempfile.TemporaryDirectory(prefix=f".{self.distribution}-", dir=into) as scratch:
                made = Path(scratch) / "made"
                for path, text in texts.items():
                    (made / path).parent.mkdir(parents=True, exist_ok=True)
                    (made / path).write_text(text, encoding="utf-8")
                made.rename(place)
        except OSError as error:
            raise UsageError(f"cannot write {place}: {error.strerror or error}") from None
        return place
