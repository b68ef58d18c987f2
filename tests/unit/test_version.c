/* The control thread's side of versions, on real sockets: which sockets a version shares with those before it, and what is left
 * when it fails or ends. The reactors are inboxes that the test looks into. */
#include "core/version.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/log.h"
#include "core/acceptor.h"
#include "core/config.h"
#include "core/engine.h"
#include "core/listen_socket.h"
#include "core/listener.h"
#include "core/part.h"
#include "core/reactor.h"

enum { LISTENERS = 2, REACTORS = 2 };

struct setting {
    struct config config;
    struct listener_config listeners[LISTENERS];
};

struct version_fixture {
    struct engine engine;
    struct reactor reactors[REACTORS];
    struct setting settings[4]; /* of versions, the first is the engine's */
    char directory[32];
    char error[LISTEN_ERROR_MAX];
    int descriptors;
};

static uint32_t freed_configs;

static void free_config(struct config *config)
{
    (void)config;
    freed_configs++;
}

static const struct reactor_app app = {.free_config = free_config};

static int count_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;

    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static void listen_at(struct version_fixture *f, struct setting *setting, const char *name)
{
    struct listener_config *listener = &setting->listeners[setting->config.listener_count++];
    char path[64];

    *listener = (struct listener_config){.name = (char *)(uintptr_t)name, .backlog = 8};
    snprintf(path, sizeof(path), "%s/%s", f->directory, name);
    assert_int_equal(addr_parse_unix(&listener->addr, path), 0);
}

/* A configuration with unix listeners of these names, "" ending them. */
static struct config *config_of(struct version_fixture *f, int index, const char *a, const char *b)
{
    struct setting *setting = &f->settings[index];

    setting->config = (struct config){.reactors = REACTORS, .listeners = setting->listeners};
    listen_at(f, setting, a);
    if (b)
        listen_at(f, setting, b);
    return &setting->config;
}

