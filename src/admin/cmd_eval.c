/* See cmd_eval.h. */
#include "admin/cmd_eval.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "admin/control.h"
#include "admin/inquiry.h"
#include "admin/service.h"
#include "base/log.h"
#include "script/host.h"
#include "script/runtime.h"

struct evaluation {
    struct inquiry inquiry;
    char *code;   /* owned */
    char *result; /* owned: JSON, see lua/zerg/repl.lua; NULL: no memory for it */
};

static void evaluate(struct reactor_call *call, struct reactor *reactor)
{
    struct evaluation *evaluation = (struct evaluation *)call;

    evaluation->result = host_eval(reactor, evaluation->code);
}

static void free_evaluation(struct inquiry *inquiry)
{
    struct evaluation *evaluation = (struct evaluation *)inquiry;

    free(evaluation->code);
    free(evaluation->result);
    free(evaluation);
}

static void answer(struct control_request *request, const char *result)
{
    json_t *reply = result ? json_loads(result, 0, NULL) : NULL;
    const char *error = json_string_value(json_object_get(reply, "error"));
    const char *output = json_string_value(json_object_get(reply, "output"));
    bool is_unfinished = json_is_true(json_object_get(reply, "unfinished"));

    if (!reply) {
        control_fail(request, "the result cannot be shown: there is no memory for it, or the log says why");
    } else if (error) {
        control_fail_with(request, is_unfinished ? json_pack("{s:b}", "unfinished", 1) : NULL, "%s%s",
                          output ? output : "", error);
        json_decref(reply);
    } else {
        if (!json_object_get(reply, "values"))
            json_object_set_new(reply, "values", json_array()); /* an empty table is an object to Lua */
        control_ok(request, reply);
    }
}

static void on_evaluated(struct inquiry *inquiry)
{
    const struct evaluation *evaluation = (const struct evaluation *)inquiry;

    if (inquiry->request && inquiry->call.is_lost)
        control_fail(inquiry->request, "the reactor has ended");
    else if (inquiry->request)
        answer(inquiry->request, evaluation->result);
    free_evaluation(inquiry);
}

void cmd_eval(struct control_request *request, const struct control_words *words)
{
    struct service *service = control_context(request);
    struct evaluation *evaluation;
    int reactor;

    if (words->count != 3) {
        control_misused(request);
        return;
    }
    reactor = inquiry_reactor(request, words->word[1]);
    if (reactor < 0)
        return;
    evaluation = calloc(1, sizeof(*evaluation));
    if (evaluation)
        evaluation->code = strdup(words->word[2]);
    if (!evaluation || !evaluation->code) {
        free(evaluation);
        control_fail(request, "no memory");
        return;
    }
    evaluation->inquiry.call.run = evaluate;
    evaluation->inquiry.request = request;
    evaluation->inquiry.on_answer = on_evaluated;
    evaluation->inquiry.on_lost = free_evaluation;
    inquiry_send(service, &evaluation->inquiry, (uint32_t)reactor);
}
