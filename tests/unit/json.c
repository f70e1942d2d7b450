/* The room "json": one member of a top-level object, beside a plain recursive parser; random
 * documents, whole and spoilt. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

static unit_edge edge;

/* The member's value as written; NULL: none. The text lies against an unreadable page. */
static const char *member(const char *text, size_t size, const char *name) {
    static char out[4096];
    mtws__span span, value = {NULL, 0};
    span.data = unit_edge_copy(edge, text, size);
    span.size = size;
    if (!mtws__json_member(span, name, &value)) return NULL;
    if (!CHECK(value.data >= span.data && value.data + value.size <= span.data + size)) return NULL;
    memcpy(out, value.data, value.size);
    out[value.size] = 0;
    return out;
}

static void members(void) {
    static const struct {
        const char *text, *value;
    } rows[] = {
        {"{\"t\":1}", "1"},
        {" \t\r\n{ \"t\" : \"x\" } \n", "\"x\""},
        {"{\"a\":1,\"t\":\"b\",\"c\":2}", "\"b\""},
        {"{\"t\":true}", "true"},
        {"{\"t\":false}", "false"},
        {"{\"t\":null}", "null"},
        {"{\"t\":0}", "0"},
        {"{\"t\":-0}", "-0"},
        {"{\"t\":-12.50e+3}", "-12.50e+3"},
        {"{\"t\":1E9}", "1E9"},
        {"{\"t\":1e-9}", "1e-9"},
        {"{\"t\":0.5}", "0.5"},
        {"{\"t\":\"\"}", "\"\""},
        {"{\"t\":\"a\\\"b\\\\\"}", "\"a\\\"b\\\\\""},
        {"{\"t\":\"\\/\\b\\f\\n\\r\\t\\u00e9\"}", "\"\\/\\b\\f\\n\\r\\t\\u00e9\""},
        {"{\"\\u0074\":1}", "1"},
        {"{\"t\":1,\"t\":2}", "2"},   /* the last counts */
        {"{\"t\":1,\"t\":{}}", NULL}, /* a container is no answer */
        {"{\"t\":{},\"t\":1}", "1"},
        {"{\"t\":[1]}", NULL},
        {"{\"t\":{}}", NULL},
        {"{\"a\":{\"t\":1}}", NULL},
        {"{\"a\":[{\"t\":1}]}", NULL}, /* not at the top */
        {"{\"a\":{\"t\":1},\"t\":2}", "2"},
        {"{\"t\":2,\"a\":{\"t\":1}}", "2"},
        {"{\"a\":[[],{},[{\"b\":[]}]],\"t\":3}", "3"},
        {"{}", NULL},
        {"{\"T\":1}", NULL},
        {"{\"tt\":1}", NULL},
        {"{\"\":1}", NULL},
        {"{\"t\\u0000\":1}", NULL},
        {"{\"a\":\"t\"}", NULL},
        /* no object */
        {"", NULL},
        {" ", NULL},
        {"[]", NULL},
        {"[{\"t\":1}]", NULL},
        {"\"t\"", NULL},
        {"1", NULL},
        {"null", NULL},
        {"t", NULL},
        /* not JSON, though the member is there */
        {"{\"t\":1", NULL},
        {"{\"t\":1}}", NULL},
        {"{\"t\":1}x", NULL},
        {"{\"t\":1}{}", NULL},
        {"{\"t\":1,}", NULL},
        {"{,\"t\":1}", NULL},
        {"{\"t\":1,,\"a\":2}", NULL},
        {"{\"t\" 1}", NULL},
        {"{\"t\"::1}", NULL},
        {"{\"t\":}", NULL},
        {"{t:1}", NULL},
        {"{'t':1}", NULL},
        {"{\"t\":1]", NULL},
        {"{\"t\":1,\"a\":[1,]}", NULL},
        {"{\"t\":1,\"a\":[,1]}", NULL},
        {"{\"t\":1,\"a\":[1 2]}", NULL},
        {"{\"t\":1,\"a\":[}", NULL},
        {"{\"t\":1,\"a\":[1}}", NULL},
        {"{\"t\":1,\"a\":{]}}", NULL},
        {"{\"t\":1,\"a\"}", NULL},
        {"{\"t\":1 \"a\":2}", NULL},
        {"{\"t\":1;}", NULL},
        {"{\"t\":01}", NULL},
        {"{\"t\":-}", NULL},
        {"{\"t\":+1}", NULL},
        {"{\"t\":.5}", NULL},
        {"{\"t\":1.}", NULL},
        {"{\"t\":1e}", NULL},
        {"{\"t\":1e+}", NULL},
        {"{\"t\":0x1}", NULL},
        {"{\"t\":1.e1}", NULL},
        {"{\"t\":NaN}", NULL},
        {"{\"t\":Infinity}", NULL},
        {"{\"t\":--1}", NULL},
        {"{\"t\":tru}", NULL},
        {"{\"t\":True}", NULL},
        {"{\"t\":truee}", NULL},
        {"{\"t\":nul}", NULL},
        {"{\"t\":\"x}", NULL},
        {"{\"t\":\"\\x41\"}", NULL},
        {"{\"t\":\"\\u12\"}", NULL},
        {"{\"t\":\"\\u12g4\"}", NULL},
        {"{\"t\":\"\\\"}", NULL},
        {"{\"t\":\"\n\"}", NULL},
        {"{\"t\":\"\x1f\"}", NULL},
        {"{\"t\":\"\\\n\"}", NULL},
        {"{\"t\":1}\x01", NULL},
        {"\xef\xbb\xbf{\"t\":1}", NULL},
        {"{\"t\":1/**/}", NULL},
        {"{\"t\":1}\v", NULL},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        test_context("%s", rows[i].text);
        CHECK_STR(member(rows[i].text, strlen(rows[i].text), "t"), rows[i].value);
        /* Cut anywhere it is no JSON any more, unless blanks are all that is missing. */
        size_t size = strlen(rows[i].text);
        while (size > 0 && strchr(" \t\r\n", rows[i].text[size - 1]) != NULL) size--;
        for (size_t cut = 0; cut < size && rows[i].value != NULL; cut++) {
            CHECK_STR(member(rows[i].text, cut, "t"), NULL);
        }
    }
    CHECK_STR(member("{\"t\":1}\0", 8, "t"), NULL);
    CHECK_STR(member("{\"t\":\"\\\0\"}", 9, "t"), NULL);
}

