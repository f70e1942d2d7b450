/* The room "backoff": how the cap of a delay grows, and where in it a delay is drawn. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

#include <time.h>

static void caps(void) { /* FAULTS row 37 */
    static const struct {
        int32_t initial_ms, max_ms;
        double factor;
        uint32_t round;
        uint64_t cap_ms;
    } rows[] = {
        {1000, 30000, 1.5, 0, 1000},
        {1000, 30000, 1.5, 1, 1500},
        {1000, 30000, 1.5, 2, 2250},
        {1000, 30000, 1.5, 3, 3375},
        {1000, 30000, 1.5, 8, 25628},
        {1000, 30000, 1.5, 9, 30000},
        {1000, 30000, 1.5, 10, 30000},
        {1000, 30000, 1.5, 1000000, 30000},
        {1000, 30000, 1.5, UINT32_MAX, 30000},
        /* a factor of 1 */
        {1000, 30000, 1.0, 0, 1000},
        {1000, 30000, 1.0, 100, 1000},
        {1000, 30000, 1.0, UINT32_MAX, 1000},
        /* the largest factor, the largest limits */
        {1, 30000, 1000.0, 0, 250},
        {1, 30000, 1000.0, 1, 1000},
        {1, 30000, 1000.0, 2, 30000},
        {INT32_MAX, INT32_MAX, 1000.0, 0, INT32_MAX},
        {INT32_MAX, INT32_MAX, 1000.0, UINT32_MAX, INT32_MAX},
        {1, INT32_MAX, 1000.0, 3, 1000000000},
        {1, INT32_MAX, 1000.0, 4, INT32_MAX},
        {1, INT32_MAX, 2.0, 30, 1073741824},
        {1, INT32_MAX, 2.0, 31, INT32_MAX},
        /* the initial delay over the maximum */
        {30000, 1000, 1.5, 0, 1000},
        {30000, 1000, 1.5, 5, 1000},
        /* never under 250 ms */
        {1, 1, 1.5, 0, 250},
        {1, 100, 2.0, 50, 250},
        {249, 30000, 1.0, 7, 250},
        {250, 30000, 1.0, 7, 250},
        {251, 30000, 1.0, 7, 251},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%d to %d by %g, round %u", (int)rows[i].initial_ms, (int)rows[i].max_ms,
                        rows[i].factor, (unsigned)rows[i].round)) {
            continue;
        }
        CHECK_UINT(mtws__backoff_cap_ms(rows[i].initial_ms, rows[i].max_ms, rows[i].factor,
                                        rows[i].round),
                   rows[i].cap_ms);
        test_end();
    }
}

/* From round to round the cap never falls, stays within its limits, and reaches the maximum. */
static void caps_grow(void) {
    static const double factors[] = {1.0001, 1.1, 1.5, 2.0, 3.7, 10.0, 1000.0};
    /* However many rounds have passed: no loop goes over all of them. */
    clock_t start = clock();
    for (int32_t initial = 1000; initial < 1010; initial++) {
        CHECK_INT(mtws__backoff_cap_ms(initial, 30000, 1.0, UINT32_MAX), initial);
    }
    CHECK(clock() - start < CLOCKS_PER_SEC);
    for (size_t i = 0; i < UNIT_COUNT(factors); i++) {
        uint64_t before = 0;
        for (uint32_t round = 0; round < 200; round++) {
            uint64_t cap = mtws__backoff_cap_ms(1000, 30000, factors[i], round);
            test_context("factor %g, round %u", factors[i], (unsigned)round);
            CHECK(cap >= before && cap >= 1000 && cap <= 30000);
            before = cap;
        }
        CHECK_UINT(mtws__backoff_cap_ms(1000, 30000, factors[i], 100000), 30000);
    }
}

