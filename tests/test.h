/* A small test framework: named tests, checks that print what they saw, one summary line.
 *
 *     static void adds(void) { CHECK_INT(1 + 1, 2); }
 *
 *     static void squares(void)
 *     {
 *         for (size_t i = 0; i < 3; i++) {
 *             if (!test_begin("square of %zu", i)) continue;
 *             CHECK_INT(rows[i].square, i * i);
 *             test_end();
 *         }
 *     }
 *
 *     int main(int argc, char **argv)
 *     {
 *         static const test_entry tests[] = {TEST(adds), TEST_ROWS(squares)};
 *         return TEST_MAIN(tests, argc, argv);
 *     }
 *
 * TEST is one named test. TEST_ROWS is a function that opens and closes a test for each row of a
 * table, so that each row counts and can be run by its name. argv[1], where given, runs only the
 * tests whose name contains it. A failed check does not leave the test: where going on makes no
 * sense, write `if (!CHECK(p != NULL)) return;`.
 *
 * Include it after mtws.h, which wants to come before any system header. Then each mtws_poll that is
 * not to wait is timed, and the longest is printed at the end, with what it was doing.
 */
#ifndef MTWS_TEST_H_INCLUDED
#define MTWS_TEST_H_INCLUDED

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct test_entry {
    const char *name;
    void (*run)(void);
    bool rows; /* run opens its tests itself */
} test_entry;

