/* Listening on unix sockets: whose the file at the path is, and when it goes. */
#include "core/listen_socket.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/inherited.h"
#include "listening.h"

static char directory[] = "/tmp/zerg-listener-XXXXXX";
static char error[LISTEN_ERROR_MAX];

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory);
}

static struct listener_config unix_config(const char *name)
{
    struct listener_config config = {.name = (char *)"test", .backlog = 8};
    char path[64];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    assert_int_equal(addr_parse_unix(&config.addr, path), 0);
    return config;
}

static void a_lent_unix_socket_keeps_its_file(void **state)
{
    struct listener_config config = unix_config("lent.sock");
    struct listen_socket *listener;

    (void)state;
    open_ok(&listener, &config, 1);
    listen_socket_lend(listener);
    listen_socket_free(listener);
    assert_int_equal(access(config.addr.un.sun_path, F_OK), 0);
    unlink(config.addr.un.sun_path);
}

static void a_unix_socket_has_its_mode_and_goes_with_its_listener(void **state)
{
    struct listener_config config = unix_config("mode.sock");
    struct listen_socket *listener;
    struct stat status;

    (void)state;
    config.mode = 0660;
    open_ok(&listener, &config, 4);
    assert_int_equal(listener->fd_count, 1); /* one that all share */
    assert_int_equal(listen_socket_fd(listener, 0, 4, 0), listen_socket_fd(listener, 3, 4, 0));
    assert_int_equal(stat(config.addr.un.sun_path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0660);
    assert_int_equal(connect_to(&config.addr), 0);
    listen_socket_free(listener);
    assert_int_equal(access(config.addr.un.sun_path, F_OK), -1);
}

static void a_file_that_took_its_place_stays(void **state)
{
    struct listener_config config = unix_config("taken.sock");
    struct listen_socket *listener;
    struct listen_socket *other;

    (void)state;
    open_ok(&listener, &config, 1);
    assert_int_equal(unlink(config.addr.un.sun_path), 0);
    open_ok(&other, &config, 1);
    listen_socket_free(listener);
    assert_int_equal(connect_to(&config.addr), 0);
    listen_socket_free(other);
    assert_int_equal(access(config.addr.un.sun_path, F_OK), -1);
}

static void a_file_of_a_socket_that_was_there_goes_once_it_is_our_own(void **state)
{
    struct listener_config config = unix_config("ours.sock");
    struct inherited inherited = {0};
    struct listen_socket *first;
    struct listen_socket *listener;

    (void)state;
    open_ok(&first, &config, 1);
    assert_int_equal(inherited_add(&inherited, dup(first->fds[0]), false), 0);
    listen_socket_lend(first);
    assert_int_equal(listen_socket_open(&listener, &config, 1, &inherited, error), 0);
    listen_socket_free(first);
    listen_socket_own(listener);
    assert_int_equal(connect_to(&config.addr), 0);
    listen_socket_free(listener);
    assert_int_equal(access(config.addr.un.sun_path, F_OK), -1);
    inherited_close(&inherited);
}

static void a_stale_socket_file_is_replaced(void **state)
{
    struct listener_config config = unix_config("stale.sock");
    struct listen_socket *listener;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_int_equal(bind(fd, &config.addr.sa, config.addr.len), 0);
    close(fd); /* as a killed server leaves it */
    open_ok(&listener, &config, 1);
    listen_socket_free(listener);
}

static void a_socket_in_use_is_left_alone(void **state)
{
    struct listener_config config = unix_config("used.sock");
    struct listen_socket *first;
    struct listen_socket *second;

    (void)state;
    open_ok(&first, &config, 1);
    assert_int_equal(listen_socket_open(&second, &config, 1, NULL, error), -EADDRINUSE);
    assert_non_null(strstr(error, "another server"));
    assert_int_equal(connect_to(&config.addr), 0);
    listen_socket_free(first);
}

static void a_socket_whose_backlog_is_full_is_in_use(void **state) /* and is not waited for */
{
    struct listener_config config = unix_config("full.sock");
    struct listen_socket *first;
    struct listen_socket *second;
    int fds[64];
    size_t count = 0;

    (void)state;
    open_ok(&first, &config, 1);
    do {
        assert_true(count < COUNT_OF(fds));
        fds[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    } while (connect(fds[count++], &config.addr.sa, config.addr.len) == 0);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(listen_socket_open(&second, &config, 1, NULL, error), -EADDRINUSE);
    assert_int_equal(access(config.addr.un.sun_path, F_OK), 0);
    while (count > 0)
        close(fds[--count]);
    listen_socket_free(first);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
    struct listener_config config = unix_config("file");
    struct listen_socket *listener;
    FILE *file = fopen(config.addr.un.sun_path, "w");

    (void)state;
    assert_non_null(file);
    fclose(file);
    assert_int_equal(listen_socket_open(&listener, &config, 1, NULL, error), -EADDRINUSE);
    assert_int_equal(access(config.addr.un.sun_path, F_OK), 0);
    unlink(config.addr.un.sun_path);
}

static void a_missing_directory_says_so(void **state)
{
    struct listener_config config = unix_config("no/such/place.sock");
    struct listen_socket *listener;

    (void)state;
    assert_int_equal(listen_socket_open(&listener, &config, 1, NULL, error), -ENOENT);
    assert_non_null(strstr(error, "directory does not exist"));
}

static void abstract_names_leave_no_file(void **state)
{
    struct listener_config config = {.name = (char *)"test", .backlog = 8, .mode = 0600};
    struct listen_socket *listener;
    char name[64];

    (void)state;
    snprintf(name, sizeof(name), "@zerg-listener-test-%d", (int)getpid());
    assert_int_equal(addr_parse_unix(&config.addr, name), 0);
    open_ok(&listener, &config, 1);
    assert_int_equal(connect_to(&config.addr), 0);
    listen_socket_free(listener);
    assert_int_equal(connect_to(&config.addr), -ECONNREFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lent_unix_socket_keeps_its_file),
        cmocka_unit_test(a_unix_socket_has_its_mode_and_goes_with_its_listener),
        cmocka_unit_test(a_file_that_took_its_place_stays),
        cmocka_unit_test(a_file_of_a_socket_that_was_there_goes_once_it_is_our_own),
        cmocka_unit_test(a_stale_socket_file_is_replaced),
        cmocka_unit_test(a_socket_in_use_is_left_alone),
        cmocka_unit_test(a_socket_whose_backlog_is_full_is_in_use),
        cmocka_unit_test(a_file_that_is_no_socket_is_left_alone),
        cmocka_unit_test(a_missing_directory_says_so),
        cmocka_unit_test(abstract_names_leave_no_file),
    };

    return cmocka_run_group_tests_name("listen_socket_unix", tests, make_directory, remove_directory);
}
