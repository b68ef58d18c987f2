/* See listening.h. */
#include "listening.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

void open_ok(struct listen_socket **out, const struct listener_config *config, uint32_t fd_count)
{
    char error[LISTEN_ERROR_MAX];
    int rc = listen_socket_open(out, config, fd_count, NULL, error);

    if (rc < 0)
        print_error("%s\n", error);
    assert_int_equal(rc, 0);
}

int connect_to(const struct addr *addr)
{
    int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = connect(fd, &addr->sa, addr->len) < 0 ? -errno : 0;

    close(fd);
    return rc;
}

int listen_somewhere(void)
{
    static int count;
    char path[64];
    struct addr addr;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(path, sizeof(path), "@zerg-unit.%d.%d", (int)getpid(), count++);
    assert_int_equal(addr_parse_unix(&addr, path), 0);
    assert_int_equal(bind(fd, &addr.sa, addr.len), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}
