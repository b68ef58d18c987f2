/* Numbers as people read them. */
#pragma once

#include <stddef.h>

enum { HUMAN_TEXT_MAX = 32 };

/* "0.2s", "42s", "3m12s", "5h07m", "12d03h"; always NUL-terminated, out has HUMAN_TEXT_MAX bytes. Returns out. */
const char *human_age(double seconds, char *out);
/* Bytes, by 1024: "0", "812", "1.2K", "34M", "5.0G". The same for out. */
const char *human_size(double bytes, char *out);
