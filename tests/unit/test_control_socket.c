/* control_socket: the file at its path, whose it is, and what happens when there is something already. In a directory of the
 * test's own. */
#include "admin/control_socket.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/addr.h"

static char directory[32];
static char error[CONTROL_ERROR_MAX];

static int setup(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/zerg-test-XXXXXX");
    error[0] = '\0';
    return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    unlink("file");
    rmdir("made");
    return chdir("/") == 0 && rmdir(directory) == 0 ? 0 : -1; /* fails when something was left in it */
}

static int open_with(struct control_socket *self, const struct control_socket_options *options)
{
    int rc = control_socket_prepare(self, options, error);

    return rc == 0 ? control_socket_publish(self, error) : rc;
}

static int open_at(struct control_socket *self, const char *path)
{
    struct control_socket_options options = {.path = path, .owner = geteuid(), .group = getegid()};

    return open_with(self, &options);
}

static int dial(const char *path)
{
    struct addr addr;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(addr_parse_unix(&addr, path), 0);
    if (connect(fd, &addr.sa, addr.len) == 0)
        return fd;
    close(fd);
    return -1;
}

static void assert_reached(const struct control_socket *self, const char *path)
{
    int fd = dial(path);
    int accepted = control_socket_accept(self);

    assert_true(fd >= 0);
    assert_true(accepted >= 0);
    close(accepted);
    close(fd);
}

static mode_t mode_of(const char *path)
{
    struct stat status;

    assert_int_equal(lstat(path, &status), 0);
    return status.st_mode & 07777;
}

/* A server that has died: a file, and nobody behind it. */
static void leave_stale(const char *path)
{
    struct addr addr;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(addr_parse_unix(&addr, path), 0);
    assert_int_equal(bind(fd, &addr.sa, addr.len), 0);
    close(fd);
}

static void the_file_is_its_owners_alone_whatever_the_umask(void **state)
{
    struct control_socket self;
    mode_t before = umask(0);

    (void)state;
    assert_int_equal(open_at(&self, "s"), 0);
    umask(before);
    assert_int_equal(mode_of("s"), 0600);
    assert_reached(&self, "s");
    control_socket_close(&self);
    assert_int_equal(access("s", F_OK), -1);
    control_socket_close(&self);
}

static void a_missing_directory_is_made_for_its_owner_alone(void **state)
{
    struct control_socket self;

    (void)state;
    assert_int_equal(open_at(&self, "made/s"), 0);
    assert_int_equal(mode_of("made"), 0700);
    control_socket_close(&self);
    assert_int_equal(open_at(&self, "made/of/many/s"), -ENOENT);
    assert_non_null(strstr(error, "made/of/many/s: cannot make its directory: No such file or directory"));
}

static void the_file_of_a_server_that_died_is_replaced(void **state)
{
    struct control_socket self;

    (void)state;
    leave_stale("s");
    assert_int_equal(open_at(&self, "s"), 0);
    assert_reached(&self, "s");
    control_socket_close(&self);
}

static void another_server_keeps_its_socket(void **state)
{
    struct control_socket first;
    struct control_socket second;
    char expected[64];

    (void)state;
    assert_int_equal(open_at(&first, "s"), 0);
    assert_int_equal(open_at(&second, "s"), -EADDRINUSE);
    snprintf(expected, sizeof(expected), "another server has it (process %d)", (int)getpid());
    assert_non_null(strstr(error, expected));
    close(control_socket_accept(&first)); /* the look that the second one took */
    assert_reached(&first, "s");
    control_socket_close(&second);
    assert_reached(&first, "s");
    control_socket_close(&first);
}

static void nothing_is_at_the_path_before_it_is_published(void **state)
{
    const struct control_socket_options options = {.path = "s", .owner = geteuid(), .group = getegid()};
    struct control_socket self;

    (void)state;
    assert_int_equal(control_socket_prepare(&self, &options, error), 0);
    assert_int_equal(access("s", F_OK), -1);
    control_socket_close(&self); /* teardown() sees that its temporary file has gone, too */
    assert_int_equal(control_socket_prepare(&self, &options, error), 0);
    assert_int_equal(control_socket_publish(&self, error), 0);
    assert_reached(&self, "s");
    control_socket_close(&self);
}

static void what_came_to_the_path_meanwhile_is_left_there(void **state)
{
    const struct control_socket_options options = {.path = "s", .owner = geteuid(), .group = getegid()};
    struct control_socket first;
    struct control_socket second;

    (void)state;
    assert_int_equal(control_socket_prepare(&first, &options, error), 0);
    assert_int_equal(open_at(&second, "s"), 0);
    assert_int_equal(control_socket_publish(&first, error), -EADDRINUSE);
    close(control_socket_accept(&second)); /* the look that the first one took */
    control_socket_close(&first);
    assert_reached(&second, "s");
    control_socket_close(&second);
}

