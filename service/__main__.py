"""`python -m service` is the command `tailorbird`."""

from service.cli import main

main()
