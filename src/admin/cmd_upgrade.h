/* The command `upgrade` of the control socket. */
#pragma once

struct control_request;
struct control_words;

void cmd_upgrade(struct control_request *request, const struct control_words *words);
