"""Names of files: two different things never get one name, on any file system.

A case id has letters, digits, '.', '_' and '-', an organ key small letters, digits and '_' alone. So the last '.' of
CASE.ORGAN stands before the key, and what ends in '-' and a word is never a pair.
"""

import unicodedata


def pair_name(case: str, organ: str) -> str:
    """The name, less its ending, of a file about one organ of one case."""
    return f"{case}.{organ}"


def beside_pair(name: str, word: str) -> str:
    """The name, less its ending, of another file about the pair or case `name`, such as CASE.ORGAN-uncertainty."""
    return f"{name}-{word}"


def folded(name: str) -> str:
    """Equal for names that some file system takes for one: by capitals, by composed letters, by dots at the end."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).rstrip(" .")


def share_name(share: float) -> str:
    """A share in the name of a folder: short where that says it exactly, else with all of its digits."""
    short = f"{share:g}"
    return short if float(short) == share else repr(share)