static void depth(void) {
    static char text[1000];
    for (int count = 120; count <= 135; count++) {
        for (int kind = 0; kind < 2; kind++) {
            size_t at = (size_t)snprintf(text, sizeof text, "{\"t\":1,\"a\":");
            for (int i = 1; i < count; i++) {
                at += (size_t)snprintf(text + at, sizeof text - at, kind ? "[" : "{\"b\":");
            }
            if (!kind) text[at++] = '0';
            memset(text + at, kind ? ']' : '}', (size_t)count - 1);
            at += (size_t)count - 1;
            text[at++] = '}';
            test_context("%d containers", count);
            CHECK_STR(member(text, at, "t"), count <= MTWS__JSON_DEPTH ? "1" : NULL);
        }
    }
    memset(text, '[', sizeof text);
    memcpy(text, "{\"t\":", 5);
    CHECK_STR(member(text, sizeof text, "t"), NULL);
}

/* ---- the reference: RFC 8259 section by section, a function for each ------------------------- */

typedef struct plain {
    const char *at, *end;
    const char *value; /* of the wanted member at the top */
    size_t value_size;
    bool found;
} plain;

static bool plain_value(plain *p, int level);

static void plain_blank(plain *p) {
    while (p->at < p->end && strchr(" \t\r\n", *p->at) != NULL && *p->at != 0) p->at++;
}

static bool plain_char(plain *p, char c) {
    plain_blank(p);
    if (p->at == p->end || *p->at != c) return false;
    p->at++;
    return true;
}

static bool plain_string(plain *p) {
    if (p->at == p->end || *p->at++ != '"') return false;
    while (p->at < p->end) {
        unsigned char c = (unsigned char)*p->at++;
        if (c == '"') return true;
        if (c < ' ') return false;
        if (c == '\\') {
            if (p->at == p->end) return false;
            c = (unsigned char)*p->at++;
            if (c == 'u') {
                for (int i = 0; i < 4; i++, p->at++) {
                    if (p->at == p->end || *p->at == 0 || !strchr("0123456789abcdefABCDEF", *p->at))
                        return false;
                }
            } else if (c == 0 || !strchr("\"\\/bfnrt", c)) {
                return false;
            }
        }
    }
    return false;
}

static bool plain_number(plain *p) {
    char text[64];
    size_t size = 0;
    while (p->at < p->end && size < 60 && *p->at != 0 && strchr("0123456789+-.eE", *p->at)) {
        text[size++] = *p->at++;
    }
    text[size] = 0;
    const char *t = text;
    t += *t == '-';
    size_t digits = strspn(t, "0123456789");
    if (digits == 0 || (digits > 1 && *t == '0')) return false;
    t += digits;
    if (*t == '.') {
        digits = strspn(t + 1, "0123456789");
        if (digits == 0) return false;
        t += digits + 1;
    }
    if (*t == 'e' || *t == 'E') {
        t += t[1] == '+' || t[1] == '-' ? 2 : 1;
        digits = strspn(t, "0123456789");
        if (digits == 0) return false;
        t += digits;
    }
    return *t == 0;
}

