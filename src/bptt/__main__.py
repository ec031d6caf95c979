"""`python -m bptt`, the same as the command `bptt`."""

from bptt.cli.app import main

if __name__ == "__main__":
    main()
