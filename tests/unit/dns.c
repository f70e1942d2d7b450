/* The room "dns": addresses as text, hosts and resolv.conf, messages, and the machine that asks,
 * in virtual time against servers that answer, fail, are slow or silent. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "message_of.h"

#include <arpa/inet.h>

/* ---- addresses as text ----------------------------------------------------------------------- */

static void addresses(void) {
    static const struct {
        const char *text;
        const char *same; /* as the system writes it; NULL: none */
        const char *zone;
    } rows[] = {
        {"127.0.0.1", "127.0.0.1", ""},
        {"255.255.255.255", "255.255.255.255", ""},
        {"0.0.0.0", "0.0.0.0", ""},
        {"1.2.3", NULL, ""},
        {"1.2.3.4.5", NULL, ""},
        {"1.2.3.256", NULL, ""},
        {"1.2.3.04", NULL, ""},
        {"1.2.3.1000", NULL, ""},
        {"1.2.3.", NULL, ""},
        {".1.2.3", NULL, ""},
        {"1..2.3", NULL, ""},
        {"1.2.3.4%eth0", NULL, ""},
        {"", NULL, ""},
        {"::", "::", ""},
        {"::1", "::1", ""},
        {"1::", "1::", ""},
        {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8", ""},
        {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0", ""},
        {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8", ""},
        {"1:2:3:4::5:6:7:8", NULL, ""},
        {"1:2:3:4:5:6:7:8:9", NULL, ""},
        {"1:2:3:4:5:6:7", NULL, ""},
        {"2001:DB8::5", "2001:db8::5", ""},
        {"::ffff:10.1.2.3", "::ffff:10.1.2.3", ""},
        {"1:2:3:4:5:6:10.1.2.3", "1:2:3:4:5:6:a01:203", ""},
        {"1:2:3:4:5:6:7:10.1.2.3", NULL, ""},
        {"::10.1.2.300", NULL, ""},
        {"10.1.2.3::", NULL, ""},
        {":1::", NULL, ""},
        {":::", NULL, ""},
        {"1:::2", NULL, ""},
        {"1:", NULL, ""},
        {":", NULL, ""},
        {"12345::", NULL, ""},
        {"g::", NULL, ""},
        {"fe80::1%eth0", "fe80::1", "eth0"},
        {"fe80::1%2", "fe80::1", "2"},
        {"fe80::1%", NULL, ""},
        {"fe80::1%123456789012345", "fe80::1", "123456789012345"},
        {"fe80::1%1234567890123456", NULL, ""},
        {"h1.example", NULL, ""},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        mtws__ip ip;
        char text[64] = "";
        test_context("%s", rows[i].text);
        bool good = mtws__ip_parse(mtws__span_of(rows[i].text), &ip);
        CHECK_INT(good, rows[i].same != NULL);
        if (!good || rows[i].same == NULL) continue;
        inet_ntop(ip.six ? AF_INET6 : AF_INET, ip.bytes, text, (socklen_t)sizeof text);
        CHECK_STR(text, rows[i].same);
        CHECK_STR(ip.zone, rows[i].zone);
    }
}

/* The system's own parser agrees about texts that are nearly addresses. */
static void addresses_as_the_system(void) {
    static const char *const seeds[] = {"1:2:3:4:5:6:7:8", "::1", "fe80::10:200", "::ffff:1.2.3.4",
                                        "10.20.30.40",     "1::", "1:2::7:8",     "255.0.1.9"};
    uint64_t random = 11;
    unsigned good_ones = 0;
    for (int i = 0; i < 200000 && !test_failing(); i++) {
        char text[64];
        uint8_t theirs[16] = {0};
        mtws__ip ip;
        snprintf(text, sizeof text, "%s", seeds[unit_below(&random, UNIT_COUNT(seeds))]);
        for (size_t edits = unit_below(&random, 4); edits > 0; edits--) {
            size_t size = strlen(text), at = unit_below(&random, size + 1);
            char c = "0123456789abcf:.::..g"[unit_below(&random, 21)];
            if (unit_chance(&random, 40) && size > 0 && at < size) {
                memmove(text + at, text + at + 1, size - at);
            } else if (size + 2 < sizeof text) {
                memmove(text + at + 1, text + at, size - at + 1);
                text[at] = c;
            }
        }
        bool six = strchr(text, ':') != NULL;
        bool good = inet_pton(six ? AF_INET6 : AF_INET, text, theirs) == 1;
        test_context("%s", text);
        CHECK_INT(mtws__ip_parse(mtws__span_of(text), &ip), good);
        if (good) CHECK_MEM(ip.bytes, theirs, six ? 16 : 4);
        good_ones += good;
    }
    CHECK(good_ones > 10000);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* The addresses that a hosts file has for the name, the file coming in pieces of this size. */
static const char *hosts_say(const char *file, const char *name, size_t piece) {
    static char said[512];
    mtws__hosts hosts;
    size_t size = strlen(file) + 1;
    char *copy = (char *)malloc(size);
    if (copy == NULL) abort();
    memcpy(copy, file, size);
    copy[size - 1] = '\n'; /* the end */
    memset(&hosts, 0, sizeof hosts);
    said[0] = 0;
    for (size_t at = 0; at < size; at += piece) {
        mtws__span in;
        mtws__ip ip;
        in.data = (const uint8_t *)copy + at;
        in.size = mtws__min_size(piece, size - at);
        while (mtws__hosts_next(&hosts, name, &in, &ip)) {
            char text[64];
            inet_ntop(ip.six ? AF_INET6 : AF_INET, ip.bytes, text, (socklen_t)sizeof text);
            snprintf(said + strlen(said), sizeof said - strlen(said), "%s%s%s ", text,
                     ip.zone[0] != 0 ? "%" : "", ip.zone);
        }
    }
    free(copy);
    return said;
}

static void hosts_files(void) {
    static const struct {
        const char *file, *name, *said;
    } rows[] = {
        {"", "h", ""},
        {"10.0.0.1 h", "h", "10.0.0.1 "},
        {"10.0.0.1 h\n", "H", "10.0.0.1 "},
        {"10.0.0.1\t a  H.b \n", "h.b", "10.0.0.1 "},
        {"10.0.0.1 ha\n10.0.0.2 h", "h", "10.0.0.2 "},
        {"10.0.0.1 h h h\n::1 h", "h", "10.0.0.1 ::1 "},
        {"10.0.0.1 h # x\n", "x", ""},
        {"#10.0.0.1 h\n 10.0.0.2 h#h", "h", "10.0.0.2 "},
        {"10.0.0.1 a;b\r\nfe80::1%eth0 c\r\n", "c", "fe80::1%eth0 "},
        {"what h\n1.2.3 h\n10.0.0.3 h", "h", "10.0.0.3 "},
        {"10.0.0.1\nh\n", "h", ""},
        {"h 10.0.0.1\n", "h", ""},
        {"10.0.0.1 h.", "h", ""},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        for (size_t piece = 1; piece < 40; piece++) {
            test_context("row %zu in pieces of %zu", i, piece);
            CHECK_STR(hosts_say(rows[i].file, rows[i].name, piece), rows[i].said);
        }
    }
}

/* A word that is too long is none, and the words behind it keep their places. */
static void long_words(void) {
    static char file[2000];
    char name[300];
    for (size_t size = 250; size < 260; size++) {
        memset(name, 'x', sizeof name);
        name[size] = 0;
        snprintf(file, sizeof file, "10.0.0.1 %s h\n10.0.0.2%s h\n", name, name);
        for (size_t piece = 1; piece < 300; piece += 7) {
            test_context("%zu bytes in pieces of %zu", size, piece);
            CHECK_STR(hosts_say(file, "h", piece), "10.0.0.1 ");
            if (size <= 253) CHECK_STR(hosts_say(file, name, piece), "10.0.0.1 ");
        }
    }
}

static void read_config(mtws__dns_config *c, const char *text) {
    mtws__words words;
    mtws__span in = mtws__span_of(text), end = mtws__span_of("\n");
    memset(&words, 0, sizeof words);
    mtws__dns_config_start(c);
    while (mtws__words_next(&words, &in) || mtws__words_next(&words, &end)) {
        mtws__dns_config_word(c, words.text, words.place);
    }
}

/* What a configuration says, in one line. */
static const char *config_text(const mtws__dns_config *c) {
    static char text[2048];
    text[0] = 0;
    for (int i = 0; i < c->server_count; i++) {
        const mtws__dns_server *s = &c->servers[i];
        char ip[64];
        inet_ntop(s->ip.six ? AF_INET6 : AF_INET, s->ip.bytes, ip, (socklen_t)sizeof ip);
        size_t size = strlen(text);
        snprintf(text + size, sizeof text - size, "%s%%%s:%u ", ip, s->ip.zone, (unsigned)s->port);
    }
    for (size_t at = 0; at < c->search_size; at += strlen(c->search + at) + 1) {
        size_t size = strlen(text);
        snprintf(text + size, sizeof text - size, "+%s ", c->search + at);
    }
    size_t size = strlen(text);
    snprintf(text + size, sizeof text - size, "n%u t%u a%u r%d", c->ndots, c->timeout_ms,
             c->attempts, c->rotate);
    return text;
}

static void resolv_conf(void) {
    static const struct {
        const char *file, *text;
    } rows[] = {
        {"", "n1 t0 a2 r0"},
        {"nameserver 10.0.0.1", "10.0.0.1%:53 n1 t0 a2 r0"},
        {"nameserver 10.0.0.1 10.0.0.9\nnameserver fe80::1%eth0\nnameserver ::1 # x\n"
         "nameserver 10.0.0.4\n",
         "10.0.0.1%:53 fe80::1%eth0:53 ::1%:53 n1 t0 a2 r0"},
        {"nameserver what\n;nameserver 10.0.0.2\nnameserver 10.0.0.1", "10.0.0.1%:53 n1 t0 a2 r0"},
        {"search a.example b.example.\ndomain c.example d.example\n", "+c.example n1 t0 a2 r0"},
        {"domain c.example\nsearch a.example . b.example", "+a.example +b.example n1 t0 a2 r0"},
        {"options ndots:3 timeout:7 attempts:4 rotate", "n3 t7000 a4 r1"},
        {"options ndots:99 timeout:99 attempts:99", "n15 t30000 a5 r0"},
        {"options ndots:0 timeout:0 attempts:0 edns0 ndots: ndots:x", "n0 t1000 a1 r0"},
        {"options ndots:99999999999999999999", "n15 t0 a2 r0"},
        {"unknown 1\nnameserverx 10.0.0.1\noptionsoptionsoptions rotate", "n1 t0 a2 r0"},
    };
    mtws__dns_config c;
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        test_context("row %zu", i);
        read_config(&c, rows[i].file);
        CHECK_STR(config_text(&c), rows[i].text);
    }
    char domain[300] = "search ";
    memset(domain + 7, 'x', MTWS__HOST_MAX + 1);
    read_config(&c, domain);
    CHECK_UINT(c.search_size, 0);
    domain[7 + MTWS__HOST_MAX] = 0;
    read_config(&c, domain);
    CHECK_UINT(c.search_size, MTWS__HOST_MAX + 1);
    /* What has no room is left away, whole. */
    static char file[8192] = "search";
    for (int i = 0; i < 100; i++) {
        size_t size = strlen(file);
        snprintf(file + size, sizeof file - size, " domain%d.example", i);
    }
    read_config(&c, file);
    CHECK(c.search_size > 400 && c.search_size <= sizeof c.search);
    for (size_t at = 0; at < c.search_size; at += strlen(c.search + at) + 1) {
        CHECK(strncmp(c.search + at, "domain", 6) == 0 &&
              strstr(c.search + at, ".example") != NULL);
    }
}

static void server_lists(void) {
    static const struct {
        const char *list, *text; /* NULL: refused */
    } rows[] = {
        {"9.9.9.9", "9.9.9.9%:53 n1 t0 a2 r0"},
        {"9.9.9.9:5353, ::1", "9.9.9.9%:5353 ::1%:53 n1 t0 a2 r0"},
        {" [::1]:65535 ,,[fe80::1%eth0] fe80::2%2", "::1%:65535 fe80::1%eth0:53 fe80::2%2:53 n1 "
                                                    "t0 a2 r0"},
        {"", NULL},
        {" , ", NULL},
        {"dns.example", NULL},
        {"9.9.9.9:0", NULL},
        {"9.9.9.9:65536", NULL},
        {"9.9.9.9:", NULL},
        {"9.9.9.9:53x", NULL},
        {"[9.9.9.9]:53", NULL},
        {"[::1:53", NULL},
        {"[::1]53", NULL},
        {"[::1]:", NULL},
        {"[]", NULL},
        {"1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4", NULL},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        mtws__dns_config c;
        mtws__dns_config_start(&c);
        test_context("%s", rows[i].list);
        bool good = mtws__dns_servers_parse(rows[i].list, &c);
        CHECK_INT(good, rows[i].text != NULL);
        if (good && rows[i].text != NULL) CHECK_STR(config_text(&c), rows[i].text);
    }
}

/* ---- messages -------------------------------------------------------------------------------- */

static void names(void) {
    static char long_label[65], longest[254], longer[255];
    memset(long_label, 'a', 63);
    memset(longest, 'b', 253);
    memset(longer, 'b', 254);
    for (size_t i = 63; i < 253; i += 64) longest[i] = longer[i] = '.';
    CHECK(mtws__dns_name_ok("h"));
    CHECK(mtws__dns_name_ok("a-b_c.9.example"));
    CHECK(mtws__dns_name_ok(long_label));
    CHECK(mtws__dns_name_ok(longest));
    CHECK(!mtws__dns_name_ok(longer));
    long_label[63] = 'a';
    CHECK(!mtws__dns_name_ok(long_label));
    CHECK(!mtws__dns_name_ok(""));
    CHECK(!mtws__dns_name_ok("."));
    CHECK(!mtws__dns_name_ok("a..b"));
    CHECK(!mtws__dns_name_ok(".a"));
    CHECK(!mtws__dns_name_ok("a."));
    CHECK(!mtws__dns_name_ok("a%41"));
    CHECK(mtws__dns_is_number("1.2.3"));
    CHECK(mtws__dns_is_number("h.256"));
    CHECK(!mtws__dns_is_number("1.2.3d"));
    CHECK(!mtws__dns_is_number("h"));
}

static void queries(void) {
    static const uint8_t plain[] = {0x12, 0x34, 1,   0, 0,   1,   0, 0, 0, 0, 0, 0,
                                    2,    'h',  '1', 2, 'x', 'y', 0, 0, 1, 0, 1};
    static const uint8_t with_edns[] = {0, 7,  1, 0, 0, 1, 0,  0, 0,    0, 0, 1, 1, 'H', 0,
                                        0, 28, 0, 1, 0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0,   0};
    uint8_t out[MTWS__DNS_QUERY_MAX], cases[32];
    CHECK_UINT(mtws__dns_query(out, "h1.xy", 0x1234, MTWS__DNS_A, NULL, false), sizeof plain);
    CHECK_MEM(out, plain, sizeof plain);
    memset(cases, 0xff, sizeof cases);
    CHECK_UINT(mtws__dns_query(out, "h", 7, MTWS__DNS_AAAA, cases, true), sizeof with_edns);
    CHECK_MEM(out, with_edns, sizeof with_edns);
    cases[0] = 0x15; /* h, 1 and x; a digit has no case */
    mtws__dns_query(out, "h1.xy", 0x1234, MTWS__DNS_A, cases, false);
    CHECK_MEM(out + 12, "\2H1\2xY\0", 7);
    /* The longest name. */
    char longest[254];
    unit_edge edge = unit_edge_open(MTWS__DNS_QUERY_MAX);
    memset(longest, 'b', sizeof longest);
    longest[253] = 0;
    for (size_t i = 63; i < 253; i += 64) longest[i] = '.';
    uint8_t *room = unit_edge_room(edge, MTWS__DNS_QUERY_MAX);
    CHECK_UINT(mtws__dns_query(room, longest, 7, MTWS__DNS_AAAA, cases, true), MTWS__DNS_QUERY_MAX);
    CHECK_STR(made_asked(room, MTWS__DNS_QUERY_MAX), longest);
}

/* Names on the wire, behind a header of 12 bytes that holds something else: FAULTS row 68. */
static void names_on_the_wire(void) {
    static const struct {
        const char *name;
        const char *bytes;
        size_t size, at;
        size_t result; /* 0: refused */
        size_t next;
    } rows[] = {
        {"the root", "\0", 1, 12, 1, 13},
        {"two labels", "\1A\2Bc\0", 6, 12, 6, 18},
        {"no end", "\1A\2Bc", 5, 12, 0, 0},
        {"a label cut off", "\1A\5Bc", 5, 12, 0, 0},
        {"nothing", "", 0, 12, 0, 0},
        {"a pointer backward", "\1a\0\1b\xc0\x0c", 7, 15, 5, 19},
        {"a pointer cut off", "\1a\0\1b\xc0", 6, 15, 0, 0},
        {"to itself", "\xc0\x0c", 2, 12, 0, 0},
        {"into its own labels", "\1a\xc0\x0c", 4, 12, 0, 0},
        {"into the midst of its labels", "\2aa\1b\xc0\x0f", 7, 12, 0, 0},
        {"forward", "\xc0\x0e\1a\0", 5, 12, 0, 0},
        {"into the header", "\1a\0\xc0\x00", 5, 15, 0, 0},
        {"behind the end", "\1a\0\xc0\xff", 5, 15, 0, 0},
        {"a circle of two", "\xc0\x0e\xc0\x0c", 4, 12, 0, 0},
        {"a circle of two, from the other", "\xc0\x0e\xc0\x0c", 4, 14, 0, 0},
        {"a label of 64",
         "\x40"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\0",
         66, 12, 0, 0},
        {"a label of 128", "\x80\0", 2, 12, 0, 0},
    };
    unit_edge edge = unit_edge_open(4096);
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        uint8_t name[MTWS__DNS_NAME_MAX], bytes[128];
        memset(bytes, 1, 12);
        memcpy(bytes + 12, rows[i].bytes, rows[i].size);
        mtws__span message;
        message.size = 12 + rows[i].size;
        message.data = unit_edge_copy(edge, bytes, message.size);
        size_t at = rows[i].at;
        test_context("%s", rows[i].name);
        CHECK_UINT(mtws__dns_name(message, &at, name), rows[i].result);
        if (rows[i].result > 0) CHECK_UINT(at, rows[i].next);
    }
}

/* Labels without end, long chains of pointers: the limits are exact. */
static void names_of_any_size(void) {
    static uint8_t bytes[4096];
    uint8_t name[MTWS__DNS_NAME_MAX];
    mtws__span message;
    message.data = bytes;
    for (size_t labels = 120; labels < 140; labels++) {
        size_t at = 12;
        for (size_t i = 0; i < labels; i++) {
            bytes[12 + 2 * i] = 1;
            bytes[13 + 2 * i] = 'a';
        }
        bytes[12 + 2 * labels] = 0;
        message.size = 13 + 2 * labels;
        test_context("%zu labels", labels);
        CHECK_UINT(mtws__dns_name(message, &at, name), labels <= 127 ? 2 * labels + 1 : 0);
    }
    for (size_t hops = 1; hops < 60; hops++) { /* each points to the one before, then the root */
        bytes[12] = 0;
        for (size_t i = 0; i < hops; i++) {
            size_t target = i == 0 ? 12 : 13 + 2 * (i - 1);
            mtws__store_big(bytes + 13 + 2 * i, 2, 0xc000 | target);
        }
        message.size = 13 + 2 * hops;
        size_t at = message.size - 2;
        test_context("%zu hops", hops);
        CHECK_UINT(mtws__dns_name(message, &at, name), hops <= MTWS__DNS_HOPS_MAX ? 1 : 0);
    }
}

enum { ID = 0x4711 };

/* A query for h.example, and a message that is to answer it. */
static uint8_t query[MTWS__DNS_QUERY_MAX];
static size_t query_asked; /* up to the question's end */
static made answer;

static void ask(bool six, int code) {
    query_asked =
        mtws__dns_query(query, "h.example", ID, six ? MTWS__DNS_AAAA : MTWS__DNS_A, NULL, false);
    made_start(&answer, query, query_asked, code);
}

static mtws__dns_reply reply;

static int said_of(const uint8_t *data, size_t size) {
    static unit_edge edge;
    mtws__span message;
    if (edge.size == 0) edge = unit_edge_open(MADE_MAX);
    message.data = unit_edge_copy(edge, data, size);
    message.size = size;
    return (int)mtws__dns_parse(message, query, query_asked, made_type(query, query_asked), &reply);
}

static int said(void) { return said_of(answer.data, answer.size); }

static void good_answers(void) {
    for (int six = 0; six < 2; six++) {
        ask(six, 0);
        made_address(&answer, NULL, six, 300, 1);
        made_address(&answer, "H.Example", six, 200, 2);
        made_address(&answer, NULL, six, 400, 2);  /* the same again */
        made_address(&answer, "other", six, 1, 3); /* nobody asked */
        made_address(&answer, NULL, !six, 1, 4);   /* the other family */
        CHECK_INT(said(), MTWS__DNS_ADDRESSES);
        CHECK_INT(reply.count, 2);
        CHECK_UINT(reply.ttl, 200);
        CHECK_UINT(reply.bytes[0][six ? 15 : 3], 1);
        CHECK_UINT(reply.bytes[1][six ? 15 : 3], 2);
    }
    ask(false, 0); /* many: the first eight */
    for (uint8_t i = 1; i <= 200; i++) made_address(&answer, NULL, false, 60, i);
    CHECK_INT(said(), MTWS__DNS_ADDRESSES);
    CHECK_INT(reply.count, MTWS__DNS_FAMILY_MAX);
    ask(false, 0); /* a TTL with its highest bit is 0: RFC 2181 section 8 */
    made_address(&answer, NULL, false, 0x80000000u, 1);
    CHECK_INT(said(), MTWS__DNS_ADDRESSES);
    CHECK_UINT(reply.ttl, 0);
    ask(false, 0); /* records of others classes and types are passed by */
    made_name(&answer, "h.example");
    made_record(&answer, MADE_ANSWER, 16, 60, 3);
    made_bytes(&answer, "\2hi", 3);
    made_address(&answer, NULL, false, 60, 1);
    answer.data[answer.size - 4 - 7] = 3; /* class CHAOS */
    made_address(&answer, NULL, false, 60, 2);
    CHECK_INT(said(), MTWS__DNS_ADDRESSES);
    CHECK_INT(reply.count, 1);
    CHECK_UINT(reply.bytes[0][3], 2);
}

/* Addresses at which nobody can be. */
static void nobody(void) {
    ask(false, 0);
    made_number(&answer, 2, 0xc00c);
    made_record(&answer, MADE_ANSWER, 1, 60, 4);
    made_number(&answer, 4, 0);
    CHECK_INT(said(), MTWS__DNS_NO_DATA);
    ask(true, 0);
    made_number(&answer, 2, 0xc00c);
    made_record(&answer, MADE_ANSWER, 28, 60, 16);
    made_bytes(&answer, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\1", 16);
    made_number(&answer, 2, 0xc00c);
    made_record(&answer, MADE_ANSWER, 28, 60, 16);
    made_bytes(&answer, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    CHECK_INT(said(), MTWS__DNS_NO_DATA);
    made_address(&answer, NULL, true, 60, 9);
    CHECK_INT(said(), MTWS__DNS_ADDRESSES);
    CHECK_INT(reply.count, 1);
}

/* FAULTS row 69: chains of aliases, in any order, of eight at most, and circles. */
static void aliases(void) {
    for (int length = 1; length <= 12; length++) {
        for (int backward = 0; backward < 2; backward++) {
            ask(false, 0);
            if (backward) made_address(&answer, "a0", false, 300, 1);
            for (int i = 0; i < length; i++) {
                char from[16], to[16];
                int n = backward ? i : length - 1 - i;
                snprintf(from, sizeof from, "a%d", n + 1);
                snprintf(to, sizeof to, "a%d", n);
                made_alias(&answer, n == length - 1 ? NULL : from, to, 50 + (uint32_t)n);
            }
            if (!backward) made_address(&answer, "a0", false, 300, 1);
            test_context("%d aliases, %s", length, backward ? "backward" : "forward");
            CHECK_INT(said(), length <= 8 ? MTWS__DNS_ADDRESSES : MTWS__DNS_FAILED);
            if (length <= 8) CHECK_UINT(reply.ttl, 50);
        }
    }
    for (int length = 1; length <= 10; length++) {
        ask(false, 0);
        for (int i = 0; i < length; i++) {
            char from[16], to[16];
            snprintf(from, sizeof from, "a%d", i);
            snprintf(to, sizeof to, i + 1 == length ? "h.example" : "a%d", i + 1);
            made_alias(&answer, i == 0 ? NULL : from, to, 50);
        }
        test_context("a circle of %d", length);
        CHECK_INT(said(), MTWS__DNS_FAILED);
    }
    ask(false, 0); /* a chain that ends without an address */
    made_alias(&answer, NULL, "a.b", 50);
    made_soa(&answer, 90, 30);
    CHECK_INT(said(), MTWS__DNS_NO_DATA);
    CHECK_UINT(reply.ttl, 30);
    ask(false, 0); /* an alias that has addresses itself, against RFC 1034 section 3.6.2 */
    made_alias(&answer, NULL, "a.b", 50);
    made_address(&answer, NULL, false, 60, 1);
    made_address(&answer, "a.b", false, 60, 2);
    CHECK_INT(said(), MTWS__DNS_ADDRESSES);
    CHECK_INT(reply.count, 1);
    CHECK_UINT(reply.bytes[0][3], 1);
    ask(false, 0); /* data that goes on behind the alias's name */
    made_number(&answer, 2, 0xc00c);
    made_record(&answer, MADE_ANSWER, 5, 50, 4);
    made_bytes(&answer, "\1a\0x", 4);
    CHECK_INT(said(), MTWS__DNS_FAILED);
}

static void negative_answers(void) {
    ask(false, 3);
    made_soa(&answer, 900, 60);
    CHECK_INT(said(), MTWS__DNS_NO_NAME);
    CHECK_UINT(reply.ttl, 60);
    ask(false, 0);
    made_soa(&answer, 30, 600);
    CHECK_INT(said(), MTWS__DNS_NO_DATA);
    CHECK_UINT(reply.ttl, 30);
    ask(false, 3); /* nothing says how long it holds */
    CHECK_INT(said(), MTWS__DNS_NO_NAME);
    CHECK_UINT(reply.ttl, UINT32_MAX);
    ask(false, 0); /* a server that only knows others: RFC 2308 section 2.2 */
    made_name(&answer, "example");
    made_record(&answer, MADE_AUTHORITY, 2, 60, 3);
    made_name(&answer, "n");
    CHECK_INT(said(), MTWS__DNS_FAILED);
    made_soa(&answer, 30, 600); /* one that is responsible names itself so, too */
    CHECK_INT(said(), MTWS__DNS_NO_DATA);
    ask(false, 0); /* an alias to a name that this server knows only others for */
    made_alias(&answer, NULL, "a.b", 50);
    made_name(&answer, "b");
    made_record(&answer, MADE_AUTHORITY, 2, 60, 3);
    made_name(&answer, "n");
    CHECK_INT(said(), MTWS__DNS_NO_DATA);
    for (int code = 0; code < 16; code++) {
        ask(false, code);
        int expected = code == 0                ? MTWS__DNS_NO_DATA
                       : code == 3              ? MTWS__DNS_NO_NAME
                       : code == 1 || code == 4 ? MTWS__DNS_PLAIN
                                                : MTWS__DNS_FAILED;
        test_context("code %d", code);
        CHECK_INT(said(), expected);
    }
}

/* FAULTS row 67: what does not repeat the question is no answer to it. */
static void forged(void) {
    ask(false, 0);
    made_address(&answer, NULL, false, 300, 1);
    CHECK_INT(said(), MTWS__DNS_ADDRESSES);
    for (size_t i = 0; i < answer.question_size; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            if (i >= 6 && i < 12) continue;                /* counts of other sections */
            if (i == 3 || (i == 2 && (bit < 3))) continue; /* flags and code */
            made other = answer;
            other.data[i] = (uint8_t)(other.data[i] ^ 1u << bit);
            test_context("byte %zu, bit %u", i, bit);
            CHECK_INT(said_of(other.data, other.size), MTWS__DNS_FOREIGN);
        }
    }
    CHECK_INT(said_of(query, query_asked), MTWS__DNS_FOREIGN); /* a query is no answer */
    for (size_t size = 0; size < answer.question_size; size++) {
        CHECK_INT(said_of(answer.data, size), MTWS__DNS_FOREIGN);
    }
}

/* Without the question nothing counts but FORMERR, with the right id, where there was EDNS0. */
static void without_question(void) {
    for (int edns = 0; edns < 2; edns++) {
        for (int code = 0; code < 16; code++) {
            ask(false, code);
            query[11] = (uint8_t)edns;
            mtws__store_big(answer.data + 4, 2, 0);
            test_context("EDNS0 %d, code %d", edns, code);
            int expected = edns && code == 1 ? MTWS__DNS_PLAIN : MTWS__DNS_FOREIGN;
            CHECK_INT(said_of(answer.data, 12), expected);
            for (size_t size = 0; size < 12; size++) {
                CHECK_INT(said_of(answer.data, size), MTWS__DNS_FOREIGN);
            }
            answer.data[1] ^= 1;
            CHECK_INT(said_of(answer.data, 12), MTWS__DNS_FOREIGN);
            answer.data[1] ^= 1;
            answer.data[2] &= 0x7f; /* a question */
            CHECK_INT(said_of(answer.data, 12), MTWS__DNS_FOREIGN);
        }
    }
}

/* FAULTS row 68: counts that lie; a message that ends anywhere. */
static void cut_anywhere(void) {
    ask(true, 0);
    made_alias(&answer, NULL, "www.h.example", 50);
    made_address(&answer, "www.h.example", true, 300, 1);
    made_soa(&answer, 30, 60);
    for (size_t size = answer.question_size; size < answer.size; size++) {
        test_context("%zu of %zu bytes", size, answer.size);
        CHECK_INT(said_of(answer.data, size), MTWS__DNS_FAILED);
    }
    CHECK_INT(said(), MTWS__DNS_ADDRESSES);
    for (size_t section = 0; section < 3; section++) {
        static const uint16_t lies[] = {20, 255, 0x7fff, 0xffff};
        for (size_t i = 0; i < UNIT_COUNT(lies); i++) {
            made other = answer;
            mtws__store_big(other.data + 6 + 2 * section, 2, lies[i]);
            test_context("section %zu counts %u", section, (unsigned)lies[i]);
            CHECK_INT(said_of(other.data, other.size), MTWS__DNS_FAILED);
        }
    }
    made other = answer; /* one more than there are: the rest is the next section's */
    other.data[7] = 3;
    CHECK_INT(said_of(other.data, other.size), MTWS__DNS_FAILED);
    ask(false, 0); /* an address of a wrong size */
    for (size_t size = 0; size < 20; size++) {
        ask(false, 0);
        made_number(&answer, 2, 0xc00c);
        made_record(&answer, MADE_ANSWER, 1, 60, size);
        made_bytes(&answer, "\1\2\3\4\5\6\7\1\2\3\4\5\6\7\1\2\3\4\5\6", size);
        test_context("%zu bytes", size);
        CHECK_INT(said(), size == 4 ? MTWS__DNS_ADDRESSES : MTWS__DNS_FAILED);
    }
    ask(false, 0);
    answer.data[2] |= 2;
    CHECK_INT(said(), MTWS__DNS_CUT);
}

/* ---- the machine, in virtual time ------------------------------------------------------------ */

typedef enum way {
    WAY_GOOD,      /* two addresses of each family */
    WAY_ONLY_FOUR, /* no data for IPv6 */
    WAY_ONLY_SIX,
    WAY_NO_NAME,
    WAY_NO_DATA,
    WAY_SERVFAIL,
    WAY_NO_EDNS,        /* FORMERR unless the question is plain */
    WAY_BARE_FORMERR,   /* the same, in a header alone */
    WAY_CUT,            /* truncated by UDP */
    WAY_DEAF_SIX,       /* IPv6 is never answered */
    WAY_FAIL_SIX,       /* WAY_SERVFAIL for it */
    WAY_SIX_IS_NO_NAME, /* a broken server, RFC 4074 section 4.2 */
    WAY_FOREIGN_FIRST,  /* a wrong id, then another question, then the answer */
    WAY_NO_SOA_SIX,     /* no data for IPv6, and no word for how long */
    WAY_NO_SOA,
    WAY_SMALL, /* repeats names in small letters */
    WAY_MALFORMED,
    WAY_SILENT,
    WAY_UNREACHABLE
} way;

typedef struct name_server {
    way way;
    uint32_t delay_ms; /* of IPv4's answer */
    uint32_t delay6_ms;
    uint32_t ttl;
    const char *only;        /* the one name that it knows; NULL: all */
    unsigned asked, streams; /* tries that came, by UDP and by TCP */
    unsigned asked6, asked4;
    bool was_plain, was_mixed, was_small;
    bool understands_nothing; /* FORMERR for each */
} name_server;

enum { SERVERS = 3, UNDER_WAY = 64 };

static struct {
    mtws__dns dns;
    mtws__random random;
    name_server servers[SERVERS];
    uint64_t now_us;
    struct {
        uint64_t due_us;
        int slot;
        unsigned number; /* of the try */
        made message;
    } under_way[UNDER_WAY];
    int count;
    unsigned tries[MTWS__DNS_TRIES_MAX], number;
    uint64_t found_us[2]; /* when a family's addresses were there */
    char asked[16][256];  /* names, in the order in which they were first asked for */
    int asked_count;
} net;

/* Begins with so many good servers. */
static void world(int servers) {
    memset(&net, 0, sizeof net);
    static uint8_t seed[32];
    seed[0]++;
    if (seed[0] == 0) seed[1]++;
    mtws__random_seed(&net.random, seed);
    mtws__dns_open(&net.dns);
    net.now_us = 1000000;
    for (int i = 0; i < servers; i++) {
        mtws__ip ip;
        mtws__ip_parse(mtws__span_of("10.0.0.1"), &ip);
        ip.bytes[3] = (uint8_t)(i + 1);
        mtws__dns_config_server(&net.dns.config, &ip, 53);
        net.servers[i].delay_ms = net.servers[i].delay6_ms = 10;
        net.servers[i].ttl = 300;
    }
}

static void send_later(int slot, uint32_t delay_ms, const made *m) {
    if (net.count == UNDER_WAY) abort();
    net.under_way[net.count].due_us = net.now_us + (uint64_t)delay_ms * 1000;
    net.under_way[net.count].slot = slot;
    net.under_way[net.count].number = net.tries[slot];
    net.under_way[net.count++].message = *m;
}

/* What the server makes of one question. */
static void serve(name_server *s, int slot, bool stream, const uint8_t *data, size_t size) {
    static made m;
    bool six = made_type(data, size) == 28, edns = data[11] == 1;
    const char *name = made_asked(data, size);
    uint32_t delay = six ? s->delay6_ms : s->delay_ms;
    bool known = net.asked_count > 0 && strcmp(net.asked[net.asked_count - 1], name) == 0;
    if (!known && net.asked_count < 16) {
        snprintf(net.asked[net.asked_count++], sizeof net.asked[0], "%s", name);
    }
    s->asked6 += six;
    s->asked4 += !six;
    s->was_plain = !edns;
    for (size_t i = 13; data[i] != 0; i++) {
        if (data[i] >= 'A' && data[i] <= 'Z') s->was_mixed = true;
    }
    int code = s->way == WAY_SERVFAIL || (s->way == WAY_FAIL_SIX && six)        ? 2
               : s->way == WAY_NO_NAME || (s->way == WAY_SIX_IS_NO_NAME && six) ? 3
               : (s->way == WAY_NO_EDNS || s->way == WAY_BARE_FORMERR) && edns  ? 1
               : s->understands_nothing                                         ? 1
               : s->only != NULL && strcmp(s->only, name) != 0                  ? 3
                                                                                : 0;
    if (s->way == WAY_SILENT || (s->way == WAY_DEAF_SIX && six)) return;
    made_start(&m, data, size, code);
    if (s->way == WAY_FOREIGN_FIRST) {
        made wrong = m;
        made_address(&wrong, NULL, six, 300, 66);
        wrong.data[1] ^= 1;
        send_later(slot, delay / 2, &wrong);
        wrong.data[1] ^= 1;
        wrong.data[13] ^= 0x20; /* another case of the first letter */
        send_later(slot, delay / 2, &wrong);
    }
    if (s->way == WAY_BARE_FORMERR && code == 1) {
        mtws__store_big(m.data + 4, 2, 0);
        m.size = 12;
    }
    bool none = s->way == WAY_NO_DATA || s->way == WAY_NO_SOA ||
                (s->way == WAY_NO_SOA_SIX && six) || (s->way == WAY_ONLY_FOUR && six) ||
                (s->way == WAY_ONLY_SIX && !six);
    if (s->way == WAY_CUT && !stream) {
        m.data[2] |= 2;
    } else if (s->way == WAY_MALFORMED) {
        made_number(&m, 2, 0xc0ff);
        made_record(&m, MADE_ANSWER, six ? 28 : 1, 60, 0);
    } else if (code == 0 && !none) {
        made_address(&m, NULL, six, s->ttl, 1);
        made_address(&m, NULL, six, s->ttl, 2);
    } else if ((code == 0 || code == 3) && s->way < WAY_NO_SOA_SIX) {
        made_soa(&m, s->ttl, s->ttl);
    }
    for (size_t i = 13; s->way == WAY_SMALL && m.data[i] != 0; i++) {
        m.data[i] = (uint8_t)mtws__lower((char)m.data[i]);
    }
    send_later(slot, delay, &m);
}

/* A try's questions go out. */
static void send_try(int slot) {
    const mtws__dns_try *t = &net.dns.tries[slot];
    name_server *s = &net.servers[t->server];
    net.tries[slot] = ++net.number;
    CHECK(t->asked != 0 && t->open == t->asked && t->server < net.dns.config.server_count);
    if (t->stream) s->streams++;
    else s->asked++;
    if (s->way == WAY_UNREACHABLE) {
        mtws__dns_lost(&net.dns, slot);
        return;
    }
    if (t->stream) {
        uint8_t out[2 * (2 + MTWS__DNS_QUERY_MAX)];
        size_t size = mtws__dns_stream_out(&net.dns, slot, out);
        for (size_t at = 0; at < size;) {
            size_t one = (size_t)mtws__load_big(out + at, 2);
            serve(s, slot, true, out + at + 2, one);
            at += 2 + one;
        }
        return;
    }
    CHECK(t->ids[0] != t->ids[1] || t->asked != 3);
    for (int family = 0; family < MTWS__FAMILIES; family++) {
        uint8_t out[MTWS__DNS_QUERY_MAX];
        size_t asked;
        if ((t->asked >> family & 1) == 0) continue;
        size_t size = mtws__dns_question(&net.dns, slot, family, out, &asked);
        serve(s, slot, false, out, size);
    }
}

static void deliver(int index) {
    int slot = net.under_way[index].slot;
    unsigned number = net.under_way[index].number;
    made m = net.under_way[index].message;
    net.under_way[index] = net.under_way[--net.count];
    const mtws__dns_try *t = &net.dns.tries[slot];
    if (t->open == 0 || number != net.tries[slot]) return; /* its socket is closed */
    mtws__span message;
    message.data = m.data;
    message.size = m.size;
    if (!t->stream) {
        mtws__dns_answer(&net.dns, slot, message);
        return;
    }
    made framed; /* byte by byte */
    framed.size = 0;
    made_number(&framed, 2, m.size);
    made_bytes(&framed, m.data, m.size);
    for (size_t i = 0; i < framed.size; i++) {
        uint8_t *to;
        if (mtws__dns_stream_room(&net.dns, &to) == 0) {
            mtws__dns_lost(&net.dns, slot);
            return;
        }
        *to = framed.data[i];
        mtws__dns_stream_in(&net.dns, slot, 1);
    }
}

/* Runs until the outcome is known; the time that it took in ms. */
static uint64_t run(void) {
    uint64_t begin_us = net.now_us;
    int slot;
    for (int steps = 0;; steps++) {
        if (!CHECK(steps < 1000)) return 0;
        mtws__dns_step next = mtws__dns_next(&net.dns, net.now_us, &net.random, &slot);
        for (int i = 0; i < 2; i++) {
            if (net.found_us[i] == 0 && net.dns.sets[i].count > 0) net.found_us[i] = net.now_us;
        }
        if (next == MTWS__DNS_DONE) break;
        if (next == MTWS__DNS_SEND) {
            send_try(slot);
            continue;
        }
        CHECK(net.dns.due_us > net.now_us);
        uint64_t at = net.dns.due_us;
        int first = -1;
        for (int i = 0; i < net.count; i++) {
            if (net.under_way[i].due_us > at) continue;
            at = net.under_way[i].due_us;
            first = i;
        }
        net.now_us = at;
        if (first >= 0) deliver(first);
    }
    return (net.now_us - begin_us) / 1000;
}

/* Looks a name up, anew. */
static uint64_t look_up(const char *host) {
    net.found_us[0] = net.found_us[1] = 0;
    net.asked_count = 0;
    for (int i = 0; i < SERVERS; i++) {
        name_server *s = &net.servers[i];
        s->asked = s->streams = s->asked6 = s->asked4 = 0;
        s->was_plain = s->was_mixed = false;
    }
    size_t size = strlen(host);
    char copy[256];
    memcpy(copy, host, size + 1);
    bool absolute = copy[size - 1] == '.';
    if (absolute) copy[size - 1] = 0;
    mtws__dns_start(&net.dns, copy, absolute, net.now_us);
    return run();
}

#define CHECK_OUTCOME(name) CHECK_INT(net.dns.outcome, MTWS__DNS_OUTCOME_##name)

static void check_found(int six, int four) {
    CHECK_OUTCOME(FOUND);
    CHECK_INT(net.dns.sets[MTWS__IPV6].count, six);
    CHECK_INT(net.dns.sets[MTWS__IPV4].count, four);
}

/* How one server's ways end, and how long that takes. */
static void one_server(void) {
    static const struct {
        way way;
        const char *name;
        int outcome;
        int six, four;
        uint64_t ms;
        unsigned asked, streams;
    } rows[] = {
        {WAY_GOOD, "good", MTWS__DNS_OUTCOME_FOUND, 2, 2, 10, 1, 0},
        {WAY_ONLY_FOUR, "IPv4 alone", MTWS__DNS_OUTCOME_FOUND, 0, 2, 10, 1, 0},
        {WAY_ONLY_SIX, "IPv6 alone", MTWS__DNS_OUTCOME_FOUND, 2, 0, 10, 1, 0},
        {WAY_NO_NAME, "no name", MTWS__DNS_OUTCOME_NO_NAME, 0, 0, 10, 1, 0},
        {WAY_NO_DATA, "no data", MTWS__DNS_OUTCOME_NO_DATA, 0, 0, 10, 1, 0},
        {WAY_SERVFAIL, "fails", MTWS__DNS_OUTCOME_FAILED, 0, 0, 10, 1, 0},
        {WAY_NO_EDNS, "no EDNS0", MTWS__DNS_OUTCOME_FOUND, 2, 2, 20, 2, 0},
        {WAY_BARE_FORMERR, "no EDNS0, no question", MTWS__DNS_OUTCOME_FOUND, 2, 2, 20, 2, 0},
        {WAY_CUT, "truncated", MTWS__DNS_OUTCOME_FOUND, 2, 2, 20, 1, 1},
        {WAY_DEAF_SIX, "IPv6 is not answered", MTWS__DNS_OUTCOME_FOUND, 0, 2, 4000, 2, 0},
        {WAY_FAIL_SIX, "IPv6 fails", MTWS__DNS_OUTCOME_FOUND, 0, 2, 10, 1, 0},
        {WAY_SIX_IS_NO_NAME, "no name for IPv6", MTWS__DNS_OUTCOME_FOUND, 0, 2, 10, 1, 0},
        {WAY_FOREIGN_FIRST, "forged ones first", MTWS__DNS_OUTCOME_FOUND, 2, 2, 10, 1, 0},
        {WAY_SMALL, "small letters", MTWS__DNS_OUTCOME_FOUND, 2, 2, 2010, 2, 0},
        {WAY_MALFORMED, "malformed", MTWS__DNS_OUTCOME_FAILED, 0, 0, 10, 1, 0},
        {WAY_SILENT, "silent", MTWS__DNS_OUTCOME_SILENT, 0, 0, 4000, 2, 0},
        {WAY_UNREACHABLE, "unreachable", MTWS__DNS_OUTCOME_SILENT, 0, 0, 0, 1, 0},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        world(1);
        net.servers[0].way = rows[i].way;
        CHECK_UINT(look_up("h.example"), rows[i].ms);
        CHECK_INT(net.dns.outcome, rows[i].outcome);
        CHECK_INT(net.dns.sets[MTWS__IPV6].count, rows[i].six);
        CHECK_INT(net.dns.sets[MTWS__IPV4].count, rows[i].four);
        CHECK_UINT(net.servers[0].asked, rows[i].asked);
        CHECK_UINT(net.servers[0].streams, rows[i].streams);
        if (rows[i].four > 0) CHECK(net.found_us[MTWS__IPV4] <= 1000000 + 2010000);
        if (rows[i].way == WAY_DEAF_SIX) CHECK_UINT(net.found_us[MTWS__IPV4], 1010000);
        test_end();
    }
}

/* Servers are tried in turn, and what one has answered another is not asked. */
static void in_turn(void) {
    world(3);
    net.servers[0].way = WAY_SILENT;
    net.servers[1].way = WAY_SERVFAIL;
    CHECK_UINT(look_up("h.example"), 2000 + 10 + 10);
    check_found(2, 2);
    CHECK_UINT(net.servers[0].asked, 1);
    CHECK_UINT(net.servers[1].asked, 1);
    CHECK_UINT(net.servers[2].asked, 1);
    /* The one that answered is asked first from now on. */
    CHECK_UINT(look_up("other.example"), 10);
    CHECK_UINT(net.servers[0].asked + net.servers[1].asked, 0);
    /* Only the silent ones get a second chance. */
    world(3);
    net.servers[0].way = WAY_SILENT;
    net.servers[1].way = WAY_SERVFAIL;
    net.servers[2].way = WAY_UNREACHABLE;
    CHECK_UINT(look_up("h.example"), 2000 + 10 + 2000);
    CHECK_OUTCOME(FAILED);
    CHECK_UINT(net.servers[0].asked, 2);
    CHECK_UINT(net.servers[1].asked, 1);
    CHECK_UINT(net.servers[2].asked, 1);
    CHECK(net.servers[0].was_plain); /* the second time */
    /* A server that answers one family leaves the other to the next. */
    world(2);
    net.servers[0].way = WAY_FAIL_SIX;
    CHECK_UINT(look_up("h.example"), 20);
    check_found(2, 2);
    CHECK_UINT(net.servers[1].asked4, 0);
    CHECK_UINT(net.servers[1].asked6, 1);
    world(2);
    net.servers[0].way = WAY_DEAF_SIX;
    CHECK_UINT(look_up("h.example"), 2010);
    check_found(2, 2);
    CHECK_UINT(net.servers[1].asked4, 0);
    /* A late answer counts as long as nobody else has given one. */
    world(2);
    net.servers[0].delay_ms = net.servers[0].delay6_ms = 2500;
    net.servers[1].way = WAY_SILENT;
    CHECK_UINT(look_up("h.example"), 2500);
    check_found(2, 2);
    /* All of them dead: every one has its turns, and then it is over. */
    world(3);
    for (int i = 0; i < 3; i++) net.servers[i].way = WAY_SILENT;
    CHECK_UINT(look_up("h.example"), 12000);
    CHECK_OUTCOME(SILENT);
    for (int i = 0; i < 3; i++) CHECK_UINT(net.servers[i].asked, 2);
}

static void settings(void) {
    world(3);
    for (int i = 0; i < 3; i++) net.servers[i].way = WAY_SILENT;
    net.dns.config.attempts = 1;
    net.dns.config.timeout_ms = 300;
    CHECK_UINT(look_up("h.example"), 900);
    net.dns.timeout_ms = 100; /* options.dns_timeout_ms */
    CHECK_UINT(look_up("h.example"), 300);
    world(3);
    net.dns.config.rotate = true;
    unsigned asked[3] = {0, 0, 0};
    for (int i = 0; i < 6; i++) {
        char host[32];
        snprintf(host, sizeof host, "h%d.example", i);
        look_up(host);
        check_found(2, 2);
        for (int k = 0; k < 3; k++) asked[k] += net.servers[k].asked;
    }
    for (int k = 0; k < 3; k++) CHECK_UINT(asked[k], 2);
}

/* Case is mixed at first, so that a forger would have to guess it; ids and cases differ each time. */
static void unguessable(void) {
    world(1);
    net.servers[0].way = WAY_SILENT;
    look_up("a-rather-long-name.example");
    CHECK(net.servers[0].was_mixed);
    CHECK(net.servers[0].was_plain);
    uint16_t seen[400];
    size_t count = 0, same = 0;
    for (int i = 0; i < 200; i++) {
        world(1);
        look_up("h.example");
        for (int k = 0; k < 2; k++) seen[count++] = net.dns.tries[0].ids[k];
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < i; k++) same += seen[i] == seen[k];
    }
    CHECK(same < 20); /* about one is to be expected */
}

/* resolv.conf's search list and ndots. */
static void searching(void) {
    static const struct {
        const char *search, *host;
        uint32_t ndots;
        const char *knows; /* the name that there is */
        const char *asked; /* names in the order in which they are asked for */
    } rows[] = {
        {"", "h", 1, "h", "h"},
        {"a.b", "h", 1, "h.a.b", "h.a.b"},
        {"a.b c", "h", 1, "h.c", "h.a.b h.c"},
        {"a.b c", "h", 1, "h", "h.a.b h.c h"},
        {"a.b c", "h", 1, "none", "h.a.b h.c h"},
        {"a.b c", "h", 0, "none", "h h.a.b h.c"},
        {"a.b c", "h.x", 1, "h.x", "h.x"},
        {"a.b c", "h.x", 1, "h.x.c", "h.x h.x.a.b h.x.c"},
        {"a.b c", "h.x", 5, "h.x", "h.x.a.b h.x.c h.x"},
        {"a.b c", "h.", 1, "none", "h"},
        {"a.b c", "h.x.", 5, "h.x", "h.x"},
        {"a!b c", "h", 1, "h.c", "h.c"}, /* a domain that no name can have */
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        char line[64], asked[256] = "";
        if (!test_begin("row %zu", i)) continue;
        world(1);
        snprintf(line, sizeof line, "search %s\n", rows[i].search);
        mtws__dns_config c;
        read_config(&c, line);
        memcpy(net.dns.config.search, c.search, sizeof c.search);
        net.dns.config.search_size = c.search_size;
        net.dns.config.ndots = rows[i].ndots;
        net.servers[0].only = rows[i].knows;
        look_up(rows[i].host);
        for (int k = 0; k < net.asked_count; k++) {
            size_t size = strlen(asked);
            snprintf(asked + size, sizeof asked - size, "%s%s", k > 0 ? " " : "", net.asked[k]);
        }
        CHECK_STR(asked, rows[i].asked);
        if (strcmp(rows[i].knows, "none") != 0) check_found(2, 2);
        else CHECK_OUTCOME(NO_NAME);
        /* The cache knows the host by the name that the program uses. */
        look_up(rows[i].host);
        CHECK_INT(net.asked_count, 0);
        test_end();
    }
    if (!test_begin("too long a name is passed by")) return;
    char host[254];
    memset(host, 'x', sizeof host);
    host[253] = 0;
    for (size_t i = 60; i < 253; i += 61) host[i] = '.';
    world(1);
    memcpy(net.dns.config.search, "a.b", 4);
    net.dns.config.search_size = 4;
    net.dns.config.ndots = 15;
    look_up(host);
    check_found(2, 2);
    CHECK_INT(net.asked_count, 1);
    test_end();
}

/* A server that fails for a searched name does not hide the next one; one that is silent does. */
/* With a final dot it is another name than without, where there is something to search. */
static void absolute_and_not(void) {
    world(1);
    memcpy(net.dns.config.search, "a.b", 4);
    net.dns.config.search_size = 4;
    net.servers[0].only = "h.a.b";
    look_up("h");
    check_found(2, 2);
    look_up("h.");
    CHECK_OUTCOME(NO_NAME);
    CHECK_UINT(net.servers[0].asked, 1);
    look_up("h");
    check_found(2, 2);
    CHECK_UINT(net.servers[0].asked, 0);
}

static void searching_with_failures(void) {
    world(1);
    memcpy(net.dns.config.search, "a.b\0c", 6);
    net.dns.config.search_size = 6;
    net.servers[0].way = WAY_SERVFAIL;
    CHECK_UINT(look_up("h"), 30);
    CHECK_INT(net.asked_count, 3);
    CHECK_OUTCOME(FAILED);
    net.servers[0].way = WAY_SILENT;
    CHECK_UINT(look_up("h"), 4000);
    CHECK_INT(net.asked_count, 1);
    CHECK_OUTCOME(SILENT);
}

static void later_s(uint64_t s) { net.now_us += s * 1000000; }

/* The cache: TTLs within their floor and cap, none for what could not be told. */
static void cache(void) {
    static const struct {
        uint32_t ttl;
        uint64_t lasts_s;
    } rows[] = {{0, MTWS_DNS_TTL_MIN},
                {1, MTWS_DNS_TTL_MIN},
                {60, 60},
                {MTWS_DNS_TTL_MAX - 1, MTWS_DNS_TTL_MAX - 1},
                {1000000, MTWS_DNS_TTL_MAX}};
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        for (int negative = 0; negative < 2; negative++) {
            world(1);
            net.servers[0].ttl = rows[i].ttl;
            if (negative) net.servers[0].way = WAY_NO_NAME;
            test_context("%u s, negative %d", rows[i].ttl, negative);
            CHECK_UINT(look_up("h.example"), 10);
            later_s(rows[i].lasts_s - 1);
            CHECK_UINT(look_up("h.example"), 0);
            CHECK_UINT(net.servers[0].asked, 0);
            CHECK(!net.dns.stale);
            if (negative) CHECK_OUTCOME(NO_NAME);
            else check_found(2, 2);
            later_s(1);
            CHECK_UINT(look_up("h.example"), 10);
            CHECK_UINT(net.servers[0].asked, 1);
        }
    }
    world(1);
    net.servers[0].way = WAY_SERVFAIL; /* no answer, so nothing to keep */
    look_up("h.example");
    net.servers[0].way = WAY_GOOD;
    CHECK_UINT(look_up("h.example"), 10);
    /* What no server gives a time for counts for the least, alone; but beside an address, nothing. */
    world(1);
    net.servers[0].way = WAY_NO_SOA;
    CHECK_UINT(look_up("h.example"), 10);
    later_s(MTWS_DNS_TTL_MIN - 1);
    CHECK_UINT(look_up("h.example"), 0);
    later_s(1);
    net.servers[0].way = WAY_NO_SOA_SIX;
    CHECK_UINT(look_up("h.example"), 10);
    check_found(0, 2);
    later_s(299);
    CHECK_UINT(look_up("h.example"), 0);
}

/* What no server could say of one family is asked for each time, that alone; what they said of the
 * other serves meanwhile, and not for longer than they said. */
static void half_of_it(void) {
    static const way ways[] = {WAY_FAIL_SIX, WAY_DEAF_SIX};
    for (size_t i = 0; i < UNIT_COUNT(ways); i++) {
        uint64_t takes_ms = ways[i] == WAY_DEAF_SIX ? 4000 : 10;
        world(1);
        net.servers[0].way = ways[i];
        net.servers[0].ttl = 60;
        test_context("way %zu", i);
        CHECK_UINT(look_up("h.example"), takes_ms);
        uint64_t ends_us = net.found_us[MTWS__IPV4] + 60000000;
        for (int n = 0; n < 10; n++) {
            uint64_t now_us = net.now_us;
            CHECK_UINT(look_up("h.example"), takes_ms);
            check_found(0, 2);
            CHECK(net.servers[0].asked6 > 0 && net.servers[0].asked4 == 0);
            CHECK_UINT(net.found_us[MTWS__IPV4], now_us); /* at once */
        }
        net.now_us = ends_us + takes_ms * 1000;
        look_up("h.example");
        CHECK(net.servers[0].asked4 > 0);
        net.servers[0].way = WAY_GOOD;
        CHECK_UINT(look_up("h.example"), 10);
        check_found(2, 2);
        CHECK_UINT(look_up("h.example"), 0);
    }
}

/* More names than there is room for: the one that was not used for the longest time goes. */
static void cache_is_small(void) {
    char host[32];
    world(1);
    net.servers[0].ttl = 3600;
    for (int i = 0; i < MTWS_DNS_CACHE; i++) {
        snprintf(host, sizeof host, "h%d.example", i);
        CHECK_UINT(look_up(host), 10);
    }
    CHECK_UINT(look_up("h0.example"), 0);
    net.now_us++;
    CHECK_UINT(look_up("new.example"), 10);
    CHECK_UINT(look_up("h0.example"), 0);
    CHECK_UINT(look_up("h1.example"), 10);
    CHECK_UINT(look_up("new.example"), 0);
}

/* Addresses that led to nothing, and a network that changed: asked anew, not more often than each
 * MTWS_DNS_TTL_MIN seconds. */
static void doubt(void) {
    for (int all = 0; all < 2; all++) {
        world(1);
        net.servers[0].ttl = 3600;
        CHECK_UINT(look_up("h.example"), 10);
        later_s(100);
        if (all) mtws__dns_doubt_all(&net.dns);
        else mtws__dns_doubt(&net.dns);
        CHECK_UINT(look_up("h.example"), 10);
        if (all) mtws__dns_doubt_all(&net.dns);
        else mtws__dns_doubt(&net.dns);
        later_s(MTWS_DNS_TTL_MIN - 1);
        CHECK_UINT(look_up("h.example"), 0);
        later_s(1);
        CHECK_UINT(look_up("h.example"), 10);
    }
    /* A new configuration, too, and its servers are asked from the first on. */
    world(2);
    net.servers[0].way = WAY_SERVFAIL;
    look_up("h.example");
    later_s(100);
    mtws__dns_config config = net.dns.config;
    net.servers[0].way = WAY_GOOD;
    mtws__dns_configure(&net.dns, &config);
    CHECK_UINT(look_up("h.example"), 10);
    CHECK_UINT(net.servers[0].asked, 1);
}

/* RFC 8767: each server has its turn, then what is known serves, though its time is over. */
static void stale(void) {
    static const way ways[] = {WAY_SILENT, WAY_SERVFAIL, WAY_UNREACHABLE, WAY_MALFORMED};
    for (size_t i = 0; i < UNIT_COUNT(ways); i++) {
        world(2);
        look_up("h.example");
        later_s(400);
        net.servers[0].way = net.servers[1].way = ways[i];
        test_context("way %d", (int)ways[i]);
        uint64_t ms = look_up("h.example");
        CHECK_UINT(ms, ways[i] == WAY_SILENT ? 4000 : ways[i] == WAY_UNREACHABLE ? 0 : 20);
        check_found(2, 2);
        CHECK(net.dns.stale);
        CHECK_UINT(net.servers[0].asked, 1);
        CHECK_UINT(net.servers[1].asked, 1);
        /* For a while they are not asked again. */
        later_s(MTWS__DNS_RECHECK_S - 1);
        CHECK_UINT(look_up("h.example"), 0);
        check_found(2, 2);
        CHECK(net.dns.stale);
        later_s(1);
        net.servers[0].way = net.servers[1].way = WAY_GOOD;
        CHECK_UINT(look_up("h.example"), 10);
        CHECK(!net.dns.stale);
        /* Not for ever. */
        net.servers[0].way = net.servers[1].way = ways[i];
        later_s(300 + MTWS_DNS_STALE_MAX);
        look_up("h.example");
        CHECK(net.dns.outcome == MTWS__DNS_OUTCOME_SILENT ||
              net.dns.outcome == MTWS__DNS_OUTCOME_FAILED);
    }
    /* What was half known is as good, and its other half waits as long. */
    world(1);
    net.servers[0].way = WAY_FAIL_SIX;
    look_up("h.example");
    later_s(400);
    net.servers[0].way = WAY_SILENT;
    CHECK_UINT(look_up("h.example"), 2000);
    for (int i = 0; i < 3; i++) {
        later_s(1);
        CHECK_UINT(look_up("h.example"), 0);
        CHECK(net.dns.stale);
        check_found(0, 2);
    }
    /* What a server says counts, and that a name is gone is something. */
    world(1);
    look_up("h.example");
    later_s(400);
    net.servers[0].way = WAY_NO_NAME;
    look_up("h.example");
    CHECK_OUTCOME(NO_NAME);
    net.servers[0].way = WAY_SILENT;
    later_s(400);
    look_up("h.example");
    CHECK_OUTCOME(SILENT);
}

/* The two questions differ in their ids, although chance draws the same for both. */
static void ids_differ(void) {
    int slot;
    world(1);
    memset(net.random.block, 0x5a, sizeof net.random.block);
    net.random.used = 0;
    mtws__dns_start(&net.dns, "h.example", false, net.now_us);
    CHECK_INT(mtws__dns_next(&net.dns, net.now_us, &net.random, &slot), MTWS__DNS_SEND);
    CHECK_UINT(net.dns.tries[slot].ids[0], 0x5a5b);
    CHECK_UINT(net.dns.tries[slot].ids[1], 0x5a5a);
}

/* A look-up that ends because a connection is there keeps what it knows. */
static void finished_early(void) {
    int slot;
    world(1);
    net.servers[0].delay6_ms = 500;
    mtws__dns_start(&net.dns, "h.example", false, net.now_us);
    CHECK_INT(mtws__dns_next(&net.dns, net.now_us, &net.random, &slot), MTWS__DNS_SEND);
    send_try(slot);
    CHECK(mtws__dns_pending(&net.dns, MTWS__IPV6) && mtws__dns_pending(&net.dns, MTWS__IPV4));
    deliver(net.under_way[0].due_us < net.under_way[1].due_us ? 0 : 1);
    CHECK(mtws__dns_pending(&net.dns, MTWS__IPV6) && !mtws__dns_pending(&net.dns, MTWS__IPV4));
    mtws__dns_finish(&net.dns, net.now_us);
    CHECK(net.dns.tries[slot].open == 0);
    CHECK(!mtws__dns_pending(&net.dns, MTWS__IPV6));
    /* The next one has the addresses of the other at once, and asks for what is missing. */
    net.count = 0;
    look_up("h.example");
    check_found(2, 2);
    CHECK_UINT(net.found_us[MTWS__IPV4], net.now_us - 500000);
    CHECK_UINT(net.servers[0].asked4, 0);
    CHECK_UINT(net.servers[0].asked6, 1);
    later_s(299);
    CHECK_UINT(look_up("h.example"), 0); /* for as long as the first answer holds */
    later_s(1);
    CHECK_UINT(look_up("h.example"), 500);
    /* The search list has changed meanwhile: the half that is known is all there is. */
    world(1);
    memcpy(net.dns.config.search, "a.b", 4);
    net.dns.config.search_size = 4;
    net.servers[0].delay6_ms = 500;
    mtws__dns_start(&net.dns, "h", false, net.now_us);
    CHECK_INT(mtws__dns_next(&net.dns, net.now_us, &net.random, &slot), MTWS__DNS_SEND);
    send_try(slot);
    deliver(net.under_way[0].due_us < net.under_way[1].due_us ? 0 : 1);
    mtws__dns_finish(&net.dns, net.now_us);
    net.count = 0;
    net.dns.cache[0].candidate = 1; /* as where the search list's name is none */
    mtws__dns_config other = net.dns.config;
    other.search_size = 0;
    mtws__dns_configure(&net.dns, &other);
    look_up("h");
    check_found(0, 2);
    CHECK_INT(net.asked_count, 0);
    later_s(MTWS_DNS_TTL_MIN);
    look_up("h");
    check_found(2, 2);
    CHECK_STR(net.asked[0], "h");
    /* One that knows nothing keeps nothing. */
    world(1);
    mtws__dns_start(&net.dns, "h.example", false, net.now_us);
    CHECK_INT(mtws__dns_next(&net.dns, net.now_us, &net.random, &slot), MTWS__DNS_SEND);
    mtws__dns_finish(&net.dns, net.now_us);
    CHECK_OUTCOME(NONE);
    CHECK_UINT(look_up("h.example"), 10);
}

/* A server that calls each question malformed, plain ones too, is given up. */
static void understands_nothing(void) {
    world(2);
    net.servers[0].way = WAY_NO_EDNS;
    net.servers[0].understands_nothing = true;
    look_up("h.example");
    check_found(2, 2);
    CHECK_UINT(net.servers[0].asked, 2);
    CHECK(net.servers[0].was_plain);
    CHECK_UINT(net.servers[1].asked, 1);
}

/* By TCP: messages larger than there is room for, and smaller than any. */
static void streams(void) {
    static const size_t sizes[] = {0, 1, 11, MTWS_DNS_ANSWER_MAX + 1, 65535};
    for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
        int slot;
        uint8_t *to;
        world(1);
        net.servers[0].way = WAY_CUT;
        mtws__dns_start(&net.dns, "h.example", false, net.now_us);
        CHECK_INT(mtws__dns_next(&net.dns, net.now_us, &net.random, &slot), MTWS__DNS_SEND);
        send_try(slot);
        deliver(0);
        CHECK_INT(mtws__dns_next(&net.dns, net.now_us, &net.random, &slot), MTWS__DNS_SEND);
        CHECK(net.dns.tries[slot].stream);
        CHECK_UINT(mtws__dns_stream_room(&net.dns, &to), 2);
        mtws__store_big(to, 2, sizes[i]);
        mtws__dns_stream_in(&net.dns, slot, 2);
        test_context("%zu bytes", sizes[i]);
        CHECK_UINT(mtws__dns_stream_room(&net.dns, &to), 0);
        mtws__dns_lost(&net.dns, slot);
        run();
        CHECK_OUTCOME(FAILED);
    }
    /* The largest. */
    world(1);
    net.dns.answer[0] = MTWS_DNS_ANSWER_MAX >> 8;
    net.dns.answer[1] = MTWS_DNS_ANSWER_MAX & 255;
    net.dns.answer_size = 2;
    uint8_t *to;
    CHECK_UINT(mtws__dns_stream_room(&net.dns, &to), MTWS_DNS_ANSWER_MAX);
    CHECK(to + MTWS_DNS_ANSWER_MAX <= net.dns.answer + sizeof net.dns.answer);
}

