/* SRV records of DNS answers. Whatever the bytes: what is given are host names and records in order, and the same bytes
 * say the same again. */
#include <string.h>

#include "base/assert.h"
#include "entries.h"
#include "proto/dns.h"

static void check_records(const struct dns_srv_answer *answer)
{
    assert(answer->count <= RESOLVE_TARGETS_MAX);
    assert(answer->count == 0 || answer->ttl_s <= INT32_MAX);
    for (uint32_t i = 0; i < answer->count; i++) {
        const struct dns_srv *srv = &answer->records[i];

        assert(strnlen(srv->target, sizeof(srv->target)) < sizeof(srv->target));
        assert(!srv->target[0] || dns_is_host_name(srv->target));
        assert(i == 0 || answer->records[i - 1].priority <= srv->priority);
    }
}

void fuzz_dns_srv(const uint8_t *data, size_t size)
{
    static struct dns_srv_answer answer;
    static struct dns_srv_answer again;
    bool is_sound = dns_read_srv(&answer, data, size);

    check_records(&answer);
    assert(dns_read_srv(&again, data, size) == is_sound);
    assert(again.count == answer.count && again.ttl_s == answer.ttl_s);
}
