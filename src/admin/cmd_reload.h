/* The commands `reload` and `check` of the control socket. */
#pragma once

struct control_request;
struct control_words;

void cmd_reload(struct control_request *request, const struct control_words *words);
void cmd_check(struct control_request *request, const struct control_words *words);