static bool plain_container(plain *p, int level, bool object) {
    p->at++;
    if (plain_char(p, object ? '}' : ']')) return true;
    do {
        bool wanted = false;
        plain_blank(p);
        if (object) {
            const char *name = p->at;
            if (!plain_string(p)) return false;
            size_t size = (size_t)(p->at - name);
            wanted = level == 0 && ((size == 3 && memcmp(name, "\"t\"", 3) == 0) ||
                                    (size == 8 && memcmp(name, "\"\\u0074\"", 8) == 0));
            if (!plain_char(p, ':')) return false;
            plain_blank(p);
        }
        const char *value = p->at;
        if (!plain_value(p, level + 1)) return false;
        if (!wanted) continue;
        p->found = *value != '{' && *value != '[';
        p->value = value;
        p->value_size = (size_t)(p->at - value);
    } while (plain_char(p, ','));
    return plain_char(p, object ? '}' : ']');
}

static bool plain_value(plain *p, int level) {
    static const char *const words[] = {"true", "false", "null"};
    plain_blank(p);
    if (p->at == p->end) return false;
    if (*p->at == '{' || *p->at == '[') return plain_container(p, level, *p->at == '{');
    if (*p->at == '"') return plain_string(p);
    for (size_t i = 0; i < 3; i++) {
        size_t size = strlen(words[i]);
        if ((size_t)(p->end - p->at) >= size && memcmp(p->at, words[i], size) == 0) {
            p->at += size;
            return true;
        }
    }
    return plain_number(p);
}

static const char *plain_member(const char *text, size_t size) {
    static char out[4096];
    plain p = {text, text + size, NULL, 0, false};
    plain_blank(&p);
    if (p.at == p.end || *p.at != '{' || !plain_value(&p, 0)) return NULL;
    plain_blank(&p);
    if (p.at != p.end || !p.found) return NULL;
    memcpy(out, p.value, p.value_size);
    out[p.value_size] = 0;
    return out;
}

/* ---- random documents ------------------------------------------------------------------------ */

typedef struct maker {
    char text[3000];
    size_t size;
    uint64_t dice;
} maker;

static void make(maker *m, const char *text) {
    size_t size = strlen(text);
    if (m->size + size > sizeof m->text - 10) return;
    memcpy(m->text + m->size, text, size);
    m->size += size;
}

static const char *pick(maker *m, const char *const *list, size_t count) {
    return list[unit_below(&m->dice, count)];
}

static void make_value(maker *m, int level) {
    static const char *const scalars[] = {"0",
                                          "-1",
                                          "12.5",
                                          "1e5",
                                          "true",
                                          "false",
                                          "null",
                                          "\"\"",
                                          "\"t\"",
                                          "\"a\\u00e9\\n\"",
                                          "\"\xc3\xa9\"",
                                          "\"{[,:\"",
                                          "-0.1E-7"};
    static const char *const names[] = {"\"t\"", "\"a\"", "\"\\u0074\"", "\"tt\"", "\"\"", "\"T\""};
    static const char *const blanks[] = {"", "", "", " ", "\n", "\t ", "\r\n"};
    size_t kind = level == 0 ? 0 : unit_below(&m->dice, level > 4 ? 1 : 3);
    if (level > 0 && (level > 4 || kind == 2 || unit_chance(&m->dice, 40))) {
        make(m, pick(m, scalars, UNIT_COUNT(scalars)));
        return;
    }
    bool object = kind == 0;
    make(m, object ? "{" : "[");
    for (size_t i = 0, count = unit_below(&m->dice, 5); i < count; i++) {
        if (i > 0) make(m, ",");
        make(m, pick(m, blanks, UNIT_COUNT(blanks)));
        if (object) {
            make(m, pick(m, names, UNIT_COUNT(names)));
            make(m, pick(m, blanks, UNIT_COUNT(blanks)));
            make(m, ":");
            make(m, pick(m, blanks, UNIT_COUNT(blanks)));
        }
        make_value(m, level + 1);
        make(m, pick(m, blanks, UNIT_COUNT(blanks)));
    }
    make(m, object ? "}" : "]");
}

