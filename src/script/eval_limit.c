/* See eval_limit.h. */
#include "script/eval_limit.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/macros.h"
#include "script/hook.h"
#include "script/runtime.h"

enum { INSTRUCTIONS_PER_LOOK = 1000 };

static bool is_over(const struct runtime *runtime)
{
    return clock_now_ms() >= runtime->eval_until_ms;
}

void eval_limit_begin(struct runtime *runtime)
{
    runtime->eval_until_ms = clock_now_ms() + EVAL_MS_MAX;
    hook_disarm(runtime->L);
}

void eval_limit_end(struct runtime *runtime)
{
    if (runtime->eval_until_ms == 0)
        return;
    runtime->eval_until_ms = 0;
    hook_disarm(runtime->L);
}

int eval_limit_instructions(const struct runtime *runtime)
{
    if (LIKELY(runtime->eval_until_ms == 0))
        return 0;
    return is_over(runtime) ? 1 : INSTRUCTIONS_PER_LOOK; /* 1: the next is where a pcall() has caught an error */
}

void eval_limit_on_hook(struct runtime *runtime, lua_State *L)
{
    if (runtime->eval_until_ms == 0 || !is_over(runtime))
        return;
    lua_pushfstring(L, "repl: the code ran for more than %d s and was ended", EVAL_MS_MAX / 1000);
    lua_error(L);
}
