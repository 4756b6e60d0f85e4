"""`python -m seedbed`: the command line, where its script is not on the path."""

from seedbed.cli import main

if __name__ == "__main__":
    main()
