/* See sources.h. */
#include "script/sources.h"

#include <lauxlib.h>
#include <lua.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct source {
    struct source *next;
    char *path; /* owned */
    char *text; /* owned */
    size_t len;
};

struct sources {
    pthread_mutex_t lock;
    struct source *first; /* owned; none is changed or goes before all do */
};

struct sources *sources_new(void)
{
    struct sources *sources = calloc(1, sizeof(*sources));

    if (sources)
        pthread_mutex_init(&sources->lock, NULL);
    return sources;
}

static void free_source(struct source *source)
{
    free(source->path);
    free(source->text);
    free(source);
}

void sources_free(struct sources *sources)
{
    struct source *next;

    if (!sources)
        return;
    for (struct source *source = sources->first; source; source = next) {
        next = source->next;
        free_source(source);
    }
    pthread_mutex_destroy(&sources->lock);
    free(sources);
}

static struct source *new_source(const char *path, const char *text, size_t len)
{
    struct source *source = calloc(1, sizeof(*source));

    if (!source)
        return NULL;
    source->path = strdup(path);
    source->text = malloc(len + 1);
    source->len = len;
    if (!source->path || !source->text) {
        free_source(source);
        return NULL;
    }
    memcpy(source->text, text, len);
    return source;
}

/* NULL: there is none. */
static struct source *find(const struct sources *sources, const char *path)
{
    for (struct source *source = sources->first; source; source = source->next) {
        if (strcmp(source->path, path) == 0)
            return source;
    }
    return NULL;
}

/* What is there, or else is there from now on; text: NULL: nothing. NULL: there is none, or no memory. */
static const struct source *find_or_add(struct sources *sources, const char *path, const char *text, size_t len)
{
    struct source *source;

    pthread_mutex_lock(&sources->lock);
    source = find(sources, path);
    if (!source && text) {
        source = new_source(path, text, len);
        if (source) {
            source->next = sources->first;
            sources->first = source;
        }
    }
    pthread_mutex_unlock(&sources->lock);
    return source;
}

/* share(path[, text]) → the text that all have of the file, or nil: nobody has read it yet. */
static int share(lua_State *L)
{
    struct sources *sources = lua_touserdata(L, lua_upvalueindex(1));
    const char *path = luaL_checkstring(L, 1);
    size_t len = 0;
    const char *text = luaL_optlstring(L, 2, NULL, &len);
    const struct source *source = find_or_add(sources, path, text, len);

    if (source)
        lua_pushlstring(L, source->text, source->len);
    else if (text)
        return luaL_error(L, "not enough memory");
    else
        lua_pushnil(L);
    return 1;
}

void sources_share(struct lua_State *L, struct sources *sources)
{
    if (!sources)
        return;
    lua_getglobal(L, "require");
    lua_pushliteral(L, "zerg.config.files");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "share_with");
    lua_pushlightuserdata(L, sources);
    lua_pushcclosure(L, share, 1);
    lua_call(L, 1, 0);
    lua_pop(L, 1);
}
