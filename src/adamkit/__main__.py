"""`python -m adamkit`, and the command `adamkit`."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `main` has its own: the imports end without a traceback

from adamkit.cli import main

if __name__ == "__main__":
    main()
