"""What the lab says when the user's input is wrong."""

import difflib
from collections.abc import Iterable

LONGEST_LIST = 20  # names in one message
LONGEST_REASON = 300  # characters of somebody else's message


class InputError(ValueError):
    """What the user gave is wrong: a name, a file, a value in it, or a function of theirs.

    Its message is one line that names what was given and what is accepted. The command line prints it and exits with 2.
    A failure of the machine (a full disk, no network) is an OSError instead.
    """


def nearest(word: str, choices: Iterable[str]) -> str:
    """A suggestion to put behind an error message: the choice that `word` is most likely a misspelling of.

    Args:
        word: What the user wrote.
        choices: What they may have meant.

    Returns:
        `" Did you mean 'digits'?"`, with the leading space, or the empty string where nothing is near.

    Example:
        >>> nearest("digit", ["digits", "wine"])
        " Did you mean 'digits'?"
        >>> nearest("weather", ["digits", "wine"])
        ''
    """
    lowered = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), lowered, n=1)
    return f" Did you mean {lowered[found[0]]!r}?" if found else ""


def listed(names: Iterable[object]) -> str:
    """`names` with commas between them, the first 20 of them."""
    words = [str(name) for name in names]
    more = f" and {len(words) - LONGEST_LIST} more" if len(words) > LONGEST_LIST else ""
    return ", ".join(words[:LONGEST_LIST]) + more


def reason(error: BaseException) -> str:
    """What `error` says, in one line of at most 300 characters: its type and its message."""
    message = " ".join(str(error).split())
    if len(message) > LONGEST_REASON:
        message = message[: LONGEST_REASON - 1] + "…"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def shown(value: object) -> str:
    """`value` for a message: a whole number with commas, any other as Python writes it; what is long is cut off.

    Example:
        >>> shown(12345), shown("0.1")
        ('12,345', "'0.1'")
        >>> shown(10**400)
        'a number of about 10^400'
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) < 10**30 else f"a number of about 10^{round(value.bit_length() * 0.30103)}"
    try:
        text = repr(value)
    except ValueError:  # somewhere in it a whole number of thousands of digits
        text = f"a {type(value).__name__} that is too long to show"
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"
