/* CRC32C (Castagnoli; RFC 3720, appendix B.4), for headers of a few hundred bytes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The checksum of all bytes up to and with these, given the checksum of those before (0 when there are none): so pieces
 * that do not lie together can be summed up. */
uint32_t crc32c_extend(uint32_t crc, const void *data, size_t len);
