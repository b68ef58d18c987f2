/* See api_common.h. */
#include "script/api_common.h"

#include "base/clock.h"

int api_gone(const struct zerg_conn *handle)
{
    const struct conn *conn = api_conn(handle);
    const struct task *task = api_task();

    if (task && handle->_closer == task && handle->_closer_generation == task->generation)
        return ZERG_CLOSED;
    if (conn && conn->owner && conn->handler != &script_conn_handler)
        return ZERG_FORWARDED;
    return ZERG_END;
}

uint32_t api_ms(double seconds)
{
    double ms = seconds * (double)MS_PER_S;

    if (ms >= (double)UINT32_MAX)
        return UINT32_MAX;
    return ms > 0 && ms < 1 ? 1 : (uint32_t)ms;
}
