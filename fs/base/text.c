#include "fs/base/text.h"

#include <stdint.h>
#include <string.h>

size_t fs_text_printable(const char *text)
{
    static const uint32_t least[] = {' ', 0xa0, 0x800, 0x10000};
    const uint8_t *byte = (const uint8_t *)text;
    size_t more = byte[0] < 0x80 ? 0 : byte[0] < 0xe0 ? 1 : byte[0] < 0xf0 ? 2 : 3;
    uint32_t symbol = more == 0 ? byte[0] : byte[0] & (0x3fu >> more);

    if ((byte[0] >= 0x80 && byte[0] < 0xc0) || byte[0] >= 0xf8)
        return 0;
    for (size_t i = 1; i <= more; i++) {
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
        symbol = symbol << 6 | (byte[i] & 0x3fu);
    }
    if (symbol < least[more] || symbol == 0x7f || (symbol >= 0xd800 && symbol < 0xe000) || symbol > 0x10ffff)
        return 0;
    return more + 1;
}

void fs_text_write(FILE *out, const char *text, const char *quoted)
{
    for (size_t size; *text != '\0'; text += size) {
        size = fs_text_printable(text);
        if (size == 0)
            fprintf(out, "%s\\x%02x", strchr(quoted, '\\') != NULL ? "\\" : "", (unsigned char)*text);
        else
            fprintf(out, "%s%.*s", strchr(quoted, *text) != NULL ? "\\" : "", (int)size, text);
        size += size == 0;
    }
}
