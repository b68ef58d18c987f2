/* Ends code that an operator has a reactor evaluate, and that would hold it: from EVAL_MS_MAX on an error is raised in it, again
 * and again, so that no pcall() keeps it going. By the debug hook, so what is evaluated must be interpreted: lua/zerg/repl.lua
 * sees to that. Reactor thread only. */
#pragma once

#include <lua.h>

struct runtime;

void eval_limit_begin(struct runtime *runtime);
/* Also when nothing is evaluated. */
void eval_limit_end(struct runtime *runtime);
/* After how many instructions the hook is to fire; 0: nothing is evaluated. */
int eval_limit_instructions(const struct runtime *runtime);
/* From the hook, after hook_disarm(), in what runs: raises when the time is up. */
void eval_limit_on_hook(struct runtime *runtime, lua_State *L);
