/* See privileges.h. */
#include "admin/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "core/config.h"

static int become(const char *user, uid_t uid, gid_t gid)
{
    int rc;

    if (initgroups(user, gid) < 0 || setgid(gid) < 0 || setuid(uid) < 0) {
        rc = -errno;
        log_error("cannot become user %s: %s", user, strerror(-rc));
        return rc;
    }
    log_info("running as user %s (uid %u, gid %u)", user, (unsigned)uid, (unsigned)gid);
    return 0;
}

static int find_group(const char *name, gid_t *gid)
{
    const struct group *group = getgrnam(name);

    if (!group) {
        log_error("group: there is no group \"%s\" on this system", name);
        return -EINVAL;
    }
    *gid = group->gr_gid;
    return 0;
}

int privileges_find(const struct config *config, struct identity *identity)
{
    const struct passwd *user;

    *identity = (struct identity){.uid = geteuid(), .gid = getegid()};
    if (config->user) {
        user = getpwnam(config->user);
        if (!user) {
            log_error("user: there is no user \"%s\" on this system", config->user);
            return -EINVAL;
        }
        *identity = (struct identity){.uid = user->pw_uid, .gid = user->pw_gid};
    }
    return config->group ? find_group(config->group, &identity->gid) : 0;
}

/* `group` without `user`: root in another group. */
static int become_group(const char *name, gid_t gid)
{
    int rc;

    if (getegid() == gid)
        return 0;
    if (setgroups(0, NULL) < 0 || setgid(gid) < 0) {
        rc = -errno;
        log_error("group: cannot become group \"%s\": %s", name, strerror(-rc));
        return rc;
    }
    log_info("running as group %s (gid %u)", name, (unsigned)gid);
    return 0;
}

int privileges_drop(const struct config *config)
{
    struct identity identity;
    int rc = privileges_find(config, &identity);

    if (rc < 0)
        return rc;
    if (!config->user)
        return config->group ? become_group(config->group, identity.gid) : 0;
    if (geteuid() != 0) {
        if (geteuid() == identity.uid)
            return 0;
        log_error("user: only root can change to user \"%s\": start zerg as root, or remove `user`", config->user);
        return -EPERM;
    }
    return become(config->user, identity.uid, identity.gid);
}

void privileges_raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        log_warn("cannot raise the limit of open files: %s", strerror(errno));
}
