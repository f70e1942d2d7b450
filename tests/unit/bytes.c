/* The room "bytes": sizes, endian loads and stores, the bounded writer, the ring. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

static void sums_saturate(void) {
    static const struct {
        uint64_t a, b, sum;
    } rows[] = {
        {0, 0, 0},
        {1, 2, 3},
        {UINT64_MAX, 0, UINT64_MAX},
        {0, UINT64_MAX, UINT64_MAX},
        {UINT64_MAX - 1, 1, UINT64_MAX},
        {UINT64_MAX, 1, UINT64_MAX},
        {UINT64_MAX - 5, 6, UINT64_MAX},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX},
        {UINT64_MAX / 2, UINT64_MAX / 2, UINT64_MAX - 1},
        {UINT64_MAX / 2 + 1, UINT64_MAX / 2 + 1, UINT64_MAX},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        test_context("row %zu", i);
        CHECK_UINT(mtws__add_u64(rows[i].a, rows[i].b), rows[i].sum);
        CHECK_UINT(mtws__add_u64(rows[i].b, rows[i].a), rows[i].sum);
    }
}

/* All of it, and nothing beside it. */
static void wiping(void) {
    for (size_t size = 0; size <= 6; size++) {
        uint8_t bytes[8];
        memset(bytes, 0x5a, sizeof bytes);
        mtws__wipe(bytes + 1, size);
        test_context("%zu bytes", size);
        for (size_t i = 0; i < sizeof bytes; i++) {
            CHECK_UINT(bytes[i], i >= 1 && i <= size ? 0 : 0x5a);
        }
    }
}

static void least_and_largest(void) {
    static const uint64_t values[] = {0,         1, 2, 255, UINT32_MAX, (uint64_t)UINT32_MAX + 1,
                                      UINT64_MAX};
    for (size_t i = 0; i < UNIT_COUNT(values); i++) {
        for (size_t k = 0; k < UNIT_COUNT(values); k++) {
            uint64_t a = values[i], b = values[k];
            CHECK_UINT(mtws__min_u64(a, b), values[i < k ? i : k]);
            CHECK_UINT(mtws__max_u64(a, b), values[i > k ? i : k]);
            if (a > SIZE_MAX || b > SIZE_MAX) continue;
            CHECK_UINT(mtws__min_size((size_t)a, (size_t)b), values[i < k ? i : k]);
        }
    }
}

static void big_endian(void) {
    static const uint8_t bytes[8] = {0x81, 0x02, 0xf3, 0x04, 0x95, 0x06, 0xa7, 0xff};
    static const uint64_t values[9] = {
        0,
        0x81,
        0x8102,
        0x8102f3,
        0x8102f304,
        0x8102f30495,
        0x8102f3049506,
        0x8102f3049506a7,
        0x8102f3049506a7ff,
    };
    for (size_t size = 0; size <= 8; size++) {
        uint8_t out[10];
        test_context("%zu bytes", size);
        CHECK_UINT(mtws__load_big(bytes, size), values[size]);
        memset(out, 0x5a, sizeof out);
        mtws__store_big(out + 1, size, values[size]);
        CHECK_MEM(out + 1, bytes, size);
        CHECK_UINT(out[0], 0x5a);
        CHECK_UINT(out[size + 1], 0x5a);
    }
}

static void little_endian(void) {
    static const uint8_t bytes[4] = {0x81, 0x02, 0xf3, 0xa4};
    uint8_t out[6] = {0x5a, 0, 0, 0, 0, 0x5a};
    CHECK_UINT(mtws__load_little32(bytes), 0xa4f30281u);
    mtws__store_little32(out + 1, 0xa4f30281u);
    CHECK_MEM(out + 1, bytes, 4);
    CHECK(out[0] == 0x5a && out[5] == 0x5a);
}

static bool listed(const char *list, int c) { return c != 0 && strchr(list, c) != NULL; }

