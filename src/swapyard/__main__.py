"""`python -m swapyard` is the command `swapyard`."""

from swapyard.cli import main

if __name__ == "__main__":
    main()
