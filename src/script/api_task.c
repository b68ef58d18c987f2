/* The part of api.h about tasks, time, the log and the process. */
#include "base/clock.h"
#include "base/log.h"
#include "core/engine.h"
#include "script/api_common.h"
#include "script/eval_limit.h"
#include "script/host.h"

/* ---- tasks ---- */

static struct task *task_of(const struct zerg_task *handle)
{
    struct task *task = handle->_task;

    return task->generation == handle->_generation ? task : NULL;
}

static uint64_t to_ms(double seconds)
{
    double ms = seconds * (double)MS_PER_S;

    if (!(ms > 0))
        return 0;
    if (ms >= (double)TIMER_MS_MAX / 2)
        return TIMER_MS_MAX / 2;
    return (uint64_t)ms + ((double)(uint64_t)ms < ms);
}

int zerg_task_self(struct zerg_task *out)
{
    struct task *task = api_task();

    if (!task)
        return ZERG_NO_TASK;
    out->_task = task;
    out->_generation = task->generation;
    return ZERG_OK;
}

int zerg_task_park(double timeout_s)
{
    struct task *task = api_task();

    if (!task)
        return ZERG_NO_TASK;
    return task_park(task, timeout_s >= 0 ? to_ms(timeout_s) : UINT64_MAX);
}

int zerg_task_wake(const struct zerg_task *handle)
{
    struct task *task = task_of(handle);

    if (!task || task->wait != TASK_WAITING)
        return 0;
    task_wake_later(task, ZERG_WAKE);
    return 1;
}

void zerg_task_cancel(const struct zerg_task *handle)
{
    struct task *task = task_of(handle);

    if (task)
        task_cancel(task);
}

int zerg_scope_enter(double seconds)
{
    struct task *task = api_task();

    return task ? task_scope_enter(task, to_ms(seconds)) : ZERG_NO_TASK;
}

int zerg_scope_leave(int depth)
{
    struct task *task = api_task();

    return task && depth > 0 && task_scope_leave(task, (uint32_t)depth) ? 1 : 0;
}

int zerg_scope_expired(void)
{
    struct task *task = api_task();

    if (!task)
        return 0;
    return task->is_cancelled ? -1 : (int)task_scope_passed(task);
}

/* ---- the rest ---- */

double zerg_now(void)
{
    const struct runtime *runtime = runtime_current();
    bool has_turns = runtime && runtime->has_begun; /* else another thread than the reactor's may be loading it */
    uint64_t ns = has_turns ? runtime->reactor->now_ns : clock_now_ns();

    return (double)ns / (double)NS_PER_S;
}

double zerg_time(void)
{
    return (double)clock_wall_ns() / (double)NS_PER_S;
}

uint32_t zerg_reactor_index(void)
{
    struct runtime *runtime = runtime_current();

    return runtime ? runtime->reactor->index : 0;
}

uint32_t zerg_reactor_count(void)
{
    struct runtime *runtime = runtime_current();

    return runtime ? runtime->reactor->engine->reactor_count : 1;
}

int zerg_reloading(void)
{
    const struct runtime *runtime = runtime_current();

    return runtime && runtime->is_superseded;
}

int zerg_draining(void)
{
    const struct runtime *runtime = runtime_current();

    return runtime && runtime->has_begun && runtime->reactor->state != REACTOR_RUNNING;
}

const char *zerg_version_text(void)
{
    return ZERG_VERSION;
}

void zerg_log(int level, const char *message, uint32_t len)
{
    if (level >= LOG_DEBUG && level < LOG_LEVEL_COUNT && log_is_on((enum log_level)level))
        log_write_bytes((enum log_level)level, message, len);
}

int zerg_log_is_on(int level)
{
    return level >= LOG_DEBUG && level < LOG_LEVEL_COUNT && log_is_on((enum log_level)level);
}

void zerg_eval_begin(void)
{
    struct runtime *runtime = runtime_current();

    if (runtime)
        eval_limit_begin(runtime);
}

void zerg_eval_end(void)
{
    struct runtime *runtime = runtime_current();

    if (runtime)
        eval_limit_end(runtime);
}

void zerg_trace_compiled(double address, uint32_t bytes, const char *place)
{
    struct runtime *runtime = runtime_current();

    if (!runtime)
        return;
    if (place)
        stall_add_trace(&runtime->host->stall, runtime, (uintptr_t)address, bytes, place);
    else
        stall_forget_traces(&runtime->host->stall, runtime);
}
