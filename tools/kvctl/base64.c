#include "tools/kvctl/base64.h"

#include <stdlib.h>
#include <string.h>

static const char base64_symbols[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    char *text = malloc((size + 2) / 3 * 4 + 1), *to = text;

    if (text == NULL)
        return NULL;
    for (size_t i = 0; i < size; i += 3) {
        size_t count = size - i < 3 ? size - i : 3;
        uint32_t bits = (uint32_t)from[i] << 16;

        if (count > 1)
            bits |= (uint32_t)from[i + 1] << 8;
        if (count > 2)
            bits |= from[i + 2];
        for (size_t j = 0; j < 4; j++)
            *to++ = j <= count ? base64_symbols[bits >> (18 - 6 * j) & 63] : '=';
    }
    *to = '\0';
    return text;
}

/* 64 for what is no symbol. */
static uint32_t base64_bits(char symbol)
{
    const char *found = symbol != '\0' ? strchr(base64_symbols, symbol) : NULL;

    return found != NULL ? (uint32_t)(found - base64_symbols) : 64;
}

bool base64_decode(const char *text, size_t size, uint8_t *out, size_t *out_size)
{
    size_t count = 0, padding = 0;

    if (size % 4 != 0)
        return false;
    if (size > 0)
        padding = (size_t)(text[size - 1] == '=') + (text[size - 1] == '=' && text[size - 2] == '=');
    for (size_t i = 0; i < size; i += 4) {
        size_t symbols = i + 4 == size ? 4 - padding : 4;
        uint32_t bits = 0;

        for (size_t j = 0; j < 4; j++) {
            uint32_t six = j < symbols ? base64_bits(text[i + j]) : 0;

            if (six > 63)
                return false;
            bits = bits << 6 | six;
        }
        if (bits & (symbols == 4 ? 0 : symbols == 3 ? 0xffu : 0xffffu))
            return false;
        for (size_t j = 0; j + 1 < symbols; j++)
            out[count++] = (uint8_t)(bits >> (16 - 8 * j));
    }
    *out_size = count;
    return true;
}
