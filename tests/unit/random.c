/* The room "random": ChaCha20 by the vectors of RFC 8439, and what the masking keys are drawn
 * with. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

static void quarter_round(void) { /* RFC 8439 section 2.1.1 */
    uint32_t x[16] = {0x11111111, 0x01020304, 0x9b8d6f43, 0x01234567};
    mtws__random_quarter(x, 0, 1, 2, 3);
    CHECK_UINT(x[0], 0xea2a92f4u);
    CHECK_UINT(x[1], 0xcb1cf8ceu);
    CHECK_UINT(x[2], 0x4581472eu);
    CHECK_UINT(x[3], 0x5881c4bbu);
}

static void block_function(void) { /* RFC 8439 section 2.3.2 */
    static const uint8_t expected[64] = {0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f,
                                         0xdd, 0x1f, 0xa3, 0x20, 0x71, 0xc4, 0xc7, 0xd1, 0xf4, 0xc7,
                                         0x33, 0xc0, 0x68, 0x03, 0x04, 0x22, 0xaa, 0x9a, 0xc3, 0xd4,
                                         0x6c, 0x4e, 0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa, 0x09,
                                         0x14, 0xc2, 0xd7, 0x05, 0xd9, 0x8b, 0x02, 0xa2, 0xb5, 0x12,
                                         0x9c, 0xd1, 0xde, 0x16, 0x4e, 0xb9, 0xcb, 0xd0, 0x83, 0xe8,
                                         0xa2, 0x50, 0x3c, 0x4e};
    mtws__random r;
    uint8_t key[32], out[64];
    for (unsigned i = 0; i < sizeof key; i++) key[i] = (uint8_t)i;
    mtws__random_seed(&r, key);
    r.input[12] = 1;
    r.input[13] = 0x09000000;
    r.input[14] = 0x4a000000;
    mtws__random_fill(&r, out, sizeof out);
    CHECK_MEM(out, expected, sizeof out);
}

/* RFC 8439 appendix A.1, vectors 1 and 2: key and nonce 0, counters 0 and 1. */
static const uint8_t zero_stream[128] = {
    0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28,
    0xbd, 0xd2, 0x19, 0xb8, 0xa0, 0x8d, 0xed, 0x1a, 0xa8, 0x36, 0xef, 0xcc, 0x8b, 0x77, 0x0d, 0xc7,
    0xda, 0x41, 0x59, 0x7c, 0x51, 0x57, 0x48, 0x8d, 0x77, 0x24, 0xe0, 0x3f, 0xb8, 0xd8, 0x4a, 0x37,
    0x6a, 0x43, 0xb8, 0xf4, 0x15, 0x18, 0xa1, 0x1c, 0xc3, 0x87, 0xb6, 0x69, 0xb2, 0xee, 0x65, 0x86,
    0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a, 0x98, 0xba, 0x97, 0x7c, 0x73, 0x2d, 0x08, 0x0d,
    0xcb, 0x0f, 0x29, 0xa0, 0x48, 0xe3, 0x65, 0x69, 0x12, 0xc6, 0x53, 0x3e, 0x32, 0xee, 0x7a, 0xed,
    0x29, 0xb7, 0x21, 0x76, 0x9c, 0xe6, 0x4e, 0x43, 0xd5, 0x71, 0x33, 0xb0, 0x74, 0xd8, 0x39, 0xd5,
    0x31, 0xed, 0x1f, 0x28, 0x51, 0x0a, 0xfb, 0x45, 0xac, 0xe1, 0x0a, 0x1f, 0x4b, 0x79, 0x4d, 0x6f};

static void seeded_with_zeros(void) {
    static const uint8_t key[32];
    mtws__random r;
    uint8_t out[128];
    mtws__random_seed(&r, key);
    mtws__random_fill(&r, out, sizeof out);
    CHECK_MEM(out, zero_stream, sizeof out);
    mtws__random_seed(&r, key); /* a seed begins anew, whatever was drawn before */
    mtws__random_fill(&r, out, 5);
    mtws__random_seed(&r, key);
    mtws__random_fill(&r, out, 64);
    CHECK_MEM(out, zero_stream, 64);
}

static void in_any_pieces(void) {
    static const uint8_t key[32];
    unit_edge edge = unit_edge_open(128);
    for (size_t piece = 1; piece <= 128; piece++) {
        mtws__random r;
        mtws__random_seed(&r, key);
        test_context("pieces of %zu bytes", piece);
        for (size_t at = 0; at < 128; at += piece) {
            size_t size = piece < 128 - at ? piece : 128 - at;
            uint8_t *out = unit_edge_room(edge, size);
            mtws__random_fill(&r, out, size);
            mtws__random_fill(&r, out, 0);
            CHECK_MEM(out, zero_stream + at, size);
        }
    }
}

