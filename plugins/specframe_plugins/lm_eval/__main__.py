"""lm-eval's own command, which knows the model ``specframe``: ``python -m specframe_plugins.lm_eval``."""

from __future__ import annotations

import sys

from specframe.errors import SpecframeError


def main() -> None:
    """Run lm-eval; a user's mistake is one line."""
    try:
        from lm_eval.__main__ import cli_evaluate
    except ModuleNotFoundError as error:
        if error.name != "lm_eval":
            raise
        sys.exit("specframe: lm-eval is not installed; allowed: pip install 'specframe[lm-eval]'")
    from specframe_plugins.lm_eval import model  # noqa: F401  # which registers it

    try:
        cli_evaluate()
    except SpecframeError as error:
        print(f"specframe: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
