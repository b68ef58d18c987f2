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

/* The level of the innermost frame of a script, and what "Sl" says of it; -1: there is none. */
static int find_script(lua_State *L, lua_Debug *frame)
{
    for (int level = 0; lua_getstack(L, level, frame); level++) {
        lua_getinfo(L, "Sl", frame);
        if (frame->currentline > 0 && !is_own_module(frame->source) && strcmp(frame->what, "C") != 0)
            return level;
    }
    return -1;
}

bool place_find(lua_State *L, char out[PLACE_MAX])
{
    lua_Debug frame;

    if (find_script(L, &frame) < 0)
        return false;
    snprintf(out, PLACE_MAX, "%s:%d", frame.source + (frame.source[0] == '@' || frame.source[0] == '='),
             frame.currentline);
    return true;
}

/* "queue" of "@lua/zerg/queue.lua", "conn" of "@lua/zerg/conn_relay.lua". Returns how many bytes of *begin that is. */
static int kind_of(const char *source, const char **begin)
{
    const char *slash = strrchr(source, '/');

    *begin = slash ? slash + 1 : source;
    return (int)strcspn(*begin, "_.");
}

bool place_find_call(lua_State *L, char out[PLACE_CALL_MAX])
{
    lua_Debug frame;
    const char *kind;
    int level = find_script(L, &frame);
    int kind_len;

    if (level <= 0 || !lua_getstack(L, level - 1, &frame))
        return false;
    lua_getinfo(L, "Sn", &frame);
    if (!frame.name || !is_own_module(frame.source))
        return false;
    kind_len = kind_of(frame.source, &kind);
    if (strcmp(frame.namewhat, "method") == 0)
        snprintf(out, PLACE_CALL_MAX, "%.*s:%s", kind_len, kind, frame.name);
    else
        snprintf(out, PLACE_CALL_MAX, "%s", frame.name);
    return true;
}
