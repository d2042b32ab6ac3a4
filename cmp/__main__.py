"""Print CMP messages in words: python -m cmp FILE…, - for standard input.

A file holds one message, in DER, BER or base64. Nothing secret is printed: see `dump`.
"""

import argparse
import base64
import binascii
import sys
from pathlib import Path

from cmp.dump import dump
from cmp.errors import Malformed


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m cmp", description="Print CMP messages in words, without secrets."
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="DER, BER or base64; - for stdin")
    failed = 0
    for name in parser.parse_args().files:
        try:
            content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
            for line in dump(_message(content)):
                sys.stdout.write(f"{line}\n")
        except (OSError, Malformed) as error:
            sys.stderr.write(f"{name}: {error}\n")
            failed = 1
    return failed


def _message(content: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(content.split()), validate=True)
    except binascii.Error:
        return content


if __name__ == "__main__":
    sys.exit(main())
