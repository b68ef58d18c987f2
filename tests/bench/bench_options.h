/* Command lines of floor.c and load.c: a table says which options there are, where their values go and what they are
 * for; --help is printed from it. A wrong option ends the program with a message and status 2. */
#pragma once

#include <sched.h>

#include "bench_ring.h"

enum bench_option_kind {
    BENCH_FLAG, /* bool; takes no value */
    BENCH_TEXT, /* const char * */
    BENCH_U32,  /* uint32_t within [min, max] */
    BENCH_U64,  /* uint64_t within [min, max] */
};

enum { BENCH_ANY_CPU = UINT32_MAX, BENCH_CPU_MAX = 1023, BENCH_NAME_COLUMNS = 18 };

struct bench_option {
    const char *name; /* without the dashes */
    enum bench_option_kind kind;
    void *value;
    uint64_t min;
    uint64_t max;
    const char *help;
};

static inline void bench_print_help(const char *about, const struct bench_option *options, size_t count)
{
    puts(about);
    for (size_t i = 0; i < count; i++)
        printf("  --%-*s %s\n", BENCH_NAME_COLUMNS, options[i].name, options[i].help);
}

/* Takes the whole of a decimal value within the option's range, or ends the program. */
static inline uint64_t bench_number(const struct bench_option *option, const char *text)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < option->min || value > option->max)
        bench_die("--%s: expected a number from %llu to %llu, got \"%s\"", option->name,
                  (unsigned long long)option->min, (unsigned long long)option->max, text);
    return value;
}

static inline void bench_set_option(const struct bench_option *option, const char *text)
{
    if (option->kind == BENCH_TEXT)
        *(const char **)option->value = text;
    else if (option->kind == BENCH_U32)
        *(uint32_t *)option->value = (uint32_t)bench_number(option, text);
    else
        *(uint64_t *)option->value = bench_number(option, text);
}

static inline const struct bench_option *bench_find_option(const char *word, const struct bench_option *options,
                                                           size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strncmp(word, "--", 2) == 0 && strcmp(word + 2, options[i].name) == 0)
            return &options[i];
    }
    bench_die("unknown option %s (--help lists them)", word);
}

static inline void bench_parse_options(int argc, char **argv, const char *about, const struct bench_option *options,
                                       size_t count)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            bench_print_help(about, options, count);
            exit(0);
        }
        const struct bench_option *option = bench_find_option(argv[i], options, count);
        if (option->kind == BENCH_FLAG) {
            *(bool *)option->value = true;
            continue;
        }
        if (i + 1 == argc)
            bench_die("--%s: a value is missing", option->name);
        bench_set_option(option, argv[++i]);
    }
}

/* Keeps this thread on one CPU; BENCH_ANY_CPU leaves it alone. */
static inline void bench_pin(uint32_t cpu)
{
    cpu_set_t set;
    if (cpu == BENCH_ANY_CPU)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        bench_die("--cpu %u: %s", cpu, strerror(errno));
}
