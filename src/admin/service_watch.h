/* `watch`: a reload when a file that was loaded changes. Part of service.h. */
#pragma once

#include <stdint.h>

struct service;

/* Watches what the present version, and a reload that failed, have loaded, if the configuration asks for that: at the start, and
 * after each reload. */
void service_watch_files(struct service *service);
/* Begins a reload when a change is due. Milliseconds until it wants to be called again, -1: no time is set. */
int service_look_at_files(struct service *service, uint64_t now_ms);
void service_close_watch(struct service *service);
