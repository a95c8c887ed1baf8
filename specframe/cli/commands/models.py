"""``specframe models``."""

from __future__ import annotations

from specframe.cli.options import takes_options


@takes_options
def models() -> None:
    """List the demo models.

    Whether they are installed, their licence, and the command that installs them.
    """
    from specframe.model.loading import DEMO_MODELS
    from specframe.ops.tables import print_table

    print_table(
        [
            (demo.name, "yes" if demo.installed else "no", demo.licence, demo.summary, demo.install)
            for demo in DEMO_MODELS.values()
        ],
        headers=("name", "installed", "licence", "what it is", "install with"),
    )