static void random_documents(void) {
    static const char spoil[] = "{}[],:\"\\ut0123456789.-+eE \n\x01"
                                "a\x7f\xff";
    static maker m;
    size_t found = 0, refused = 0;
    m.dice = 12;
    for (int round = 0; round < 100000 && !test_failing(); round++) {
        if (!test_sampled()) continue;
        m.size = 0;
        make_value(&m, 0);
        for (size_t i = unit_chance(&m.dice, 50) ? 0 : 1 + unit_below(&m.dice, 2); i > 0; i--) {
            size_t at = unit_below(&m.dice, m.size), way = unit_below(&m.dice, 3);
            char c = spoil[unit_below(&m.dice, sizeof spoil)]; /* NUL too */
            if (way == 0) m.text[at] = c;
            if (way > 0 && m.size > 1) {
                memmove(m.text + at + (way == 1), m.text + at + (way == 2),
                        m.size - at - (way == 2));
                m.size += way == 1 ? 1 : (size_t)-1;
                if (way == 1) m.text[at] = c;
            }
        }
        const char *expected = plain_member(m.text, m.size);
        test_context("round %d: %.*s", round, (int)m.size, m.text);
        CHECK_STR(member(m.text, m.size, "t"), expected);
        found += expected != NULL;
        refused += expected == NULL;
    }
    test_context("%s", "");
    CHECK(found > (found + refused) / 10 && refused > (found + refused) / 10);
}

/* ---- strings --------------------------------------------------------------------------------- */

static bool is(const char *value, const char *text) {
    mtws__span span;
    span.size = strlen(value);
    span.data = unit_edge_copy(edge, value, span.size);
    return mtws__json_string_is(span, text);
}

static void strings(void) {
    static const struct {
        const char *value, *text;
        bool same;
    } rows[] = {
        {"\"\"", "", true},
        {"\"a\"", "a", true},
        {"\"a\"", "A", false},
        {"\"a\"", "ab", false},
        {"\"ab\"", "a", false},
        {"\"\"", "a", false},
        {"\"a\"", "", false},
        {"\"\\\"\\\\\\/\"", "\"\\/", true},
        {"\"\\b\\f\\n\\r\\t\"", "\b\f\n\r\t", true},
        {"\"\\n\"", "n", false},
        {"\"\\u0041\"", "A", true},
        {"\"\\u00e9\"", "\xc3\xa9", true},
        {"\"\\u00E9\"", "\xc3\xa9", true},
        {"\"\xc3\xa9\"", "\xc3\xa9", true},
        {"\"\\u20ac\"", "\xe2\x82\xac", true},
        {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80", true},
        {"\"\\uD83D\\uDE00x\"", "\xf0\x9f\x98\x80x", true},
        {"\"\\u0000\"", "", false},
        {"\"a\\u0000\"", "a", false},
        {"\"\\ud83d\"", "\xed\xa0\xbd", false},
        {"\"\\ude00\"", "\xed\xb8\x80", false},
        {"\"\\ude00\\ud83d\"", "\xf0\x9f\x98\x80", false},
        {"\"\\ud83dx\"", "\xed\xa0\xbdx", false},
        {"\"\\ud83d\\u0041\"", "A", false},
        {"\"\\ud83d\\u0041\"", "\xf0\x91\xa1\x81", false},
        {"\"\\ud83d\\n\\n\\n\"", "\n\n\n", false},
        {"1", "1", false},
        {"true", "true", false},
        {"null", "null", false},
        {"", "", false},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        test_context("%s and %s", rows[i].value, rows[i].text);
        CHECK_INT(is(rows[i].value, rows[i].text), rows[i].same);
    }
}

/* Each \uXXXX, and each pair, is what an encoder of UTF-8 says. */
static void every_escape(void) {
    for (uint32_t point = 1; point <= 0x10ffff; point += point < 0x10000 ? 1 : 257) {
        char escape[20], text[8];
        uint32_t high = 0xd800 + ((point - 0x10000) >> 10),
                 low = 0xdc00 + ((point - 0x10000) & 0x3ff);
        if (point < 0x10000) snprintf(escape, sizeof escape, "\"\\u%04x\"", (unsigned)point);
        else snprintf(escape, sizeof escape, "\"\\u%04X\\u%04x\"", (unsigned)high, (unsigned)low);
        size_t size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
        static const unsigned marks[5] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (size_t i = 0; i < size; i++) {
            uint32_t bits = point >> (6 * (size - 1 - i));
            text[i] = (char)(uint8_t)(i == 0 ? marks[size] | bits : 0x80 | (bits & 63));
        }
        text[size] = 0;
        bool surrogate = point >= 0xd800 && point <= 0xdfff;
        test_context("U+%04X", (unsigned)point);
        CHECK_INT(is(escape, text), !surrogate);
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {TEST(members), TEST(depth), TEST(random_documents),
                                       TEST(strings), TEST(every_escape)};
    edge = unit_edge_open(8192);
    return TEST_MAIN(tests, argc, argv);
}