#define TEST(function)                                                                             \
    { #function, function, false }
#define TEST_ROWS(function)                                                                        \
    { #function, function, true }

/* A test that fails in a loop should not bury the others under its output. */
#define TEST_PRINTS_MAX 12

static struct {
    const char *group;
    const char *filter;
    char name[256];
    char context[256];
    unsigned long checks;   /* made in the test that is open */
    unsigned checks_failed; /* of them */
    unsigned passed, failed;
    unsigned long sample, cases, cases_run; /* see test_sampled */
    bool open;
} test_state;

#if defined(__GNUC__)
#define TEST_PRINTF(text, first) __attribute__((unused, __format__(__printf__, text, first)))
#define TEST_UNUSED __attribute__((unused))
#else
#define TEST_PRINTF(text, first)
#define TEST_UNUSED
#endif

/* Opens a test named "group: row". False: the filter leaves it out, and it is not to be run. */
TEST_PRINTF(1, 2) static bool test_begin(const char *format, ...) {
    char row[160];
    va_list list;
    va_start(list, format);
    vsnprintf(row, sizeof row, format, list);
    va_end(list);
    if (test_state.group != NULL) {
        snprintf(test_state.name, sizeof test_state.name, "%s: %s", test_state.group, row);
    } else {
        snprintf(test_state.name, sizeof test_state.name, "%s", row);
    }
    if (test_state.filter != NULL && strstr(test_state.name, test_state.filter) == NULL) {
        return false;
    }
    test_state.context[0] = '\0';
    test_state.checks = test_state.checks_failed = 0;
    test_state.open = true;
    return true;
}

/* What a failed check prints beside its line: the step of a loop, say. Empty: nothing. */
TEST_PRINTF(1, 2) static void test_context(const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(test_state.context, sizeof test_state.context, format, list);
    va_end(list);
}

/* True if the open test has failed checks. */
TEST_UNUSED static bool test_failing(void) { return test_state.checks_failed > 0; }

/* For loops that try everything: true for the cases to be run. That is each, but where TEST_SAMPLE=n
 * is in the environment each n-th, because a case takes long (valgrind, an emulator). The count goes
 * on from loop to loop, so that each row of a table gets other cases. */
TEST_UNUSED static bool test_sampled(void) {
    if (test_state.sample == 0) {
        const char *every = getenv("TEST_SAMPLE");
        test_state.sample = every == NULL ? 1 : strtoul(every, NULL, 10);
        if (test_state.sample == 0) test_state.sample = 1;
    }
    bool runs = test_state.cases++ % test_state.sample == 0;
    test_state.cases_run += runs;
    return runs;
}

/* Counts a failed check and prints it with its place. */
TEST_PRINTF(3, 4) static bool test_fail(const char *file, int line, const char *format, ...) {
    test_state.checks_failed++;
    if (test_state.checks_failed > TEST_PRINTS_MAX) {
        return false;
    }
    va_list list;
    va_start(list, format);
    printf("%s:%d: [%s] ", file, line, test_state.name);
    vprintf(format, list);
    va_end(list);
    printf("%s%s\n", test_state.context[0] != '\0' ? " | " : "", test_state.context);
    fflush(stdout);
    return false;
}

/* Closes the test and counts it. One that has checked nothing proves nothing, and has failed; where
 * test_sampled may have left out what it checks, it does not count. */
TEST_UNUSED static void test_end(void) {
    bool sampled = test_state.sample > 1, empty = test_state.checks == 0;
    test_state.open = false;
    if (empty && sampled) return;
    if (empty) test_fail("test", 0, "checks nothing");
    if (test_state.checks_failed == 0) {
        test_state.passed++;
    } else {
        test_state.failed++;
        printf("FAILED  %s (%u checks)\n", test_state.name, test_state.checks_failed);
    }
}

/* Functions, because a condition whose value nobody reads would bring a warning. */
TEST_UNUSED static bool test_check(const char *file, int line, bool holds, const char *text) {
    test_state.checks++;
    return holds || test_fail(file, line, "not true: %s", text);
}

TEST_PRINTF(4, 5)
static bool test_check_text(const char *file, int line, bool holds, const char *format, ...) {
    test_state.checks++;
    if (holds) {
        return true;
    }
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return test_fail(file, line, "%s", text);
}

TEST_UNUSED static bool test_check_int(const char *file, int line, const char *text, intmax_t got,
                                       intmax_t want) {
    test_state.checks++;
    return got == want ||
           test_fail(file, line, "%s is %" PRIdMAX ", expected %" PRIdMAX, text, got, want);
}

TEST_UNUSED static bool test_check_uint(const char *file, int line, const char *text, uintmax_t got,
                                        uintmax_t want) {
    test_state.checks++;
    return got == want ||
           test_fail(file, line, "%s is %" PRIuMAX ", expected %" PRIuMAX, text, got, want);
}

TEST_UNUSED static bool test_check_range(const char *file, int line, const char *text,
                                         uintmax_t got, uintmax_t low, uintmax_t high) {
    test_state.checks++;
    return (got >= low && got <= high) ||
           test_fail(file, line, "%s is %" PRIuMAX ", expected %" PRIuMAX " to %" PRIuMAX, text,
                     got, low, high);
}

TEST_UNUSED static bool test_check_str(const char *file, int line, const char *text,
                                       const char *got, const char *want) {
    test_state.checks++;
    if (got == NULL || want == NULL) {
        return got == want || test_fail(file, line, "%s is %s, expected %s", text,
                                        got == NULL ? "NULL" : got, want == NULL ? "NULL" : want);
    }
    return strcmp(got, want) == 0 ||
           test_fail(file, line, "%s is \"%s\", expected \"%s\"", text, got, want);
}

TEST_UNUSED static bool test_check_mem(const char *file, int line, const char *text,
                                       const void *got, const void *want, size_t size) {
    test_state.checks++;
    const unsigned char *a = (const unsigned char *)got;
    const unsigned char *b = (const unsigned char *)want;
    for (size_t i = 0; i < size; i++) {
        if (a[i] != b[i]) {
            return test_fail(file, line, "%s differs at byte %zu of %zu: %02x, expected %02x", text,
                             i, size, a[i], b[i]);
        }
    }
    return true;
}

/* Each gives true if it holds. Integers of any type; strings may be NULL. */
#define CHECK(condition) test_check(__FILE__, __LINE__, (condition), #condition)
#define CHECK_INT(got, want)                                                                       \
    test_check_int(__FILE__, __LINE__, #got, (intmax_t)(got), (intmax_t)(want))
#define CHECK_UINT(got, want)                                                                      \
    test_check_uint(__FILE__, __LINE__, #got, (uintmax_t)(got), (uintmax_t)(want))
#define CHECK_STR(got, want) test_check_str(__FILE__, __LINE__, #got, (got), (want))
#define CHECK_MEM(got, want, size)                                                                 \
    test_check_mem(__FILE__, __LINE__, #got, (got), (want), (size_t)(size))
#define CHECK_RANGE(got, low, high)                                                                \
    test_check_range(__FILE__, __LINE__, #got, (uintmax_t)(got), (uintmax_t)(low),                 \
                     (uintmax_t)(high))
/* A condition and a printf text of its own. */
#define CHECK_TEXT(condition, ...) test_check_text(__FILE__, __LINE__, (condition), __VA_ARGS__)
/* A failure without a condition. */
#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)

/* ---- the stall meter ------------------------------------------------------------------------- */

#ifdef MTWS_IMPLEMENTATION_DONE

/* By the clock, in which all that the machine does besides counts too, and by the processor time of
 * this thread, in which waiting does not. Printed, never judged. */
typedef struct test_stall {
    uint64_t us;
    char what[320];
} test_stall;

static struct {
    uint64_t polls;
    test_stall passed, worked;
} test_stalls;

TEST_UNUSED static uint64_t test_clock_us(clockid_t clock) {
    struct timespec t = {0, 0};
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

TEST_UNUSED static void test_stalled(test_stall *stall, uint64_t us, mtws_state before,
                                     const mtws_event *event) {
    if (us <= stall->us) return;
    stall->us = us;
    snprintf(stall->what, sizeof stall->what, "%s, event %d%s%s", mtws_state_name(before),
             (int)event->type, test_state.open ? ", in " : "",
             test_state.open ? test_state.name : "");
}

TEST_UNUSED static int test_poll(mtws_client *ws, mtws_event *event, int32_t timeout_ms) {
    if (timeout_ms != 0) return mtws_poll(ws, event, timeout_ms);
    mtws_state before = mtws_get_state(ws);
    uint64_t passed_us = test_clock_us(CLOCK_MONOTONIC);
    uint64_t worked_us = test_clock_us(CLOCK_THREAD_CPUTIME_ID);
    int result = mtws_poll(ws, event, 0);
    worked_us = test_clock_us(CLOCK_THREAD_CPUTIME_ID) - worked_us;
    passed_us = test_clock_us(CLOCK_MONOTONIC) - passed_us;
    test_stalls.polls++;
    test_stalled(&test_stalls.passed, passed_us, before, event);
    test_stalled(&test_stalls.worked, worked_us, before, event);
    return result;
}

#define mtws_poll(ws, event, timeout_ms) test_poll((ws), (event), (timeout_ms))

TEST_UNUSED static void test_print_stalls(void) {
    if (test_stalls.polls == 0) return;
    printf("%" PRIu64 " polls that do not wait; the longest: %" PRIu64 " us (%s); most processor "
           "time: %" PRIu64 " us (%s)\n",
           test_stalls.polls, test_stalls.passed.us, test_stalls.passed.what, test_stalls.worked.us,
           test_stalls.worked.what);
}

#else
TEST_UNUSED static void test_print_stalls(void) {}
#endif

/* ---- running --------------------------------------------------------------------------------- */

/* Runs the table, prints the summary line; the program's exit status. */
TEST_UNUSED static int test_main(const test_entry *tests, size_t count, int argc, char **argv) {
    test_state.filter = argc > 1 ? argv[1] : NULL;
    for (size_t i = 0; i < count; i++) {
        if (tests[i].rows) {
            test_state.group = tests[i].name;
            tests[i].run();
            test_state.group = NULL;
        } else if (test_begin("%s", tests[i].name)) {
            tests[i].run();
            test_end();
        }
    }
    if (test_state.passed + test_state.failed == 0) {
        printf("no test has a name that contains \"%s\"\n", test_state.filter);
    }
    if (test_state.cases_run < test_state.cases) {
        printf("TEST_SAMPLE=%lu: %lu of %lu cases\n", test_state.sample, test_state.cases_run,
               test_state.cases);
    }
    test_print_stalls();
    printf("%u passed, %u failed\n", test_state.passed, test_state.failed);
    return test_state.failed == 0 && test_state.passed > 0 ? 0 : 1;
}

#define TEST_MAIN(tests, argc, argv)                                                               \
    test_main((tests), sizeof(tests) / sizeof((tests)[0]), (argc), (argv))

#endif
