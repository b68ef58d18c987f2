/* SRV records of hand-made DNS answers, sound ones and such as an attacker would send; host names. */
#include "proto/dns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/wire.h"

enum { TYPE_A = 1, TYPE_CNAME = 5, TYPE_SRV = 33, CLASS_IN = 1, CLASS_CHAOS = 3, MESSAGE_MAX = 16 * 1024 };

/* A string literal with its inner NULs, without the last one. */
#define BYTES(text) (text), sizeof(text) - 1
#define QUESTION_NAME "\x03_db\x04_tcp\x04test\0"
#define TO_QUESTION "\xc0\x0c" /* a pointer to the name of the question */

struct message {
    uint8_t bytes[MESSAGE_MAX];
    size_t len;
};

static struct dns_srv_answer answer;

static void add(struct message *message, const void *bytes, size_t len)
{
    assert_true(len <= MESSAGE_MAX - message->len);
    memcpy(message->bytes + message->len, bytes, len);
    message->len += len;
}

static void add_u16(struct message *message, uint16_t value)
{
    uint8_t bytes[2];

    wire_write_u16(bytes, value);
    add(message, bytes, sizeof(bytes));
}

/* The header and the question. */
static struct message *begin(void)
{
    struct message *message = calloc(1, sizeof(*message));

    assert_non_null(message);
    add(message, BYTES("\x12\x34\x81\x80\0\1\0\0\0\0\0\0"));
    add(message, BYTES(QUESTION_NAME));
    add_u16(message, TYPE_SRV);
    add_u16(message, CLASS_IN);
    return message;
}

static void add_record_head(struct message *message, uint16_t type, uint16_t class, uint32_t ttl_s, size_t data_bytes)
{
    add(message, BYTES(TO_QUESTION));
    add_u16(message, type);
    add_u16(message, class);
    add_u16(message, (uint16_t)(ttl_s >> 16));
    add_u16(message, (uint16_t)ttl_s);
    add_u16(message, (uint16_t)data_bytes);
    wire_write_u16(message->bytes + 6, (uint16_t)(wire_read_u16(message->bytes + 6) + 1));
}

/* The target is given as on the wire. */
static void add_srv(struct message *message, uint32_t ttl_s, uint16_t priority, const void *target, size_t len)
{
    add_record_head(message, TYPE_SRV, CLASS_IN, ttl_s, 6 + len);
    add_u16(message, priority);
    add_u16(message, 7);
    add_u16(message, 5432);
    add(message, target, len);
}

/* Reads a copy of exactly its size, so that the address sanitizer sees a read past it. */
static bool read_bytes(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    bool is_sound;

    assert_non_null(copy);
    memcpy(copy, bytes, len);
    is_sound = dns_read_srv(&answer, copy, len);
    free(copy);
    return is_sound;
}

static bool read_message(struct message *message)
{
    bool is_sound = read_bytes(message->bytes, message->len);

    free(message);
    return is_sound;
}

static void a_record_is_read(void **state)
{
    struct message *message = begin();

    (void)state;
    add_srv(message, 300, 10, BYTES("\1a\4test\0"));
    assert_true(read_message(message));
    assert_int_equal(answer.count, 1);
    assert_int_equal(answer.ttl_s, 300);
    assert_int_equal(answer.records[0].priority, 10);
    assert_int_equal(answer.records[0].weight, 7);
    assert_int_equal(answer.records[0].port, 5432);
    assert_string_equal(answer.records[0].target, "a.test");
}

static void records_are_in_the_order_of_their_priority(void **state)
{
    struct message *message = begin();

    (void)state;
    add_srv(message, 300, 20, BYTES("\1a\4test\0"));
    add_srv(message, 300, 10, BYTES("\1b\4test\0"));
    add_srv(message, 300, 20, BYTES("\1c\4test\0"));
    add_srv(message, 300, 10, BYTES("\1d\4test\0"));
    assert_true(read_message(message));
    assert_int_equal(answer.count, 4);
    assert_string_equal(answer.records[0].target, "b.test");
    assert_string_equal(answer.records[1].target, "d.test");
    assert_string_equal(answer.records[2].target, "a.test");
    assert_string_equal(answer.records[3].target, "c.test");
}

