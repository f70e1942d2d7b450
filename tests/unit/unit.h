/* What several unit tests share: numbers that look random and come from a seed, and bytes that end
 * where nobody may read on. Include it after mtws.h. */
#ifndef MTWS_TEST_UNIT_H_INCLUDED
#define MTWS_TEST_UNIT_H_INCLUDED

#include "../test.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define UNIT_COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* SplitMix64: each state is followed by another, and tests that share a seed see the same
 * numbers. */
TEST_UNUSED static uint64_t unit_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* From 0 to limit - 1. */
TEST_UNUSED static size_t unit_below(uint64_t *state, size_t limit) {
    return (size_t)(unit_random(state) % limit);
}

TEST_UNUSED static bool unit_chance(uint64_t *state, unsigned percent) {
    return unit_random(state) % 100 < percent;
}

TEST_UNUSED static void unit_fill(uint64_t *state, void *out, size_t size) {
    uint8_t *to = (uint8_t *)out;
    for (size_t i = 0; i < size; i++) to[i] = (uint8_t)unit_random(state);
}

/* Room whose last byte is followed by a page that may not be touched: reading or writing too far is
 * a crash, without a sanitizer too. */
typedef struct unit_edge {
    uint8_t *end;
    size_t size;
} unit_edge;

TEST_UNUSED static unit_edge unit_edge_open(size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (size / page + 1) * page;
    void *map = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect((uint8_t *)map + room, page, PROT_NONE) != 0) {
        fputs("the test has no memory\n", stderr);
        abort();
    }
    unit_edge edge = {(uint8_t *)map + room, room};
    return edge;
}

/* The last `size` bytes of the room. */
TEST_UNUSED static uint8_t *unit_edge_room(unit_edge edge, size_t size) {
    if (size > edge.size) abort();
    return edge.end - size;
}

/* A copy of the bytes in the last `size` bytes of the room. */
TEST_UNUSED static uint8_t *unit_edge_copy(unit_edge edge, const void *data, size_t size) {
    uint8_t *at = unit_edge_room(edge, size);
    if (size > 0) memcpy(at, data, size);
    return at;
}

#endif
