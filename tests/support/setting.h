/* Settings of tests: numbers in the environment, for longer runs and for repeating one. */
#ifndef KVFS_TESTS_SUPPORT_SETTING_H
#define KVFS_TESTS_SUPPORT_SETTING_H

#include <stdint.h>

/* The number in a variable of the environment; `otherwise` where that is not set or empty. What is no number ends the
 * program with a word. */
uint64_t test_setting(const char *variable, uint64_t otherwise);

/* KVFS_TEST_SEED, or another one each time; it is printed. */
uint64_t test_seed(void);

#endif
