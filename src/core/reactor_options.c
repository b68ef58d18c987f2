/* See reactor_options.h. */
#include "core/reactor_options.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/log.h"
#include "core/engine.h"
#include "core/reactor.h"

enum {
    /* Large shared buffers: many receives fill one, so few are needed, and bulk streams find long stretches. Relaying bulk
     * took this much more CPU time with others (tests/bench/run relay-buffers): plain ones of 4 KiB 1.86, of 16 KiB 1.28
     * times as much; incremental ones of 16 KiB 1.36, of 64 KiB 1.07, of 1 MiB 0.95 times. 1 MiB would leave four of them
     * published, and small messages beside bulk without one too often. */
    INCREMENTAL_BUFFER_BYTES = 256 * 1024,
    INCREMENTAL_BUFFERS = 512,
    /* One receive takes a whole one. */
    PLAIN_BUFFER_BYTES = 16 * 1024,
    PLAIN_BUFFERS = 4096,
    /* The completion queue holds a receive and a send of a quarter of all connections at once; past that the kernel's overflow
     * list is slower, but nothing is lost. */
    CQ_ENTRIES_MIN = 4096,
    CQ_ENTRIES_MAX = 65536,
};

struct ring_options reactor_ring_options(const struct engine *engine)
{
    const struct reactor_config *config = &engine->config->reactor;
    uint32_t cq_entries = config->max_connections / 2;

    if (cq_entries < CQ_ENTRIES_MIN)
        cq_entries = CQ_ENTRIES_MIN;
    if (cq_entries > CQ_ENTRIES_MAX)
        cq_entries = CQ_ENTRIES_MAX;
    if (cq_entries < 2 * config->ring_entries)
        cq_entries = 2 * config->ring_entries;
    return (struct ring_options){
        .sq_entries = config->ring_entries,
        .cq_entries = cq_entries,
        .sqpoll = config->sqpoll,
        .sq_cpu = config->sq_cpu,
        .sq_idle_ms = config->sq_idle_ms,
    };
}

struct bufring_options reactor_buffer_options(const struct engine *engine)
{
    const struct reactor_config *config = &engine->config->reactor;
    /* Offsets into incremental buffers follow the order of completions, which a kernel thread that submits may change when the
     * completion queue overflows. */
    bool incremental = config->incremental == FEATURE_ON ||
                       (config->incremental == FEATURE_AUTO && engine->probe.incremental && !config->sqpoll);
    uint32_t bytes = config->recv_buffer_size;
    uint32_t entries = config->buffer_ring_entries;

    return (struct bufring_options){
        .buffer_bytes = bytes ? bytes : (incremental ? INCREMENTAL_BUFFER_BYTES : PLAIN_BUFFER_BYTES),
        .entries = entries ? entries : (incremental ? INCREMENTAL_BUFFERS : PLAIN_BUFFERS),
        .incremental = incremental,
    };
}

/* The nth of the CPUs that the process may use, counted round. */
static int nth_cpu(uint32_t n)
{
    cpu_set_t allowed;
    uint32_t count;

    if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
        return -1;
    count = (uint32_t)CPU_COUNT(&allowed);
    n %= count;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && n-- == 0)
            return (int)cpu;
    }
    return -1;
}

void reactor_thread_setup(const struct reactor *reactor)
{
    static _Thread_local char log_name[16];
    char name[16];
    cpu_set_t set;
    int cpu;

    snprintf(name, sizeof(name), "zerg-r%u", reactor->index);
    snprintf(log_name, sizeof(log_name), "r%u", reactor->index);
    pthread_setname_np(pthread_self(), name);
    log_thread_name(log_name);
    if (!reactor->engine->config->pin_cpus)
        return;
    cpu = nth_cpu(reactor->index);
    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set) != 0)
        log_warn("reactor %u: cannot be pinned to CPU %d", reactor->index, cpu);
}
