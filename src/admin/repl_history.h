/* What was typed into `zerg repl` before: a file of its user's own, of at most REPL_HISTORY_LINES lines, for the line editor.
 * Without a place for it, or when that cannot be written, there is none, silently. */
#pragma once

/* Before the first line is read. */
void repl_history_load(void);
/* A line that was read; the file has it when this returns. */
void repl_history_add(const char *line);