/* As another process gets it, which takes it for the control socket at that path. */
static int hand_over(const struct control_socket *from, struct control_socket *to, struct control_handed *handed,
                     const char *path)
{
    const struct control_socket_options options = {
        .path = path,
        .owner = geteuid(),
        .group = getegid(),
        .handed = handed,
    };

    control_socket_hand(from, false, handed);
    handed->fd = dup(handed->fd);
    return open_with(to, &options);
}

static void one_that_is_handed_over_keeps_its_file_and_who_waits(void **state)
{
    struct control_handed handed;
    struct control_socket first;
    struct control_socket second;
    int waiting;
    int accepted;

    (void)state;
    assert_int_equal(open_at(&first, "s"), 0);
    waiting = dial("s");
    assert_int_equal(hand_over(&first, &second, &handed, "./s"), 0);
    assert_int_equal(handed.fd, -1);
    control_socket_lend(&first);
    control_socket_own(&second);
    accepted = control_socket_accept(&second);
    assert_true(accepted >= 0);
    assert_reached(&second, "s");
    control_socket_close(&second);
    assert_int_equal(access("s", F_OK), -1);
    close(accepted);
    close(waiting);
}

static void one_whose_new_process_does_not_serve_stays_as_it_is(void **state)
{
    struct control_handed handed;
    struct control_socket first;
    struct control_socket second;

    (void)state;
    assert_int_equal(open_at(&first, "s"), 0);
    assert_int_equal(hand_over(&first, &second, &handed, "s"), 0);
    control_socket_close(&second);
    assert_reached(&first, "s");
    control_socket_close(&first);
    assert_int_equal(access("s", F_OK), -1);
}

static void one_whose_file_is_not_at_the_path_is_opened_anew(void **state)
{
    struct control_handed handed;
    struct control_socket first;
    struct control_socket second;

    (void)state;
    assert_int_equal(open_at(&first, "s"), 0);
    assert_int_equal(hand_over(&first, &second, &handed, "other"), 0);
    assert_int_equal(close(handed.fd), 0);
    assert_reached(&second, "other");
    control_socket_close(&second);
    assert_int_equal(unlink("s"), 0); /* as something tidies up */
    assert_int_equal(hand_over(&first, &second, &handed, "s"), 0);
    assert_int_equal(close(handed.fd), 0);
    control_socket_close(&first);
    assert_reached(&second, "s");
    control_socket_close(&second);
}

static void what_is_no_socket_stays(void **state)
{
    struct control_socket self;
    FILE *file = fopen("file", "w");

    (void)state;
    assert_non_null(file);
    fclose(file);
    assert_int_equal(open_at(&self, "file"), -EEXIST);
    assert_non_null(strstr(error, "a file there that is no socket"));
    assert_int_equal(access("file", F_OK), 0);
}

static void a_directory_that_everybody_may_write_in_must_be_sticky(void **state)
{
    struct control_socket self;

    (void)state;
    assert_int_equal(mkdir("made", 0700), 0);
    assert_int_equal(chmod("made", 0777), 0);
    assert_int_equal(open_at(&self, "made/s"), -EACCES);
    assert_non_null(strstr(error, "everybody may write in its directory"));
    assert_int_equal(chmod("made", 01777), 0);
    assert_int_equal(open_at(&self, "made/s"), 0);
    control_socket_close(&self);
}

static void a_link_to_its_directory_is_followed_when_it_is_ours(void **state) /* as /run/zerg with DynamicUser= */
{
    struct control_socket self;

    (void)state;
    assert_int_equal(mkdir("made", 0700), 0);
    assert_int_equal(symlink("made", "file"), 0);
    assert_int_equal(open_at(&self, "file/s"), 0);
    assert_reached(&self, "made/s");
    control_socket_close(&self);
    assert_int_equal(access("made/s", F_OK), -1);
}

static void a_link_of_somebody_else_is_not_followed(void **state)
{
    struct control_socket self;

    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can make one */
    assert_int_equal(mkdir("made", 0700), 0);
    assert_int_equal(symlink("made", "file"), 0);
    assert_int_equal(lchown("file", 65534, 65534), 0);
    assert_int_equal(open_at(&self, "file/s"), -EACCES);
    assert_non_null(strstr(error, "file/s: the link to its directory belongs to somebody else (uid 65534)"));
    assert_int_equal(lchown("made", 65534, 65534), 0);
    assert_int_equal(open_at(&self, "made/s"), -EACCES);
    assert_non_null(strstr(error, "made/s: its directory belongs to somebody else (uid 65534)"));
}

