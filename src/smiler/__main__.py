"""`python -m smiler`: the command line."""

from smiler.cli import main

if __name__ == "__main__":
    main()
