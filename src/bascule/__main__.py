"""`python -m bascule` is the command line."""

from bascule.cli import main

if __name__ == "__main__":
    main()
