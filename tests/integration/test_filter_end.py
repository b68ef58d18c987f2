"""What filters of conn:forward kept back goes on when their direction has ended."""

import pytest

from peer import Backend

KEEPER = """
local function keeper(mark)
  local kept = ""
  local function take(data)
    kept = kept .. tostring(data)
  end
  local function give()
    return mark .. kept
  end
  return take, give
end
"""


@pytest.fixture
def backend(behind):
    return behind(Backend)


def start(zerg, backend, filters):
    body = f"""
    local up, up_end = keeper("up:")
    local down, down_end = keeper("down:")
    conn:forward("{backend.target}", {{ filter = {filters} }})
    """
    server = zerg(body, top=KEEPER)
    return server.wait_listening()


def test_what_both_filters_kept_goes_last(engine, zerg, backend):
    server = start(zerg, backend, "{ up = up, up_end = up_end, down = down, down_end = down_end }")
    client = server.connect().send("one ").send("two").half_close()
    behind = backend.accept()
    assert behind.rest() == b"up:one two"
    behind.send("three").half_close()
    assert client.rest() == b"down:three"


def test_end_without_a_filter_adds_to_what_passed(zerg, backend):
    server = start(zerg, backend, "{ up_end = up_end, down_end = down_end }")
    client = server.connect().send("one").half_close()
    behind = backend.accept()
    assert behind.rest() == b"oneup:"
    behind.send("two").half_close()
    assert client.rest() == b"twodown:"


def test_end_is_not_called_for_a_direction_that_broke(zerg, backend):
    server = start(zerg, backend, "{ up = up, up_end = up_end }")
    client = server.connect().send("one")
    behind = backend.accept()
    client.reset()
    behind.expect_reset()


def test_end_that_gives_nothing_or_raises(zerg, backend):
    server = start(zerg, backend, "{ up_end = function() end, down_end = function() error('no end') end }")
    client = server.connect().send("one").half_close()
    behind = backend.accept()
    assert behind.rest() == b"one"
    behind.send("two").half_close()
    client.expect_reset()
    server.log.expect("no end")
