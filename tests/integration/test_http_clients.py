"""The HTTP server and clients that others wrote: curl, wrk, ab, h2load and node. They keep connections, pipeline,
stream, and say HTTP/1.0."""

import pytest

from peer import pattern
from webclients import NODE_AGENT, NODE_FETCH, NODE_STREAM, ab, curl, h2load, node, wrk

LIMIT = 100_000


@pytest.fixture
def site(web):
    """Starts a server of HTTP and gives its address."""

    def start(body_bytes=LIMIT):
        server = web(limits={"body_bytes": body_bytes}).wait_ready()
        return f"http://127.0.0.1:{server.port}"
    return start


# ---- curl ----


def test_curl_of_http_1_0_is_told_the_end_by_the_end(site, engine):
    url = site()
    for path, body, length in (("/hello", "hello\n", True), ("/stream", "one,two,three", False)):
        head, got = curl("--http1.0", "-i", url + path).split("\r\n\r\n", 1)
        assert head.startswith("HTTP/1.1 200 OK\r\n") and "\r\nConnection: close" in head
        assert got == body and "Transfer-Encoding" not in head and ("Content-Length" in head) == length


def test_curl_uploads_what_has_no_length(site, engine):
    data = pattern(3_000_000)
    got = curl("-T", "-", site(body_bytes="4m") + "/body", input=data)
    assert got == data.decode("latin-1")


def test_curl_waits_for_100_before_it_sends_a_body(site, engine):
    """It would wait longer than it may run, so that it was told to go on when it is content."""
    got = curl("-v", "--expect100-timeout", "60", "-H", "Expect: 100-continue", "--data-binary", "abc", "--stderr", "-",
               site() + "/body")
    assert got.count("< HTTP/1.1 100 Continue") == 1 and got.count("< HTTP/1.1 200 OK") == 1 and "\nabc" in got


def test_curl_asks_for_a_head_and_goes_on(site):
    url = site()
    got = curl("-I", url + "/hello", "--next", "-sS", "-w", "%{num_connects}", url + "/hello")
    assert got.startswith("HTTP/1.1 200 OK\r\n") and "\r\nContent-Length: 6\r\n" in got
    assert got.endswith("\r\n\r\nhello\n0")


def test_curl_uses_one_connection_for_all(site, engine):
    url = site()
    paths = ["/hello", "/stream", "/missing", "/nothing", "/no_content", "/large?n=100000", "/hello"]
    words = [word for path in paths for word in ("-o", "/dev/null", url + path)]
    assert curl("-w", "%{http_code} %{num_connects}\n", *words).split("\n") == [
        "200 1", "200 0", "404 0", "200 0", "204 0", "200 0", "200 0", ""]


@pytest.mark.parametrize("size", [LIMIT, 3_000_000], ids=["in_one_go", "behind_100"])
def test_curl_sends_a_body_up_to_the_limit_and_no_further(site, tmp_path, engine, size):
    url = site(body_bytes=size) + "/chunks"
    for more, status, body in ((0, 200, f"{size} nil"), (1, 413, "413 Content Too Large\n")):
        (tmp_path / "body").write_bytes(pattern(size + more))
        for args in ([], ["-H", "Expect:"]):
            got = curl("-w", " %{http_code}", "--data-binary", f"@{tmp_path}/body", *args, url)
            assert got == f"{body} {status}", (more, args)


# ---- those that measure ----


def test_wrk_sees_no_error(site):
    assert wrk(site() + "/hello", seconds=2) > 100


def test_wrk_pipelines(site, tmp_path, quick_engine):
    script = tmp_path / "pipelined.lua"
    script.write_text("""
        local text
        function init() text = (wrk.format("GET", "/hello") .. wrk.format("POST", "/body", nil, "abc")):rep(16) end
        function request() return text end
    """)
    assert wrk(site() + "/hello", "-s", script) > 100


def test_ab_sees_no_error_whether_connections_are_kept_or_not(site, engine, tmp_path):
    url = site()
    assert "Keep-Alive requests" not in ab(url + "/hello", count=500)
    assert "Keep-Alive requests:    2000" in ab(url + "/hello", "-k")
    (tmp_path / "body").write_bytes(pattern(5000))
    ab(url + "/body", "-k", "-p", tmp_path / "body", "-T", "text/plain", count=500)
    ab(url + "/stream", count=100)


def test_h2load_pipelines(site, engine):
    url = site()
    h2load(url + "/hello")
    h2load(url + "/stream", count=200, connections=4)
    h2load(url + "/large?n=20000", count=500, pipelined=32)


# ---- node ----

def test_node_keeps_one_connection(site, engine):
    node(NODE_AGENT, site())


def test_node_streams_both_ways(site, engine):
    assert node(NODE_STREAM, site()) == "101\n"


def test_node_fetches(site, quick_engine):
    assert node(NODE_FETCH, site(body_bytes="2m")) == "2000000\n"
