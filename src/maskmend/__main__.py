"""`python -m maskmend`: the command line."""

from maskmend.cli import main

if __name__ == "__main__":
    main()
