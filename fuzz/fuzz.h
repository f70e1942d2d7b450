/* What the fuzz targets share: mtws.h with assertions that always count, a check, input taken piece
 * by piece, numbers that look random and come from the input, and bytes that grow.
 *
 * Include it first: mtws.h wants to come before any system header. */
#ifndef MTWS_FUZZ_H_INCLUDED
#define MTWS_FUZZ_H_INCLUDED

static void fuzz_fail(const char *file, int line, const char *text);

#define CHECK(condition) ((condition) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #condition))
#define MTWS_ASSERT(condition) CHECK(condition)
#define MTWS_IMPLEMENTATION
#include "../mtws.h"

#include <stdio.h>
#include <stdlib.h>

#if defined(__GNUC__)
#define FUZZ_SHARED static __attribute__((unused))
#else
#define FUZZ_SHARED static
#endif

/* What libFuzzer, and replay.c in its place, calls for each input. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_fail(const char *file, int line, const char *text) {
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, text);
    abort();
}

/* ---- input ----------------------------------------------------------------------------------- */

typedef struct fuzz_input {
    const uint8_t *data;
    size_t size;
} fuzz_input;

/* The next byte; 0 at the end. */
FUZZ_SHARED uint8_t fuzz_byte(fuzz_input *in) {
    if (in->size == 0) return 0;
    in->size--;
    return *in->data++;
}

/* The next bytes, as many of `size` as there are. */
FUZZ_SHARED mtws__span fuzz_take(fuzz_input *in, size_t size) {
    mtws__span span;
    span.data = in->data;
    span.size = mtws__min_size(size, in->size);
    in->data += span.size;
    in->size -= span.size;
    return span;
}

/* The bytes up to the next zero byte, which is passed, as a string that is to be freed. */
FUZZ_SHARED char *fuzz_string(fuzz_input *in) {
    size_t size = 0;
    while (size < in->size && in->data[size] != 0) size++;
    char *text = (char *)malloc(size + 1);
    CHECK(text != NULL);
    if (size > 0) memcpy(text, in->data, size);
    text[size] = 0;
    fuzz_take(in, size + 1);
    return text;
}

/* A copy in a block of just that size, so that reading on is noticed; to be freed. */
FUZZ_SHARED uint8_t *fuzz_copy(const void *data, size_t size) {
    uint8_t *copy = (uint8_t *)malloc(size > 0 ? size : 1);
    CHECK(copy != NULL);
    if (size > 0) memcpy(copy, data, size);
    return copy;
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* SplitMix64. */
FUZZ_SHARED uint64_t fuzz_random(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* From 0 to limit - 1. */
FUZZ_SHARED size_t fuzz_below(uint64_t *state, size_t limit) {
    return (size_t)(fuzz_random(state) % limit);
}

/* The size of the next piece that `left` bytes are cut into: often a few bytes, sometimes all. */
FUZZ_SHARED size_t fuzz_cut(uint64_t *state, size_t left) {
    size_t most = (size_t)1 << fuzz_below(state, 14);
    return left == 0 ? 0 : 1 + fuzz_below(state, mtws__min_size(left, most));
}

/* ---- bytes that grow ------------------------------------------------------------------------- */

typedef struct fuzz_bytes {
    uint8_t *data;
    size_t size, capacity;
} fuzz_bytes;

FUZZ_SHARED void fuzz_put(fuzz_bytes *b, const void *data, size_t size) {
    if (size > b->capacity - b->size) {
        b->capacity = 2 * b->capacity + size + 256;
        b->data = (uint8_t *)realloc(b->data, b->capacity);
        CHECK(b->data != NULL);
    }
    if (size > 0) memcpy(b->data + b->size, data, size);
    b->size += size;
}

FUZZ_SHARED void fuzz_put_byte(fuzz_bytes *b, uint8_t byte) { fuzz_put(b, &byte, 1); }

/* One item of a log of what happened: what it was, how large, and its bytes. */
FUZZ_SHARED void fuzz_put_item(fuzz_bytes *b, char what, const void *data, size_t size) {
    uint8_t head[5];
    head[0] = (uint8_t)what;
    mtws__store_big(head + 1, 4, size);
    fuzz_put(b, head, sizeof head);
    fuzz_put(b, data, size);
}

FUZZ_SHARED void fuzz_free(fuzz_bytes *b) {
    free(b->data);
    memset(b, 0, sizeof *b);
}

/* Whether a is what b begins with. */
FUZZ_SHARED bool fuzz_begins(const fuzz_bytes *b, const fuzz_bytes *a) {
    return a->size <= b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

FUZZ_SHARED bool fuzz_same(const fuzz_bytes *a, const fuzz_bytes *b) {
    return a->size == b->size && fuzz_begins(a, b);
}

#endif
