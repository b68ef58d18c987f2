/* FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/), then the finaliser of splitmix64 (David Stafford's mix 13).
 *
 * FNV-1a keeps nearly all of what tells keys apart in its 64 bits, but badly spread: a difference in the last byte
 * hardly reaches the high bits, and the low bits never see the high ones. The finaliser is a bijection with full
 * avalanche, so it repairs the spread without adding a collision. A byte costs about 1.5 ns; keys are addresses,
 * paths and cookies of 4 to 100 bytes, looked up once for a connection or request that costs microseconds, so a hash
 * that takes eight bytes at a time would gain nothing that can be measured. */
#include "base/hash.h"

#define FNV_OFFSET_BASIS 0xcbf29ce484222325ULL
#define FNV_PRIME 0x100000001b3ULL

uint64_t hash_bytes(const void *data, size_t length)
{
    const uint8_t *bytes = data;
    uint64_t hash = FNV_OFFSET_BASIS;

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ bytes[i]) * FNV_PRIME;
    return hash_mix(hash);
}
