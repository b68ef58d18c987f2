/* See service_watch.h. */
#include "admin/service_watch.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "admin/file_watch.h"
#include "admin/service.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/config.h"
#include "core/version.h"
#include "script/runtime.h"

enum { PATHS_MAX = 4096 };

/* Paths that stand on lines of their own. */
struct paths {
    const char *path[PATHS_MAX]; /* borrowed from the texts */
    size_t count;
};

static void add_lines(struct paths *paths, char *text)
{
    char *end;

    for (char *path = text; path && *path != '\0' && paths->count < PATHS_MAX; path = end ? end + 1 : NULL) {
        end = strchr(path, '\n');
        if (end)
            *end = '\0';
        paths->path[paths->count++] = path;
    }
}

static void explain(const struct service *service, int rc)
{
    char text[FILE_WATCH_PROBLEM_MAX];

    log_warn("watch: %s: changes of files are not noticed", file_watch_explain(service->watch, rc, text));
}

static void on_changes(struct loop_source *source, short ready)
{
    struct service *service = CONTAINER_OF(source, struct service, changes);

    (void)ready;
    file_watch_read(service->watch, clock_now_ms());
}

static int open_watch(struct service *service)
{
    int rc = file_watch_open(&service->watch);

    if (rc < 0)
        return rc;
    service->changes = (struct loop_source){
        .fd = file_watch_fd(service->watch),
        .events = POLLIN,
        .on_ready = on_changes,
    };
    return loop_add(&service->loop, &service->changes);
}

void service_close_watch(struct service *service)
{
    if (!service->watch)
        return;
    loop_remove(&service->loop, &service->changes);
    file_watch_close(service->watch);
    service->watch = NULL;
}

static const char *current_files(const struct service *service)
{
    const char *files = runtime_files(&service->engine.version->parts[0]);

    return files ? files : "";
}

void service_watch_files(struct service *service)
{
    const struct config *config = service->engine.version->config;
    struct paths paths = {.count = 0};
    char *current, *failed;
    int rc = 0;

    if (!config->watches) {
        service_close_watch(service);
        return;
    }
    current = strdup(current_files(service));
    failed = service->reload.files ? strdup(service->reload.files) : NULL;
    if (!service->watch)
        rc = open_watch(service);
    add_lines(&paths, current);
    add_lines(&paths, failed);
    if (rc == 0)
        rc = file_watch_set(service->watch, paths.path, paths.count);
    if (rc < 0)
        explain(service, rc);
    else
        file_watch_note_newer(service->watch, &service->reload.read_from, clock_now_ms());
    free(current);
    free(failed);
}

int service_look_at_files(struct service *service, uint64_t now_ms)
{
    uint64_t due_ms;
    const char *changed;

    if (!service->watch)
        return -1;
    if (file_watch_take(service->watch, now_ms)) {
        changed = file_watch_changed(service->watch);
        log_info("watch: %s has changed: reloading", changed ? changed : "some file");
        reload_begin(&service->reload, NULL);
    }
    due_ms = file_watch_due_ms(service->watch);
    return due_ms == UINT64_MAX ? -1 : (int)(due_ms > now_ms ? due_ms - now_ms : 0);
}
