/* From zerg.lua (or one script, or the words of `zerg proxy`) to struct config: runs the Lua module zerg.config in a
 * state of its own, hands every problem it finds to the caller, and converts what it accepted. Checking is all in Lua
 * (lua/zerg/config). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "core/config.h"

struct lua_State;

/* Something that is wrong with a configuration. Strings are borrowed during the call of on_problem. */
struct config_problem {
    const char *file;
    uint32_t line;   /* 0: none */
    const char *key; /* path of the key ("listeners[2].port"), NULL: none */
    const char *message;
};

enum { CONFIG_REACTORS_AS_GIVEN = -1 };

/* What to load, and what the command line says in place of it. */
struct config_request {
    const char *path;           /* zerg.lua; or */
    const char *script;         /* one handler on `port`, everything else by default; or */
    const char *listen;         /* one listener there that relays to */
    const char *const *targets; /* these servers, everything else by default */
    uint32_t target_count;
    uint16_t port;          /* 0: 8080 */
    enum protocol protocol; /* of `script` or `listen` */
    int reactors;           /* CONFIG_REACTORS_AS_GIVEN, 0: one per CPU, or their number */
    const char *log_level;  /* NULL: as given */
    const char *control;    /* path of the control socket, NULL: as given */
    bool control_only;      /* of `path` only has_control and control, whatever is wrong with the rest */
    bool run_scripts;       /* run the handler scripts too, to see what they return */
    void (*on_problem)(void *context, const struct config_problem *problem);
    /* In the end, for each file that was read, or was to be but is not there; NULL: nobody asks. path: borrowed during the call. */
    void (*on_file)(void *context, const char *path);
    void *context;
};

/* Loads and checks. 0 and *out, which config_free() ends; -EINVAL after on_problem() was called for every problem,
 * -ENOMEM. One thread at a time (it asks the user database). */
MUST_CHECK int config_load(const struct config_request *request, struct config **out);
/* NULL is allowed. */
void config_free(struct config *config);
/* "file:line: key: message" with the parts that are there, always NUL-terminated. Returns out. */
const char *config_problem_format(const struct config_problem *problem, char *out, size_t out_bytes);
/* Loads the same configuration once more in L, which has the modules of modules_install(), and pushes the normalised
 * table (lua/zerg/config/init.lua): `listeners[i]` is config->listeners[i - 1], its handler to be had from
 * zerg.config.handler.load(). Sets package.path too. 0; or -EINVAL (the file has changed and is wrong now) or
 * -ENOMEM, with a message pushed instead. */
MUST_CHECK int config_push(struct lua_State *L, const struct config *config);
