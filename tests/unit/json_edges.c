/* The room "json" where it is easy to be wrong: strings and names by what they mean, every byte in
 * every place, containers in turn to the last level, and work that grows with the text and no
 * faster. What a text has to give is known from how it was made, so no second parser is needed
 * here. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

#include <time.h>

enum { ROOM = 1 << 20, DEPTH_MAX = 128, MEANT_MAX = 512 };

static unit_edge edge;

/* The text lies against an unreadable page. */
static bool find(const char *text, size_t size, const char *name, mtws__span *value) {
    mtws__span span;
    span.data = unit_edge_copy(edge, text, size);
    span.size = size;
    memset(value, 0xa5, sizeof *value);
    return mtws__json_member(span, name, value);
}

static bool has(const char *text, size_t size) {
    mtws__span value;
    return find(text, size, "type", &value);
}

/* ---- every byte in every place --------------------------------------------------------------- */

#define HEX "0123456789abcdefABCDEF"
#define BLANK " \t\n\r"

static void bytes(void) {
    static const struct {
        const char *before, *after;
        const char *allowed; /* NULL: whatever may stand in a string */
    } rows[] = {
        {"{\"type\":\"a", "x\"}", NULL},
        {"{\"a", "x\":1,\"type\":2}", NULL},
        {"{\"type\":1,\"b\":[\"", "\"]}", NULL},
        {"{\"type\":\"a\\", "b\"}", "\"\\/bfnrt"},
        {"{\"a\\", "\":1,\"type\":2}", "\"\\/bfnrt"},
        {"{\"type\":\"\\u", "000\"}", HEX},
        {"{\"type\":\"\\u00", "0\"}", HEX},
        {"{\"type\":\"\\u000", "\"}", HEX},
        {"{\"a\\u00", "0\":1,\"type\":2}", HEX},
        {"{\"type\":", "}", "0123456789"},
        {"{\"type\":1", "}", "0123456789" BLANK},
        {"{\"type\":1", "1}", "0123456789.eE"},
        {"{\"type\":0", "1}", ".eE"},
        {"{\"type\":-", "}", "0123456789"},
        {"{\"type\":", "1}", "-123456789" BLANK},
        {"{\"type\":", "0}", "-123456789" BLANK},
        {"{\"type\":1.", "}", "0123456789"},
        {"{\"type\":1.5", "}", "0123456789" BLANK},
        {"{\"type\":1e", "1}", "0123456789+-"},
        {"{\"type\":1e+", "}", "0123456789"},
        {"{\"type\":1e1", "}", "0123456789" BLANK},
        {"{\"type\":tru", "}", "e"},
        {"{\"type\":", "ull}", "n"},
        {"{\"type\":fa", "se}", "l"},
        {"{\"type\":true", "}", BLANK},
        {"{\"type\":\"a\"", "}", BLANK},
        {"{\"type\":\"a\"", "", "}"},
        {"{\"type\":\"a\"}", "", BLANK},
        {"", "{\"type\":\"a\"}", BLANK},
        {"", "\"type\":\"a\"}", "{"},
        {"{", "\"type\":\"a\"}", BLANK},
        {"{\"type\"", "\"a\"}", ":"},
        {"{\"type\":1", "\"b\":1}", ","},
        {"{\"type\":1,", "\"b\":1}", BLANK},
        {"{\"type\":1,\"b\":[", "]}", "0123456789" BLANK},
        {"{\"type\":1,\"b\":[1", "2]}", "0123456789,.eE"},
        {"{\"type\":1,\"b\":[1", "}", "]"},
        {"{\"type\":1,\"b\":", "]}", "["},
        {"{\"type\":1,\"b\":", "}}", "{"},
        {"{\"type\":1,\"b\":{", "}}", BLANK},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s ... %s", rows[i].before, rows[i].after)) continue;
        char text[64];
        size_t before = strlen(rows[i].before), after = strlen(rows[i].after);
        memcpy(text, rows[i].before, before);
        memcpy(text + before + 1, rows[i].after, after);
        for (int c = 0; c < 256; c++) {
            bool in_string = c >= 0x20 && c != '"' && c != '\\';
            bool allowed =
                rows[i].allowed == NULL ? in_string : c != 0 && strchr(rows[i].allowed, c) != NULL;
            test_context("byte %d", c);
            text[before] = (char)c;
            CHECK_INT(has(text, before + 1 + after), allowed);
        }
        test_end();
    }
}

