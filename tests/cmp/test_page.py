"""What docs/cmp.md shows as Python enrolls with a real server."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cmp.testing import DemoCA, Pki, serve

PAGE = Path(__file__).parents[2] / "docs" / "cmp.md"


def test_the_lines_on_the_page_enroll() -> None:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code
    pki = Pki.generate("Page CA", now=datetime.now(UTC))
    with serve(DemoCA(pki=pki, secrets={b"ref": b"a secret"})) as server:
        names: dict[str, Any] = {
            "url": server.url,
            "secret": b"a secret",
            "reference": b"ref",
            "root": pki.root,
        }
        exec(code[1], names)

    assert names["certificate"].public_key() == names["key"].public_key()
    assert names["certificate"].subject.rfc4514_string() == "CN=amf1,O=Operator"
