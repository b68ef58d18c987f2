/* Integers in network byte order, at any address. */
#pragma once

#include <stdint.h>

static inline uint16_t wire_read_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static inline uint32_t wire_read_u32(const uint8_t *bytes)
{
    return (uint32_t)wire_read_u16(bytes) << 16 | wire_read_u16(bytes + 2);
}

static inline void wire_write_u16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static inline void wire_write_u32(uint8_t *bytes, uint32_t value)
{
    wire_write_u16(bytes, (uint16_t)(value >> 16));
    wire_write_u16(bytes + 2, (uint16_t)value);
}
