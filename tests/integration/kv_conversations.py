"""What test_kv.py says to kv.lua and to a real Redis alike: sessions of commands, random commands, and raw input."""

import shlex


def request(*words):
    """A request in RESP."""
    out = b"*%d\r\n" % len(words)
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        out += b"$%d\r\n%s\r\n" % (len(word), word)
    return out


# One request a line, split as a shell would; an empty line ends a session, each of which starts without keys.
SESSIONS = r"""
PING
ping
PiNg hello
PING ""
PING a b
ECHO hello
ECHO
ECHO a b

SET k v
GET k
get K
SET k ""
GET k
SET k "two words"
GET k
SET k
SET
GET
GET a b
GET missing
SET k v extra
SET k v extra words
EXISTS k
DEL k
GET k

SET k 1 NX
SET k 2 NX
GET k
SET k 3 XX
GET k
SET other 1 XX
GET other
SET k 4 NX XX
SET k 4 XX NX
SET k 4 NX NX
SET k 5 xx xx
GET k
SET k 6 GET
SET k 7 NX GET
GET k
SET fresh 1 GET
GET fresh
SET fresh2 1 NX GET
GET fresh2
SET absent 1 XX GET
GET absent
SET k 8 GET GET XX
GET k

SET k v EX 100
TTL k
PTTL k
SET k v PX 100000
TTL k
SET k v
TTL k
SET k v EXAT 33177117420
TTL k
PTTL k
SET k v PXAT 33177117420000
TTL k
SET k w KEEPTTL
TTL k
GET k
SET k w KEEPTTL EX 10
SET k w EX 10 KEEPTTL
SET k w EX 10 PX 10
SET k w EX 10 EX 20
TTL k
SET k w EX
SET k w NX EX
SET k w EX ten
SET k w EX 1.5
SET k w EX 0
SET k w EX -1
SET k w PX 0
SET k w PX -100
SET k w EXAT 0
SET k w PXAT -1
SET k w EX 9223372036854775807
SET k w EX 9223372036854775
SET k w EX 9223372036854776
SET k w PX 9223372036854775807
SET k w PXAT 9223372036854775807
SET k w EX 99999999999999999999
SET k w EX ""
SET k w EX 010
SET k w EX +10
SET k w EX " 10"
SET k w PERSIST
GET k
SET k w GET EX 0
SET k w EX 100 NX
SET k w NX EX 100 XX
SET k w ex 100 get
TTL k
SET past v EXAT 1
GET past
EXISTS past
TTL past
SET past v PXAT 1
DEL past

SET n 10
INCR n
DECR n
INCRBY n 5
DECRBY n 20
GET n
INCRBY n -5
DECRBY n -5
INCR fresh
DECR fresh2
INCRBY fresh3 100
DECRBY fresh4 100
GET fresh
SET n abc
INCR n
DECR n
INCRBY n 1
SET n ""
INCR n
SET n " 1"
INCR n
SET n "1 "
INCR n
SET n 01
INCR n
SET n +1
INCR n
SET n -0
INCR n
SET n 0
DECR n
SET n 1.5
INCR n
SET n 0x10
INCR n
SET n -1
INCR n
INCRBY n abc
INCRBY n 1.5
INCRBY n ""
INCRBY n 9223372036854775808
DECRBY n abc
DECRBY n -9223372036854775808
DECRBY n 9223372036854775807
INCRBY n -2
GET n
INCRBY n -1
INCR
INCR a b
INCRBY n
DECRBY n 1 2
SET n 9223372036854775806
INCR n
INCR n
INCRBY n 1
INCRBY n -1
GET n
SET n 9223372036854775807
DECRBY n -1
INCRBY n -9223372036854775807
GET n
SET n -9223372036854775808
DECR n
INCR n
DECRBY n 1
DECRBY n 1
INCRBY n 9223372036854775807
INCR n
INCR n
SET n 9223372036854775808
INCR n
SET n -9223372036854775809
INCR n
SET n 9007199254740992
INCR n
INCR n
DECRBY n 3
SET n -9007199254740993
DECR n
INCRBY n 2
SET n 123456789012345678901234567890
INCR n
SET n v EX 100
INCR n
SET n 5 EX 100
INCR n
TTL n

SET a 1
SET b 2
MGET a b c
MGET a
MGET a a
MGET
MSET a x b y c z
MGET a b c
MSET a
MSET a 1 b
MSET
MSET a 1 a 2
GET a
EXISTS a b c d
EXISTS a a a
EXISTS
DEL a a
DEL b c d
DEL
DBSIZE
DBSIZE now
MSET a 1 b 2
SET a 1 EX 100
MSET a 2
TTL a
DBSIZE
FLUSHALL
DBSIZE
SET a 1
FLUSHALL ASYNC
SET a 1
FLUSHALL sync
DBSIZE
FLUSHALL never
FLUSHALL ASYNC SYNC

TTL none
PTTL none
TTL
TTL a b
SET k v
TTL k
PTTL k
PERSIST k
EXPIRE k 100
TTL k
PTTL k
PERSIST k
PERSIST k
PERSIST none
TTL k
EXPIRE none 100
EXPIRE k
EXPIRE
EXPIRE k abc
EXPIRE none abc
EXPIRE k 1.5
EXPIRE k 100 NX
EXPIRE k 200 NX
TTL k
EXPIRE k 200 XX
TTL k
EXPIRE k 100 GT
TTL k
EXPIRE k 300 GT
TTL k
EXPIRE k 400 LT
TTL k
EXPIRE k 50 LT
TTL k
EXPIRE k 45 XX GT
EXPIRE k 60 xx gt
TTL k
EXPIRE k 50 NX XX
EXPIRE k 50 NX GT
EXPIRE k 50 NX LT
EXPIRE k 50 GT LT
EXPIRE k 50 FOO
EXPIRE k 50 NX FOO
EXPIRE k abc FOO
EXPIRE none 50 GT LT
PERSIST k
EXPIRE k 50 XX
EXPIRE k 50 GT
TTL k
EXPIRE k 50 LT
TTL k
PEXPIRE k 100000
TTL k
PTTL k
EXPIREAT k 33177117420
TTL k
PEXPIREAT k 33177117420000
TTL k
EXPIRE k 9223372036854775807
EXPIRE k -9223372036854775808
EXPIRE k 9223372036854775
EXPIRE k 9000000000000000
PEXPIRE k 9223372036854775807
PEXPIRE k 9223372036854770000
EXPIREAT k 9223372036854775
EXPIREAT k 9223372036854776
EXPIRE k 99999999999999999999
PEXPIRE k abc
PEXPIRE k
PEXPIREAT k
EXPIREAT k
GET k
EXPIRE k 0
GET k
SET k v
EXPIRE k -1
EXISTS k
SET k v
PEXPIREAT k 1
EXISTS k
DBSIZE
SET k v
EXPIRE k 100
DEL k
SET k v
TTL k

unknown
UNKNOWN a
unknown a b c
unknown ""
unknown "with space" 'and "quote"'
""
GETT k
COMMAND FOO
COMMAND COUNT extra
CONFIG
CONFIG FOO
CONFIG GET
CONFIG GET save
CONFIG GET appendonly
CONFIG GET no-such-setting
CONFIG get SAVE
"""


