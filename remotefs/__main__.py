"""Run the command `remotefs` by `python -m remotefs`."""

from remotefs.cli.main import main

if __name__ == "__main__":
    main()
