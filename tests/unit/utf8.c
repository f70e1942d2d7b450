/* The room "utf8": every sequence of up to four bytes that may matter, fed whole, byte by byte and
 * cut at each place, beside a reference that is made of what an encoder writes. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

/* ---- the reference: what some text begins with, and what a whole code point is --------------- */

enum { WRONG, PART, WHOLE };

/* By the bytes of the code point so far, the first of them highest. Of four bytes only three are
 * looked up: after three that are part of something, each of 80..BF ends it. */
static uint8_t ref_one[1 << 8], ref_two[1 << 16], ref_three[1 << 24];

static void ref_make(void) {
    for (uint32_t point = 0; point <= 0x10ffff; point++) {
        if (point >= 0xd800 && point <= 0xdfff) continue;
        if (point < 0x80) {
            ref_one[point] = WHOLE;
        } else if (point < 0x800) {
            ref_one[0xc0 | point >> 6] = PART;
            ref_two[(0xc0 | point >> 6) << 8 | (0x80 | (point & 63))] = WHOLE;
        } else {
            uint32_t last = 0x80 | (point & 63), middle = 0x80 | (point >> 6 & 63);
            bool four = point >= 0x10000;
            uint32_t lead = four ? 0xf0 | point >> 18 : 0xe0 | point >> 12;
            uint32_t second = four ? 0x80 | (point >> 12 & 63) : middle;
            uint32_t third = four ? middle : last;
            ref_one[lead] = PART;
            ref_two[lead << 8 | second] = PART;
            ref_three[lead << 16 | second << 8 | third] = four ? PART : WHOLE;
        }
    }
}

typedef struct ref {
    uint32_t bytes; /* of the code point under way */
    int count;
} ref;

/* WRONG as soon as no text can begin so. */
static int ref_feed(ref *r, uint8_t byte) {
    uint32_t bytes = r->bytes << 8 | byte;
    int found = WRONG;
    switch (r->count) {
    case 0: found = ref_one[bytes]; break;
    case 1: found = ref_two[bytes]; break;
    case 2: found = ref_three[bytes]; break;
    default: found = byte >= 0x80 && byte <= 0xbf ? WHOLE : WRONG; break;
    }
    r->bytes = found == PART ? bytes : 0;
    r->count = found == PART ? r->count + 1 : 0;
    return found;
}

/* WRONG: a bad byte, at *at; PART: ends within a code point; WHOLE. */
static int ref_text(const uint8_t *data, size_t size, size_t *at) {
    ref r = {0, 0};
    for (*at = 0; *at < size; ++*at) {
        if (ref_feed(&r, data[*at]) == WRONG) return WRONG;
    }
    return r.count > 0 ? PART : WHOLE;
}

/* ---- one text in every way ------------------------------------------------------------------- */

static int ended(bool fed, const mtws__utf8 *u) {
    return !fed ? WRONG : mtws__utf8_whole(u) ? WHOLE : PART;
}

/* Whole, byte by byte (which shows the place of the first bad byte), and cut at each place. */
static bool same_in_every_way(const uint8_t *data, size_t size) {
    size_t bad, at = 0;
    int expected = ref_text(data, size, &bad);
    mtws__utf8 u;
    mtws__utf8_start(&u);
    bool same = ended(mtws__utf8_feed(&u, data, size), &u) == expected;
    mtws__utf8_start(&u);
    while (at < size && mtws__utf8_feed(&u, data + at, 1)) at++;
    same = same && at == bad && (at < size || ended(true, &u) == expected);
    for (size_t cut = 1; cut < size; cut++) {
        mtws__utf8_start(&u);
        bool fed = mtws__utf8_feed(&u, data, cut);
        if (fed != (bad >= cut)) return false;
        if (fed) same = same && ended(mtws__utf8_feed(&u, data + cut, size - cut), &u) == expected;
    }
    return same && mtws__utf8_valid(data, size) == (expected == WHOLE);
}

static void expect(bool same, const uint8_t *data, size_t size) {
    if (CHECK(same)) return;
    char text[400] = "";
    for (size_t i = 0; i < size && i < 100; i++) {
        snprintf(text + 3 * i, sizeof text - 3 * i, " %02x", data[i]);
    }
    FAIL("another answer for%s", text);
}

