/* See place.h. */
#include "script/place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* True for a chunk of zerg's own modules, whether linked in or loaded from ZERG_LUA_DIR. */
static bool is_own_module(const char *source)
{
    const char *directory = getenv("ZERG_LUA_DIR");

    if (strncmp(source, "@lua/zerg/", 10) == 0)
        return true;
    return directory && source[0] == '@' && strncmp(source + 1, directory, strlen(directory)) == 0;
}

bool place_find(lua_State *L, char out[PLACE_MAX])
{
    lua_Debug frame;

    for (int level = 0; lua_getstack(L, level, &frame); level++) {
        lua_getinfo(L, "Sl", &frame);
        if (frame.currentline <= 0 || is_own_module(frame.source) || strcmp(frame.what, "C") == 0)
            continue;
        snprintf(out, PLACE_MAX, "%s:%d", frame.source + (frame.source[0] == '@' || frame.source[0] == '='),
                 frame.currentline);
        return true;
    }
    return false;
}
