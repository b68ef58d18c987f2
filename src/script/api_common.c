/* See api_common.h. */
#include "script/api_common.h"

#include "base/clock.h"

uint32_t api_ms(double seconds)
{
    double ms = seconds * (double)MS_PER_S;

    if (ms >= (double)UINT32_MAX)
        return UINT32_MAX;
    return ms > 0 && ms < 1 ? 1 : (uint32_t)ms;
}
