/* See stall.h. */
#include "script/stall.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "script/hook.h"
#include "script/host.h"
#include "script/place.h"
#include "script/runtime.h"

struct stall_trace {
    const struct runtime *runtime; /* compared, never followed; NULL: it is gone */
    uintptr_t begin;
    uintptr_t end;
    char place[PLACE_MAX];
};

static int stall_signal(void)
{
    return SIGRTMIN + 1;
}

/* ---- the interpreter: a hook ---- */

void stall_on_hook(struct stall *stall, lua_State *L)
{
    char place[PLACE_MAX];

    if (!atomic_exchange(&stall->is_asked, false) || !place_find(L, place))
        return;
    pthread_mutex_lock(&stall->lock);
    memcpy(stall->place, place, PLACE_MAX);
    pthread_mutex_unlock(&stall->lock);
}

/* ---- compiled code: the program counter and the stack ---- */

static uintptr_t program_counter(const ucontext_t *context)
{
#if defined(__x86_64__)
    return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)context->uc_mcontext.pc;
#else
    (void)context;
    return 0;
#endif
}

static uintptr_t stack_pointer(const ucontext_t *context)
{
#if defined(__x86_64__)
    return (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
    return (uintptr_t)context->uc_mcontext.sp;
#else
    (void)context;
    return UINTPTR_MAX;
#endif
}

/* Copies words of other functions' frames, which the sanitizer would object to. */
__attribute__((no_sanitize("address"))) static void take_words(struct stall *stall, const ucontext_t *context)
{
    uintptr_t at = stack_pointer(context);
    uint32_t count = 0;

    stall->words[count++] = program_counter(context);
    for (; count < STALL_WORDS_MAX && at < stall->stack_end; at += sizeof(uintptr_t))
        stall->words[count++] = *(const volatile uintptr_t *)at;
    atomic_store(&stall->word_count, count);
}

/* What is to be found out where it is. */
static bool runs_lua(const struct runtime *runtime)
{
    return runtime && (runtime->running || runtime->is_calling);
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
    struct runtime *runtime = runtime_current();

    (void)signal;
    (void)info;
    if (!runs_lua(runtime) || atomic_load(&runtime->host->stall.word_count) > 0)
        return;
    take_words(&runtime->host->stall, context);
    hook_arm(runtime->L);
}

int stall_install_signal(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};

    sigemptyset(&action.sa_mask);
    return sigaction(stall_signal(), &action, NULL) < 0 ? -errno : 0;
}

/* ---- traces ---- */

void stall_init(struct stall *stall)
{
    pthread_attr_t attributes;
    void *stack;
    size_t stack_bytes;

    memset(stall, 0, sizeof(*stall));
    pthread_mutex_init(&stall->lock, NULL);
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        if (pthread_attr_getstack(&attributes, &stack, &stack_bytes) == 0)
            stall->stack_end = (uintptr_t)stack + stack_bytes;
        pthread_attr_destroy(&attributes);
    }
}

void stall_deinit(struct stall *stall)
{
    free(stall->traces);
    pthread_mutex_destroy(&stall->lock);
}

/* Makes room for one more while there are fewer than are kept; past that the oldest makes room. */
static int grow_traces(struct stall *stall)
{
    uint32_t capacity = stall->trace_capacity ? 2 * stall->trace_capacity : 64;
    struct stall_trace *traces;

    if (stall->trace_count < stall->trace_capacity || stall->trace_capacity == STALL_TRACES_MAX)
        return 0;
    traces = realloc(stall->traces, capacity * sizeof(*traces));
    if (!traces)
        return -ENOMEM;
    stall->traces = traces;
    stall->trace_capacity = capacity;
    return 0;
}

void stall_add_trace(struct stall *stall, const struct runtime *runtime, uintptr_t address, uint32_t bytes,
                     const char *place)
{
    pthread_mutex_lock(&stall->lock);
    if (grow_traces(stall) == 0) { /* else only the watchdog's knowledge suffers */
        struct stall_trace *trace = &stall->traces[stall->trace_count++ % stall->trace_capacity];

        trace->runtime = runtime;
        trace->begin = address;
        trace->end = address + bytes;
        snprintf(trace->place, sizeof(trace->place), "%s", place);
    }
    pthread_mutex_unlock(&stall->lock);
}

static uint32_t kept_traces(const struct stall *stall)
{
    return stall->trace_count < stall->trace_capacity ? stall->trace_count : stall->trace_capacity;
}

void stall_forget_traces(struct stall *stall, const struct runtime *runtime)
{
    bool is_any_left = false;

    pthread_mutex_lock(&stall->lock);
    for (uint32_t i = 0; i < kept_traces(stall); i++) {
        struct stall_trace *trace = &stall->traces[i];

        if (trace->runtime == runtime)
            *trace = (struct stall_trace){0};
        is_any_left |= trace->runtime != NULL;
    }
    if (!is_any_left)
        stall->trace_count = 0;
    pthread_mutex_unlock(&stall->lock);
}

/* ---- the control thread ---- */

void stall_ask(struct stall *stall, pthread_t thread)
{
    pthread_mutex_lock(&stall->lock);
    stall->place[0] = '\0';
    pthread_mutex_unlock(&stall->lock);
    atomic_store(&stall->word_count, 0);
    atomic_store(&stall->is_asked, true);
    pthread_kill(thread, stall_signal());
}

static const struct stall_trace *trace_at(const struct stall *stall, uintptr_t address)
{
    uint32_t kept = kept_traces(stall);

    for (uint32_t i = 1; i <= kept; i++) { /* the newest first: code space is reused */
        const struct stall_trace *trace = &stall->traces[(stall->trace_count - i) % stall->trace_capacity];

        if (address >= trace->begin && address < trace->end)
            return trace;
    }
    return NULL;
}

/* The trace that ran, or that called what ran: the innermost comes first. */
static const struct stall_trace *find_trace(struct stall *stall)
{
    uint32_t count = atomic_load(&stall->word_count);
    const struct stall_trace *trace = NULL;

    for (uint32_t i = 0; i < count && !trace; i++)
        trace = trace_at(stall, stall->words[i]);
    return trace;
}

bool stall_answer(struct stall *stall, char *place)
{
    const struct stall_trace *trace;

    pthread_mutex_lock(&stall->lock);
    trace = find_trace(stall);
    place[0] = '\0';
    if (stall->place[0] != '\0')
        memcpy(place, stall->place, PLACE_MAX);
    else if (trace)
        snprintf(place, PLACE_MAX, "%s", trace->place);
    pthread_mutex_unlock(&stall->lock);
    return place[0] != '\0';
}
