"""`python -m nova` is the `nova` command."""

from nova.surface.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
