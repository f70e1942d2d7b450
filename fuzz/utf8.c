/* Invariant: the check for UTF-8 fails at the first byte that no text could have there, and nowhere
 * else, whether the text comes whole, byte by byte or cut at random; and it knows whether the text
 * may end.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -o build/utf8 utf8.c
 *     build/utf8 corpus/utf8
 *
 * Input: a byte that says how the text is cut, then the text. */
#include "reference.h"

/* Feeds pieces of random sizes (seed 0: single bytes). Returns where the piece begins that failed,
 * and *failed is its size; size where none did. */
static size_t feed(const uint8_t *data, size_t size, uint64_t seed, size_t *failed, bool *whole) {
    mtws__utf8 u;
    mtws__utf8_start(&u);
    for (size_t at = 0; at < size;) {
        size_t part = seed == 0 ? 1 : fuzz_cut(&seed, size - at);
        uint8_t *piece = fuzz_copy(data + at, part);
        bool good = mtws__utf8_feed(&u, piece, part);
        free(piece);
        *failed = part;
        if (!good) return at;
        at += part;
    }
    *whole = mtws__utf8_whole(&u);
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, size};
    uint64_t seed = 1 + (uint64_t)fuzz_byte(&in);
    bool whole, got = false;
    size_t part = 0;
    size_t bad = reference_utf8(in.data, in.size, &whole);

    uint8_t *copy = fuzz_copy(in.data, in.size);
    CHECK(mtws__utf8_valid(copy, in.size) == (bad == in.size && whole));
    free(copy);

    CHECK(feed(in.data, in.size, 0, &part, &got) == bad);
    CHECK(bad < in.size || got == whole);

    size_t at = feed(in.data, in.size, seed, &part, &got);
    if (bad == in.size) CHECK(at == in.size && got == whole);
    else CHECK(at <= bad && bad - at < part);
    return 0;
}
