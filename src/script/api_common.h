/* What the api_*.c files share: from the handles that Lua holds to the engine's structs. */
#pragma once

#include <stddef.h>

#include "core/conn.h"
#include "script/api.h"
#include "script/runtime.h"
#include "script/script_conn.h"
#include "script/task.h"

/* The connection of a handle, NULL when that one is gone. */
static inline struct conn *api_conn(const struct zerg_conn *handle)
{
    struct conn *conn = handle->_conn;

    return conn->generation == handle->_generation ? conn : NULL;
}

/* Its script side, NULL when it is gone or its handler has ended. */
static inline struct script_conn *api_script_conn(const struct zerg_conn *handle)
{
    struct conn *conn = api_conn(handle);

    return conn ? conn->owner : NULL;
}

/* The running task, NULL where nothing can park. */
static inline struct task *api_task(void)
{
    struct runtime *runtime = runtime_current();

    return runtime ? runtime->running : NULL;
}