/* ---- strings and names by what they mean ----------------------------------------------------- */

typedef struct made {
    char written[8 * MEANT_MAX]; /* as JSON, quotes included */
    char meant[MEANT_MAX];
    size_t written_size, meant_size;
    bool nul, lone; /* it means a NUL; it has half a pair of surrogates */
} made;

static void write_escape(uint64_t *seed, made *m, unsigned unit) {
    const char *format = unit_chance(seed, 50) ? "\\u%04x" : "\\u%04X";
    m->written_size += (size_t)sprintf(m->written + m->written_size, format, unit);
}

static void mean_point(made *m, uint32_t point) {
    static const uint32_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    int more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    m->meant[m->meant_size++] = (char)(lead[more] | point >> (6 * more));
    while (more-- > 0) m->meant[m->meant_size++] = (char)(0x80 | (point >> (6 * more) & 63));
    m->nul = m->nul || point == 0;
}

/* A code point in one of the ways that there are to write it. */
static void add_point(uint64_t *seed, made *m, uint32_t point) {
    static const char named[] = "\"\\/\b\f\n\r\t", names[] = "\"\\/bfnrt";
    const char *name = point > 0 && point < 0x80 ? strchr(named, (int)point) : NULL;
    bool plain = point >= 0x20 && point != '"' && point != '\\';
    if (name != NULL && unit_chance(seed, 60)) {
        m->written[m->written_size++] = '\\';
        m->written[m->written_size++] = names[name - named];
        mean_point(m, point);
    } else if (plain && unit_chance(seed, 50)) {
        size_t from = m->meant_size;
        mean_point(m, point);
        memcpy(m->written + m->written_size, m->meant + from, m->meant_size - from);
        m->written_size += m->meant_size - from;
    } else {
        if (point >= 0x10000) {
            write_escape(seed, m, 0xd800 + ((point - 0x10000) >> 10));
            write_escape(seed, m, 0xdc00 + ((point - 0x10000) & 0x3ff));
        } else {
            write_escape(seed, m, point);
        }
        mean_point(m, point);
    }
}

static void make_string(uint64_t *seed, made *m, size_t points, bool odd) {
    static const uint32_t limits[] = {0x30, 0x80, 0x100, 0x800, 0x10000, 0x110000};
    memset(m, 0, sizeof *m);
    m->written[m->written_size++] = '"';
    for (size_t i = 0; i < points; i++) {
        uint32_t point = (uint32_t)unit_below(seed, limits[unit_below(seed, UNIT_COUNT(limits))]);
        if (point == 0 && !odd) point = '/';
        if (point >= 0xd800 && point <= 0xdfff) point = 0xd7ff;
        add_point(seed, m, point);
        if (!odd || m->lone || !unit_chance(seed, 10)) continue;
        /* What follows half a pair is no low half, so it stays alone. */
        write_escape(seed, m, 0xd800 + (unsigned)unit_below(seed, 0x800));
        add_point(seed, m, unit_chance(seed, 50) ? 'x' : 0xe000);
        m->lone = true;
    }
    m->written[m->written_size++] = '"';
}

