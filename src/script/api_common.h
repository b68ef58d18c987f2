/* What the api_*.c files share: from the handles that Lua holds to the engine's structs. */
#pragma once

#include <stddef.h>

#include "core/conn.h"
#include "http/http_conn.h"
#include "script/api.h"
#include "script/runtime.h"
#include "script/script_conn.h"
#include "script/task.h"

struct group_view;

/* The connection of a handle, NULL when that one is gone, and for NULL. */
static inline struct conn *api_conn(const struct zerg_conn *handle)
{
    struct conn *conn = LIKELY(handle != NULL) ? handle->_conn : NULL;

    return conn && LIKELY(conn->generation == handle->_generation) ? conn : NULL;
}

/* Its script side, NULL when it is gone, its handler has ended, C relays it, or it went to another version of the scripts: api_gone()
 * says which. */
static inline struct script_conn *api_script_conn(const struct zerg_conn *handle)
{
    struct conn *conn = api_conn(handle);
    struct script_conn *sc = conn && conn->handler == &script_conn_handler ? conn->owner : NULL;

    return sc && LIKELY(sc->runtime == runtime_current()) ? sc : NULL;
}

/* Whether the connection of a handle went to another version of the scripts. */
static inline bool api_has_moved(const struct zerg_conn *handle)
{
    const struct conn *conn = api_conn(handle);
    const struct script_conn *sc = conn && conn->handler == &script_conn_handler ? conn->owner : NULL;

    return sc && sc->runtime != runtime_current();
}

/* The running task, NULL where nothing can park. */
static inline struct task *api_task(void)
{
    struct runtime *runtime = runtime_current();

    return runtime ? runtime->running : NULL;
}

/* What a call on a handle without a script side gives: CLOSED to the task that closed it, FORWARDED while C relays it, END to
 * all others; NO_CONN for NULL. */
static inline int api_gone(const struct zerg_conn *handle)
{
    const struct conn *conn = api_conn(handle);
    const struct task *task = api_task();

    if (!handle)
        return ZERG_NO_CONN;
    if (task && handle->_closer == task && handle->_closer_generation == task->generation)
        return ZERG_CLOSED;
    if (conn && conn->handler == &http_conn_handler)
        return ZERG_HTTP;
    if (conn && conn->owner && conn->handler != &script_conn_handler)
        return ZERG_FORWARDED;
    return ZERG_END;
}

/* Whether filters carry its bytes, and this is not a handle of theirs: FORWARDED. */
static inline bool api_is_carried(const struct script_conn *sc, const struct zerg_conn *handle)
{
    return UNLIKELY(sc->filtering != NULL) && !handle->_carries;
}

/* Whether the running task may read. As script_conn_claim_input(). */
static inline int api_claim_input(struct script_conn *sc, const struct zerg_conn *handle)
{
    if (api_is_carried(sc, handle))
        return ZERG_FORWARDED;
    if (LIKELY(!sc->reader && !sc->transfer && !sc->forward))
        return ZERG_OK;
    return script_conn_claim_input(sc);
}

/* What a call that staged something gives: FULL when its task should wait for room. */
static inline int api_fullness(const struct conn *conn)
{
    return conn_is_full(conn) ? ZERG_FULL : ZERG_OK;
}

/* END, with that as zerg_pending_reason(). */
int api_end_with(struct runtime *runtime, const char *reason);
/* The running task, for something that takes turns of the reactor. OK, or what the call gives. */
int api_begin(struct task **out);
/* The group of a target. OK, or what the call gives. */
int api_find_group(const struct task *task, const char *target, uint32_t len, struct group_view **out);
/* Seconds (0 or more) to milliseconds; what is shorter than one is one, and 0 stays "none". */
uint32_t api_ms(double seconds);
/* Closes a connection that the script made and lets go of it; the handle remembers which task did. */
void api_let_go(struct zerg_conn *handle);
