/* Listening sockets on loopback: options, shared ports, those that are there already, and what their errors advise. */
#include "core/listen_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "core/inherited.h"
#include "listening.h"

static char error[LISTEN_ERROR_MAX];

static struct listener_config tcp_config(const char *host, uint16_t port)
{
    struct listener_config config = {.name = (char *)"test", .backlog = 8, .tcp.nodelay = true};

    assert_int_equal(addr_parse_ip(&config.addr, host, port), 0);
    return config;
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);

    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static uint16_t bound_port(int fd)
{
    struct addr addr = {.len = sizeof(addr.storage)};

    assert_int_equal(getsockname(fd, &addr.sa, &addr.len), 0);
    return addr_port(&addr);
}

static void accepted_sockets_inherit_the_tcp_options(void **state)
{
    struct listener_config config = tcp_config("127.0.0.1", 0);
    struct listen_socket *listener;
    struct addr addr;

    (void)state;
    config.tcp.keepalive = true;
    config.tcp.user_timeout_ms = 7000;
    open_ok(&listener, &config, 1);
    assert_int_equal(addr_parse_ip(&addr, "127.0.0.1", bound_port(listener->fds[0])), 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, &addr.sa, addr.len), 0);
    int fd = accept(listener->fds[0], NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 7000);
    close(fd);
    close(client);
    listen_socket_free(listener);
}

