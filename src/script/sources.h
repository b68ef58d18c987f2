/* The texts of the files that a configuration is made of: its own, those of the handlers, and what they load. Each is read once,
 * so that all Lua states that are made of the configuration have the same, whatever becomes of the file meanwhile. Any thread. */
#pragma once

#include "base/macros.h"

struct lua_State;
struct sources;

/* NULL without memory. */
MUST_CHECK struct sources *sources_new(void);
/* NULL is allowed. */
void sources_free(struct sources *sources);
/* Has zerg.config.files of L, which has the modules of modules_install(), read what is there already, and put there what is not. They
 * are borrowed until all is loaded. sources: NULL: L shares with nobody. Raises. */
void sources_share(struct lua_State *L, struct sources *sources);