static void every_character(void) {
    static const char small[] = "abcdefghijklmnopqrstuvwxyz",
                      large[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (int value = 0; value < 256; value++) {
        char c = (char)(uint8_t)value;
        test_context("character %d", value);
        const char *at = value == 0 ? NULL : strchr(large, value);
        CHECK_INT(mtws__lower(c), at == NULL ? c : small[at - large]);
        CHECK_INT(mtws__is_digit(c), listed("0123456789", value));
        CHECK_INT(mtws__is_alpha(c), listed(small, value) || listed(large, value));
        CHECK_INT(mtws__is_hex(c), listed("0123456789abcdefABCDEF", value));
    }
}

static void spans(void) {
    static const struct {
        const char *span, *text;
        bool same;
    } rows[] = {
        {"", "", true},         {"a", "", false},       {"", "a", false},
        {"abc", "abc", true},   {"ABC", "abc", true},   {"abc", "aBC", true},
        {"abc", "abcd", false}, {"abcd", "abc", false}, {"a-c", "a_c", false},
        {"@", "`", false},      {"[", "{", false},      {"\xc4", "\xe4", false},
        {"K1", "k1", true},     {"1", "2", false},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        mtws__span span = mtws__span_of(rows[i].span);
        test_context("\"%s\" and \"%s\"", rows[i].span, rows[i].text);
        CHECK_UINT(span.size, strlen(rows[i].span));
        CHECK_INT(mtws__span_is(span, rows[i].text), rows[i].same);
    }
    /* A NUL ends texts alone. The size is volatile because gcc 12 warns of what it can't reach. */
    volatile size_t size = 3;
    mtws__span with_nul = {(const uint8_t *)"a\0b", size};
    CHECK(!mtws__span_is(with_nul, "a"));
}

/* Appends texts of each length to writers of each capacity, and compares with what a plain text
 * does: a piece is taken whole or not at all, and after the first refusal nothing is. */
static void writer(void) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    uint64_t seed = 1;
    for (size_t round = 0; round < 5000; round++) {
        char out[32], model[32] = "";
        size_t capacity = unit_below(&seed, 25), size = 0;
        bool full = capacity == 0;
        mtws__writer w;
        memset(out, '#', sizeof out);
        mtws__writer_open(&w, out, capacity);
        test_context("round %zu, capacity %zu", round, capacity);
        for (int i = 0; i < 6; i++) {
            size_t part = unit_below(&seed, 9);
            if (unit_chance(&seed, 50)) {
                mtws__writer_put(&w, letters, part);
            } else {
                char text[16];
                memcpy(text, letters, part);
                text[part] = 0;
                mtws__writer_text(&w, text);
            }
            full = full || size + part + 1 > capacity;
            if (!full) {
                memcpy(model + size, letters, part);
                size += part;
                model[size] = 0;
            }
            CHECK_INT(w.full, full);
            CHECK_UINT(w.size, size);
            if (capacity > 0) CHECK_STR(out, model);
        }
        for (size_t i = capacity; i < sizeof out; i++) CHECK_INT(out[i], '#');
        if (test_failing()) return;
    }
}

static void writer_numbers(void) {
    static const uint64_t values[] = {0,
                                      1,
                                      9,
                                      10,
                                      99,
                                      100,
                                      65535,
                                      4294967295u,
                                      4294967296u,
                                      9999999999999999999u,
                                      10000000000000000000u,
                                      UINT64_MAX};
    for (size_t i = 0; i < UNIT_COUNT(values); i++) {
        char out[32], expected[32];
        mtws__writer w;
        mtws__writer_open(&w, out, sizeof out);
        mtws__writer_number(&w, values[i]);
        snprintf(expected, sizeof expected, "%" PRIu64, values[i]);
        CHECK_STR(out, expected);
    }
    char out[3];
    mtws__writer w;
    mtws__writer_open(&w, out, sizeof out);
    mtws__writer_number(&w, 123);
    CHECK(w.full);
    CHECK_STR(out, "");
}

/* A ring whose first byte has the offset `base`. */
static mtws__ring ring_at(uint8_t *data, size_t capacity, uint64_t base) {
    mtws__ring ring;
    mtws__ring_open(&ring, data, capacity);
    ring.base = ring.head = ring.tail = base;
    return ring;
}

