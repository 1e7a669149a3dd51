"""`python -m keyrelay` is `keyrelay`."""

from keyrelay.cli.main import main

if __name__ == "__main__":
    main()
