/* Forwarded requests of a test: a listener that speaks HTTP and forwards to one server, and what passes on both sides. */
#pragma once

#include "fixture.h"

#define GET "GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n"
#define OK_2 "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nok"
#define OK_CLOSE "HTTP/1.1 200 OK\r\nDate: x\r\n\r\n"
#define UPGRADE "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
#define SWITCHING "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

enum { QUEUE_BYTES = 8192, BUFFER_BYTES = 4096, READ_MS = 30000, BODY_MS = 2000 };

/* cmocka's setup: state is the struct fixture. The teardown is the fixture's. */
int forwarding_setup(void **state);
/* All that is staged on a connection, as text; it is sent. Valid until the next call. */
const char *drained(struct fixture *f, const struct conn *conn);
/* A client whose request is on its way to the server, which has just been connected to. */
struct conn *asking(struct fixture *f, const char *request, struct conn **server);
void assert_starts(const char *text, const char *start);
/* Forwards under way, and idle connections to servers. */
uint32_t forwards(const struct fixture *f);
uint32_t idle(const struct fixture *f);
/* That nothing is left of any request. */
void assert_none_left(struct fixture *f);