static int setup(void **state)
{
    struct version_fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(log_open("/dev/null", LOG_DEBUG, LOG_TEXT), 0);
    memcpy(f->directory, "/tmp/zerg-version-XXXXXX", sizeof("/tmp/zerg-version-XXXXXX"));
    assert_non_null(mkdtemp(f->directory));
    freed_configs = 0;
    f->engine = (struct engine){.app = &app, .reactors = f->reactors, .reactor_count = REACTORS, .control_eventfd = -1};
    list_init(&f->engine.versions);
    for (uint32_t i = 0; i < REACTORS; i++) {
        f->reactors[i].engine = &f->engine;
        assert_int_equal(inbox_open(&f->reactors[i].inbox, i), 0);
    }
    f->descriptors = count_descriptors();
    f->engine.config = config_of(f, 0, "one", "two");
    assert_int_equal(version_new(&f->engine.version, &f->engine, f->engine.config, f->error), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct version_fixture *f = *state;

    while (!list_is_empty(&f->engine.versions))
        version_free(CONTAINER_OF(f->engine.versions.next, struct version, link));
    engine_close_sockets(&f->engine);
    assert_int_equal(count_descriptors(), f->descriptors);
    for (uint32_t i = 0; i < REACTORS; i++)
        inbox_close(&f->reactors[i].inbox);
    assert_int_equal(rmdir(f->directory), 0); /* no socket's file is left */
    free(f->engine.sockets);
    log_close();
    free(f);
    return 0;
}

static struct version *make(struct version_fixture *f, struct config *config)
{
    struct version *version;

    assert_int_equal(version_new(&version, &f->engine, config, f->error), 0);
    return version;
}

static struct listen_socket *socket_of(const struct version *version, uint32_t index)
{
    return version->listeners[index].socket;
}

/* What a reactor was told, which takes it. */
static uint32_t messages(struct version_fixture *f, uint32_t reactor, struct version *version)
{
    struct inbox_message *next;
    uint32_t count = 0;

    for (struct inbox_message *message = inbox_take(&f->reactors[reactor].inbox); message; message = next) {
        next = message->next;
        count++;
        version_on_message_done(version);
    }
    return count;
}

static void set_state(struct version *version, uint32_t part, enum part_state state)
{
    atomic_store(&version->parts[part].state, state);
}

static void set_states(struct version *version, enum part_state state)
{
    for (uint32_t i = 0; i < REACTORS; i++)
        set_state(version, i, state);
}

static bool is_listened_at(const struct version_fixture *f, const char *name)
{
    struct addr addr;
    char path[64];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_there;

    assert_true(fd >= 0);
    snprintf(path, sizeof(path), "%s/%s", f->directory, name);
    assert_int_equal(addr_parse_unix(&addr, path), 0);
    is_there = connect(fd, &addr.sa, addr.len) == 0;
    close(fd);
    return is_there;
}

/* ---- sockets ---- */

static void sockets_that_stay_are_shared(void **state)
{
    struct version_fixture *f = *state;
    struct version *first = f->engine.version;
    struct version *next = make(f, config_of(f, 1, "two", "three"));

    assert_ptr_equal(socket_of(next, 0), socket_of(first, 1));
    assert_int_equal(socket_of(next, 0)->versions, 2);
    assert_int_equal(socket_of(next, 1)->versions, 1);
    assert_ptr_equal(version_listener(first, socket_of(first, 1)), &first->listeners[1]);
    assert_ptr_equal(version_listener(next, socket_of(first, 1)), &next->listeners[0]);
    assert_null(version_listener(next, socket_of(first, 0)));
    assert_null(version_listener(first, socket_of(next, 1))); /* a slot behind those that it knows */
    assert_true(is_listened_at(f, "three"));                  /* who comes waits in the backlog */
}

static void one_that_cannot_listen_leaves_nothing_behind(void **state)
{
    struct version_fixture *f = *state;
    int before = count_descriptors();
    struct version *next;

    assert_int_equal(version_new(&next, &f->engine, config_of(f, 1, "three", "no/such/directory"), f->error), -ENOENT);
    assert_non_null(strstr(f->error, "cannot listen on"));
    assert_non_null(strstr(f->error, "the directory does not exist"));
    assert_int_equal(count_descriptors(), before);
    assert_false(is_listened_at(f, "three"));
    assert_true(is_listened_at(f, "one"));
    assert_int_equal(freed_configs, 1);
    assert_int_equal(socket_of(f->engine.version, 0)->versions, 1);
}

static void a_number_is_given_once(void **state)
{
    struct version_fixture *f = *state;
    struct version *dropped = make(f, config_of(f, 1, "one", NULL));
    struct version *next = make(f, config_of(f, 2, "one", NULL));

    assert_int_equal(f->engine.version->number, 1);
    assert_int_equal(dropped->number, 2);
    assert_int_equal(next->number, 3);
    version_free(dropped);
    assert_int_equal(make(f, config_of(f, 3, "one", NULL))->number, 4);
}

static void slots_are_used_again(void **state)
{
    struct version_fixture *f = *state;

    for (int i = 0; i < 5; i++) {
        struct version *next = make(f, config_of(f, 1, "one", "three"));

        assert_int_equal(socket_of(next, 1)->slot, 2);
        version_free(next);
        assert_false(is_listened_at(f, "three"));
    }
    assert_int_equal(f->engine.socket_count, 3);
    assert_int_equal(freed_configs, 5);
}

/* ---- orders ---- */

static void every_reactor_has_to_be_ready(void **state)
{
    struct version_fixture *f = *state;
    struct version *next = make(f, config_of(f, 1, "one", NULL));

    version_begin(next);
    assert_int_equal(messages(f, 0, next), 1);
    assert_int_equal(messages(f, 1, next), 1);
    set_state(next, 0, PART_READY);
    assert_int_equal(version_state(next), PART_STARTING);
    set_state(next, 1, PART_READY);
    assert_int_equal(version_state(next), PART_READY);
}

/* From begin to READY, with the acceptor's answer. */
static void acceptor_answers(struct version_fixture *f, int reserved, enum part_state expected)
{
    struct acceptor acceptor = {.engine = &f->engine};
    struct version *next = make(f, config_of(f, 1, "one", "three"));
    const struct inbox_message *message;

    assert_int_equal(inbox_open(&acceptor.inbox, REACTORS_MAX), 0);
    f->engine.acceptor = &acceptor;
    version_begin(next);
    assert_int_equal(messages(f, 0, next) + messages(f, 1, next), 2);
    set_states(next, PART_READY);
    assert_int_equal(version_state(next), PART_STARTING);
    message = inbox_take(&acceptor.inbox);
    assert_ptr_equal(message, &next->reserve);
    assert_null(message->next);
    atomic_store(&next->reserved, reserved);
    version_on_message_done(next);
    assert_int_equal(version_state(next), expected);
    f->engine.acceptor = NULL;
    inbox_close(&acceptor.inbox);
}

static void the_acceptor_has_to_be_ready_too(void **state)
{
    acceptor_answers(*state, 0, PART_READY);
}

static void an_acceptor_without_memory_fails_it_before_the_switch(void **state)
{
    acceptor_answers(*state, -ENOMEM, PART_ENDED);
}

static void one_reactor_that_fails_is_enough(void **state)
{
    struct version_fixture *f = *state;
    struct version *next = make(f, config_of(f, 1, "one", NULL));

    version_begin(next);
    set_state(next, 0, PART_READY);
    next->parts[1].problem = strdup("it is broken");
    set_state(next, 1, PART_ENDED);
    assert_int_equal(version_state(next), PART_ENDED);
    assert_string_equal(version_problem(next), "it is broken");
    assert_int_equal(messages(f, 0, next) + messages(f, 1, next), 2);
}

static void a_version_that_failed_waits_to_be_dropped(void **state)
{
    struct version_fixture *f = *state;
    struct version *next = make(f, config_of(f, 1, "one", "three"));

    version_begin(next);
    assert_int_equal(messages(f, 0, next) + messages(f, 1, next), 2);
    set_states(next, PART_ENDED);
    engine_collect(&f->engine); /* before who follows it has looked */
    assert_string_equal(version_problem(next), "no memory");
    version_drop(next);
    assert_int_equal(messages(f, 0, next), 1);
    engine_collect(&f->engine);
    assert_false(version_has_ended(next)); /* the other reactor is still to take it from its inbox */
    assert_int_equal(messages(f, 1, next), 1);
    engine_collect(&f->engine);
    assert_int_equal(freed_configs, 1);
    assert_false(is_listened_at(f, "three"));
    assert_ptr_equal(f->engine.versions.next, &f->engine.version->link);
    assert_ptr_equal(f->engine.versions.prev, &f->engine.version->link);
}

static void a_dropped_version_gives_its_addresses_back_before_its_reactors_turn(void **state)
{
    struct version_fixture *f = *state;
    struct version *next = make(f, config_of(f, 1, "one", "three"));

    version_begin(next);
    engine_collect(&f->engine);
    assert_true(is_listened_at(f, "three"));
    version_drop(next);
    engine_collect(&f->engine);
    assert_false(is_listened_at(f, "three"));
    assert_true(is_listened_at(f, "one"));
    assert_int_equal(messages(f, 0, next) + messages(f, 1, next), 4);
    set_states(next, PART_ENDED);
    engine_collect(&f->engine);
    assert_int_equal(freed_configs, 1);
}

static void it_tells_which_reactor_is_behind(void **state)
{
    struct version_fixture *f = *state;
    struct version *next = make(f, config_of(f, 1, "one", NULL));

    assert_int_equal(version_reactor_behind(next, PART_NEW), 0);
    set_state(next, 0, PART_READY);
    assert_int_equal(version_reactor_behind(next, PART_NEW), 1);
    set_state(next, 1, PART_STARTING);
    assert_int_equal(version_reactor_behind(next, PART_NEW), -1);
    assert_int_equal(version_reactor_behind(next, PART_STARTING), 1);
    assert_int_equal(version_reactor_behind(next, PART_READY), 0);
}

static void the_first_version_ends_like_the_others(void **state)
{
    struct version_fixture *f = *state;
    struct version *first = f->engine.version;
    struct listen_socket *removed = socket_of(first, 0);
    struct version *next = make(f, config_of(f, 1, "two", NULL));

    atomic_store(&removed->groups, 1); /* it is accepted from */
    version_begin(next);
    set_states(next, PART_READY);
    version_switch(next);
    assert_ptr_equal(f->engine.version, next);
    assert_true(next->since_ms > 0);
    assert_int_equal(messages(f, 0, next), 2);
    assert_int_equal(messages(f, 1, next), 2);
    set_states(first, PART_OLD);
    engine_collect(&f->engine);
    assert_true(is_listened_at(f, "one"));
    atomic_store(&removed->groups, 0);
    engine_collect(&f->engine);
    assert_false(is_listened_at(f, "one")); /* refused, although the version has connections */
    assert_true(is_listened_at(f, "two"));
    set_states(first, PART_ENDED);
    atomic_store(&removed->open, 1);
    engine_collect(&f->engine);
    assert_ptr_equal(f->engine.sockets[0], removed); /* somebody counts there */
    atomic_store(&removed->open, 0);
    engine_collect(&f->engine);
    assert_null(f->engine.sockets[0]);
    assert_int_equal(freed_configs, 0); /* the first one's is not the engine's to free */
    assert_ptr_equal(f->engine.versions.next, &next->link);
}

static void an_address_that_comes_back_has_another_socket(void **state)
{
    struct version_fixture *f = *state;
    struct version *first = f->engine.version;
    struct version *second = make(f, config_of(f, 1, "two", NULL));
    struct version *third;

    version_begin(second);
    set_states(second, PART_READY);
    version_switch(second);
    set_states(first, PART_OLD); /* it has connections from there */
    engine_collect(&f->engine);
    assert_false(is_listened_at(f, "one"));
    third = make(f, config_of(f, 2, "one", "two"));
    assert_ptr_not_equal(socket_of(third, 0), socket_of(first, 0));
    assert_ptr_equal(socket_of(third, 1), socket_of(first, 1));
    assert_true(is_listened_at(f, "one"));
    set_states(first, PART_ENDED);
    assert_int_equal(messages(f, 0, second) + messages(f, 1, second), 4);
    engine_collect(&f->engine);
    assert_true(is_listened_at(f, "one")); /* the end of the old one leaves the file alone */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sockets_that_stay_are_shared),
        TEST(one_that_cannot_listen_leaves_nothing_behind),
        TEST(a_number_is_given_once),
        TEST(slots_are_used_again),
        TEST(every_reactor_has_to_be_ready),
        TEST(the_acceptor_has_to_be_ready_too),
        TEST(an_acceptor_without_memory_fails_it_before_the_switch),
        TEST(one_reactor_that_fails_is_enough),
        TEST(a_version_that_failed_waits_to_be_dropped),
        TEST(a_dropped_version_gives_its_addresses_back_before_its_reactors_turn),
        TEST(it_tells_which_reactor_is_behind),
        TEST(the_first_version_ends_like_the_others),
        TEST(an_address_that_comes_back_has_another_socket),
    };

    return cmocka_run_group_tests_name("version", tests, NULL, NULL);
}
