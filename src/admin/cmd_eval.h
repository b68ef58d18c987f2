/* The command `eval REACTOR CODE` of the control socket, which `zerg repl` is made of. */
#pragma once

struct control_request;
struct control_words;

void cmd_eval(struct control_request *request, const struct control_words *words);
