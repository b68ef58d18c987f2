/* 64-bit hashes that are the same in every process and at every start: for sharding and consistent hashing,
 * where several proxies must agree. Not keyed, so no protection for a hash table that a stranger fills. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* All 64 bits of the result depend on all bytes. */
uint64_t hash_bytes(const void *data, size_t length);

/* Mixes a number: each bit of it changes about half of the bits of the result, and no two numbers have the same
 * result. Numbers a constant apart (HASH_STEP) give a pseudo-random sequence (splitmix64). */
static inline uint64_t hash_mix(uint64_t number)
{
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9ULL;
    number = (number ^ (number >> 27)) * 0x94d049bb133111ebULL;
    return number ^ (number >> 31);
}

#define HASH_STEP 0x9e3779b97f4a7c15ULL /* 2^64 divided by the golden ratio: odd, so the steps visit every number */