/* Delays fill their interval evenly, and never leave it. */
static void jitter(void) {
    static const struct {
        uint64_t cap_ms, max_ms;
        bool full;
        uint64_t low_ms, high_ms;
    } rows[] = {
        /* from half of the cap to three times, */
        {1000, 30000, false, 500, 3000},
        {1500, 30000, false, 750, 4500},
        {10000, 30000, false, 5000, 30000},
        /* within the maximum */
        {10001, 30000, false, 5000, 30000},
        {25628, 30000, false, 12814, 30000},
        {30000, 30000, false, 15000, 30000},
        {1000, 1000, false, 500, 1000},
        {INT32_MAX, INT32_MAX, false, INT32_MAX / 2, INT32_MAX},
        /* and never under 250 ms */
        {499, 30000, false, 250, 1497},
        {250, 30000, false, 250, 750},
        {250, 400, false, 250, 400},
        {250, 250, false, 250, 250},
        {250, 1, false, 250, 250},
        /* a full delay: from the cap, or three quarters of the most */
        {1000, 30000, true, 1000, 3000},
        {7499, 30000, true, 7499, 22497},
        {7500, 30000, true, 7500, 22500},
        {22500, 30000, true, 22500, 30000},
        {30000, 30000, true, 22500, 30000},
        {1000, 1001, true, 751, 1001},
        {250, 300, true, 250, 300},
        {400, 400, true, 300, 400},
        {250, 1, true, 250, 250},
        {INT32_MAX, INT32_MAX, true, 1610612736, INT32_MAX},
    };
    mtws__random r;
    uint8_t seed[32] = {1, 2, 3};
    mtws__random_seed(&r, seed);
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("cap %d, at most %d%s", (int)rows[i].cap_ms, (int)rows[i].max_ms,
                        rows[i].full ? ", full" : "")) {
            continue;
        }
        uint64_t low = rows[i].low_ms, high = rows[i].high_ms, span = high - low + 1;
        uint64_t least = UINT64_MAX, most = 0;
        unsigned tenths[10] = {0};
        for (int k = 0; k < 20000; k++) {
            uint64_t delay =
                mtws__backoff_jitter_ms(rows[i].cap_ms, rows[i].max_ms, rows[i].full, 0, &r);
            if (!CHECK(delay >= low && delay <= high)) break;
            if (delay < least) least = delay;
            if (delay > most) most = delay;
            tenths[(delay - low) * 10 / span]++;
        }
        CHECK(least - low <= span / 100);
        CHECK(high - most <= span / 100);
        for (int k = 0; k < 10 && span >= 100; k++) CHECK(tenths[k] > 1600 && tenths[k] < 2400);
        test_end();
    }
}

/* Retry-After lengthens a delay and never shortens it; those whom a server told the same come back
 * as far apart as their delays would have been, or a tenth of what it said. */
static void retry_after(void) {
    static const struct {
        uint64_t cap_ms, after_ms, low_ms, high_ms;
        bool full;
    } rows[] = {
        {1000, 1000, 1000, 3500, false},          {1000, 7000, 7000, 9500, false},
        {1000, 7000, 7000, 9000, true},           {1000, 100, 500, 3000, false},
        {1000, 3600000, 3600000, 3960000, false}, {30000, 60000, 60000, 75000, false},
        {30000, 1, 15000, 30000, false},
    };
    mtws__random r;
    uint8_t seed[32] = {4, 5, 6};
    mtws__random_seed(&r, seed);
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        uint64_t least = UINT64_MAX, most = 0;
        test_context("cap %d, Retry-After %d ms", (int)rows[i].cap_ms, (int)rows[i].after_ms);
        for (int k = 0; k < 20000; k++) {
            uint64_t delay =
                mtws__backoff_jitter_ms(rows[i].cap_ms, 30000, rows[i].full, rows[i].after_ms, &r);
            if (delay < least) least = delay;
            if (delay > most) most = delay;
        }
        uint64_t span = rows[i].high_ms - rows[i].low_ms;
        CHECK_RANGE(least, rows[i].low_ms, rows[i].low_ms + span / 20);
        CHECK_RANGE(most, rows[i].high_ms - span / 20, rows[i].high_ms);
    }
}

/* Two clients that lost the same server draw different delays. */
static void seeds_differ(void) {
    unsigned same = 0;
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t a[32] = {(uint8_t)i, (uint8_t)(i >> 8)}, b[32] = {(uint8_t)i, (uint8_t)(i >> 8), 1};
        mtws__random x, y;
        mtws__random_seed(&x, a);
        mtws__random_seed(&y, b);
        same += mtws__backoff_jitter_ms(30000, 30000, false, 0, &x) ==
                mtws__backoff_jitter_ms(30000, 30000, false, 0, &y);
    }
    CHECK_TEXT(same <= 3, "%u of 1000 pairs drew the same", same);
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {TEST_ROWS(caps), TEST(caps_grow), TEST_ROWS(jitter),
                                       TEST(retry_after), TEST(seeds_differ)};
    return TEST_MAIN(tests, argc, argv);
}
