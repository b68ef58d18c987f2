/* The fuzz entries: one for each parser, in the file of its name. Each takes any bytes, and aborts when the parser breaks
 * a promise. `data` has exactly `size` bytes, so that the address sanitizer sees a read past them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void fuzz_dns_srv(const uint8_t *data, size_t size);
void fuzz_http_status(const uint8_t *data, size_t size);
void fuzz_http_chunked(const uint8_t *data, size_t size);
void fuzz_http_request(const uint8_t *data, size_t size);
void fuzz_http_response(const uint8_t *data, size_t size);
void fuzz_proxy_protocol(const uint8_t *data, size_t size);