static void the_ttl_is_the_smallest_of_records_and_aliases(void **state)
{
    struct message *message = begin();

    (void)state;
    add_record_head(message, TYPE_CNAME, CLASS_IN, 50, 2);
    add(message, BYTES(TO_QUESTION));
    add_srv(message, 300, 10, BYTES("\1a\0"));
    add_srv(message, 200, 10, BYTES("\1b\0"));
    add_record_head(message, TYPE_A, CLASS_IN, 1, 4);
    add(message, "\x7f\0\0\1", 4);
    assert_true(read_message(message));
    assert_int_equal(answer.ttl_s, 50);
    assert_int_equal(answer.count, 2);
}

static void a_negative_ttl_is_none(void **state)
{
    struct message *message = begin();

    (void)state;
    add_srv(message, 0x80000001, 10, BYTES("\1a\0"));
    assert_true(read_message(message));
    assert_int_equal(answer.ttl_s, 0);
}

static void compressed_targets_are_expanded(void **state)
{
    struct message *message = begin();

    (void)state;
    add_srv(message, 300, 1, BYTES("\2db\xc0\x15")); /* "test" of the question */
    add_srv(message, 300, 2, BYTES("\2ab\xc0\x31")); /* the first target, which has a pointer itself */
    assert_true(read_message(message));
    assert_int_equal(answer.count, 2);
    assert_string_equal(answer.records[0].target, "db.test");
    assert_string_equal(answer.records[1].target, "ab.db.test");
}

static void the_root_is_a_target(void **state)
{
    struct message *message = begin();

    (void)state;
    add_srv(message, 300, 10, BYTES("\0"));
    assert_true(read_message(message));
    assert_int_equal(answer.count, 1);
    assert_string_equal(answer.records[0].target, "");
}

/* Counts what is left of an answer of this record and a good one behind it. */
static uint32_t count_with(const void *target, size_t len)
{
    struct message *message = begin();

    add_srv(message, 300, 1, target, len);
    add_srv(message, 300, 2, BYTES("\1b\0"));
    assert_true(read_message(message));
    return answer.count;
}

static void targets_that_are_no_host_names_are_left_out(void **state)
{
    (void)state;
    assert_int_equal(count_with(BYTES("\1a\0")), 2);
    assert_int_equal(count_with(BYTES("\3a\0b\0")), 1);
    assert_int_equal(count_with(BYTES("\3a.b\0")), 1);
    assert_int_equal(count_with(BYTES("\2a \0")), 1);
    assert_int_equal(count_with(BYTES("\2\xc3\xa4\0")), 1);
    assert_int_equal(count_with(BYTES("\x41")), 1); /* a length that is reserved */
    assert_int_equal(count_with(BYTES("\x80\0")), 1);
    assert_int_equal(count_with(BYTES("")), 1); /* the next record begins where a target should be */
}

static void pointers_lead_back_only(void **state)
{
    (void)state;
    assert_int_equal(count_with(BYTES("\xc0\x31")), 1);      /* to itself */
    assert_int_equal(count_with(BYTES("\1a\xc0\x31")), 1);   /* to its own begin */
    assert_int_equal(count_with(BYTES("\xc0\x33\1a\0")), 1); /* forwards */
    assert_int_equal(count_with(BYTES("\xff\xff")), 1);      /* past the end */
}

static void a_name_of_more_than_253_characters_is_none(void **state)
{
    uint8_t wire[300] = {0};
    uint32_t at = 0;

    (void)state;
    for (int label = 0; label < 4; label++) { /* 4 times 62 and 3 dots are 251 */
        wire[at] = 62;
        memset(wire + at + 1, 'a' + label, 62);
        at += 63;
    }
    wire[at] = 1;
    wire[at + 1] = 'x';
    assert_int_equal(count_with(wire, at + 3), 2);
    assert_int_equal(strlen(answer.records[0].target), DNS_NAME_MAX);
    wire[at] = 2;
    wire[at + 2] = 'x';
    assert_int_equal(count_with(wire, at + 4), 1);
}