/* All that the string means, character by character. */
static void compare_decoded(const made *m, mtws__span value) {
    char got[8 * MEANT_MAX];
    size_t size = 0, at = 0;
    mtws__span inside = value;
    inside.data++;
    inside.size -= 2;
    while (at < inside.size) {
        uint8_t out[4];
        size_t from = at, count = mtws__json_decode(inside, &at, out);
        if (!CHECK(at > from && at <= inside.size)) return;
        if (count == 0) break;
        if (!CHECK(count <= 4)) return;
        memcpy(got + size, out, count);
        size += count;
    }
    if (m->lone) {
        CHECK(at < inside.size);
    } else if (CHECK_UINT(size, m->meant_size)) {
        CHECK_MEM(got, m->meant, size);
    }
}

static void compare_string(const made *m, mtws__span value) {
    char text[MEANT_MAX + 2];
    memcpy(text, m->meant, m->meant_size);
    text[m->meant_size] = 0;
    CHECK_INT(mtws__json_string_is(value, text), !m->nul && !m->lone);
    strcpy(text + m->meant_size, "x");
    if (!m->nul) CHECK(!mtws__json_string_is(value, text));
    if (m->nul || m->meant_size == 0) return;
    text[m->meant_size] = 0;
    text[m->meant_size - 1] ^= 1;
    CHECK(!mtws__json_string_is(value, text));
    text[m->meant_size - 1] = 0;
    CHECK(!mtws__json_string_is(value, text));
}

static void random_strings(void) {
    static made name, other, value;
    static char text[32 * MEANT_MAX];
    uint64_t seed = 8259;
    unsigned rounds = 0, lone = 0, nul = 0, repeated = 0;
    for (int round = 0; round < 30000 && !test_failing(); round++) {
        if (!test_sampled()) continue;
        rounds++;
        make_string(&seed, &name, unit_below(&seed, 8), false);
        make_string(&seed, &other, unit_below(&seed, 8), true);
        make_string(&seed, &value, unit_below(&seed, 30), unit_chance(&seed, 40));
        bool same = !other.lone && !other.nul && strcmp(other.meant, name.meant) == 0;
        /* The member that is looked for, then another, with a value of the same kind or a
         * container. */
        bool container = unit_chance(&seed, 30);
        size_t size = (size_t)sprintf(text, container ? "{%s:%s,%s:[%s]}" : "{%s:%s,%s:%s}",
                                      name.written, value.written, other.written, "\"behind\"");
        test_context("round %d: %.160s", round, text);
        mtws__span found;
        bool expected = !(same && container);
        repeated += same;
        lone += value.lone;
        nul += value.nul;
        if (!CHECK_INT(find(text, size, name.meant, &found), expected) || !expected) continue;
        if (same) {
            CHECK(mtws__json_string_is(found, "behind"));
            continue;
        }
        if (!CHECK_UINT(found.size, value.written_size)) continue;
        CHECK_MEM(found.data, value.written, found.size);
        compare_string(&value, found);
        compare_decoded(&value, found);
    }
    test_context("%s", "");
    CHECK_TEXT(lone > rounds / 30 && nul > rounds / 60 && repeated > rounds / 100,
               "of %u, %u lone, %u with NUL, %u repeated", rounds, lone, nul, repeated);
}

/* Each pair of code units: a high half and what follows, what precedes and a low half. */
static void pairs(void) {
    for (uint32_t unit = 0; unit <= 0xffff; unit += unit >= 0xd700 && unit < 0xe100 ? 1 : 61) {
        char text[64];
        made m;
        for (int order = 0; order < 2; order++) {
            memset(&m, 0, sizeof m);
            uint32_t first = order == 0 ? 0xd8a5 : unit, second = order == 0 ? unit : 0xdc5a;
            bool first_high = first >> 10 == 0x36, second_low = second >> 10 == 0x37;
            bool first_low = first >> 10 == 0x37, second_high = second >> 10 == 0x36;
            m.lone = first_low || second_high || first_high != second_low;
            if (!m.lone && first_high) {
                mean_point(&m, 0x10000 + ((first & 0x3ff) << 10 | (second & 0x3ff)));
            } else if (!m.lone) {
                mean_point(&m, first);
                mean_point(&m, second);
            }
            mtws__span value;
            size_t size = (size_t)sprintf(text, "{\"type\":\"\\u%04x\\u%04X\"}", (unsigned)first,
                                          (unsigned)second);
            test_context("%s", text);
            if (!CHECK(find(text, size, "type", &value))) continue;
            compare_string(&m, value);
        }
    }
}

