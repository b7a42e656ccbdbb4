"""How a DICOM file begins, with or without a preamble: known from its first bytes, without a library."""

HEAD_BYTES = 132
_EXPLICIT = frozenset(b"AE AS AT CS DA DS DT IS LO LT OB OW PN SH SL SS ST TM UI UL UN US".split())
_FIRST = {2: (0x0000, 0x0001, 0x0002, 0x0010), 8: (0x0000, 0x0001, 0x0005, 0x0008, 0x0012, 0x0016, 0x0018)}
"""Elements with which file meta information and data sets begin."""
_LONGEST = 1024


def looks_dicom(head: bytes) -> bool:
    """Whether these first bytes of a file are DICOM's: 'DICM' after 128 bytes, or an element that comes first."""
    return has_preamble(head) or head[:4] == b"DICM" or _begins_with_an_element(head)


def has_preamble(head: bytes) -> bool:
    """Whether the file has 128 bytes and 'DICM' before its elements."""
    return head[128:132] == b"DICM"


def _begins_with_an_element(head: bytes) -> bool:
    if len(head) < 8:
        return False
    explicit = head[4:6] in _EXPLICIT
    for order in ("little", "big") if explicit else ("little",):
        group, element = int.from_bytes(head[:2], order), int.from_bytes(head[2:4], order)
        if element in _FIRST.get(group, ()):
            return explicit or int.from_bytes(head[4:8], "little") <= _LONGEST
    return False