static void options_that_are_off_stay_off(void **state)
{
    struct listener_config config = tcp_config("127.0.0.1", 0);
    struct listen_socket *listener;

    (void)state;
    config.tcp.nodelay = false;
    open_ok(&listener, &config, 1);
    assert_int_equal(option(listener->fds[0], IPPROTO_TCP, TCP_NODELAY), 0);
    assert_int_equal(option(listener->fds[0], SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(option(listener->fds[0], SOL_SOCKET, SO_REUSEPORT), 0);
    listen_socket_free(listener);
}

static void groups_have_descriptors_of_their_own_on_a_shared_port(void **state)
{
    struct listener_config config = tcp_config("127.0.0.1", 0);
    struct listen_socket *first;
    struct listen_socket *shared;

    (void)state;
    open_ok(&first, &config, 1);
    config.addr.in4.sin_port = htons(bound_port(first->fds[0]));
    listen_socket_free(first);
    open_ok(&shared, &config, 3);
    assert_int_equal(shared->fd_count, 3);
    assert_int_not_equal(listen_socket_fd(shared, 0, 3, 0), listen_socket_fd(shared, 2, 3, 0));
    assert_int_equal(bound_port(listen_socket_fd(shared, 0, 3, 0)), bound_port(listen_socket_fd(shared, 2, 3, 0)));
    assert_int_equal(listen_socket_fd(shared, 0, 3, 1), -1);
    listen_socket_free(shared);
}

static void dual_stack_takes_both_families_and_v6_only_one(void **state)
{
    struct listener_config config = tcp_config("::", 0);
    struct listen_socket *listener;

    (void)state;
    open_ok(&listener, &config, 1);
    if (listener->fds[0] >= 0 && config.addr.sa.sa_family == AF_INET6) {
        int domain = option(listener->fds[0], SOL_SOCKET, SO_DOMAIN);

        assert_true(domain == AF_INET || option(listener->fds[0], IPPROTO_IPV6, IPV6_V6ONLY) == 0);
    }
    listen_socket_free(listener);
    config.ip_version = IP_V6;
    if (listen_socket_open(&listener, &config, 1, NULL, error) == 0) { /* a machine may have no IPv6 */
        assert_int_equal(option(listener->fds[0], IPPROTO_IPV6, IPV6_V6ONLY), 1);
        listen_socket_free(listener);
    }
}

static void a_port_in_use_says_what_to_do(void **state)
{
    struct listener_config config = tcp_config("127.0.0.1", 0);
    struct listen_socket *first;
    struct listen_socket *second;

    (void)state;
    open_ok(&first, &config, 1);
    config.addr.in4.sin_port = htons(bound_port(first->fds[0]));
    assert_int_equal(listen_socket_open(&second, &config, 1, NULL, error), -EADDRINUSE);
    assert_non_null(strstr(error, "cannot listen on 127.0.0.1:"));
    assert_non_null(strstr(error, "another port"));
    listen_socket_free(first);
}

static void an_address_of_another_machine_says_what_to_do(void **state)
{
    struct listener_config config = tcp_config("192.0.2.1", 0);
    struct listen_socket *listener;

    (void)state;
    assert_int_equal(listen_socket_open(&listener, &config, 1, NULL, error), -EADDRNOTAVAIL);
    assert_non_null(strstr(error, "ip address"));
}

static void a_stopped_listener_refuses(void **state)
{
    struct listener_config config = tcp_config("127.0.0.1", 0);
    struct listen_socket *listener;
    struct addr addr;

    (void)state;
    open_ok(&listener, &config, 1);
    assert_int_equal(addr_parse_ip(&addr, "127.0.0.1", bound_port(listener->fds[0])), 0);
    assert_int_equal(connect_to(&addr), 0);
    listen_socket_stop(listener);
    listen_socket_stop(listener);
    assert_int_equal(connect_to(&addr), -ECONNREFUSED);
    listen_socket_free(listener);
}

static void another_versions_options_take_the_place_of_the_old_ones(void **state)
{
    struct listener_config config = tcp_config("127.0.0.1", 0);
    struct listen_socket *listener;

    (void)state;
    config.tcp.keepalive = true;
    config.tcp.user_timeout_ms = 7000;
    config.max_connections = 5;
    open_ok(&listener, &config, 1);
    config.tcp = (struct tcp_options){.nodelay = false};
    config.max_connections = 9;
    listen_socket_configure(listener, &config);
    assert_int_equal(option(listener->fds[0], IPPROTO_TCP, TCP_NODELAY), 0);
    assert_int_equal(option(listener->fds[0], SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(option(listener->fds[0], IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
    assert_int_equal(atomic_load(&listener->max_connections), 9);
    listen_socket_free(listener);
}

static void a_socket_is_for_listeners_of_its_address_and_families(void **state)
{
    struct listener_config config = tcp_config("127.0.0.1", 0);
    struct listener_config other = config;
    struct listen_socket *listener;

    (void)state;
    open_ok(&listener, &config, 1);
    assert_true(listen_socket_is_for(listener, &other));
    other.ip_version = IP_V6;
    assert_false(listen_socket_is_for(listener, &other));
    other = tcp_config("127.0.0.2", 0);
    assert_false(listen_socket_is_for(listener, &other));
    listen_socket_free(listener);
}

static bool overlap(const char *host, enum ip_version ip_version, const char *other, enum ip_version other_ip_version)
{
    struct listen_socket self = {.ip_version = ip_version};
    struct listener_config config = tcp_config(other, 80);
    bool is_so;

    config.ip_version = other_ip_version;
    assert_int_equal(addr_parse_ip(&self.addr, host, 80), 0);
    is_so = listen_socket_overlaps(&self, &config);
    config = tcp_config(other, 81);
    assert_false(listen_socket_overlaps(&self, &config));
    return is_so;
}

static void addresses_with_one_in_common_overlap(void **state)
{
    (void)state;
    assert_true(overlap("0.0.0.0", IP_V4, "127.0.0.1", IP_V4));
    assert_true(overlap("127.0.0.1", IP_V4, "0.0.0.0", IP_V4));
    assert_true(overlap("127.0.0.1", IP_V4, "127.0.0.1", IP_V4));
    assert_true(overlap("::", IP_DUAL, "127.0.0.1", IP_V4));
    assert_true(overlap("0.0.0.0", IP_V4, "::", IP_DUAL));
    assert_true(overlap("::", IP_DUAL, "::", IP_V6));
    assert_true(overlap("::1", IP_V6, "::", IP_V6));
    assert_false(overlap("127.0.0.1", IP_V4, "127.0.0.2", IP_V4));
    assert_false(overlap("::", IP_V6, "127.0.0.1", IP_V4));
    assert_false(overlap("0.0.0.0", IP_V4, "::1", IP_V6));
    assert_false(overlap("0.0.0.0", IP_V4, "::", IP_V6));
}

/* ---- those that are there already ---- */

static void what_the_process_was_started_with_is_taken(void **state)
{
    struct listener_config config = tcp_config("127.0.0.1", 0);
    struct inherited inherited = {0};
    struct listen_socket *first;
    struct listen_socket *listener;
    struct addr addr;

    (void)state;
    open_ok(&first, &config, 1);
    config.addr.in4.sin_port = htons(bound_port(first->fds[0]));
    addr = config.addr;
    assert_int_equal(inherited_add(&inherited, dup(first->fds[0]), true), 0);
    assert_int_equal(listen_socket_open(&listener, &config, 4, &inherited, error), 0);
    assert_int_equal(listener->fd_count, 1); /* which all groups share */
    assert_true(listener->is_lent);
    listen_socket_free(listener);
    assert_int_equal(connect_to(&addr), 0); /* the other one listens still */
    inherited_close(&inherited);
    listen_socket_free(first);
    assert_int_equal(connect_to(&addr), -ECONNREFUSED);
}

static void all_that_share_a_port_are_taken_and_somebody_has_each(void **state)
{
    struct listener_config config = tcp_config("127.0.0.1", 0);
    struct inherited inherited = {0};
    struct listen_socket *first;
    struct listen_socket *before;
    struct listen_socket *listener;

    (void)state;
    open_ok(&first, &config, 1);
    config.addr.in4.sin_port = htons(bound_port(first->fds[0]));
    listen_socket_free(first);
    open_ok(&before, &config, 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(inherited_add(&inherited, dup(before->fds[i]), false), 0);
    assert_int_equal(listen_socket_open(&listener, &config, 2, &inherited, error), 0);
    assert_int_equal(listener->fd_count, 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(listen_socket_fd(listener, i % 2, 2, i / 2), listener->fds[i]);
        assert_int_equal(listen_socket_fd(listener, 0, 1, i), listener->fds[i]);
        assert_true(inherited_has_taken(&inherited, listener->fds[i]));
    }
    assert_int_equal(listen_socket_fd(listener, 0, 2, 3), -1);
    assert_int_equal(listen_socket_fd(listener, 1, 2, 2), -1);
    assert_int_equal(listen_socket_fd(listener, 6, 8, 0), listener->fds[1]);
    inherited_close(&inherited);
    listen_socket_free(listener);
    listen_socket_free(before);
}

static void what_stays_lent_is_there_for_the_next_listener(void **state)
{
    struct listener_config config = tcp_config("127.0.0.1", 0);
    struct inherited inherited = {0};
    struct listen_socket *first;
    struct listen_socket *listener;
    int fd;

    (void)state;
    open_ok(&first, &config, 1);
    config.addr.in4.sin_port = htons(bound_port(first->fds[0]));
    fd = dup(first->fds[0]);
    assert_int_equal(inherited_add(&inherited, fd, true), 0);
    inherited_drop(&inherited);
    for (int i = 0; i < 3; i++) {
        assert_true(inherited_is_spare(&inherited.sockets[0]));
        assert_int_equal(listen_socket_open(&listener, &config, 1, &inherited, error), 0);
        assert_int_equal(listener->fds[0], fd);
        assert_false(inherited_is_spare(&inherited.sockets[0]));
        listen_socket_own(listener);
        listen_socket_stop(listener);
        assert_int_equal(connect_to(&config.addr), 0);
        listen_socket_free(listener);
    }
    inherited_close(&inherited);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    listen_socket_free(first);
}

static void what_is_not_lent_and_nobody_takes_is_closed(void **state)
{
    struct listener_config config = tcp_config("127.0.0.1", 0);
    struct inherited inherited = {0};
    struct listen_socket *first;
    int fd;

    (void)state;
    open_ok(&first, &config, 1);
    fd = dup(first->fds[0]);
    assert_int_equal(inherited_add(&inherited, fd, false), 0);
    inherited_drop(&inherited);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_false(inherited_is_spare(&inherited.sockets[0]));
    inherited_close(&inherited);
    listen_socket_free(first);
}

static void what_is_bound_elsewhere_is_not(void **state)
{
    struct listener_config config = tcp_config("127.0.0.1", 0);
    struct inherited inherited = {0};
    struct listen_socket *first;
    bool stays_lent;
    int fd;

    (void)state;
    open_ok(&first, &config, 1);
    assert_int_equal(inherited_add(&inherited, dup(first->fds[0]), false), 0);
    assert_int_equal(inherited_take(&inherited, &config, &fd, &stays_lent), 0); /* port 0 is none */
    config = tcp_config("127.0.0.2", bound_port(first->fds[0]));
    assert_int_equal(inherited_take(&inherited, &config, &fd, &stays_lent), 0);
    assert_int_equal(addr_parse_unix(&config.addr, "/tmp/some.sock"), 0);
    assert_int_equal(inherited_take(&inherited, &config, &fd, &stays_lent), 0);
    inherited_close(&inherited);
    listen_socket_free(first);
}

static void what_the_process_was_started_with_may_be_in_the_way(void **state)
{
    struct listener_config config = tcp_config("0.0.0.0", 0);
    struct inherited inherited = {0};
    struct listen_socket *first;
    struct listen_socket *listener;

    (void)state;
    open_ok(&first, &config, 1);
    assert_int_equal(inherited_add(&inherited, dup(first->fds[0]), false), 0);
    config = tcp_config("127.0.0.1", bound_port(first->fds[0]));
    assert_int_equal(listen_socket_open(&listener, &config, 1, &inherited, error), -EADDRINUSE);
    assert_non_null(strstr(error, "the process was started with a socket on 0.0.0.0:"));
    inherited_close(&inherited);
    listen_socket_free(first);
}

static void what_does_not_listen_is_refused(void **state)
{
    struct inherited inherited = {0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_int_equal(inherited_add(&inherited, fd, false), -ENOTSUP);
    close(fd);
    assert_int_equal(inherited_add(&inherited, fd, false), -EBADF);
    inherited_close(&inherited);
}

static void one_of_several_can_be_shut(void **state)
{
    struct listener_config config = tcp_config("127.0.0.1", 0);
    struct listen_socket *first;
    struct listen_socket *listener;
    struct addr addr;

    (void)state;
    open_ok(&first, &config, 1);
    config.addr.in4.sin_port = htons(bound_port(first->fds[0]));
    addr = config.addr;
    listen_socket_free(first);
    open_ok(&listener, &config, 2);
    listen_socket_lend(listener);
    listen_socket_shut(listener, 1);
    for (int i = 0; i < 6; i++) /* the backlog of one has room for that, and nobody comes to the other */
        assert_int_equal(connect_to(&addr), 0);
    listen_socket_shut(listener, 0);
    assert_int_equal(connect_to(&addr), -ECONNREFUSED);
    listen_socket_free(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_sockets_inherit_the_tcp_options),
        cmocka_unit_test(options_that_are_off_stay_off),
        cmocka_unit_test(groups_have_descriptors_of_their_own_on_a_shared_port),
        cmocka_unit_test(dual_stack_takes_both_families_and_v6_only_one),
        cmocka_unit_test(a_port_in_use_says_what_to_do),
        cmocka_unit_test(an_address_of_another_machine_says_what_to_do),
        cmocka_unit_test(a_stopped_listener_refuses),
        cmocka_unit_test(another_versions_options_take_the_place_of_the_old_ones),
        cmocka_unit_test(a_socket_is_for_listeners_of_its_address_and_families),
        cmocka_unit_test(addresses_with_one_in_common_overlap),
        cmocka_unit_test(what_the_process_was_started_with_is_taken),
        cmocka_unit_test(what_the_process_was_started_with_may_be_in_the_way),
        cmocka_unit_test(all_that_share_a_port_are_taken_and_somebody_has_each),
        cmocka_unit_test(one_of_several_can_be_shut),
        cmocka_unit_test(what_stays_lent_is_there_for_the_next_listener),
        cmocka_unit_test(what_is_not_lent_and_nobody_takes_is_closed),
        cmocka_unit_test(what_is_bound_elsewhere_is_not),
        cmocka_unit_test(what_does_not_listen_is_refused),
    };

    return cmocka_run_group_tests_name("listen_socket", tests, NULL, NULL);
}