static void up_to_two_bytes(void) {
    unit_edge edge = unit_edge_open(16);
    CHECK(mtws__utf8_valid("", 0));
    for (unsigned value = 0; value < 0x10000; value++) {
        if (!test_sampled()) continue;
        uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
        if (value < 0x100) {
            const uint8_t *one = unit_edge_copy(edge, bytes + 1, 1);
            expect(same_in_every_way(one, 1), one, 1);
        }
        const uint8_t *two = unit_edge_copy(edge, bytes, 2);
        expect(same_in_every_way(two, 2), two, 2);
    }
}

/* All 2^24; and followed by something else, since tricks look at more than one code point. */
static void three_bytes(void) {
    for (uint32_t value = 0; value < 0x1000000; value++) {
        if (!test_sampled()) continue;
        uint8_t bytes[8] = {(uint8_t)(value >> 16),
                            (uint8_t)(value >> 8),
                            (uint8_t)value,
                            0xc3,
                            0xa9,
                            'a',
                            'b',
                            'c'};
        expect(same_in_every_way(bytes, 3), bytes, 3);
        size_t bad;
        bool valid = ref_text(bytes, sizeof bytes, &bad) == WHOLE;
        expect(mtws__utf8_valid(bytes, sizeof bytes) == valid, bytes, sizeof bytes);
        if (test_failing()) return;
    }
}

/* One sequence of four bytes: whole, and on from each state that its first bytes lead to. */
static void four(const uint8_t bytes[4], const mtws__utf8 states[4], const bool fed[4]) {
    size_t bad;
    int expected = ref_text(bytes, 4, &bad);
    mtws__utf8 u;
    mtws__utf8_start(&u);
    bool same = ended(mtws__utf8_feed(&u, bytes, 4), &u) == expected;
    for (size_t cut = 1; cut < 4; cut++) {
        same = same && fed[cut] == (bad >= cut);
        if (!fed[cut]) break;
        u = states[cut];
        same = same && ended(mtws__utf8_feed(&u, bytes + cut, 4 - cut), &u) == expected;
    }
    expect(same, bytes, 4);
}

/* Every sequence that begins with F0..F4 and with some other leads. The states after one, two and
 * three bytes are reached once, byte by byte, for all that follows them. */
static void four_bytes(void) { /* FAULTS row 11 */
    static const uint8_t leads[] = {0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5};
    for (size_t i = 0; i < UNIT_COUNT(leads); i++) {
        mtws__utf8 states[4];
        bool fed[4] = {true, false, false, false};
        for (uint32_t value = 0; value < 0x1000000 && !test_failing(); value++) {
            uint8_t bytes[4] = {leads[i], (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                                (uint8_t)value};
            mtws__utf8_start(&states[0]);
            for (size_t k = 1; k < 4 && (value & 0xff) == 0; k++) {
                states[k] = states[k - 1];
                fed[k] = fed[k - 1] && mtws__utf8_feed(&states[k], bytes + k - 1, 1);
            }
            if (test_sampled()) four(bytes, states, fed);
        }
    }
}

/* Other leads, followed by the bytes at which anything changes. */
static void other_four_bytes(void) {
    static const uint8_t edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                    0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                    0xef, 0xf0, 0xf4, 0xf5, 0xf8, 0xfc, 0xfe, 0xff};
    for (unsigned lead = 0; lead < 256; lead++) {
        for (size_t i = 0; i < 26 * 26 * 26; i++) {
            if (!test_sampled()) continue;
            uint8_t bytes[4] = {(uint8_t)lead, edges[i / 676], edges[i / 26 % 26], edges[i % 26]};
            expect(same_in_every_way(bytes, 4), bytes, 4);
        }
    }
}

/* What every code point looks like, written by hand in the reference's own way. */
static size_t encode(uint8_t *out, uint32_t point) {
    if (point < 0x80) {
        out[0] = (uint8_t)point;
        return 1;
    }
    size_t size = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const uint8_t marks[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = size; i-- > 1; point >>= 6) out[i] = (uint8_t)(0x80 | (point & 63));
    out[0] = (uint8_t)(marks[size] | point);
    return size;
}

/* Long texts, so that whatever looks at many bytes at a time is at work: each value of a byte at
 * each place, each length and alignment near it. */
