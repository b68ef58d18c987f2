/* Text in columns: a header line, then a line for each row. As wide as what is in it, whatever the terminal. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/macros.h"

enum table_side { TABLE_LEFT, TABLE_RIGHT };

struct table_column {
    const char *title;
    enum table_side side;
};

struct table {
    const struct table_column *columns; /* borrowed */
    size_t column_count;
    char **cells; /* owned: row by row, column_count of each */
    size_t cell_count;
    size_t room;    /* for so many cells */
    bool is_broken; /* there was no memory for a cell */
};

void table_init(struct table *table, const struct table_column *columns, size_t column_count);
void table_deinit(struct table *table);
/* The next cell, in the next row when the last is full. What is no printable text in it is shown as "?", and nothing as "-". */
void table_add(struct table *table, const char *format, ...) PRINTF_LIKE(2, 3);
/* 0; or -ENOMEM, after nothing was printed: cells are missing. Rows are full. */
MUST_CHECK int table_print(const struct table *table, FILE *out);