/* ---- nesting --------------------------------------------------------------------------------- */

/* {"type":1,"a":[[[...]]]} of so many containers, the outermost object included. */
static size_t nest(char *out, size_t depth, bool objects, bool closed) {
    size_t at = (size_t)sprintf(out, "{\"type\":1,\"a\":");
    for (size_t i = 1; i < depth; i++) {
        memcpy(out + at, objects ? "{\"type\":" : "[", objects ? 8 : 1);
        at += objects ? 8 : 1;
    }
    if (objects || depth == 1) out[at++] = '0';
    for (size_t i = 1; closed && i < depth; i++) out[at++] = objects ? '}' : ']';
    out[at++] = '}';
    return at;
}

static void depth(void) {
    static const size_t depths[] = {1, 2, 7, 8, 9, 64, 126, 127, 128, 129, 130, 256, 257, 100000};
    static char text[ROOM];
    for (size_t i = 0; i < UNIT_COUNT(depths); i++) {
        if (!test_begin("%zu", depths[i])) continue;
        for (int objects = 0; objects < 2; objects++) {
            size_t size = nest(text, depths[i], objects == 1, true);
            CHECK_INT(has(text, size), depths[i] <= DEPTH_MAX);
            CHECK(!has(text, size - 1));
            text[size++] = '}';
            CHECK(!has(text, size));
            size = nest(text, depths[i], objects == 1, false);
            CHECK_INT(has(text, size), depths[i] == 1);
        }
        memset(text, '[', depths[i]);
        CHECK(!has(text, depths[i]));
        test_end();
    }
}

/* Arrays and objects in turn: each level has to end as it began. */
static void mixed_depth(void) {
    uint64_t seed = 7;
    for (int round = 0; round < 500; round++) {
        char text[2048], ends[DEPTH_MAX];
        size_t at = (size_t)sprintf(text, "{\"type\":1,\"a\":");
        size_t count = round % 2 == 0 ? DEPTH_MAX - 1 : 1 + unit_below(&seed, DEPTH_MAX - 1);
        for (size_t i = 0; i < count; i++) {
            bool object = unit_chance(&seed, 50);
            at += (size_t)sprintf(text + at, "%s", object ? "{\"k\":" : "[");
            ends[i] = object ? '}' : ']';
        }
        text[at++] = '0';
        size_t first_end = at;
        for (size_t i = count; i-- > 0;) {
            text[at++] = ends[i];
            /* A sibling shows that the level below is the right one again. */
            if (i > 0 && unit_chance(&seed, 30)) {
                at += (size_t)sprintf(text + at, ends[i - 1] == '}' ? ",\"s\":[]" : ",{}");
            }
        }
        text[at++] = '}';
        test_context("round %d", round);
        CHECK(has(text, at));
        size_t which = first_end + unit_below(&seed, at - 1 - first_end);
        while (text[which] != '}' && text[which] != ']') which--;
        text[which] = text[which] == '}' ? ']' : '}';
        CHECK(!has(text, at));
    }
}

/* Cut at every byte, which an unreadable page follows then: only the blank at the end may be
 * missing. */
static void truncated(void) {
    static const char text[] =
        " {\"a\" : [1, -2.5e+3, true,false , null, {\"type\":\"b\"}, []], \"\\u0074ype\" :\r\n"
        "\"caf\xc3\xa9 \\ud83d\\ude00 \\\"\\\\\\n\",\"b\":{\"c\":{},\"type\":0}, \"d\":\"\"} ";
    size_t size = sizeof text - 1;
    for (size_t cut = 0; cut <= size; cut++) {
        test_context("cut at %zu", cut);
        CHECK_INT(has(text, cut), cut >= size - 1);
        if (cut > 1) CHECK(!has(text + cut, size - cut));
    }
}