static void long_texts(void) {
    static const struct {
        const char *name;
        uint32_t points[4];
    } rows[] = {
        {"ASCII", {'a', 'b', 'c', 'd'}},
        {"two bytes", {0xe9, 0x7ff, 0x80, 0x431}},
        {"three bytes", {0x4e2d, 0xffff, 0x800, 0xfeff}},
        {"four bytes", {0x1f600, 0x10ffff, 0x10000, 0xfffff}},
        {"E0 and ED", {0x800, 0xd7ff, 0xfff, 0xd000}},
        {"all sizes", {'a', 0xe9, 0x4e2d, 0x1f600}},
        {"ASCII with an accent", {'a', 'b', 0xe9, 'c'}},
    };
    unit_edge edge = unit_edge_open(256);
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        uint8_t text[128];
        size_t size = 0;
        for (size_t k = 0; size < 90; k++) size += encode(text + size, rows[i].points[k % 4]);
        for (size_t place = 0; place <= 40; place++) {
            for (unsigned value = 0; value < 256; value++) {
                if (!test_sampled()) continue;
                uint8_t changed[128];
                memcpy(changed, text, size);
                changed[place] = (uint8_t)value;
                /* From a place before the change on, so that it meets each alignment. */
                size_t from = place % 9 < place ? place % 9 : 0;
                const uint8_t *at = unit_edge_copy(edge, changed + from, size - from);
                expect(same_in_every_way(at, size - from), at, size - from);
            }
        }
        test_end();
    }
}

/* A text of ASCII of each length, with one odd sequence at each place of it. */
static void odd_among_ascii(void) {
    static const char *const odd[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc3",
                                      "\xc3\xa9",
                                      "\xe2\x82",
                                      "\xe2\x82\xac",
                                      "\xe0\x9f\xbf",
                                      "\xe0\xa0\x80",
                                      "\xed\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x9f\x98",
                                      "\xf0\x9f\x98\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xfe",
                                      "\xff",
                                      "\xf8\x88\x80\x80\x80"};
    unit_edge edge = unit_edge_open(128);
    for (size_t i = 0; i < UNIT_COUNT(odd); i++) {
        size_t size = strlen(odd[i]);
        for (size_t length = 0; length <= 70; length++) {
            for (size_t place = 0; place <= length; place++) {
                uint8_t *text = unit_edge_room(edge, length + size);
                memset(text, 'x', length + size);
                memcpy(text + place, odd[i], size);
                size_t bad;
                bool valid = ref_text(text, length + size, &bad) == WHOLE;
                expect(mtws__utf8_valid(text, length + size) == valid, text, length + size);
            }
        }
    }
}

/* Random texts, valid ones and spoilt ones, fed in random pieces. */
static void random_pieces(void) {
    uint64_t seed = 5;
    for (int round = 0; round < 40000; round++) {
        if (!test_sampled()) continue;
        uint8_t text[300];
        size_t size = 0, bad, at = 0;
        while (size < 250 && !unit_chance(&seed, 2)) {
            static const uint32_t limits[4] = {0x80, 0x800, 0xd800, 0x110000};
            uint32_t point = (uint32_t)unit_below(&seed, limits[unit_below(&seed, 4)]);
            if (point >= 0xd800 && point <= 0xdfff) point = 'x';
            size += encode(text + size, point);
        }
        if (size > 0 && unit_chance(&seed, 70))
            text[unit_below(&seed, size)] ^= (uint8_t)(1 << unit_below(&seed, 8));
        int expected = ref_text(text, size, &bad);
        mtws__utf8 u;
        mtws__utf8_start(&u);
        bool fed = true;
        while (fed && at < size) {
            size_t piece = 1 + unit_below(&seed, 60);
            if (piece > size - at) piece = size - at;
            fed = mtws__utf8_feed(&u, text + at, piece);
            at += piece;
            if (fed != (bad >= at)) break;
        }
        bool same = fed == (bad >= at) && (!fed || ended(fed, &u) == expected);
        expect(same, text, size);
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(up_to_two_bytes), TEST(three_bytes),     TEST(four_bytes),    TEST(other_four_bytes),
        TEST_ROWS(long_texts), TEST(odd_among_ascii), TEST(random_pieces),
    };
    ref_make();
    return TEST_MAIN(tests, argc, argv);
}
