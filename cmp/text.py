"""Text that comes from outside, made fit for one line of a log, an error or a page."""

ELLIPSIS = "…"


def one_line(text: str, limit: int) -> str:
    """Return at most `limit` characters, whatever does not print (line ends too) escaped."""
    printable = (c if c.isprintable() else ascii(c)[1:-1] for c in text[: limit + 1])
    line = "".join(printable)
    return line if len(line) <= limit else line[: limit - 1] + ELLIPSIS