/* Any servers in any order with any habits: the machine comes to an end within the time that its
 * settings allow, asks nobody more often than they say, and finds what somebody knows. */
static void any_servers(void) {
    uint64_t random = 3;
    for (int i = 0; i < 20000 && !test_failing(); i++) {
        int count = 1 + (int)unit_below(&random, 3);
        bool knows = false;
        world(count);
        test_context("turn %d", i);
        for (int k = 0; k < count; k++) {
            name_server *s = &net.servers[k];
            s->way = (way)unit_below(&random, WAY_UNREACHABLE + 1);
            s->delay_ms = (uint32_t)unit_below(&random, 3000);
            s->delay6_ms = (uint32_t)unit_below(&random, 3000);
            s->ttl = (uint32_t)unit_below(&random, 100);
        }
        net.dns.config.rotate = unit_chance(&random, 20);
        if (unit_chance(&random, 30)) {
            memcpy(net.dns.config.search, "a.b\0c", 6);
            net.dns.config.search_size = 6;
        }
        bool searches = net.dns.config.search_size > 0;
        net.dns.config.attempts = 1 + (uint32_t)unit_below(&random, 3);
        uint64_t most = (uint64_t)count * (net.dns.config.attempts * 2000 + 2 * 2000);
        uint64_t ms = look_up("h.example");
        CHECK(ms <= most * (searches ? 3 : 1));
        CHECK(net.dns.outcome > MTWS__DNS_OUTCOME_ASKING);
        for (int k = 0; k < count; k++) {
            const name_server *s = &net.servers[k];
            CHECK(s->asked <= (net.dns.config.attempts + 1) * (searches ? 3u : 1u));
            CHECK(s->streams <= 3 * net.dns.config.attempts * (searches ? 3u : 1u));
            bool always = s->way == WAY_GOOD || s->way == WAY_FAIL_SIX || s->way == WAY_NO_EDNS ||
                          s->way == WAY_FOREIGN_FIRST;
            knows = knows || (always && s->delay_ms < 1000 && s->delay6_ms < 1000);
        }
        bool others = false; /* say for certain that there is nothing */
        for (int k = 0; k < count; k++) {
            others = others || net.servers[k].way == WAY_NO_NAME ||
                     net.servers[k].way == WAY_NO_DATA || net.servers[k].way == WAY_ONLY_SIX ||
                     net.servers[k].way == WAY_ONLY_FOUR || net.servers[k].way == WAY_NO_SOA ||
                     net.servers[k].way == WAY_NO_SOA_SIX ||
                     net.servers[k].way == WAY_SIX_IS_NO_NAME;
        }
        if (knows && !others) CHECK_OUTCOME(FOUND);
        look_up("h.example");
        CHECK(net.dns.outcome > MTWS__DNS_OUTCOME_ASKING);
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(addresses),
        TEST(addresses_as_the_system),
        TEST(hosts_files),
        TEST(long_words),
        TEST(resolv_conf),
        TEST(server_lists),
        TEST(names),
        TEST(queries),
        TEST(names_on_the_wire),
        TEST(names_of_any_size),
        TEST(good_answers),
        TEST(nobody),
        TEST(aliases),
        TEST(negative_answers),
        TEST(forged),
        TEST(without_question),
        TEST(cut_anywhere),
        TEST_ROWS(one_server),
        TEST(in_turn),
        TEST(settings),
        TEST(unguessable),
        TEST_ROWS(searching),
        TEST(absolute_and_not),
        TEST(searching_with_failures),
        TEST(cache),
        TEST(half_of_it),
        TEST(cache_is_small),
        TEST(doubt),
        TEST(stale),
        TEST(ids_differ),
        TEST(finished_early),
        TEST(understands_nothing),
        TEST(streams),
        TEST(any_servers),
    };
    return TEST_MAIN(tests, argc, argv);
}
