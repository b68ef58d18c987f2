/* A histogram of latencies: 32 steps for each doubling, so a figure read from it is off by at most 3 %, from
 * nanoseconds to hours, in a fixed table. */
#pragma once

#include <stdint.h>

enum {
    HISTOGRAM_STEP_BITS = 5,
    HISTOGRAM_STEPS = 1 << HISTOGRAM_STEP_BITS,
    HISTOGRAM_BUCKETS = (48 - HISTOGRAM_STEP_BITS) * HISTOGRAM_STEPS,
};

struct histogram {
    uint64_t buckets[HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t max;
};

/* Values below two rows of steps have a bucket each; above, the top bits choose the row, the next ones the step. */
static inline uint32_t histogram_bucket(uint64_t value)
{
    if (value < 2 * HISTOGRAM_STEPS)
        return (uint32_t)value;
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
    uint32_t bucket = shift * HISTOGRAM_STEPS + (uint32_t)(value >> shift);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/* The largest value that falls into the bucket. */
static inline uint64_t histogram_bucket_value(uint32_t bucket)
{
    if (bucket < 2 * HISTOGRAM_STEPS)
        return bucket;
    uint32_t shift = bucket / HISTOGRAM_STEPS - 1;
    uint64_t top = bucket - shift * HISTOGRAM_STEPS;
    return ((top + 1) << shift) - 1;
}

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->buckets[histogram_bucket(value)]++;
    histogram->count++;
    if (value > histogram->max)
        histogram->max = value;
}

/* The value that per_mille of the added ones do not exceed; 0 when there are none. */
static inline uint64_t histogram_quantile(const struct histogram *histogram, uint32_t per_mille)
{
    uint64_t wanted = (histogram->count * per_mille + 999) / 1000;
    uint64_t seen = 0;
    if (wanted == 0)
        return 0;
    for (uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen >= wanted) {
            uint64_t value = histogram_bucket_value(bucket);
            return value < histogram->max ? value : histogram->max;
        }
    }
    return histogram->max;
}