static void counter_carries(void) {
    static const uint8_t key[32];
    mtws__random r, far;
    uint8_t a[64], b[64];
    mtws__random_seed(&r, key);
    r.input[12] = UINT32_MAX;
    mtws__random_fill(&r, a, sizeof a);
    CHECK_UINT(r.input[12], 0);
    CHECK_UINT(r.input[13], 1);
    mtws__random_fill(&r, a, sizeof a);
    mtws__random_seed(&far, key);
    far.input[13] = 1;
    mtws__random_fill(&far, b, sizeof b);
    CHECK_MEM(a, b, sizeof a);
    CHECK(memcmp(a, zero_stream, sizeof a) != 0);
}

static void each_bit_of_the_seed(void) {
    uint8_t first[32] = {0};
    for (unsigned bit = 0; bit < 256; bit++) {
        uint8_t key[32] = {0}, out[32];
        key[bit / 8] = (uint8_t)(1 << bit % 8);
        mtws__random r;
        mtws__random_seed(&r, key);
        mtws__random_fill(&r, out, sizeof out);
        test_context("bit %u", bit);
        CHECK(memcmp(out, zero_stream, sizeof out) != 0);
        CHECK(memcmp(out, first, sizeof out) != 0);
        memcpy(first, out, sizeof first);
    }
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* A thousand keys without a repetition; of a million as many repetitions as chance gives (116 are
 * to be expected), and each bit set half of the time. */
static void masking_keys(void) { /* FAULTS row 15 */
    enum { MANY = 1000000 };
    static uint32_t keys[MANY];
    mtws__random r;
    uint8_t seed[32];
    unsigned ones[32] = {0}, repeated = 0;
    memset(seed, 0x37, sizeof seed);
    mtws__random_seed(&r, seed);
    for (size_t i = 0; i < MANY; i++) {
        mtws__random_fill(&r, &keys[i], 4);
        for (unsigned bit = 0; bit < 32; bit++) ones[bit] += keys[i] >> bit & 1;
    }
    for (unsigned bit = 0; bit < 32; bit++) {
        test_context("bit %u", bit);
        CHECK(ones[bit] > MANY / 2 - 3000 && ones[bit] < MANY / 2 + 3000); /* six deviations */
    }
    qsort(keys, 1000, sizeof keys[0], by_value);
    for (size_t i = 1; i < 1000; i++) CHECK(keys[i] != keys[i - 1]);
    qsort(keys, MANY, sizeof keys[0], by_value);
    for (size_t i = 1; i < MANY; i++) repeated += keys[i] == keys[i - 1];
    CHECK_TEXT(repeated > 50 && repeated < 190, "%u of a million keys are repeated", repeated);
}

static void between(void) {
    static const struct {
        uint64_t low, high;
    } rows[] = {
        {0, 0},
        {5, 5},
        {0, 1},
        {10, 19},
        {250, 1000},
        {7, 3},
        {1000, 1255},
        {0, UINT32_MAX},
        {UINT64_MAX - 9, UINT64_MAX},
        {0, UINT64_MAX - 1},
    };
    mtws__random r;
    uint8_t seed[32] = {9};
    mtws__random_seed(&r, seed);
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        uint64_t low = rows[i].low, high = rows[i].high;
        unsigned seen[1000] = {0}, values = 0;
        test_context("row %zu", i);
        for (int k = 0; k < 100000; k++) {
            uint64_t got = mtws__random_between(&r, low, high);
            if (high < low) {
                CHECK_UINT(got, low);
                continue;
            }
            CHECK(got >= low && got <= high);
            if (high - low < 1000) seen[got - low]++;
        }
        if (high < low || high - low >= 1000) continue;
        for (size_t k = 0; k <= high - low; k++) values += seen[k] > 0;
        CHECK_UINT(values, high - low + 1);
        unsigned fair = 100000 / (unsigned)(high - low + 1);
        for (size_t k = 0; k <= high - low; k++) CHECK(seen[k] > fair / 2 && seen[k] < fair * 2);
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(quarter_round), TEST(block_function),  TEST(seeded_with_zeros),
        TEST(in_any_pieces), TEST(counter_carries), TEST(each_bit_of_the_seed),
        TEST(masking_keys),  TEST(between),
    };
    return TEST_MAIN(tests, argc, argv);
}
