"""`python -m remotefs`: the same as the command `remotefs`."""

from remotefs.cli.main import main

if __name__ == "__main__":
    main()
