"""What `import specframe` gives at once, and what it imports only when asked."""

from __future__ import annotations

import subprocess
import sys

import pytest

import specframe


@pytest.mark.parametrize("name", specframe.__all__)
def test_every_name_of_the_face_can_be_asked_for(name: str) -> None:
    assert getattr(specframe, name).__name__ == name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        specframe.Nothing  # noqa: B018 - asking is the test


def test_importing_the_face_imports_no_torch() -> None:
    code = "import sys, specframe; print('torch' in sys.modules, specframe.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", specframe.__version__]


def test_the_version_is_looked_up_when_it_is_asked_for() -> None:
    code = "import specframe; print('__version__' in vars(specframe), bool(specframe.__version__))"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert asked.stdout.split() == ["False", "True"]


def test_the_package_runs_as_the_command_line() -> None:
    command = [sys.executable, "-P", "-m", "specframe", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{specframe.__version__}\n"