static void records_past_the_bound_are_left_out(void **state)
{
    struct message *message = begin();

    (void)state;
    for (int i = 0; i < RESOLVE_TARGETS_MAX + 5; i++)
        add_srv(message, 300, 10, BYTES("\1a\0"));
    assert_true(read_message(message));
    assert_int_equal(answer.count, RESOLVE_TARGETS_MAX);
}

static void other_classes_are_left_out(void **state)
{
    struct message *message = begin();

    (void)state;
    add_record_head(message, TYPE_SRV, CLASS_CHAOS, 5, 9);
    add(message, BYTES("\0\1\0\1\0\1\1a\0"));
    assert_true(read_message(message));
    assert_int_equal(answer.count, 0);
}

static void every_cut_message_is_broken(void **state)
{
    struct message *message = begin();

    (void)state;
    add_srv(message, 300, 10, BYTES("\1a\4test\0"));
    for (size_t len = 0; len < message->len; len++)
        assert_false(read_bytes(message->bytes, len));
    assert_true(read_message(message));
}

static void counts_that_lie_are_broken(void **state)
{
    struct message *message = begin();

    (void)state;
    wire_write_u16(message->bytes + 6, UINT16_MAX);
    assert_false(read_bytes(message->bytes, message->len));
    wire_write_u16(message->bytes + 6, 0);
    wire_write_u16(message->bytes + 4, UINT16_MAX);
    assert_false(read_message(message));
}

static void host_names(void **state)
{
    char name[DNS_NAME_MAX + 3];

    (void)state;
    assert_true(dns_is_host_name("a"));
    assert_true(dns_is_host_name("db-1.internal"));
    assert_true(dns_is_host_name("_pg._tcp.db.internal."));
    assert_false(dns_is_host_name(""));
    assert_false(dns_is_host_name("."));
    assert_false(dns_is_host_name(".a"));
    assert_false(dns_is_host_name("a..b"));
    assert_false(dns_is_host_name("a.."));
    assert_false(dns_is_host_name("a b"));
    assert_false(dns_is_host_name("a\nb"));
    assert_false(dns_is_host_name("a\\.b"));
    assert_false(dns_is_host_name("\xc3\xa4.de"));
    for (size_t i = 0; i < sizeof(name); i++)
        name[i] = i % 2 ? '.' : 'a';
    name[DNS_NAME_MAX] = '\0';
    assert_true(dns_is_host_name(name));
    name[DNS_NAME_MAX] = '.';
    name[DNS_NAME_MAX + 1] = '\0';
    assert_true(dns_is_host_name(name));
    name[DNS_NAME_MAX + 1] = 'a';
    name[DNS_NAME_MAX + 2] = '\0';
    assert_false(dns_is_host_name(name));
    memset(name, 'a', DNS_LABEL_MAX);
    name[DNS_LABEL_MAX] = '\0';
    assert_true(dns_is_host_name(name));
    name[DNS_LABEL_MAX] = 'a';
    name[DNS_LABEL_MAX + 1] = '\0';
    assert_false(dns_is_host_name(name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_read),
        cmocka_unit_test(records_are_in_the_order_of_their_priority),
        cmocka_unit_test(the_ttl_is_the_smallest_of_records_and_aliases),
        cmocka_unit_test(a_negative_ttl_is_none),
        cmocka_unit_test(compressed_targets_are_expanded),
        cmocka_unit_test(the_root_is_a_target),
        cmocka_unit_test(targets_that_are_no_host_names_are_left_out),
        cmocka_unit_test(pointers_lead_back_only),
        cmocka_unit_test(a_name_of_more_than_253_characters_is_none),
        cmocka_unit_test(records_past_the_bound_are_left_out),
        cmocka_unit_test(other_classes_are_left_out),
        cmocka_unit_test(every_cut_message_is_broken),
        cmocka_unit_test(counts_that_lie_are_broken),
        cmocka_unit_test(host_names),
    };

    return cmocka_run_group_tests_name("dns", tests, NULL, NULL);
}