static void a_full_queue_is_a_server_too(void **state)
{
    struct control_socket first;
    struct control_socket second;
    int fds[256];
    size_t count = 0;

    (void)state;
    assert_int_equal(open_at(&first, "s"), 0);
    for (; count < 256; count++) {
        struct addr addr;

        fds[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_int_equal(addr_parse_unix(&addr, "s"), 0);
        if (connect(fds[count], &addr.sa, addr.len) < 0)
            break;
    }
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(open_at(&second, "s"), -EADDRINUSE);
    for (size_t i = 0; i <= count; i++)
        close(fds[i]);
    control_socket_close(&first);
}

/* In a child process, which does not come back as root. */
static void as_nobody(void)
{
    char byte;
    int fd;

    if (setgid(65534) < 0 || setuid(65534) < 0)
        _exit(1);
    fd = dial("s");
    if (fd < 0)
        _exit(2);
    _exit(read(fd, &byte, 1) == 0 ? 0 : 3);
}

static void others_than_us_and_root_are_turned_away(void **state)
{
    struct control_socket self;
    pid_t child;
    int status;

    (void)state;
    if (geteuid() != 0)
        skip(); /* one user only has nobody else to be */
    assert_int_equal(chmod(directory, 0755), 0);
    assert_int_equal(open_at(&self, "s"), 0);
    assert_int_equal(chmod("s", 0666), 0); /* somebody was careless */
    child = fork();
    if (child == 0)
        as_nobody();
    while ((status = control_socket_accept(&self)) == -EAGAIN)
        continue;
    assert_int_equal(status, -EPERM);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(control_socket_accept(&self), -EAGAIN);
    control_socket_close(&self);
}

static void the_default_path_is_the_users_own(void **state)
{
    char path[CONTROL_PATH_BYTES];

    (void)state;
    unsetenv("RUNTIME_DIRECTORY");
    setenv("XDG_RUNTIME_DIR", "/run/user/12345", 1);
    assert_int_equal(control_path_default(path), 0);
    if (geteuid() == 0) {
        assert_string_equal(path, "/run/zerg/control.sock");
        assert_int_equal(seteuid(12345), 0);
        assert_int_equal(control_path_default(path), 0);
    }
    assert_string_equal(path, "/run/user/12345/zerg/control.sock");
    setenv("XDG_RUNTIME_DIR", "relative", 1);
    assert_int_equal(control_path_default(path), 0);
    assert_non_null(strstr(path, "/tmp/zerg-"));
    setenv("XDG_RUNTIME_DIR", "/a/very/long/path/that/leaves/no/room/for/the/name/of/a/socket/and/that/is/a/pity/too",
           1);
    assert_int_equal(control_path_default(path), -ENAMETOOLONG);
    if (getuid() == 0)
        assert_int_equal(seteuid(0), 0);
}

static void a_service_has_its_own_directory_whoever_it_is(void **state)
{
    char path[CONTROL_PATH_BYTES];

    (void)state;
    setenv("RUNTIME_DIRECTORY", "/run/zerg-blue:/run/other", 1);
    assert_int_equal(control_path_default(path), 0);
    assert_string_equal(path, "/run/zerg-blue/control.sock");
    setenv("RUNTIME_DIRECTORY", "/run/zerg-green", 1);
    assert_int_equal(control_path_default(path), 0);
    assert_string_equal(path, "/run/zerg-green/control.sock");
    setenv("RUNTIME_DIRECTORY", "relative", 1);
    assert_int_equal(control_path_default(path), 0);
    assert_null(strstr(path, "relative"));
    unsetenv("RUNTIME_DIRECTORY");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_file_is_its_owners_alone_whatever_the_umask, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_directory_is_made_for_its_owner_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(the_file_of_a_server_that_died_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(another_server_keeps_its_socket, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_at_the_path_before_it_is_published, setup, teardown),
        cmocka_unit_test_setup_teardown(what_came_to_the_path_meanwhile_is_left_there, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_is_handed_over_keeps_its_file_and_who_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(one_whose_new_process_does_not_serve_stays_as_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(one_whose_file_is_not_at_the_path_is_opened_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_socket_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_everybody_may_write_in_must_be_sticky, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_to_its_directory_is_followed_when_it_is_ours, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_of_somebody_else_is_not_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_queue_is_a_server_too, setup, teardown),
        cmocka_unit_test_setup_teardown(others_than_us_and_root_are_turned_away, setup, teardown),
        cmocka_unit_test(the_default_path_is_the_users_own),
        cmocka_unit_test(a_service_has_its_own_directory_whoever_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
