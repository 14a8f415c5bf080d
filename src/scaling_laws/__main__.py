"""`python -m scaling_laws`: the same as the command `scaling-laws`."""

from scaling_laws.cli import main

if __name__ == "__main__":
    main()
