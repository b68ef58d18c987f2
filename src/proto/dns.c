/* Every read is preceded by a look at the end of what is there. Names may be compressed (RFC 1035, section 4.1.4): a pointer
 * must lead to before the part of the name that it ends, so there is no way round in circles. */
#include "proto/dns.h"

#include <string.h>

#include "proto/wire.h"

enum {
    HEADER_BYTES = 12,
    QUESTION_COUNT_AT = 4,
    ANSWER_COUNT_AT = 6,
    QUESTION_TAIL_BYTES = 4, /* behind the name: type and class, */
    RECORD_TAIL_BYTES = 10,  /* and in records TTL and length of the data */
    SRV_HEAD_BYTES = 6,
    POINTER_BITS = 0xc0,
    CLASS_IN = 1,
    TYPE_CNAME = 5,
    TYPE_SRV = 33,
};
#define TTL_SIGN 0x80000000u

struct cursor {
    const uint8_t *message;
    uint32_t at;
    uint32_t end; /* at <= end always */
};

struct record {
    uint16_t type;
    uint16_t class;
    uint32_t ttl_s;
    struct cursor data; /* names in it may point to before it, never past its end */
};

static bool is_label_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool dns_is_host_name(const char *name)
{
    size_t len = strnlen(name, DNS_NAME_MAX + 2);
    size_t label = 0;

    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == 0 || len > DNS_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (name[i] == '.' && label > 0)
            label = 0;
        else if (!is_label_char(name[i]) || ++label > DNS_LABEL_MAX)
            return false;
    }
    return label > 0;
}

static bool has_bytes(const struct cursor *cursor, uint32_t count)
{
    return count <= cursor->end - cursor->at;
}

static bool skip_bytes(struct cursor *cursor, uint32_t count)
{
    if (!has_bytes(cursor, count))
        return false;
    cursor->at += count;
    return true;
}

static bool skip_name(struct cursor *cursor)
{
    while (has_bytes(cursor, 1)) {
        uint8_t length = cursor->message[cursor->at++];

        if (length == 0)
            return true;
        if (length > DNS_LABEL_MAX)
            return length >= POINTER_BITS && skip_bytes(cursor, 1);
        if (!skip_bytes(cursor, length))
            return false;
    }
    return false;
}

/* Goes on reading where a pointer, whose first byte has been read, leads. */
static bool follow_pointer(struct cursor *cursor, uint8_t first, uint32_t *part_at)
{
    uint32_t target;

    if (first < POINTER_BITS || !has_bytes(cursor, 1))
        return false;
    target = (uint32_t)(first & ~POINTER_BITS) << 8 | cursor->message[cursor->at];
    if (target >= *part_at)
        return false;
    *part_at = target;
    cursor->at = target;
    return true;
}

static bool append_label(struct cursor *cursor, uint8_t length, char *out, size_t *used)
{
    size_t dot = *used > 0;

    if (!has_bytes(cursor, length) || *used + dot + length > DNS_NAME_MAX)
        return false;
    if (dot)
        out[(*used)++] = '.';
    for (uint8_t i = 0; i < length; i++) {
        char c = (char)cursor->message[cursor->at++];

        if (!is_label_char(c))
            return false;
        out[(*used)++] = c;
    }
    return true;
}

/* A host name of at most DNS_NAME_MAX characters, "" for the root; false for anything else. */
static bool read_host_name(struct cursor cursor, char *out)
{
    uint32_t part_at = cursor.at;
    size_t used = 0;

    while (has_bytes(&cursor, 1)) {
        uint8_t length = cursor.message[cursor.at++];

        if (length == 0) {
            out[used] = '\0';
            return true;
        }
        if (length <= DNS_LABEL_MAX ? !append_label(&cursor, length, out, &used)
                                    : !follow_pointer(&cursor, length, &part_at))
            return false;
    }
    return false;
}

static bool read_record(struct cursor *cursor, struct record *record)
{
    const uint8_t *tail;
    uint16_t data_bytes;

    if (!skip_name(cursor) || !has_bytes(cursor, RECORD_TAIL_BYTES))
        return false;
    tail = cursor->message + cursor->at;
    record->type = wire_read_u16(tail);
    record->class = wire_read_u16(tail + 2);
    record->ttl_s = wire_read_u32(tail + 4);
    data_bytes = wire_read_u16(tail + 8);
    cursor->at += RECORD_TAIL_BYTES;
    if (!has_bytes(cursor, data_bytes))
        return false;
    record->data = (struct cursor){.message = cursor->message, .at = cursor->at, .end = cursor->at + data_bytes};
    cursor->at += data_bytes;
    return true;
}

/* Records that come later with the same priority stay behind. */
static void insert(struct dns_srv_answer *answer, const struct dns_srv *srv)
{
    uint32_t at = answer->count++;

    while (at > 0 && answer->records[at - 1].priority > srv->priority) {
        answer->records[at] = answer->records[at - 1];
        at--;
    }
    answer->records[at] = *srv;
}

static void read_srv(struct dns_srv_answer *answer, const struct record *record)
{
    struct cursor data = record->data;
    const uint8_t *head = data.message + data.at;
    struct dns_srv srv;

    if (answer->count == RESOLVE_TARGETS_MAX || !has_bytes(&data, SRV_HEAD_BYTES))
        return;
    srv.priority = wire_read_u16(head);
    srv.weight = wire_read_u16(head + 2);
    srv.port = wire_read_u16(head + 4);
    data.at += SRV_HEAD_BYTES;
    if (read_host_name(data, srv.target))
        insert(answer, &srv);
}

/* A TTL with the highest bit set is to be taken as 0 (RFC 2181, section 8). */
static void limit_ttl(struct dns_srv_answer *answer, uint32_t ttl_s)
{
    uint32_t valid_s = ttl_s & TTL_SIGN ? 0 : ttl_s;

    if (valid_s < answer->ttl_s)
        answer->ttl_s = valid_s;
}

static bool skip_questions(struct cursor *cursor, uint32_t count)
{
    while (count > 0 && skip_name(cursor) && skip_bytes(cursor, QUESTION_TAIL_BYTES))
        count--;
    return count == 0;
}

bool dns_read_srv(struct dns_srv_answer *answer, const uint8_t *message, size_t len)
{
    struct cursor cursor = {.message = message, .at = HEADER_BYTES, .end = (uint32_t)len};
    struct record record;

    answer->ttl_s = UINT32_MAX;
    answer->count = 0;
    if (len < HEADER_BYTES || len > UINT16_MAX || !skip_questions(&cursor, wire_read_u16(message + QUESTION_COUNT_AT)))
        return false;
    for (uint32_t left = wire_read_u16(message + ANSWER_COUNT_AT); left > 0; left--) {
        if (!read_record(&cursor, &record))
            return false;
        if (record.class != CLASS_IN)
            continue;
        if (record.type == TYPE_SRV)
            read_srv(answer, &record);
        if (record.type == TYPE_SRV || record.type == TYPE_CNAME)
            limit_ttl(answer, record.ttl_s);
    }
    return true;
}
