/* The room "sha1": the vectors of RFC 3174, and every length up to 300 bytes beside another
 * SHA-1. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

static void vectors(void) {
    static const struct {
        const char *text;
        size_t times;
        uint32_t digest[5];
    } rows[] = {
        {"", 1, {0xda39a3ee, 0x5e6b4b0d, 0x3255bfef, 0x95601890, 0xafd80709}},
        {"abc", 1, {0xa9993e36, 0x4706816a, 0xba3e2571, 0x7850c26c, 0x9cd0d89d}},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         1,
         {0x84983e44, 0x1c3bd26e, 0xbaae4aa1, 0xf95129e5, 0xe54670f1}},
        {"a", 1000000, {0x34aa973c, 0xd4c4daa4, 0xf61eeb2b, 0xdbad2731, 0x6534016f}},
        {"0123456701234567012345670123456701234567012345670123456701234567",
         10,
         {0xdea356a2, 0xcddd90c7, 0xa7ecedc5, 0xebb56393, 0x4f460452}},
    };
    static char message[1000001];
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("vector %zu", i)) continue;
        size_t size = strlen(rows[i].text), total = size * rows[i].times;
        for (size_t at = 0; at < total; at += size) memcpy(message + at, rows[i].text, size);
        uint8_t digest[20];
        mtws__sha1(digest, message, total);
        for (size_t k = 0; k < 5; k++) {
            CHECK_UINT(mtws__load_big(digest + 4 * k, 4), rows[i].digest[k]);
        }
        test_end();
    }
}

static uint32_t turn(uint32_t value, unsigned by) { return (value << by) | (value >> (32 - by)); }

/* SHA-1 by its other method (RFC 3174 section 6.2): the schedule is a ring of sixteen words. */
static void plain_sha1(uint8_t digest[20], const uint8_t *data, size_t size) {
    static const uint32_t constants[4] = {0x5a827999u, 0x6ed9eba1u, 0x8f1bbcdcu, 0xca62c1d6u};
    uint32_t h[5] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u};
    uint8_t padded[448] = {0};
    size_t total = (size + 9 + 63) / 64 * 64;
    if (size > 0) memcpy(padded, data, size);
    padded[size] = 128;
    for (size_t i = 0; i < 4; i++) padded[total - 1 - i] = (uint8_t)(size * 8 >> (8 * i));
    for (size_t block = 0; block < total; block += 64) {
        uint32_t w[16] = {0}, v[5];
        for (size_t i = 0; i < 64; i++) w[i / 4] = w[i / 4] << 8 | padded[block + i];
        memcpy(v, h, sizeof v);
        for (unsigned t = 0; t < 80; t++) {
            unsigned s = t & 15;
            if (t >= 16)
                w[s] = turn(w[(s + 13) & 15] ^ w[(s + 8) & 15] ^ w[(s + 2) & 15] ^ w[s], 1);
            uint32_t x = v[1], y = v[2], z = v[3];
            uint32_t mixed = t < 20              ? (z ^ (x & (y ^ z)))
                             : t >= 40 && t < 60 ? ((x & (y | z)) | (y & z))
                                                 : (x ^ y ^ z);
            uint32_t sum = turn(v[0], 5) + mixed + v[4] + w[s] + constants[t / 20];
            v[4] = v[3];
            v[3] = v[2];
            v[2] = turn(v[1], 30);
            v[1] = v[0];
            v[0] = sum;
        }
        for (size_t i = 0; i < 5; i++) h[i] += v[i];
    }
    for (size_t i = 0; i < 20; i++) digest[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

static void every_length(void) {
    unit_edge edge = unit_edge_open(300);
    uint64_t seed = 3;
    for (size_t size = 0; size <= 300; size++) {
        uint8_t got[20], expected[20];
        uint8_t *data = unit_edge_room(edge, size);
        unit_fill(&seed, data, size);
        mtws__sha1(got, data, size);
        plain_sha1(expected, data, size);
        test_context("%zu bytes", size);
        CHECK_MEM(got, expected, 20);
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {TEST_ROWS(vectors), TEST(every_length)};
    return TEST_MAIN(tests, argc, argv);
}
