/* The commands `servers` and `server UPSTREAM SERVER ...` of the control socket. */
#pragma once

struct control_request;
struct control_words;

void cmd_servers(struct control_request *request, const struct control_words *words);
void cmd_server(struct control_request *request, const struct control_words *words);
