/* Records of relayed connections: who gets them. */
#include "proxy/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static char path[] = "/tmp/zerg-unit-session-XXXXXX";
static struct session_record record;
static const struct session_record *taken;
static uint32_t takes;

static void open_log(enum log_level level)
{
    memcpy(path + sizeof(path) - 7, "XXXXXX", 6);
    close(mkstemp(path));
    assert_int_equal(log_open(path, level, LOG_TEXT), 0);
}

static int setup(void **state)
{
    (void)state;
    record = (struct session_record){
        .conn_id = 7,
        .listener = "front",
        .group = "app",
        .server = "10.0.0.1:80",
        .bytes_up = 1ULL << 40,
        .bytes_down = 9,
        .connect_ms = 3,
        .total_ms = 4000,
        .cause = SESSION_SERVER_TIMEOUT,
        .phase = SESSION_CONNECTING,
    };
    takes = 0;
    taken = NULL;
    return addr_parse_ip(&record.client, "192.0.2.1", 5555);
}

static int teardown(void **state)
{
    (void)state;
    session_set_sink(NULL);
    log_close();
    unlink(path);
    return 0;
}

static void assert_logged(const char *text)
{
    char line[1024] = "";
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    if (!fgets(line, sizeof(line), file))
        line[0] = '\0';
    fclose(file);
    if (text)
        assert_non_null(strstr(line, text));
    else
        assert_string_equal(line, "");
}

static void take(const struct session_record *given)
{
    taken = given;
    takes++;
}

static void without_a_taker_it_is_a_line_of_the_log(void **state)
{
    (void)state;
    open_log(LOG_DEBUG);
    session_report(&record);
    assert_logged("session: conn=7 client=192.0.2.1:5555 listener=front upstream=app server=10.0.0.1:80 "
                  "bytes_up=1099511627776 bytes_down=9 connect_ms=3 total_ms=4000 end=sC");
}

static void a_client_without_an_address_has_a_record_too(void **state)
{
    (void)state;
    open_log(LOG_DEBUG);
    record.client = (struct addr){0};
    record.listener = "";
    record.server = "";
    record.cause = SESSION_NORMAL;
    record.phase = SESSION_DONE;
    session_report(&record);
    assert_logged("listener= upstream=app server= bytes_up=");
    assert_logged("end=--");
}

static void above_debug_nothing_is_logged(void **state)
{
    (void)state;
    open_log(LOG_INFO);
    session_report(&record);
    assert_logged(NULL);
}

static void a_taker_gets_it_instead(void **state)
{
    (void)state;
    open_log(LOG_DEBUG);
    session_set_sink(take);
    session_report(&record);
    session_report(&record);
    assert_int_equal(takes, 2);
    assert_ptr_equal(taken, &record);
    assert_logged(NULL);
    session_set_sink(NULL);
    session_report(&record);
    assert_int_equal(takes, 2);
    assert_logged("session: conn=7");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_taker_it_is_a_line_of_the_log),
        TEST(a_client_without_an_address_has_a_record_too),
        TEST(above_debug_nothing_is_logged),
        TEST(a_taker_gets_it_instead),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
