/* See notify.h. */
#include "admin/notify.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"

enum { USEC_PER_MS = 1000, NS_PER_USEC = 1000 };

struct notice {
    char text[NOTIFY_BYTES_MAX];
    int fd; /* owned: closed when it was sent; -1: none */
};

struct notifier {
    /* Control thread only. */
    bool is_open;     /* there is a thread */
    bool is_silent;   /* another process is the main one */
    bool is_reported; /* that the manager does not read */
    uint32_t watchdog_ms;
    pthread_t thread;

    /* Of both threads, under mutex. */
    pthread_mutex_t mutex;
    pthread_cond_t more;
    bool is_closing;
    size_t first;
    size_t count;
    struct notice queue[NOTIFY_QUEUE_MAX];
};

static struct notifier notifier = {.mutex = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

/* ---- the thread ---- */

/* Waits for the next message. False: there will be none. */
static bool take_notice(struct notice *notice)
{
    bool is_taken;

    pthread_mutex_lock(&notifier.mutex);
    while (notifier.count == 0 && !notifier.is_closing)
        pthread_cond_wait(&notifier.more, &notifier.mutex);
    is_taken = notifier.count > 0;
    if (is_taken) {
        *notice = notifier.queue[notifier.first];
        notifier.first = (notifier.first + 1) % NOTIFY_QUEUE_MAX;
        notifier.count--;
    }
    pthread_mutex_unlock(&notifier.mutex);
    return is_taken;
}

static void close_of(const struct notice *notice)
{
    if (notice->fd >= 0)
        close(notice->fd);
}

static void *notify_main(void *unused)
{
    struct notice notice;
    bool is_reported = false;

    (void)unused;
    pthread_setname_np(pthread_self(), "zerg-notify");
    log_thread_name("notify");
    while (take_notice(&notice)) {
        int rc = sd_notify(0, notice.text);

        close_of(&notice);
        if (rc < 0 && !is_reported)
            log_warn("NOTIFY_SOCKET: cannot tell the service manager: %s", strerror(-rc));
        is_reported = is_reported || rc < 0;
    }
    return NULL;
}

/* Signals are for the control thread. */
static int start_thread(void)
{
    sigset_t all;
    sigset_t before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&notifier.thread, NULL, notify_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -rc;
}

/* ---- opening and closing ---- */

/* The interval, from what the manager says in the environment. */
static uint32_t take_watchdog(void)
{
    uint64_t usec = 0;
    int rc = sd_watchdog_enabled(0, &usec);
    uint64_t ms = usec / 2 / USEC_PER_MS;

    if (rc < 0)
        log_warn("WATCHDOG_USEC or WATCHDOG_PID: %s", strerror(-rc));
    unsetenv("WATCHDOG_PID");
    if (rc <= 0) {
        unsetenv("WATCHDOG_USEC");
        return 0;
    }
    if (ms > UINT32_MAX)
        return UINT32_MAX;
    return ms > 0 ? (uint32_t)ms : 1;
}

void notify_open(void)
{
    int rc;

    assert(!notifier.is_open);
    if (!getenv("NOTIFY_SOCKET"))
        return;
    notifier.is_silent = false;
    notifier.is_reported = false;
    notifier.is_closing = false;
    notifier.watchdog_ms = take_watchdog();
    rc = start_thread();
    if (rc < 0)
        log_warn("cannot start the thread that talks to the service manager: %s", strerror(-rc));
    notifier.is_open = rc == 0;
}

void notify_close(void)
{
    uint64_t until_ns = clock_wall_ns() + NOTIFY_CLOSE_MS * NS_PER_MS;
    const struct timespec until = {(time_t)(until_ns / NS_PER_S), (long)(until_ns % NS_PER_S)};

    if (!notifier.is_open)
        return;
    pthread_mutex_lock(&notifier.mutex);
    notifier.is_closing = true;
    pthread_cond_signal(&notifier.more);
    pthread_mutex_unlock(&notifier.mutex);
    if (pthread_timedjoin_np(notifier.thread, NULL, &until) != 0) {
        log_warn("the service manager does not read what it is told: its last messages are left out");
        pthread_detach(notifier.thread); /* what it uses stays: it ends with the process */
    }
    notifier.is_open = false;
}

/* ---- messages ---- */

static void report_full(void)
{
    if (!notifier.is_reported)
        log_warn("the service manager does not read what it is told: messages are left out");
    notifier.is_reported = true;
}

static void drop_oldest(void)
{
    close_of(&notifier.queue[notifier.first]);
    notifier.first = (notifier.first + 1) % NOTIFY_QUEUE_MAX;
    notifier.count--;
}

static void send_notice(const struct notice *notice)
{
    bool is_full;
    size_t last;

    if (!notifier.is_open || notifier.is_silent) {
        close_of(notice);
        return;
    }
    pthread_mutex_lock(&notifier.mutex);
    is_full = notifier.count == NOTIFY_QUEUE_MAX;
    if (is_full)
        drop_oldest();
    last = (notifier.first + notifier.count) % NOTIFY_QUEUE_MAX;
    notifier.queue[last] = *notice;
    notifier.count++;
    pthread_cond_signal(&notifier.more);
    pthread_mutex_unlock(&notifier.mutex);
    if (is_full)
        report_full();
}

/* The manager takes UTF-8 only, so a text that was cut must not end within a character. */
static void end_at_character(char *text)
{
    size_t len = strlen(text);

    while (len > 0 && ((unsigned char)text[len - 1] & 0xc0) == 0x80)
        len--;
    if (len > 0 && (unsigned char)text[len - 1] >= 0xc0)
        len--;
    text[len] = '\0';
}

/* A new line would begin another assignment. */
static void make_one_line(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = ' ';
    }
}

/* assignments, then STATUS= with a text of at most one line. */
PRINTF_LIKE(2, 0) static void send_status(const char *assignments, const char *format, va_list args)
{
    struct notice notice = {.fd = -1};
    size_t begin = (size_t)snprintf(notice.text, sizeof(notice.text), "%sSTATUS=", assignments);
    size_t room = sizeof(notice.text) - begin;
    int len = vsnprintf(notice.text + begin, room, format, args);

    if (len >= 0 && (size_t)len >= room)
        end_at_character(notice.text + begin);
    make_one_line(notice.text + begin);
    send_notice(&notice);
}

void notify_ready(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    send_status("READY=1\n", format, args);
    va_end(args);
}

void notify_status(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    send_status("", format, args);
    va_end(args);
}

/* With the time, by which a manager of Type=notify-reload tells this reload from an earlier one (systemd 253). */
void notify_reloading(void)
{
    struct notice notice = {.fd = -1};
    unsigned long long usec = clock_now_ns() / NS_PER_USEC;

    snprintf(notice.text, sizeof(notice.text), "RELOADING=1\nMONOTONIC_USEC=%llu", usec);
    send_notice(&notice);
}

void notify_stopping(void)
{
    static const struct notice notice = {.text = "STOPPING=1", .fd = -1};

    send_notice(&notice);
}

void notify_main_pid(pid_t pid, int fd)
{
    struct notice notice = {.fd = fd};

    snprintf(notice.text, sizeof(notice.text), "MAINPID=%ld", (long)pid);
    send_notice(&notice);
    notifier.is_silent = true;
}

uint32_t notify_watchdog_ms(void)
{
    return notifier.is_open && !notifier.is_silent ? notifier.watchdog_ms : 0;
}

void notify_watchdog(void)
{
    static const struct notice notice = {.text = "WATCHDOG=1", .fd = -1};

    send_notice(&notice);
}
