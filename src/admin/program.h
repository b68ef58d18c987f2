/* What this process runs and with which arguments, for an upgrade to start it anew. There is one program, so there is one of this.
 */
#pragma once

/* Before it can be replaced on disk or the arguments are changed. argv: borrowed for ever. Once, at the start of the process. */
void program_remember(char **argv);
/* Where the program was started from, an absolute path; empty: unknown. Symbolic links in it are kept, as they may lead to another
 * program when it is started anew. */
const char *program_path(void);
char **program_argv(void);
