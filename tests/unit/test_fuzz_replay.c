/* The fuzz entries on committed inputs: what they start from, and what once broke them. Runs in the root of the tree. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../fuzz/entries.h"

enum { INPUT_BYTES_MAX = 1024 * 1024 };

typedef void fuzz_entry(const uint8_t *data, size_t size);

static void replay_file(fuzz_entry *entry, const char *path)
{
    uint8_t *read_data = malloc(INPUT_BYTES_MAX);
    FILE *file = fopen(path, "rb");
    size_t size;
    uint8_t *data;

    assert_non_null(file);
    size = fread(read_data, 1, INPUT_BYTES_MAX, file);
    fclose(file);
    data = malloc(size); /* exactly, so that the address sanitizer sees a read past its end */
    memcpy(data, read_data, size);
    free(read_data);
    entry(data, size);
    free(data);
}

/* The number of files; a folder that is not there has none. */
static int replay_folder(fuzz_entry *entry, const char *kind, const char *name)
{
    char path[512];
    struct dirent *file;
    int count = 0;
    DIR *folder;

    snprintf(path, sizeof(path), "tests/fuzz/%s/%s", kind, name);
    folder = opendir(path);
    if (!folder) {
        assert_int_equal(errno, ENOENT);
        return 0;
    }
    while ((file = readdir(folder))) {
        if (file->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "tests/fuzz/%s/%s/%s", kind, name, file->d_name);
        replay_file(entry, path);
        count++;
    }
    closedir(folder);
    return count;
}

static void proxy_protocol_keeps_its_promises_on_committed_inputs(void **state)
{
    (void)state;
    assert_true(replay_folder(fuzz_proxy_protocol, "seeds", "proxy_protocol") > 0);
    replay_folder(fuzz_proxy_protocol, "crashers", "proxy_protocol");
}

static void dns_srv_keeps_its_promises_on_committed_inputs(void **state)
{
    (void)state;
    assert_true(replay_folder(fuzz_dns_srv, "seeds", "dns_srv") > 0);
    replay_folder(fuzz_dns_srv, "crashers", "dns_srv");
}

static void http_status_keeps_its_promises_on_committed_inputs(void **state)
{
    (void)state;
    assert_true(replay_folder(fuzz_http_status, "seeds", "http_status") > 0);
    replay_folder(fuzz_http_status, "crashers", "http_status");
}

static void http_chunked_keeps_its_promises_on_committed_inputs(void **state)
{
    (void)state;
    assert_true(replay_folder(fuzz_http_chunked, "seeds", "http_chunked") > 0);
    replay_folder(fuzz_http_chunked, "crashers", "http_chunked");
}

static void http_request_keeps_its_promises_on_committed_inputs(void **state)
{
    (void)state;
    assert_true(replay_folder(fuzz_http_request, "seeds", "http_request") > 0);
    replay_folder(fuzz_http_request, "crashers", "http_request");
}

static void http_response_keeps_its_promises_on_committed_inputs(void **state)
{
    (void)state;
    assert_true(replay_folder(fuzz_http_response, "seeds", "http_response") > 0);
    replay_folder(fuzz_http_response, "crashers", "http_response");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dns_srv_keeps_its_promises_on_committed_inputs),
        cmocka_unit_test(http_status_keeps_its_promises_on_committed_inputs),
        cmocka_unit_test(http_chunked_keeps_its_promises_on_committed_inputs),
        cmocka_unit_test(http_request_keeps_its_promises_on_committed_inputs),
        cmocka_unit_test(http_response_keeps_its_promises_on_committed_inputs),
        cmocka_unit_test(proxy_protocol_keeps_its_promises_on_committed_inputs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
