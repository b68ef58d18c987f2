/* See reload_work.h. */
#include "admin/reload_work.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/settings.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/config.h"
#include "core/engine.h"
#include "core/reactor.h"
#include "core/version.h"
#include "script/config.h"

enum { LINE_BYTES = 2048, KEYS_BYTES = 512 };

/* ---- what is wrong ---- */

void reload_add_problem(struct reload *reload, const char *format, ...)
{
    char *before = reload->problem;
    char *line;
    va_list args;

    va_start(args, format);
    if (vasprintf(&line, format, args) < 0)
        line = NULL;
    va_end(args);
    if (!line || asprintf(&reload->problem, "%s%s%s", before ? before : "", before ? "\n" : "", line) < 0)
        reload->problem = before;
    else
        free(before);
    free(line);
}

static void on_config_problem(void *context, const struct config_problem *problem)
{
    char line[LINE_BYTES];

    reload_add_problem(context, "%s", config_problem_format(problem, line, sizeof(line)));
}

/* ---- the thread ---- */

static void add_file(void *context, const char *path)
{
    struct reload *reload = context;
    char *before = reload->read;

    if (asprintf(&reload->read, "%s%s%s", before ? before : "", before ? "\n" : "", path) < 0)
        reload->read = before;
    else
        free(before);
}

static void finish_work(struct reload *reload, int result)
{
    reload->result = result;
    atomic_store(&reload->is_done, true);
    engine_wake_control(reload->engine);
}

static void *read_config(void *context)
{
    struct reload *reload = context;
    struct config_request request = *reload->request;
    char keys[KEYS_BYTES];
    int rc;

    log_thread_name("reload");
    request.run_scripts = reload->kind == RELOAD_CHECK;
    request.on_problem = on_config_problem;
    request.on_file = add_file;
    request.context = reload;
    rc = config_load(&request, &reload->config);
    if (rc == 0 && settings_need_restart(reload->engine->config, reload->config, keys, sizeof(keys))) {
        reload_add_problem(reload, "%s: only a restart can change %s",
                           reload->config->path ? reload->config->path : "zerg", keys);
        rc = -EINVAL;
    }
    finish_work(reload, rc);
    return NULL;
}

static void *load_scripts(void *context)
{
    struct reload *reload = context;
    const struct reactor_app *app = reload->engine->app;
    int rc = 0;

    log_thread_name("reload");
    for (uint32_t i = 0; i < reload->version->part_count && rc == 0 && !reload->is_forbidden && !reload->is_stuck;
         i++) {
        struct version_part *part = &reload->version->parts[i];

        rc = app->load(part);
        if (rc < 0)
            reload_add_problem(reload, "%s", part->problem ? part->problem : "no memory for its scripts");
    }
    finish_work(reload, rc);
    return NULL;
}

static void *unload_scripts(void *context)
{
    struct reload *reload = context;

    log_thread_name("reload");
    version_unload(reload->version);
    finish_work(reload, 0);
    return NULL;
}

int reload_start_work(struct reload *reload, enum reload_stage stage)
{
    void *(*work)(void *) = stage == RELOAD_READ ? read_config : stage == RELOAD_LOAD ? load_scripts : unload_scripts;
    int rc;

    atomic_store(&reload->is_done, false);
    reload->began_ms = clock_now_ms();
    rc = -pthread_create(&reload->thread, NULL, work, reload);
    if (rc == 0)
        reload->stage = stage;
    return rc;
}
