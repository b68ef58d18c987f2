/* The commands `connections` and `close ID` of the control socket. */
#pragma once

struct control_request;
struct control_words;

void cmd_connections(struct control_request *request, const struct control_words *words);
void cmd_close(struct control_request *request, const struct control_words *words);
