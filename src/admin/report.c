/* See report.h. */
#include "admin/report.h"

#include "admin/human.h"
#include "admin/table.h"

/* How the value of a key becomes the text of a cell. */
enum kind { TEXT, NUMBER, NUMBER_FROM_1, AGE, SIZE, FLAG };

struct column {
    const char *key;
    const char *title;
    enum kind kind;
};

enum { COLUMNS_MAX = 12 };

static const struct column version_columns[] = {
    {"number", "VERSION", NUMBER},          {"state", "STATE", TEXT},   {"age", "AGE", AGE},
    {"connections", "CONNECTIONS", NUMBER}, {"memory", "MEMORY", SIZE},
};
static const struct column reactor_columns[] = {
    {"index", "REACTOR", NUMBER},
    {"connections", "CONNECTIONS", NUMBER},
};
static const struct column listener_columns[] = {
    {"name", "LISTENER", TEXT},
    {"address", "ADDRESS", TEXT},
    {"state", "STATE", TEXT},
    {"connections", "CONNECTIONS", NUMBER},
};
static const struct column connection_columns[] = {
    {"id", "ID", NUMBER},
    {"peer", "PEER", TEXT},
    {"listener", "LISTENER", TEXT},
    {"version", "VERSION", NUMBER_FROM_1}, /* 0: none serves it */
    {"reactor", "REACTOR", NUMBER},
    {"state", "STATE", TEXT},
    {"age", "AGE", AGE},
    {"bytes_in", "IN", SIZE},
    {"bytes_out", "OUT", SIZE},
    {"waits", "WAITS", TEXT},
};
static const struct column server_columns[] = {
    {"upstream", "UPSTREAM", TEXT},
    {"server", "SERVER", TEXT},
    {"state", "STATE", TEXT},
    {"admin", "ADMIN", TEXT},
    {"weight", "WEIGHT", NUMBER},
    {"backup", "BACKUP", FLAG},
    {"connections", "CONNECTIONS", NUMBER},
    {"total", "TOTAL", NUMBER},
    {"fails", "FAILS", NUMBER},
};

static const char *text_in(const json_t *object, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : otherwise;
}

static double number_in(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void add_number(struct table *table, const json_t *value, enum kind kind)
{
    char text[HUMAN_TEXT_MAX];

    if (!json_is_number(value) || (kind == NUMBER_FROM_1 && json_number_value(value) < 1))
        table_add(table, "-");
    else if (kind == AGE)
        table_add(table, "%s", human_age(json_number_value(value), text));
    else if (kind == SIZE)
        table_add(table, "%s", human_size(json_number_value(value), text));
    else
        table_add(table, "%.0f", json_number_value(value));
}

static void add_cell(struct table *table, const struct column *column, const json_t *row)
{
    const json_t *value = json_object_get(row, column->key);

    if (column->kind == TEXT)
        table_add(table, "%s", text_in(row, column->key, "-"));
    else if (column->kind == FLAG)
        table_add(table, "%s", json_is_true(value) ? "yes" : json_is_false(value) ? "no" : "-");
    else
        add_number(table, value, column->kind);
}

static int print_rows(const json_t *rows, const struct column *columns, size_t count, FILE *out)
{
    struct table_column titles[COLUMNS_MAX];
    struct table table;
    const json_t *row;
    size_t index;
    int rc;

    for (size_t i = 0; i < count; i++) {
        bool is_text = columns[i].kind == TEXT || columns[i].kind == FLAG;

        titles[i] = (struct table_column){.title = columns[i].title, .side = is_text ? TABLE_LEFT : TABLE_RIGHT};
    }
    table_init(&table, titles, count);
    json_array_foreach(rows, index, row)
    {
        for (size_t i = 0; i < count; i++)
            add_cell(&table, &columns[i], row);
    }
    rc = table_print(&table, out);
    table_deinit(&table);
    return rc;
}

/* The table of a key, below an empty line; nothing when the reply does not have it. */
static int print_part(const json_t *reply, const char *key, const struct column *columns, size_t count, FILE *out)
{
    const json_t *rows = json_object_get(reply, key);

    if (!json_is_array(rows))
        return 0;
    fputc('\n', out);
    return print_rows(rows, columns, count, out);
}

int report_status(const json_t *reply, FILE *out)
{
    char age[HUMAN_TEXT_MAX];
    int rc;

    fprintf(out, "zerg %s is %s: process %.0f, up %s, %s%s\n", text_in(reply, "version", "-"),
            text_in(reply, "state", "-"), number_in(reply, "pid"), human_age(number_in(reply, "uptime"), age),
            json_is_string(json_object_get(reply, "config")) ? "serves " : "without a configuration",
            text_in(reply, "config", ""));
    rc = print_part(reply, "versions", version_columns, COUNT_OF(version_columns), out);
    if (rc == 0)
        rc = print_part(reply, "reactors", reactor_columns, COUNT_OF(reactor_columns), out);
    if (rc == 0)
        rc = print_part(reply, "listeners", listener_columns, COUNT_OF(listener_columns), out);
    return rc;
}

int report_connections(const json_t *reply, FILE *out)
{
    const json_t *rows = json_object_get(reply, "connections");

    return print_rows(rows, connection_columns, COUNT_OF(connection_columns), out);
}

int report_servers(const json_t *reply, FILE *out)
{
    const json_t *rows = json_object_get(reply, "servers");

    return print_rows(rows, server_columns, COUNT_OF(server_columns), out);
}
