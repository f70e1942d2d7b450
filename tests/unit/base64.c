/* The room "base64": the vectors of RFC 4648, and every length up to 300 bytes beside an encoder
 * that takes bit by bit. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

static void vectors(void) {
    static const struct {
        const char *text, *encoded;
    } rows[] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xff\xef\xbe\xfb", "/++++w=="},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("\"%s\"", rows[i].encoded)) continue;
        char out[64];
        mtws__writer w;
        mtws__writer_open(&w, out, sizeof out);
        mtws__base64_encode(&w, (const uint8_t *)rows[i].text, strlen(rows[i].text));
        CHECK(!w.full);
        CHECK_STR(out, rows[i].encoded);
        test_end();
    }
}

static char digit_of(unsigned value) {
    if (value < 26) return (char)('A' + value);
    if (value < 52) return (char)('a' + value - 26);
    if (value < 62) return (char)('0' + value - 52);
    return value == 62 ? '+' : '/';
}

/* Six bits at a time from the left, zeros behind the end, padded to a multiple of four. */
static void plain_base64(char *out, const uint8_t *data, size_t size) {
    size_t count = 0;
    for (size_t bit = 0; bit < size * 8; bit += 6) {
        unsigned value = 0;
        for (size_t i = bit; i < bit + 6; i++) {
            value = value * 2 + (i < size * 8 ? (unsigned)data[i / 8] >> (7 - i % 8) & 1u : 0);
        }
        out[count++] = digit_of(value);
    }
    while (count % 4 != 0) out[count++] = '=';
    out[count] = 0;
}

static void every_length(void) {
    unit_edge edge = unit_edge_open(300);
    uint64_t seed = 4;
    for (size_t size = 0; size <= 300; size++) {
        uint8_t *data = unit_edge_room(edge, size);
        char got[512], expected[512];
        mtws__writer w;
        unit_fill(&seed, data, size);
        plain_base64(expected, data, size);
        test_context("%zu bytes", size);
        mtws__writer_open(&w, got, strlen(expected) + 1);
        mtws__base64_encode(&w, data, size);
        CHECK(!w.full);
        CHECK_STR(got, expected);
        if (size == 0) continue;
        mtws__writer_open(&w, got, strlen(expected));
        mtws__base64_encode(&w, data, size);
        CHECK(w.full);
    }
}

/* Decoding ends where a character is none of base64's, a NUL too. */
static void decoding_ends(void) {
    static const struct {
        const char *text;
        size_t size;
        const char *decoded;
    } rows[] = {{"Zm9vYmFy", 8, "foobar"}, {"Zm9v\0mFy", 8, "foo"}, {"Zm9v=mFy", 8, "foo"},
                {"Zm9vYg==", 8, "foob"},   {"\0", 1, ""},           {"Zm\0v", 4, "f"}};
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        uint8_t out[16];
        mtws__span text = {(const uint8_t *)rows[i].text, rows[i].size};
        size_t size = mtws__base64_decode(out, sizeof out, text);
        test_context("row %zu", i);
        CHECK_UINT(size, strlen(rows[i].decoded));
        CHECK_MEM(out, rows[i].decoded, strlen(rows[i].decoded));
        CHECK(mtws__base64_decode(out, 2, text) <= 2);
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {TEST_ROWS(vectors), TEST(every_length), TEST(decoding_ends)};
    return TEST_MAIN(tests, argc, argv);
}
