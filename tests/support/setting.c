#include "tests/support/setting.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

uint64_t test_setting(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    uint64_t number;
    char *end;

    if (text == NULL || *text == '\0')
        return otherwise;
    errno = 0;
    number = strtoull(text, &end, 0);
    if (errno != 0 || *end != '\0') {
        fprintf(stderr, "%s=%s: this is no number\n", variable, text);
        exit(2);
    }
    return number;
}

uint64_t test_seed(void)
{
    uint32_t chosen;
    uint64_t seed;

    if (getrandom(&chosen, sizeof(chosen), 0) != sizeof(chosen))
        abort();
    seed = test_setting("KVFS_TEST_SEED", chosen);
    printf("KVFS_TEST_SEED=%" PRIu64 "\n", seed);
    return seed;
}
