/* report and table: replies as tables, also of servers that say less than this program knows. */
#include "admin/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admin/table.h"

static char *printed; /* what the last report() printed */

static int teardown(void **state)
{
    (void)state;
    free(printed);
    printed = NULL;
    return 0;
}

static const char *report(int (*function)(const json_t *, FILE *), const char *text)
{
    json_t *reply = json_loads(text, 0, NULL);
    size_t len;
    FILE *out;

    free(printed);
    out = open_memstream(&printed, &len);
    assert_non_null(reply);
    assert_non_null(out);
    assert_int_equal(function(reply, out), 0);
    fclose(out);
    json_decref(reply);
    return printed;
}

static void status_is_a_line_and_a_table_for_each_list(void **state)
{
    (void)state;
    assert_string_equal(
        report(
            report_status,
            "{\"ok\":true,\"version\":\"0.1.0\",\"pid\":1,\"uptime\":192.5,\"state\":\"running\",\"config\":\"zerg.lua\","
            "\"versions\":[{\"number\":1,\"state\":\"old\",\"age\":4000,\"connections\":3,\"memory\":1258291},"
            "{\"number\":12,\"state\":\"current\",\"age\":12.5,\"connections\":1000,\"memory\":123456}],"
            "\"reactors\":[{\"index\":0,\"connections\":3}],"
            "\"listeners\":[{\"name\":\"echo\",\"address\":\"[::]:7000\",\"state\":\"listening\",\"connections\":3}]}"),
        "zerg 0.1.0 is running: process 1, up 3m12s, serves zerg.lua\n"
        "\n"
        "VERSION  STATE      AGE  CONNECTIONS  MEMORY\n"
        "      1  old      1h06m            3    1.2M\n"
        "     12  current    12s         1000    121K\n"
        "\n"
        "REACTOR  CONNECTIONS\n"
        "      0            3\n"
        "\n"
        "LISTENER  ADDRESS    STATE      CONNECTIONS\n"
        "echo      [::]:7000  listening            3\n");
}

static void what_a_reply_does_not_have_is_left_out(void **state)
{
    (void)state;
    assert_string_equal(report(report_status, "{\"version\":\"0.1.0\",\"pid\":1,\"uptime\":1,\"state\":\"draining\","
                                              "\"config\":null,\"reactors\":[{\"index\":0,\"connections\":\"x\"}]}"),
                        "zerg 0.1.0 is draining: process 1, up 1.0s, without a configuration\n"
                        "\n"
                        "REACTOR  CONNECTIONS\n"
                        "      0            -\n");
    assert_string_equal(report(report_servers, "{}"),
                        "UPSTREAM  SERVER  STATE  ADMIN  WEIGHT  BACKUP  CONNECTIONS  TOTAL  FAILS\n");
}

static void connections_end_with_what_they_wait_for(void **state)
{
    (void)state;
    assert_string_equal(
        report(
            report_connections,
            "{\"connections\":[{\"id\":17,\"peer\":\"127.0.0.1:5555\",\"listener\":\"echo\",\"version\":1,\"reactor\":0,"
            "\"state\":\"open\",\"waits\":\"read at handlers/echo.lua:3\",\"age\":1.25,\"bytes_in\":5,\"bytes_out\":5000},"
            "{\"id\":4294967296123,\"peer\":\"unix\",\"listener\":\"é\",\"version\":0,\"state\":\"closing\",\"waits\":\"\"}]}"),
        "           ID  PEER            LISTENER  VERSION  REACTOR  STATE     AGE  IN   OUT  WAITS\n"
        "           17  127.0.0.1:5555  echo            1        0  open     1.2s   5  4.9K  read at handlers/echo.lua:3\n"
        "4294967296123  unix            é               -        -  closing     -   -     -  -\n");
}

static void servers_are_listed_with_their_load(void **state)
{
    (void)state;
    assert_string_equal(
        report(report_servers,
               "{\"servers\":[{\"upstream\":\"app\",\"server\":\"127.0.0.1:3000\",\"state\":\"up\",\"weight\":1,"
               "\"connections\":0,\"total\":5,\"fails\":0,\"backup\":false,\"admin\":\"auto\"}]}"),
        "UPSTREAM  SERVER          STATE  ADMIN  WEIGHT  BACKUP  CONNECTIONS  TOTAL  FAILS\n"
        "app       127.0.0.1:3000  up     auto        1  no                0      5      0\n");
}

static void control_bytes_do_not_reach_the_terminal(void **state)
{
    (void)state;
    report(report_servers, "{\"servers\":[{\"upstream\":\"a\\nb\\u001b[2J\\u007f\"}]}");
    assert_non_null(strstr(printed, "\na?b?[2J?  -"));
}

static void a_table_without_rows_is_its_header(void **state)
{
    const struct table_column columns[] = {{"A", TABLE_LEFT}, {"LONG", TABLE_RIGHT}};
    struct table table;
    size_t len;
    FILE *out = open_memstream(&printed, &len);

    (void)state;
    table_init(&table, columns, 2);
    assert_int_equal(table_print(&table, out), 0);
    fclose(out);
    assert_string_equal(printed, "A  LONG\n");
    table_deinit(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(status_is_a_line_and_a_table_for_each_list, teardown),
        cmocka_unit_test_teardown(what_a_reply_does_not_have_is_left_out, teardown),
        cmocka_unit_test_teardown(connections_end_with_what_they_wait_for, teardown),
        cmocka_unit_test_teardown(servers_are_listed_with_their_load, teardown),
        cmocka_unit_test_teardown(control_bytes_do_not_reach_the_terminal, teardown),
        cmocka_unit_test_teardown(a_table_without_rows_is_its_header, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
