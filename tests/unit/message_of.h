/* Name servers' messages, made for tests: from a query, record by record. Include it after mtws.h. */
#ifndef MTWS_TEST_MESSAGE_OF_H_INCLUDED
#define MTWS_TEST_MESSAGE_OF_H_INCLUDED

#include "unit.h"

enum { MADE_MAX = 16384, MADE_ANSWER = 0, MADE_AUTHORITY = 1, MADE_OTHER = 2 };

typedef struct made {
    uint8_t data[MADE_MAX];
    size_t size;
    size_t question_size; /* header included */
} made;

TEST_UNUSED static void made_bytes(made *m, const void *data, size_t size) {
    if (size > sizeof m->data - m->size) abort();
    if (size > 0) memcpy(m->data + m->size, data, size);
    m->size += size;
}

TEST_UNUSED static void made_number(made *m, size_t size, uint64_t value) {
    uint8_t bytes[8];
    mtws__store_big(bytes, size, value);
    made_bytes(m, bytes, size);
}

/* "a.b.c" as labels; "" is the root. */
TEST_UNUSED static void made_name(made *m, const char *name) {
    while (*name != 0) {
        size_t size = strcspn(name, ".");
        made_number(m, 1, size);
        made_bytes(m, name, size);
        name += size + (name[size] == '.');
    }
    made_number(m, 1, 0);
}

/* An answer to the query, still without records; code as in RFC 1035 section 4.1.1. */
TEST_UNUSED static void made_start(made *m, const uint8_t *query, size_t query_size, int code) {
    size_t at = 12;
    while (at < query_size && query[at] != 0) at += query[at] + 1u;
    m->size = 0;
    made_bytes(m, query, at + 5);
    m->question_size = m->size;
    m->data[2] = 0x81;
    m->data[3] = (uint8_t)(0x80 | code);
    memset(m->data + 6, 0, 6);
}

/* One more record in a section. What follows it is its data. */
TEST_UNUSED static void made_record(made *m, int section, uint16_t type, uint32_t ttl,
                                    size_t data_size) {
    uint8_t *count = m->data + 6 + 2 * section;
    mtws__store_big(count, 2, mtws__load_big(count, 2) + 1);
    made_number(m, 2, type);
    made_number(m, 2, 1);
    made_number(m, 4, ttl);
    made_number(m, 2, data_size);
}

/* The address 10.0.0.n, or 2001:db8::n, of the name; NULL: of the name that was asked for, by a
 * pointer. */
TEST_UNUSED static void made_address(made *m, const char *name, bool six, uint32_t ttl, uint8_t n) {
    uint8_t four_bytes[4] = {10, 0, 0, n};
    uint8_t six_bytes[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n};
    if (name == NULL) made_number(m, 2, 0xc00c);
    else made_name(m, name);
    made_record(m, MADE_ANSWER, six ? 28 : 1, ttl, six ? 16 : 4);
    made_bytes(m, six ? six_bytes : four_bytes, six ? 16 : 4);
}

TEST_UNUSED static void made_alias(made *m, const char *name, const char *target, uint32_t ttl) {
    if (name == NULL) made_number(m, 2, 0xc00c);
    else made_name(m, name);
    made_record(m, MADE_ANSWER, 5, ttl, strlen(target) + 2);
    made_name(m, target);
}

TEST_UNUSED static void made_soa(made *m, uint32_t ttl, uint32_t minimum) {
    made_name(m, "");
    made_record(m, MADE_AUTHORITY, 6, ttl, 22);
    made_name(m, "");
    made_name(m, "");
    for (int i = 0; i < 4; i++) made_number(m, 4, 7);
    made_number(m, 4, minimum);
}

/* The type that a query asks for. */
TEST_UNUSED static uint16_t made_type(const uint8_t *query, size_t query_size) {
    size_t at = 12;
    while (at < query_size && query[at] != 0) at += query[at] + 1u;
    return (uint16_t)mtws__load_big(query + at + 1, 2);
}

/* The name that a query asks for, in small letters. */
TEST_UNUSED static const char *made_asked(const uint8_t *query, size_t query_size) {
    static char name[256];
    size_t size = 0;
    for (size_t at = 12; at < query_size && query[at] != 0; at += query[at] + 1u) {
        if (size > 0) name[size++] = '.';
        for (size_t i = 1; i <= query[at]; i++) name[size++] = mtws__lower((char)query[at + i]);
    }
    name[size] = 0;
    return name;
}

#endif
