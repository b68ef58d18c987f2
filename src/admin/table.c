/* See table.h. */
#include "admin/table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum { GAP = 2, ROOM_AT_FIRST = 64 }; /* blanks between columns, cells */

void table_init(struct table *table, const struct table_column *columns, size_t column_count)
{
    assert(column_count > 0);
    *table = (struct table){.columns = columns, .column_count = column_count};
}

void table_deinit(struct table *table)
{
    for (size_t i = 0; i < table->cell_count; i++)
        free(table->cells[i]);
    free(table->cells);
    table->cells = NULL;
    table->cell_count = 0;
}

/* A newline would break the table, an escape sequence the terminal. */
static void make_printable(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
    }
}

/* Room for one more cell. False without memory. */
static bool make_room(struct table *table)
{
    size_t room = table->room == 0 ? ROOM_AT_FIRST : 2 * table->room;
    char **longer;

    if (table->cell_count < table->room)
        return true;
    longer = realloc(table->cells, room * sizeof(*longer));
    if (!longer)
        return false;
    table->cells = longer;
    table->room = room;
    return true;
}

void table_add(struct table *table, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    int len;

    va_start(args, format);
    len = vasprintf(&text, format, args);
    va_end(args);
    if (len >= 0 && make_room(table)) {
        make_printable(text);
        table->cells[table->cell_count++] = text;
        return;
    }
    table->is_broken = true;
    if (len >= 0)
        free(text);
}

/* Characters, as a terminal shows them: bytes of UTF-8 that begin one. */
static int width_of(const char *text)
{
    int width = 0;

    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static const char *shown(const char *text)
{
    return text[0] == '\0' ? "-" : text;
}

static const char *cell(const struct table *table, size_t row, size_t column)
{
    return shown(table->cells[row * table->column_count + column]);
}

static int column_width(const struct table *table, size_t column)
{
    int widest = width_of(table->columns[column].title);

    for (size_t row = 0; row < table->cell_count / table->column_count; row++) {
        int width = width_of(cell(table, row, column));

        widest = width > widest ? width : widest;
    }
    return widest;
}

/* The last column has no blanks behind it. */
static void print_cell(const struct table *table, size_t column, const char *text, int width, FILE *out)
{
    int blanks = width - width_of(text);
    bool is_last = column + 1 == table->column_count;

    if (table->columns[column].side == TABLE_RIGHT)
        fprintf(out, "%*s%s", blanks, "", text);
    else
        fprintf(out, "%s%*s", text, is_last ? 0 : blanks, "");
    if (is_last)
        fputc('\n', out);
    else
        fprintf(out, "%*s", GAP, "");
}

int table_print(const struct table *table, FILE *out)
{
    size_t rows = table->cell_count / table->column_count;
    int *widths = calloc(table->column_count, sizeof(*widths));

    if (!widths || table->is_broken) {
        free(widths);
        return -ENOMEM;
    }
    assert(table->cell_count % table->column_count == 0);
    for (size_t i = 0; i < table->column_count; i++) {
        widths[i] = column_width(table, i);
        print_cell(table, i, table->columns[i].title, widths[i], out);
    }
    for (size_t i = 0; i < rows * table->column_count; i++) {
        size_t column = i % table->column_count;

        print_cell(table, column, shown(table->cells[i]), widths[column], out);
    }
    free(widths);
    return 0;
}