/* Every capacity up to 9, every place in it, every size: stored and loaded, wrapped or not. */
static void ring_store_and_load(void) {
    static const uint8_t bytes[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    unit_edge edge = unit_edge_open(16);
    for (size_t capacity = 1; capacity <= 9; capacity++) {
        for (uint64_t place = 0; place < 3 * capacity; place++) {
            for (size_t size = 0; size <= capacity; size++) {
                uint8_t *data = unit_edge_room(edge, capacity), out[9], expected[9];
                uint64_t offset = (uint64_t)1 << 40 | place;
                mtws__ring ring = ring_at(data, capacity, (uint64_t)1 << 40);
                memset(data, 0xee, capacity);
                memset(expected, 0xee, sizeof expected);
                for (size_t i = 0; i < size; i++) expected[(place + i) % capacity] = bytes[i];
                test_context("capacity %zu, place %d, size %zu", capacity, (int)place, size);
                mtws__ring_store(&ring, offset, bytes, size);
                CHECK_MEM(data, expected, capacity);
                mtws__ring_load(&ring, offset, out, size);
                CHECK_MEM(out, bytes, size);
                size_t piece = size;
                CHECK(mtws__ring_at(&ring, offset, &piece) == data + place % capacity);
                CHECK_UINT(piece,
                           size < capacity - place % capacity ? size : capacity - place % capacity);
            }
        }
    }
}

/* Every move within every ring of up to 8 bytes, the two places overlapping or not. */
static void ring_slide(void) {
    unit_edge edge = unit_edge_open(16);
    for (size_t capacity = 1; capacity <= 8; capacity++) {
        for (size_t to = 0; to < capacity; to++) {
            for (size_t distance = 0; distance < capacity; distance++) {
                for (size_t size = 0; distance + size <= capacity; size++) {
                    uint8_t *data = unit_edge_room(edge, capacity), out[8];
                    mtws__ring ring = ring_at(data, capacity, 0);
                    for (size_t i = 0; i < capacity; i++) data[i] = (uint8_t)i;
                    test_context("capacity %zu, to %zu, distance %zu, size %zu", capacity, to,
                                 distance, size);
                    mtws__ring_slide(&ring, to, to + distance, size);
                    mtws__ring_load(&ring, to, out, size);
                    for (size_t i = 0; i < size; i++) {
                        CHECK_UINT(out[i], (to + distance + i) % capacity);
                    }
                    /* What lies behind the moved bytes' new place is left alone up to the old
                     * one. */
                    for (size_t i = size; i < distance; i++) {
                        CHECK_UINT(data[(to + i) % capacity], (to + i) % capacity);
                    }
                }
            }
        }
    }
}

/* Stores and releases at random beside a plain queue of bytes that never wraps. */
static void ring_beside_a_model(void) {
    enum { MODEL_SIZE = 60000 };
    static uint8_t model[MODEL_SIZE];
    uint64_t seed = 2;
    for (size_t capacity = 1; capacity <= 40; capacity++) {
        uint8_t data[40];
        size_t head = 0, tail = 0;
        mtws__ring ring;
        mtws__ring_open(&ring, data, capacity);
        for (int step = 0; step < 2000; step++) {
            test_context("capacity %zu, step %d", capacity, step);
            size_t room = capacity - (tail - head);
            CHECK_UINT(mtws__ring_used(&ring), tail - head);
            CHECK_UINT(mtws__ring_free(&ring), room);
            if (unit_chance(&seed, 50)) {
                size_t size = unit_below(&seed, room + 1);
                unit_fill(&seed, model + tail, size);
                if (head == tail && size > 0) {
                    size_t piece = size;
                    CHECK(mtws__ring_at(&ring, ring.tail, &piece) == data);
                }
                mtws__ring_store(&ring, ring.tail, model + tail, size);
                ring.tail += size;
                tail += size;
            } else {
                size_t size = unit_below(&seed, tail - head + 1);
                mtws__ring_release(&ring, ring.head + size);
                head += size;
            }
            uint8_t out[40];
            mtws__ring_load(&ring, ring.head, out, tail - head);
            CHECK_MEM(out, model + head, tail - head);
            if (test_failing()) return;
            if (tail > MODEL_SIZE - 100) break;
        }
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(sums_saturate),
        TEST(wiping),
        TEST(least_and_largest),
        TEST(big_endian),
        TEST(little_endian),
        TEST(every_character),
        TEST(spans),
        TEST(writer),
        TEST(writer_numbers),
        TEST(ring_store_and_load),
        TEST(ring_slide),
        TEST(ring_beside_a_model),
    };
    return TEST_MAIN(tests, argc, argv);
}
