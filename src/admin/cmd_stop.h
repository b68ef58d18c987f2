/* The command `stop`: ends the server, says how far that is, and answers when it is done. */
#pragma once

#include <stdint.h>

#include "base/macros.h"

struct control_request;
struct control_words;
struct service;

void cmd_stop(struct control_request *request, const struct control_words *words);
/* Tells those who wait how many connections are left. Returns the milliseconds until it wants to look again, -1: nobody waits. */
int stop_look(struct service *service, uint64_t now_ms);
/* Tells them that all is over. */
void stop_done(struct service *service);
/* Tells them that it did not end as it should. */
void stop_fail(struct service *service, const char *format, ...) PRINTF_LIKE(2, 3);
