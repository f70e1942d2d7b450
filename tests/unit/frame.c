/* The room "frame": every two-byte header beside a reading of RFC 6455 section 5, encoding and
 * masking. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

/* What section 5 says of a frame whose first bytes these are: 0 it is fine, or the number of bytes
 * that have to be seen before it is certain to be wrong. */
static size_t wrong_after(unsigned first, unsigned second, bool masked) {
    bool reserved_bit = first / 16 % 8 != 0;
    unsigned opcode = first % 16;
    bool known = opcode == 0x0 || opcode == 0x1 || opcode == 0x2 || opcode == 0x8 ||
                 opcode == 0x9 || opcode == 0xa;
    bool control = opcode >= 0x8, final = first >= 0x80;
    if (reserved_bit || !known || (control && !final)) return 1;
    bool mask_bit = second >= 0x80;
    bool long_form = second % 128 >= 126;
    return mask_bit != masked || (control && long_form) ? 2 : 0;
}

/* Each header as a server's and as a client's, with each of several lengths in the longer forms;
 * the answer for each number of its bytes: wrong as soon as it is certain, never before, and whole
 * with the last byte. */
static void check_header(unsigned first, unsigned second, bool masked, uint64_t length) {
    uint8_t bytes[14] = {
        (uint8_t)first, (uint8_t)second, 0, 0, 0, 0, 0, 0, 0, 0, 0xaa, 0xbb, 0xcc, 0xdd};
    unsigned form = second % 128;
    size_t length_size = form == 126 ? 2 : form == 127 ? 8 : 0;
    uint64_t size = length_size == 0 ? form : length_size == 2 ? length % 65536 : length;
    for (size_t i = 0; i < length_size; i++) {
        bytes[2 + i] = (uint8_t)(size >> (8 * (length_size - 1 - i)) & 0xff);
    }
    size_t whole = 2 + length_size + (masked ? 4 : 0);
    if (masked) memcpy(bytes + 2 + length_size, "\x11\x22\x33\x44", 4);
    size_t bad = wrong_after(first, second, masked);
    if (bad == 0 && length_size == 8 && size >> 63 != 0) bad = 3;
    /* A length that would have fitted a shorter form is known when all of it has come; the key may
     * be waited for. */
    bool longer = (length_size == 2 && size < 126) || (length_size == 8 && size < 65536);
    for (size_t have = 0; have <= sizeof bytes; have++) {
        mtws__frame f;
        int got = mtws__frame_decode(&f, bytes, have, masked);
        int expected = bad > 0 && have >= bad ? -1 : have < whole ? 0 : longer ? -1 : 1;
        bool early = bad == 0 && longer && got == -1 && have >= 2 + length_size;
        if (got != expected && !early) {
            FAIL("%02x %02x, length %" PRIu64 ", masked %d: %zu bytes give %d, expected %d", first,
                 second, size, masked, have, got, expected);
        }
        if (got != 1) continue;
        CHECK_UINT(f.size, size);
        CHECK_UINT(f.opcode, first % 16);
        CHECK_INT(f.final, first >= 0x80);
        CHECK_UINT(f.header_size, whole);
        if (masked) CHECK_MEM(f.key, "\x11\x22\x33\x44", 4);
    }
}

static void all_headers(void) { /* FAULTS rows 1, 4 to 7 */
    static const uint64_t lengths[] = {0,
                                       1,
                                       125,
                                       126,
                                       127,
                                       65535,
                                       65536,
                                       4294967296,
                                       ((uint64_t)1 << 63) - 1,
                                       (uint64_t)1 << 63,
                                       UINT64_MAX};
    for (unsigned header = 0; header < 65536; header++) {
        unsigned second = header % 256;
        size_t count = second % 128 >= 126 ? UNIT_COUNT(lengths) : 1;
        for (size_t i = 0; i < count; i++) {
            check_header(header / 256, second, false, lengths[i]);
            check_header(header / 256, second, true, lengths[i]);
        }
    }
}

/* What is wrong is said to people. */
static void reasons(void) {
    static const struct {
        const char *bytes;
        size_t size;
        const char *wrong;
    } rows[] = {
        {"\xc1\x01", 2, "the server set a reserved bit of a frame: does it compress?"},
        {"\x83\x01", 2, "the server sent a frame with a reserved opcode"},
        {"\x09\x01", 2, "the server sent a control frame in fragments"},
        {"\x81\x81", 2, "the server sent a masked frame"},
        {"\x89\x7e", 2, "the server sent a control frame of over 125 bytes"},
        {"\x82\x7f\x80", 3, "the server sent a frame of over 2^63 - 1 bytes"},
        {"\x82\x7e\x00\x7d", 4,
         "the server wrote a frame's length in more bytes than needed"},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        mtws__frame f;
        CHECK_INT(mtws__frame_decode(&f, (const uint8_t *)rows[i].bytes, rows[i].size, false), -1);
        CHECK_STR(f.wrong, rows[i].wrong);
    }
}