def sessions():
    for text in SESSIONS.strip("\n").split("\n\n"):
        yield [shlex.split(line) for line in text.splitlines()]


def random_command(source):
    """One of any kind; times are such that no key expires, and no two deadlines are equal, during a test."""
    keys = ["a", "b", "c", "counter", "empty", ""]
    values = ["", "1", "-7", "text", "9223372036854775807", "x" * 300, b"\x00\r\n\xff", "007"]
    key, value = source.choice(keys), source.choice(values)
    number = source.choice(["1", "-1", "100", "0", "9223372036854775807", "-9223372036854775808", "x", "3000000"])
    lasting = source.choice(["0", "-1", "x", "-9223372036854775808", str(source.randrange(100_000, 10_000_000))])
    options = ["NX", "XX", "GET", "KEEPTTL", "EX", "PX", "nx", lasting, lasting, "EXAT", "BOGUS"]
    some = [source.choice(keys) for _ in range(source.randrange(4))]
    conditions = source.choices(["NX", "XX", "GT", "LT"], k=source.randrange(3))
    return source.choice([
        ["SET", key, value],
        ["SET", key, value, *source.choices(options, k=source.randrange(4))],
        ["GET", key],
        ["GET", key],
        ["DEL", *some],
        ["EXISTS", *some],
        ["MGET", *some],
        ["MSET", *(word for k in some for word in (k, value)), *source.choices(keys, k=source.randrange(5) // 4)],
        [source.choice(["INCR", "DECR"]), "counter"],
        [source.choice(["INCRBY", "DECRBY"]), source.choice(["counter", key]), number],
        [source.choice(["EXPIRE", "PEXPIRE"]), key, lasting, *conditions],
        ["TTL", key],
        ["PERSIST", key],
        ["SET", "counter", source.randrange(-5, 5)],
    ])


# Whole conversations, up to the end of the stream, which the server brings about where the input is wrong.
CONVERSATIONS = {
    "inline": b"PING\r\nping\n\r\n\n   \r\nSET k 'v w'\r\nGET k\nget \"k\"\nQUIT\r\n",
    "inline_escapes": b'ECHO "\\x41\\x4g\\n\\r\\t\\b\\a\\\\\\"z"\r\nECHO \'a\\\'b\\n\'\r\nECHO a"b c"\r\nQUIT\r\n',
    "inline_odd_blanks": b"\tPING\x0b\x0cx \r\nECHO \x01\x80\xff\r\nECHO a\rb\r\nQUIT\r\n",
    "inline_empty_word": b'""\r\nECHO ""\r\nQUIT\r\n',
    "inline_open_quote": b'PING\r\nECHO "abc\r\nPING\r\n',
    "inline_open_escape": b'ECHO "abc\\\r\nPING\r\n',
    "inline_open_single_quote": b"ECHO 'abc\\'\r\n",
    "inline_word_after_quote": b'ECHO "abc"def\r\n',
    "inline_endless": b"x" * 65_537,
    "bare_line_feeds": b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n",
    "quit_ends_a_pipeline": request("PING") + request("QUIT") + request("PING"),
    "quit_with_words": request("QUIT", "now", "please"),
    "empty_arrays": b"*0\r\n*-1\r\n*-5\r\n" + request("PING") + request("QUIT"),
    "array_of_nothing": b"*\r\n",
    "array_count_text": b"*abc\r\n",
    "array_count_too_large": b"*2147483648\r\n",
    "array_count_overflow": b"*99999999999999999999\r\n",
    "array_count_plus": b"*+1\r\n$4\r\nPING\r\n",
    "array_count_zeros": b"*01\r\n$4\r\nPING\r\n",
    "array_count_blank": b"* 1\r\n$4\r\nPING\r\n",
    "array_count_endless": b"*" + b"1" * 65_536,
    "not_a_bulk": b"*1\r\nPING\r\n",
    "not_a_bulk_but_integer": b"*2\r\n$4\r\nECHO\r\n:5\r\n",
    "nothing_for_a_bulk": b"*1\r\n\r\n",
    "bulk_length_text": b"*1\r\n$abc\r\n",
    "bulk_length_negative": b"*1\r\n$-1\r\n",
    "bulk_length_empty": b"*1\r\n$\r\n",
    "bulk_length_too_large": b"*1\r\n$536870913\r\n",
    "bulk_length_overflow": b"*1\r\n$99999999999999999999\r\n",
    "bulk_length_zeros": b"*1\r\n$04\r\nPING\r\n",
    "bulk_length_long": b"*1\r\n$0000000004\r\nPING\r\n",
    "bulk_length_endless": b"*1\r\n$" + b"1" * 65_536,
    "bulk_not_ended_by_a_line_end": b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nQUIT\r\n",
    "error_after_answers": request("PING") * 3 + b"*1\r\n!\r\n",
    "error_before_requests": b"*1\r\n!\r\n" + request("SET", "k", "v"),
    "bulks_of_any_bytes": request("ECHO", bytes(range(256))) + request("ECHO", b"\r\n$5\r\n") + request("QUIT"),
    "words_of_many_lengths": b"".join(request("ECHO", b"x" * n) for n in (0, 9, 10, 99, 100, 999, 1000, 20_000))
    + request("QUIT"),
    "many_words": request("MSET", *range(200)) + request("MGET", *range(0, 200, 2)) + request("QUIT"),
    "unknown_that_is_long": request("x" * 200, "a") + request("x", "a" * 57, "b" * 57, "c" * 30, "d")
    + request("x", "a" * 200, "b") + request("x", *"abcdefghijklmnopqrstuvwxyz" * 2) + request("QUIT"),
    "unknown_with_line_ends": request("a\r\nb", "c\nd") + request("x\x00y", "z\x00") + request("QUIT"),
    "option_with_line_ends": request("EXPIRE", "k", "1", "\r\nx\ny\r\n") + request("QUIT"),
    "subcommand_with_line_ends": request("COMMAND", "\r\nx\ny\r\n") + request("QUIT"),
    "http_post": b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nPING\r\n",
}
