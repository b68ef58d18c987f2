/* Finding out where a handler is that never parks. The control thread notices that a reactor has been in one resume for too long,
 * and asks here for the place: a signal to that thread sets a debug hook, which the interpreter honours at its next instruction,
 * and takes the program counter and the words on top of the stack, among which, in compiled code (where hooks do not run) and in
 * C functions that it calls, is an address within one of the traces that the JIT compiler reported. */
#pragma once

#include <lua.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "script/place.h"

enum { STALL_WORDS_MAX = 512, STALL_TRACES_MAX = 8192 };

struct runtime;
struct stall_trace;

/* Of one reactor, with the traces of all its runtimes. */
struct stall {
    pthread_mutex_t lock;       /* traces and place: written by threads that run scripts, read by the control thread */
    struct stall_trace *traces; /* owned */
    uint32_t trace_count;       /* reported since the last flush; the last STALL_TRACES_MAX are kept */
    uint32_t trace_capacity;
    char place[PLACE_MAX];            /* what the hook found, "" when nothing yet */
    uintptr_t stack_end;              /* of the reactor thread: nothing is read past it */
    uintptr_t words[STALL_WORDS_MAX]; /* what the signal found: the program counter, then the top of the stack */
    _Atomic uint32_t word_count;      /* 0: the signal asked for was not handled yet */
    _Atomic bool is_asked;            /* the hook is to answer */
};

/* Installs the signal handler; once, before any reactor starts. 0 or a negative errno. */
MUST_CHECK int stall_install_signal(void);
/* On the reactor thread. */
void stall_init(struct stall *stall);
void stall_deinit(struct stall *stall);

/* The thread that runs the scripts of a runtime: machine code of a compiled trace of theirs, and "file:line" where it starts. */
void stall_add_trace(struct stall *stall, const struct runtime *runtime, uintptr_t address, uint32_t bytes,
                     const char *place);
/* All traces of a runtime are gone. */
void stall_forget_traces(struct stall *stall, const struct runtime *runtime);

/* Reactor thread, from the hook: notes where the script L is, if that was asked. */
void stall_on_hook(struct stall *stall, lua_State *L);

/* Control thread: asks the thread where it is. */
void stall_ask(struct stall *stall, pthread_t thread);
/* Control thread, some milliseconds later: true and "file:line" in place (PLACE_MAX bytes) when it is known. Ask again
 * otherwise. */
bool stall_answer(struct stall *stall, char *place);