static void sizes(void) {
    static const struct {
        uint64_t size;
        size_t header;
        uint8_t length[9];
    } rows[] = {
        {0, 6, {0x80}},
        {1, 6, {0x81}},
        {125, 6, {0xfd}},
        {126, 8, {0xfe, 0x00, 0x7e}},
        {127, 8, {0xfe, 0x00, 0x7f}},
        {255, 8, {0xfe, 0x00, 0xff}},
        {256, 8, {0xfe, 0x01, 0x00}},
        {65535, 8, {0xfe, 0xff, 0xff}},
        {65536, 14, {0xff, 0, 0, 0, 0, 0, 1, 0, 0}},
        {16777216, 14, {0xff, 0, 0, 0, 0, 1, 0, 0, 0}},
        {4294967296, 14, {0xff, 0, 0, 0, 1, 0, 0, 0, 0}},
        {INT64_MAX, 14, {0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    };
    static const uint8_t key[4] = {1, 2, 3, 4};
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%" PRIu64, rows[i].size)) continue;
        uint8_t out[16];
        mtws__frame f;
        CHECK_UINT(mtws__frame_header_size(rows[i].size), rows[i].header);
        for (unsigned opcode = 0; opcode < 16; opcode++) {
            for (int final = 0; final < 2; final++) {
                memset(out, 0x5a, sizeof out);
                CHECK_UINT(mtws__frame_encode(out, (uint8_t)opcode, final != 0, rows[i].size, key),
                           rows[i].header);
                CHECK_UINT(out[0], opcode | (final ? 0x80u : 0));
                CHECK_MEM(out + 1, rows[i].length, rows[i].header - 5);
                CHECK_MEM(out + rows[i].header - 4, key, 4);
                CHECK_UINT(out[rows[i].header], 0x5a);
            }
        }
        mtws__frame_encode(out, MTWS_BINARY, true, rows[i].size, key);
        CHECK_INT(mtws__frame_decode(&f, out, rows[i].header, true), 1);
        CHECK_UINT(f.size, rows[i].size);
        CHECK_UINT(f.header_size, rows[i].header);
        CHECK_MEM(f.key, key, 4);
        test_end();
    }
}

/* RFC 6455 section 5.7: "Hello", masked. */
static void example_of_the_rfc(void) {
    static const uint8_t expected[11] = {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d,
                                         0x7f, 0x9f, 0x4d, 0x51, 0x58};
    static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t out[32];
    size_t header = mtws__frame_encode(out, MTWS_TEXT, true, 5, key);
    mtws__frame_mask(out + header, (const uint8_t *)"Hello", 5, key, 0);
    CHECK_UINT(header, 6);
    CHECK_MEM(out, expected, sizeof expected);
}

/* Every size up to 100 from and to every alignment, at every phase, beside one byte at a time;
 * nothing is written before or behind. */
static void masking(void) {
    static const uint8_t key[4] = {0x9c, 0x01, 0xfe, 0x37};
    static const uint64_t far[] = {0, (uint64_t)1 << 32, UINT64_MAX - 7};
    uint8_t data[128], out[160];
    uint64_t seed = 6;
    unit_fill(&seed, data, sizeof data);
    for (size_t size = 0; size <= 100; size++) {
        for (size_t from = 0; from < 8; from++) {
            for (size_t to = 0; to < 8; to++) {
                for (size_t k = 0; k < 12; k++) {
                    uint64_t phase = far[k / 4] + k % 4;
                    bool same = true;
                    memset(out, 0x5a, sizeof out);
                    mtws__frame_mask(out + 8 + to, data + from, size, key, phase);
                    for (size_t i = 0; i < sizeof out; i++) {
                        bool inside = i >= 8 + to && i < 8 + to + size;
                        size_t n = i - 8 - to;
                        uint8_t expected = !inside ? 0x5a : data[from + n] ^ key[(phase + n) % 4];
                        same = same && out[i] == expected;
                    }
                    CHECK_TEXT(same, "size %zu, from %zu, to %zu, phase %zu", size, from, to, k);
                }
            }
        }
    }
}

/* In place, and cut into two pieces anywhere: the phase goes on. */
static void masking_in_place(void) {
    static const uint8_t key[4] = {0x11, 0x22, 0x44, 0x88};
    uint8_t data[100], expected[100], out[100];
    unit_edge edge = unit_edge_open(100);
    uint64_t seed = 7;
    unit_fill(&seed, data, sizeof data);
    for (size_t i = 0; i < sizeof data; i++) expected[i] = data[i] ^ key[i % 4];
    for (size_t size = 0; size <= sizeof data; size++) {
        uint8_t *bytes = unit_edge_copy(edge, data, size);
        mtws__frame_mask(bytes, bytes, size, key, 0);
        CHECK_MEM(bytes, expected, size);
        for (size_t cut = 0; cut <= size; cut++) {
            test_context("%zu of %zu bytes", cut, size);
            mtws__frame_mask(out, data, cut, key, 0);
            mtws__frame_mask(out + cut, data + cut, size - cut, key, cut);
            CHECK_MEM(out, expected, size);
        }
    }
}

/* Section 7.4 and its registry, as ranges of a list. */
static void close_codes(void) {
    for (uint32_t code = 0; code < 70000; code++) {
        bool listed = code == 1000 || code == 1001 || code == 1002 || code == 1003 ||
                      code == 1007 || code == 1008 || code == 1009 || code == 1010 ||
                      code == 1011 || code == 1012 || code == 1013 || code == 1014;
        bool free_to_use = code / 1000 == 3 || code / 1000 == 4;
        test_context("%u", (unsigned)code);
        CHECK_INT(mtws__close_code_ok(code), listed || free_to_use);
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(all_headers), TEST(reasons),          TEST_ROWS(sizes),  TEST(example_of_the_rfc),
        TEST(masking),     TEST(masking_in_place), TEST(close_codes),
    };
    return TEST_MAIN(tests, argc, argv);
}
