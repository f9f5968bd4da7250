"""`python -m textvae` is `textvae`."""

from textvae.cli.main import main

main()
