import http.client
import json
from datetime import timedelta

import pytest

from cmp.testing import DemoCA, When
from tests.cmp.testing.client import SECRET
from tests.cmp.testing.wire import an_ir, post


def test_control_turns_knobs_and_reads_counters(
    connection: http.client.HTTPConnection, ca: DemoCA
) -> None:
    knobs = {
        "polls": 2,
        "check_after": 0.5,
        "stall": {"bodies": ["certConf"], "chance": 0.5, "times": 3},
        "refuse": {"failures": ["badPOP"], "text": ["no"]},
        "omit_header": ["message_time"],
        "retry_after": None,
        "extra_chain_order": "reversed",
        "chunked": True,
    }
    post(connection, an_ir(ca))

    connection.request("POST", "/control", json.dumps(knobs), {"Content-Type": "application/json"})
    connection.getresponse().read()
    connection.request("GET", "/control")
    report = json.loads(connection.getresponse().read())

    assert report["counts"] == {"ir": 1}
    assert [each["asked"] for each in report["open_transactions"]] == ["ir"]
    assert [each["serial"] for each in report["issued"]] == [f"{ca.issued[0].serial:x}"]
    assert (ca.polls, ca.check_after) == (2, timedelta(seconds=0.5))
    assert ca.stall == When(bodies=frozenset({"certConf"}), chance=0.5, times=3)
    assert report["knobs"]["refuse"] == {
        "failures": ["badPOP"],
        "text": ["no"],
        "status": "rejection",
    }
    assert {name: report["knobs"][name] for name in ("polls", "omit_header", "chunked")} == {
        "polls": 2,
        "omit_header": ["message_time"],
        "chunked": True,
    }


@pytest.mark.parametrize(
    ("knobs", "complaint"),
    [
        ({"pols": 2}, "no knob pols"),
        ({"polls": "2"}, "polls: int is expected"),
        ({"polls": 1, "chunked": 1}, "chunked: bool is expected"),
        ({"stall": {"body": "ir"}}, "stall: "),
        ({"extra_chain_order": "shuffled"}, "extra_chain_order: one of"),
        ([1], ""),
    ],
)
def test_knobs_that_do_not_fit_change_nothing(
    connection: http.client.HTTPConnection, ca: DemoCA, knobs: object, complaint: str
) -> None:
    connection.request("POST", "/control", json.dumps(knobs), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read().decode()

    assert response.status == 400
    assert complaint in answer
    assert ca.polls == 0


def test_control_shows_no_secret(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/control")

    assert SECRET.secret not in connection.getresponse().read()


def test_web_pages_cannot_turn_knobs(connection: http.client.HTTPConnection) -> None:
    form = {"Content-Type": "text/plain"}  # all a page of another origin can send without asking
    connection.request("POST", "/control", '{"polls": 2}', form)

    assert connection.getresponse().status == 415
