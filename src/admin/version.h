/* `zerg version`: what this program was built with and what it makes of this machine. */
#pragma once

/* Prints it on stdout. */
void version_print(void);
