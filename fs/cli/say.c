#include "fs/cli/say.h"

#include "fs/base/log.h"
#include "tools/cli/cli.h"

#include <stdarg.h>

void fs_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    cli_say(fs_log_is_journal() ? "<3>kvfs" : "kvfs", format, args);
    va_end(args);
}
