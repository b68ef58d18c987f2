"""Requests that come in pieces: every one of httprequests.py, right or wrong, has the same bytes for an answer however
it is cut."""

import pytest

from httprequests import REQUESTS, Pause, bytewise, converse, differing, wire


def test_every_request_may_be_cut_anywhere(web, quick_engine):
    server = web()
    pause = Pause(server)
    found = [text for name in REQUESTS for text in differing(server, pause, name)]
    assert not found, "\n".join(found)


def test_all_requests_at_once_byte_by_byte(web, quick_engine):
    server = web()
    pause = Pause(server)
    whole = converse(server, [[wire(name)] for name in REQUESTS], pause)
    pieces = converse(server, [bytewise(wire(name)) for name in REQUESTS], pause)
    assert dict(zip(REQUESTS, pieces)) == dict(zip(REQUESTS, whole))


@pytest.mark.parametrize("name", ["get", "length"])
def test_a_cut_that_is_taken_for_the_end_would_be_found(web, name):
    server = web()
    pause = Pause(server)
    data = wire(name)
    whole, lost = converse(server, [[data], [data[:10], data[11:]]], pause)
    assert whole != lost