/* ---- work ------------------------------------------------------------------------------------ */

typedef struct filling {
    const char *name, *begin, *unit, *end;
} filling;

/* The least of several runs, in ticks of the processor's clock. */
static double cost(const filling *f, size_t units) {
    static char text[ROOM];
    size_t at = (size_t)sprintf(text, "%s", f->begin), unit = strlen(f->unit);
    for (size_t i = 0; i < units; i++, at += unit) memcpy(text + at, f->unit, unit);
    at += (size_t)sprintf(text + at, "%s", f->end);
    mtws__span value;
    double least = 1e30;
    for (int run = 0; run < 5; run++) {
        bool found = false;
        mtws__span span;
        span.data = unit_edge_copy(edge, text, at);
        span.size = at;
        clock_t from = clock();
        for (int i = 0; i < 3; i++) {
            found = mtws__json_member(span, "type", &value) &&
                    mtws__json_string_is(value, "no such type");
        }
        double took = (double)(clock() - from);
        if (found) FAIL("%s: found", f->name);
        least = took < least ? took : least;
    }
    return least;
}

/* Sixteen times the text is sixteen times the work at most; it would be 256 times if any part of it
 * made the parser go over the rest. What a clock's tick and a busy machine add is allowed for. */
static void linear(void) {
    static const filling rows[] = {
        {"brackets", "", "[", ""},
        {"brackets in an object", "{\"a\":", "[", ""},
        {"objects", "", "{\"type\":", ""},
        {"quotes and half escapes", "", "\"\\u", ""},
        {"half escapes", "{\"type\":\"", "\\u", "\"}"},
        {"escapes", "{\"type\":\"", "\\u0041", "\"}"},
        {"escapes without end", "{\"type\":\"", "\\u0041", ""},
        {"escapes in a name", "{\"", "\\u0041", "\":1}"},
        {"a long name that begins well", "{\"type", "e", "\":1}"},
        {"halves of surrogates", "{\"type\":\"", "\\ud800", "\"}"},
        {"backslashes", "{\"type\":\"", "\\\\", "\"}"},
        {"blanks in front", "", " ", "{\"type\":\"a\"}"},
        {"blanks within", "{\"type\":", " ", "\"a\"}"},
        {"digits", "{\"type\":", "1", "}"},
        {"digits of an exponent", "{\"type\":1e", "1", "}"},
        {"the member again and again", "{\"type\":1", ",\"type\":\"aaaaaaaa\"", "}"},
        {"members", "{\"type\":1", ",\"b\":{\"c\":[]}", "}"},
        {"elements", "{\"type\":1,\"b\":[1", ",[],{},1", "]}"},
        {"no JSON at its end", "{\"type\":1,\"b\":[1", ",1", "]}x"},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_sampled() || !test_begin("%s", rows[i].name)) continue;
        size_t most = (512u << 10) / strlen(rows[i].unit);
        double slack = (double)CLOCKS_PER_SEC / 1000, little = 0, much = 1e30;
        /* What is linear shows it at last, however busy the machine; what is not, never. */
        for (int turn = 0; turn < 10 && much > 48 * little + slack; turn++) {
            little = cost(&rows[i], most / 16);
            much = cost(&rows[i], most);
        }
        CHECK_TEXT(much <= 48 * little + slack, "%.0f ticks become %.0f for 16 times the text",
                   little, much);
        test_end();
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST_ROWS(bytes),  TEST(random_strings), TEST(pairs),       TEST_ROWS(depth),
        TEST(mixed_depth), TEST(truncated),      TEST_ROWS(linear),
    };
    edge = unit_edge_open(ROOM);
    return TEST_MAIN(tests, argc, argv);
}
