/* Changing who the process is, in a child process each time, and the limit of open files. What needs root is skipped without. */
#include "admin/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/log.h"
#include "core/config.h"

static char nobody[] = "nobody";
static char unknown[] = "no-such-account";

static int quiet(void **state)
{
    (void)state;
    return log_open("/dev/null", LOG_ERROR, LOG_TEXT);
}

/* Runs check in a child. True when it said so. */
static bool in_child(bool (*check)(void))
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(check() ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void without_a_user_nothing_changes(void **state)
{
    const struct config config = {0};

    (void)state;
    assert_int_equal(privileges_drop(&config), 0);
}

static void unknown_accounts_are_refused(void **state)
{
    const struct config no_user = {.user = unknown};
    const struct config no_group = {.user = nobody, .group = unknown};

    (void)state;
    assert_int_equal(privileges_drop(&no_user), -EINVAL);
    assert_int_equal(privileges_drop(&no_group), -EINVAL);
}

static void who_we_are_to_be_is_found_without_becoming_it(void **state)
{
    const struct config nothing = {0};
    const struct config user = {.user = nobody};
    const struct config unknown_user = {.user = unknown};
    const struct passwd *account = getpwnam(nobody);
    struct identity identity;

    (void)state;
    assert_int_equal(privileges_find(&nothing, &identity), 0);
    assert_int_equal(identity.uid, geteuid());
    assert_int_equal(identity.gid, getegid());
    assert_non_null(account);
    assert_int_equal(privileges_find(&user, &identity), 0);
    assert_int_equal(identity.uid, account->pw_uid);
    assert_int_equal(identity.gid, account->pw_gid);
    assert_int_equal(privileges_find(&unknown_user, &identity), -EINVAL);
}

static bool becomes_the_group_of_nobody(void)
{
    const struct passwd *user = getpwnam("nobody");
    const struct group *group = user ? getgrgid(user->pw_gid) : NULL;
    const struct config config = {.group = group ? group->gr_name : NULL};

    return group && privileges_drop(&config) == 0 && getegid() == group->gr_gid && geteuid() == 0 &&
           getgroups(0, NULL) == 0;
}

static void a_group_alone_changes_only_the_group(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_true(in_child(becomes_the_group_of_nobody));
}

static bool becomes_nobody(void)
{
    const struct config config = {.user = nobody};
    const struct passwd *user = getpwnam(nobody);
    gid_t groups[64];

    if (!user || privileges_drop(&config) != 0)
        return false;
    for (int i = getgroups(COUNT_OF(groups), groups); i > 0; i--) {
        if (groups[i - 1] == 0) /* root's supplementary groups are gone */
            return false;
    }
    return getuid() == user->pw_uid && geteuid() == user->pw_uid && getgid() == user->pw_gid && setuid(0) < 0;
}

static void root_becomes_another_for_good(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_true(in_child(becomes_nobody));
}

static bool takes_the_group(void)
{
    static char daemon_group[] = "daemon";
    const struct config config = {.user = nobody, .group = daemon_group};
    const struct group *group = getgrnam(daemon_group);
    gid_t gid = group ? group->gr_gid : 0;

    return group && privileges_drop(&config) == 0 && getgid() == gid && getegid() == gid;
}

static void a_group_goes_before_the_users_own(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_true(in_child(takes_the_group));
}

static bool others_are_refused(void)
{
    static char root[] = "root";
    const struct config other = {.user = root};
    const struct config same = {.user = nobody};
    const struct passwd *user = getpwnam(nobody);

    if (geteuid() == 0 && (!user || setuid(user->pw_uid) < 0))
        return false;
    return privileges_drop(&other) == -EPERM && (geteuid() != user->pw_uid || privileges_drop(&same) == 0);
}

static void an_ordinary_user_can_only_stay(void **state)
{
    (void)state;
    assert_true(in_child(others_are_refused));
}

static bool raises_the_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return false;
    limit.rlim_max = limit.rlim_max < 100 ? limit.rlim_max : 100;
    limit.rlim_cur = 50;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        return false;
    privileges_raise_file_limit();
    privileges_raise_file_limit();
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == limit.rlim_max;
}

static void the_file_limit_rises_to_the_hard_one(void **state)
{
    (void)state;
    assert_true(in_child(raises_the_limit));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_user_nothing_changes),
        cmocka_unit_test(unknown_accounts_are_refused),
        cmocka_unit_test(who_we_are_to_be_is_found_without_becoming_it),
        cmocka_unit_test(a_group_alone_changes_only_the_group),
        cmocka_unit_test(root_becomes_another_for_good),
        cmocka_unit_test(a_group_goes_before_the_users_own),
        cmocka_unit_test(an_ordinary_user_can_only_stay),
        cmocka_unit_test(the_file_limit_rises_to_the_hard_one),
    };

    return cmocka_run_group_tests_name("privileges", tests, quiet, NULL);
}
