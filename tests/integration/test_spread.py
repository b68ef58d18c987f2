"""Who gets how many connections, counted over very many of them, by the running program."""

import subprocess
from collections import Counter

import pytest

from harness import tool

pytestmark = pytest.mark.heavy


class Spread:
    """The tool `spread`: servers that say who they are, and clients that ask."""

    def __init__(self, servers):
        self.process = subprocess.Popen([tool("spread"), str(servers)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1)
        self.targets = [f"127.0.0.1:{port}" for port in self.process.stdout.readline().split()]

    def ask(self, port, count, first=0):
        """The servers that answered, one for each client, in the order of the clients' addresses."""
        self.process.stdin.write(f"{port} {count} {first}\n")
        answers = self.process.stdout.readline().strip()
        assert len(answers) == count, f"spread ended with {self.process.poll()}"
        return [int(answer) for answer in answers]

    def end(self):
        self.process.stdin.close()
        self.process.wait(10)


@pytest.fixture
def spread():
    made = []

    def start(servers):
        made.append(Spread(servers))
        return made[-1]

    yield start
    for one in made:
        one.end()


@pytest.fixture
def balanced(zerg):
    """Starts a server that forwards to an upstream of these servers."""

    def start(servers, balance):
        server = zerg(listeners=[{"address": "127.0.0.1", "forward": "app"}], reactors=2,
                      upstreams={"app": {"servers": servers, "balance": balance}})
        return server.wait_listening()

    return start


def test_a_hundred_thousand_connections_keep_to_their_weights(spread, balanced):
    """Must show: round_robin is within 1 % for every server."""
    behind = spread(3)
    weights = [3, 2, 1]
    servers = [{"address": target, "weight": weight} for target, weight in zip(behind.targets, weights)]
    server = balanced(servers, "round_robin")
    count = 100_000
    counts = Counter(behind.ask(server.port, count))
    print(dict(counts))
    for index, weight in enumerate(weights):
        share = count * weight / sum(weights)
        assert abs(counts[index] - share) <= share / 100, counts


@pytest.mark.parametrize("leaves", ["first", "last"])
def test_few_clients_move_when_a_server_leaves(spread, balanced, leaves):
    """Must show: of n servers one leaves, and at most 1.5/n of the clients change theirs."""
    behind = spread(5)
    count = 20_000
    before = behind.ask(balanced(behind.targets, "hash").port, count)
    gone = 0 if leaves == "first" else 4
    stay = [target for index, target in enumerate(behind.targets) if index != gone]
    after = behind.ask(balanced(stay, "hash").port, count)
    moved = sum(one != other for one, other in zip(before, after))
    shares = Counter(before)
    print(f"{moved / count:.4f} moved, shares {dict(shares)}")
    assert gone not in after
    assert moved <= 1.5 / 5 * count
    assert all(abs(shares[index] - count / 5) <= count / 5 / 20 for index in range(5)), shares
