/* The command `status`: how the server is, in numbers that any thread may read. */
#pragma once

struct control_request;
struct control_words;

void cmd_status(struct control_request *request, const struct control_words *words);
