"""`python -m groundcrew_emulator`"""

from .server import main

main()
