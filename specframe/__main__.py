"""``python -m specframe``: the command line."""

from specframe.cli.entry import main

if __name__ == "__main__":
    main()
