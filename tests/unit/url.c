/* The room "url": what is taken apart and how, what is refused, and percent-encoding. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

static unit_edge edge;

/* Texts lie against an unreadable page, without a terminator. */
static bool parse(mtws__url *url, const char *text, size_t size) {
    mtws__span span;
    span.data = unit_edge_copy(edge, text, size);
    span.size = size;
    return mtws__url_parse(url, span);
}

static bool span_equals(mtws__span span, const char *text) {
    if (text == NULL) return span.data == NULL && span.size == 0;
    return span.size == strlen(text) && memcmp(span.data, text, span.size) == 0;
}

#define SIXTY_THREE "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HOST_253                                                                                   \
    SIXTY_THREE "." SIXTY_THREE "." SIXTY_THREE "."                                                \
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void good(void) {
    static const struct {
        const char *text;
        bool tls, literal6;
        const char *userinfo, *host;
        unsigned port;
        const char *path, *query;
    } rows[] = {
        {"ws://example.com", false, false, NULL, "example.com", 80, "", NULL},
        {"wss://example.com", true, false, NULL, "example.com", 443, "", NULL},
        {"WS://Example.COM/Path", false, false, NULL, "Example.COM", 80, "/Path", NULL},
        {"wSs://h/", true, false, NULL, "h", 443, "/", NULL},
        {"ws://h:9001/", false, false, NULL, "h", 9001, "/", NULL},
        {"ws://h:1", false, false, NULL, "h", 1, "", NULL},
        {"ws://h:65535", false, false, NULL, "h", 65535, "", NULL},
        {"ws://h:00080/", false, false, NULL, "h", 80, "/", NULL},
        {"ws://h:/", false, false, NULL, "h", 80, "/", NULL},
        {"wss://h:", true, false, NULL, "h", 443, "", NULL},
        {"ws://h:80", false, false, NULL, "h", 80, "", NULL},
        {"wss://h:80", true, false, NULL, "h", 80, "", NULL},
        {"ws://127.0.0.1:8080/a/b?c=d&e=f", false, false, NULL, "127.0.0.1", 8080, "/a/b",
         "c=d&e=f"},
        {"ws://h?q", false, false, NULL, "h", 80, "", "q"},
        {"ws://h?", false, false, NULL, "h", 80, "", ""},
        {"ws://h/?", false, false, NULL, "h", 80, "/", ""},
        {"ws://h/?a?b", false, false, NULL, "h", 80, "/", "a?b"},
        {"ws://h/?a/b:c@d", false, false, NULL, "h", 80, "/", "a/b:c@d"},
        {"ws://h/a:b@c", false, false, NULL, "h", 80, "/a:b@c", NULL},
        {"ws://h/a//b/../c/.", false, false, NULL, "h", 80, "/a//b/../c/.", NULL},
        {"ws://h/%20%C3%a9%00", false, false, NULL, "h", 80, "/%20%C3%a9%00", NULL},
        {"ws://h/-._~!$&'()*+,;=", false, false, NULL, "h", 80, "/-._~!$&'()*+,;=", NULL},
        {"ws://[::1]/", false, true, NULL, "::1", 80, "/", NULL},
        {"ws://[::1]:81/x", false, true, NULL, "::1", 81, "/x", NULL},
        {"ws://[2001:DB8::a]", false, true, NULL, "2001:DB8::a", 80, "", NULL},
        {"wss://[::ffff:192.0.2.1]:1", true, true, NULL, "::ffff:192.0.2.1", 1, "", NULL},
        {"ws://user:pass@h:1/", false, false, "user:pass", "h", 1, "/", NULL},
        {"ws://user@h", false, false, "user", "h", 80, "", NULL},
        {"ws://user:@h", false, false, "user:", "h", 80, "", NULL},
        {"ws://:pass@h", false, false, ":pass", "h", 80, "", NULL},
        {"ws://a:b:c@h", false, false, "a:b:c", "h", 80, "", NULL},
        {"ws://u%40x:p%3a%2F@h", false, false, "u%40x:p%3a%2F", "h", 80, "", NULL},
        {"ws://u@[::1]:5", false, true, "u", "::1", 5, "", NULL},
        {"ws://h/u@x", false, false, NULL, "h", 80, "/u@x", NULL},
        {"ws://h?u@x", false, false, NULL, "h", 80, "", "u@x"},
        {"ws://u?@h", false, false, NULL, "u", 80, "", "@h"},
        {"ws://my_host-1.local", false, false, NULL, "my_host-1.local", 80, "", NULL},
        {"ws://h./", false, false, NULL, "h.", 80, "/", NULL},
        {"ws://" HOST_253 "/", false, false, NULL, HOST_253, 80, "/", NULL},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%.60s", rows[i].text)) continue;
        mtws__url url;
        if (CHECK(parse(&url, rows[i].text, strlen(rows[i].text)))) {
            CHECK_INT(url.tls, rows[i].tls);
            CHECK_INT(url.literal6, rows[i].literal6);
            CHECK_UINT(url.port, rows[i].port);
            CHECK(span_equals(url.userinfo, rows[i].userinfo));
            CHECK(span_equals(url.host, rows[i].host));
            CHECK(span_equals(url.path, rows[i].path));
            CHECK(span_equals(url.query, rows[i].query));
        }
        test_end();
    }
}

/* Each for one reason; many are traps of RFC 3986, where two parsers have disagreed about the
 * host. */
static void bad(void) {
    /* clang-format off */
    static const struct { const char *text; size_t size; } rows[] = {
#define BAD(text) {text, sizeof text - 1}
        BAD(""), BAD("w"), BAD("ws"), BAD("ws:"), BAD("ws:/"), BAD("ws://"), BAD("wss://"),
        BAD("http://h/"), BAD("https://h"), BAD("wsss://h"), BAD("xws://h"), BAD("ws ://h"),
        BAD(" ws://h"), BAD("ws://h "), BAD("//h"), BAD("h"), BAD("ws:h"), BAD("ws:/h"),
        BAD("ws:\\\\h"), BAD("ws:///path"), BAD("ws://?q"), BAD("ws://:80"), BAD("ws://@h@"),
        /* ports */
        BAD("ws://h:0"), BAD("ws://h:65536"), BAD("ws://h:99999"), BAD("ws://h:000080"),
        BAD("ws://h:-1"), BAD("ws://h:+1"), BAD("ws://h:8o"), BAD("ws://h:80a"), BAD("ws://h: 80"),
        BAD("ws://h:80:80"), BAD("ws://h::80"), BAD("ws://h:4294967376"), BAD("ws://h:0x50"),
        /* fragments */
        BAD("ws://h/#"), BAD("ws://h#f"), BAD("ws://h/p#f"), BAD("ws://h/?q#f"), BAD("ws://#@h/"),
        /* hosts */
        BAD("ws://h h/"), BAD("ws://a\\b/"), BAD("ws://a%41/"), BAD("ws://a,b/"), BAD("ws://a!/"),
        BAD("ws://a;b"), BAD("ws://a=b"), BAD("ws://a*b"), BAD("ws://\xc3\xa9/"), BAD("ws://a\x7f"),
        BAD("ws://evil.com\\@good.com/"), BAD("ws://a@b@c/"), BAD("ws://a:b@c@d/"),
        BAD("ws://" HOST_253 "a/"), BAD("ws://<h>"), BAD("ws://h\"/"), BAD("ws://{h}"),
        BAD("ws://h|"),
        BAD("ws://u@/"), BAD("ws://u@:80/"), BAD("ws://@/"),
        /* IPv6 literals */
        BAD("ws://[::1"), BAD("ws://::1]"), BAD("ws://::1/"), BAD("ws://[]"), BAD("ws://[h]"),
        BAD("ws://[1.2.3.4]"), BAD("ws://[::1]x"), BAD("ws://[::1]80"), BAD("ws://[::1]]"),
        BAD("ws://[[::1]]"), BAD("ws://[::g]"), BAD("ws://[fe80::1%eth0]"),
        BAD("ws://[fe80::1%25eth0]"),
        BAD("ws://[v1.x:y]"), BAD("ws://[::1/]"), BAD("ws://a[::1]"), BAD("ws://[::1]@h"),
        BAD("ws://[1111:2222:3333:4444:5555:6666:111.111.111.1111]"),
        BAD("ws://[:]"), BAD("ws://[:::]"), BAD("ws://[::1.]"), BAD("ws://[1:2]"),
        BAD("ws://[1::2::3]"), BAD("ws://[1:2:3:4:5:6:7:8:9]"), BAD("ws://[::12345]"),
        BAD("ws://[::1.2.3]"), BAD("ws://[::1.2.3.256]"),
        /* userinfo */
        BAD("ws://u%4@h"), BAD("ws://u%@h"), BAD("ws://u%zz@h"), BAD("ws://u[@h"),
        BAD("ws://u \x40h"),
        BAD("ws://u\r\n@h"), BAD("ws://u\xc3\xa9@h"), BAD("ws://u^@h"),
        /* paths and queries: nothing that could end the request line, no half escape */
        BAD("ws://h/a b"), BAD("ws://h/a\r\nX: y"), BAD("ws://h/a\nb"), BAD("ws://h/a\tb"),
        BAD("ws://h/%"), BAD("ws://h/%4"), BAD("ws://h/%4g"), BAD("ws://h/%g4"), BAD("ws://h/?%"),
        BAD("ws://h/?%2"), BAD("ws://h/\xe2\x82\xac"), BAD("ws://h/a\\b"), BAD("ws://h/\"a\""),
        BAD("ws://h/<a>"), BAD("ws://h/[a]"), BAD("ws://h/{a}"), BAD("ws://h/a|b"),
        BAD("ws://h/a^b"),
        BAD("ws://h/`"), BAD("ws://h/?a b"), BAD("ws://h/?a\r\n"), BAD("ws://h/?[a]"),
        BAD("ws://h/\x7f"),
        /* NUL */
        BAD("ws://h\0"), BAD("ws://h\0.com/"), BAD("ws://h/\0"), BAD("ws://h/?\0"), BAD("\0ws://h"),
        BAD("ws\0://h"), BAD("ws://u\0@h"), BAD("ws://h:8\0"), BAD("ws://[::1\0]"),
#undef BAD
    };
    /* clang-format on */
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        mtws__url url;
        test_context("row %zu: %.60s", i, rows[i].text);
        CHECK(!parse(&url, rows[i].text, rows[i].size));
    }
}

/* Every byte at every place of a URL: what is taken stays in its place, and what is not allowed
 * anywhere is never taken. */
static void every_byte_everywhere(void) {
    static const char text[] = "ws://us:pw@host.name:80/p/q?r=s&t";
    static const char never[] = "\r\n\t \"<>\\^`{|}#[]";
    for (size_t place = 0; place < sizeof text - 1; place++) {
        for (unsigned value = 0; value < 256; value++) {
            char changed[sizeof text];
            memcpy(changed, text, sizeof text);
            changed[place] = (char)(uint8_t)value;
            mtws__url url;
            test_context("byte %02x at %zu", value, place);
            bool taken = parse(&url, changed, sizeof text - 1);
            bool forbidden = value <= 0x20 || value >= 0x7f || strchr(never, (int)value) != NULL;
            if (forbidden) CHECK(!taken);
            if (!taken) continue;
            size_t parts = (url.userinfo.data == NULL ? 0 : url.userinfo.size + 1) + url.host.size +
                           url.path.size + (url.query.data == NULL ? 0 : url.query.size + 1);
            CHECK(parts + 5 <= sizeof text - 1);
            CHECK(url.port != 0 && url.host.size > 0);
        }
    }
}

/* Each front of a URL is judged without a look behind its end. */
static void cut_anywhere(void) {
    static const char *const texts[] = {"wss://u:p@[::1]:8443/a%20b?c=%41", "ws://h.example:80?x"};
    for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
        for (size_t size = 0; size <= strlen(texts[i]); size++) {
            mtws__url url;
            if (!parse(&url, texts[i], size)) continue;
            test_context("%s cut to %zu", texts[i], size);
            const uint8_t *end = edge.end;
            CHECK(url.host.data + url.host.size <= end && url.path.data + url.path.size <= end);
            CHECK(url.query.data == NULL || url.query.data + url.query.size <= end);
        }
    }
}

static void encode(void) {
    for (unsigned value = 1; value < 256; value++) {
        char text[2] = {(char)(uint8_t)value, 0}, out[8], expected[8];
        mtws__writer w;
        mtws__writer_open(&w, out, sizeof out);
        mtws__url_encode(&w, text);
        bool plain = (value >= 'a' && value <= 'z') || (value >= 'A' && value <= 'Z') ||
                     (value >= '0' && value <= '9') || strchr("-._~", (int)value) != NULL;
        snprintf(expected, sizeof expected, plain ? "%c" : "%%%02X", value);
        CHECK_STR(out, expected);
        mtws__span span = mtws__span_of(out);
        CHECK(mtws__url_clean(span, ""));
    }
    char out[64];
    mtws__writer w;
    mtws__writer_open(&w, out, sizeof out);
    mtws__url_encode(&w, "a b&c=d/\xc3\xa9?\r\n");
    CHECK_STR(out, "a%20b%26c%3Dd%2F%C3%A9%3F%0D%0A");
    mtws__writer_open(&w, out, 3);
    mtws__url_encode(&w, " ");
    CHECK(w.full);
    CHECK_STR(out, ""); /* no half of an escape */
}

static void decode(void) {
    static const struct {
        const char *text, *decoded;
    } rows[] = {
        {"", ""},
        {"abc", "abc"},
        {"a%20b", "a b"},
        {"%41%5a%7A", "AZz"},
        {"%3a%40%2F%25", ":@/%"},
        {"%2541", "%41"},
        {"%C3%A9%ff", "\xc3\xa9\xff"},
        {"%7e", "~"},
        {"%00", NULL},
        {"a%0Ab", NULL},
        {"%0d", NULL},
        {"%09", NULL},
        {"%1f", NULL},
        {"%7F", NULL},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        char out[32];
        mtws__writer w;
        mtws__span span = mtws__span_of(rows[i].text);
        span.data = unit_edge_copy(edge, rows[i].text, span.size);
        mtws__writer_open(&w, out, sizeof out);
        test_context("\"%s\"", rows[i].text);
        CHECK_INT(mtws__url_decode(&w, span), rows[i].decoded != NULL);
        if (rows[i].decoded != NULL) CHECK_STR(out, rows[i].decoded);
    }
}

/* Everything printable comes back from its encoding. */
static void encode_and_decode(void) {
    char text[256], encoded[1024], decoded[256];
    size_t size = 0;
    for (unsigned value = 0x20; value < 256; value++) {
        if (value != 0x7f) text[size++] = (char)(uint8_t)value;
    }
    text[size] = 0;
    mtws__writer w;
    mtws__writer_open(&w, encoded, sizeof encoded);
    mtws__url_encode(&w, text);
    mtws__writer_open(&w, decoded, sizeof decoded);
    CHECK(mtws__url_decode(&w, mtws__span_of(encoded)));
    CHECK_STR(decoded, text);
}

static void domains(void) {
    static const struct {
        const char *host, *domain;
        bool under;
    } rows[] = {
        {"localhost", "localhost", true},
        {"a.b.LocalHost", "localHOST", true},
        {"xlocalhost", "localhost", false},
        {"localhost.x", "localhost", false},
        {"local", "localhost", false},
        {"a.b", "", false},
        {"", "a", false},
        {"b.example", "a.example", false},
        {"a.example", "xa.example", false},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        mtws__span host = mtws__span_of(rows[i].host), domain = mtws__span_of(rows[i].domain);
        test_context("%s under %s", rows[i].host, rows[i].domain);
        CHECK_INT(mtws__url_is_under(host, domain), rows[i].under);
    }
}

/* ---- references ------------------------------------------------------------------------------ */

static bool resolve(char *out, size_t size, const char *base_text, const char *location) {
    mtws__url base;
    mtws__writer w;
    mtws__span span;
    if (!CHECK(mtws__url_parse(&base, mtws__span_of(base_text)))) return false;
    span.size = strlen(location);
    span.data = unit_edge_copy(edge, location, span.size);
    mtws__writer_open(&w, out, size);
    return mtws__url_resolve(&w, &base, span);
}

/* The examples of RFC 3986 section 5.4, then what is WebSocket's own. NULL: it leads nowhere. */
static void references(void) {
    static const char rfc[] = "ws://a/b/c/d;p?q";
    static const struct {
        const char *base, *location, *url;
    } rows[] = {
        {rfc, "g", "ws://a:80/b/c/g"},
        {rfc, "./g", "ws://a:80/b/c/g"},
        {rfc, "g/", "ws://a:80/b/c/g/"},
        {rfc, "/g", "ws://a:80/g"},
        {rfc, "//g", "ws://g"},
        {rfc, "?y", "ws://a:80/b/c/d;p?y"},
        {rfc, "g?y", "ws://a:80/b/c/g?y"},
        {rfc, "#s", "ws://a:80/b/c/d;p?q"},
        {rfc, "g#s", "ws://a:80/b/c/g"},
        {rfc, "g?y#s", "ws://a:80/b/c/g?y"},
        {rfc, ";x", "ws://a:80/b/c/;x"},
        {rfc, "g;x", "ws://a:80/b/c/g;x"},
        {rfc, "g;x?y#s", "ws://a:80/b/c/g;x?y"},
        {rfc, "", "ws://a:80/b/c/d;p?q"},
        {rfc, ".", "ws://a:80/b/c/"},
        {rfc, "./", "ws://a:80/b/c/"},
        {rfc, "..", "ws://a:80/b/"},
        {rfc, "../", "ws://a:80/b/"},
        {rfc, "../g", "ws://a:80/b/g"},
        {rfc, "../..", "ws://a:80/"},
        {rfc, "../../", "ws://a:80/"},
        {rfc, "../../g", "ws://a:80/g"},
        {rfc, "../../../g", "ws://a:80/g"},
        {rfc, "../../../../g", "ws://a:80/g"},
        {rfc, "/./g", "ws://a:80/g"},
        {rfc, "/../g", "ws://a:80/g"},
        {rfc, "g.", "ws://a:80/b/c/g."},
        {rfc, ".g", "ws://a:80/b/c/.g"},
        {rfc, "g..", "ws://a:80/b/c/g.."},
        {rfc, "..g", "ws://a:80/b/c/..g"},
        {rfc, "./../g", "ws://a:80/b/g"},
        {rfc, "./g/.", "ws://a:80/b/c/g/"},
        {rfc, "g/./h", "ws://a:80/b/c/g/h"},
        {rfc, "g/../h", "ws://a:80/b/c/h"},
        {rfc, "g;x=1/./y", "ws://a:80/b/c/g;x=1/y"},
        {rfc, "g;x=1/../y", "ws://a:80/b/c/y"},
        {rfc, "g?y/./x", "ws://a:80/b/c/g?y/./x"},
        {rfc, "g?y/../x", "ws://a:80/b/c/g?y/../x"},
        {rfc, "g#s/./x", "ws://a:80/b/c/g"},
        {rfc, "g#s/../x", "ws://a:80/b/c/g"},
        {rfc, "g?y:z", "ws://a:80/b/c/g?y:z"},
        {rfc, "/a/b/../../..", "ws://a:80/"},
        {rfc, "/a//../b", "ws://a:80/a/b"},
        {rfc, "/..//x", "ws://a:80//x"},
        {rfc, "/%2e%2e/x", "ws://a:80/%2e%2e/x"},
        {"ws://h", "x", "ws://h:80/x"},
        {"ws://h", "?x", "ws://h:80?x"},
        {"ws://h", "", "ws://h:80"},
        {"ws://h?q", "", "ws://h:80?q"},
        {"ws://h/a", "?", "ws://h:80/a?"},
        {"wss://h/a", "b", "wss://h:443/b"},
        {"ws://[::1]:81/a", "b", "ws://[::1]:81/b"},
        {"ws://user:pass@h/a", "b", "ws://h:80/b"},
        {"ws://h/a", "ws://x/y/../z", "ws://x/z"},
        {"ws://h/a", "wss://x:1/y?z#f", "wss://x:1/y?z"},
        {"ws://h/a", "WSS://x", "wss://x"},
        {"ws://h/a", "http://x/", "ws://x/"},
        {"ws://h/a", "https://x:8443/", "wss://x:8443/"},
        {"wss://h/a", "http://x/", "ws://x/"},
        {"wss://h/a", "//x:1?y", "wss://x:1?y"},
        {"ws://h/a", "http://u:p@x/", "ws://u:p@x/"},
        {"ws://h/a", "http:x", NULL},
        {"ws://h/a", "http:/x", NULL},
        {"ws://h/a", "ftp://x/", NULL},
        {"ws://h/a", "javascript:alert(1)", NULL},
        {"ws://h/a", "x:y", NULL},
        {"ws://h/a", ":y", NULL},
        {"ws://h/a", "http", "ws://h:80/http"},
        {"ws://h/a", "./x:y", "ws://h:80/x:y"},
        {"ws://h/a", "http://", "ws://"},
        {"ws://h/a", "///x", "ws:///x"},
        {"ws://h/a", "x y", "ws://h:80/x y"},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s from %s", rows[i].location, rows[i].base)) continue;
        char out[128];
        bool good = resolve(out, sizeof out, rows[i].base, rows[i].location);
        CHECK_INT(good, rows[i].url != NULL);
        if (good) CHECK_STR(out, rows[i].url);
        /* With less room it is the same or nothing, and nothing is written behind it. */
        for (size_t size = 1; good && size < sizeof out; size++) {
            char *room = (char *)malloc(size);
            if (room == NULL) abort();
            bool fits = resolve(room, size, rows[i].base, rows[i].location);
            if (size <= strlen(out)) CHECK(!fits);
            if (fits) CHECK_STR(room, out);
            free(room);
        }
        test_end();
    }
}

/* ---- addresses ------------------------------------------------------------------------------- */

static void addresses(void) {
    static const struct {
        const char *text;
        const char *bytes; /* in hexadecimal; "": it is no literal */
    } rows[] = {
        {"127.0.0.1", "7f000001"},
        {"0.0.0.0", "00000000"},
        {"255.255.255.255", "ffffffff"},
        {"10.20.30.40", "0a141e28"},
        {"256.0.0.1", ""},
        {"1.2.3", ""},
        {"1.2.3.", ""},
        {"1.2.3.4.", ""},
        {"1.2.3.4.5", ""},
        {".1.2.3", ""},
        {"1..2.3", ""},
        {"01.2.3.4", ""},
        {"1.2.3.04", ""},
        {"1.2.3.0004", ""},
        {"1.2.3.4444", ""},
        {"1.2.3.a", ""},
        {"1", ""},
        {"", ""},
        {"example.com", ""},
        {"::", "00000000000000000000000000000000"},
        {"::1", "00000000000000000000000000000001"},
        {"1::", "00010000000000000000000000000000"},
        {"1:2:3:4:5:6:7:8", "00010002000300040005000600070008"},
        {"1:2:3:4:5:6:7::", "00010002000300040005000600070000"},
        {"::2:3:4:5:6:7:8", "00000002000300040005000600070008"},
        {"1:2::7:8", "00010002000000000000000000070008"},
        {"2001:DB8::aBcD", "20010db800000000000000000000abcd"},
        {"::ffff:10.1.2.3", "00000000000000000000ffff0a010203"},
        {"1:2:3:4:5:6:10.1.2.3", "0001000200030004000500060a010203"},
        {"::10.1.2.3", "0000000000000000000000000a010203"},
        {"1:2:3:4:5:6:7:10.1.2.3", ""},
        {"1:2:3:4:5:6:7:8:10.1.2.3", ""},
        {"10.1.2.3::", ""},
        {"10.1.2.3:1::", ""},
        {"::10.1.2", ""},
        {":", ""},
        {":::", ""},
        {"1:::2", ""},
        {"1::2::3", ""},
        {"::1::", ""},
        {"::1:", ""},
        {":1::", ""},
        {"1:2:3:4:5:6:7", ""},
        {"1:2:3:4:5:6:7:", ""},
        {"1:2:3:4:5:6:7:8:", ""},
        {"1:2:3:4:5:6:7:8:9", ""},
        {"1:2:3:4:5:6:7:8::", ""},
        {"1:2:3:4::5:6:7:8", ""},
        {"::2:3:4:5:6:7:8:9", ""},
        {"::12345", ""},
        {"::g", ""},
        {"::1%eth0", ""},
        {"[::1]", ""},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].text)) continue;
        mtws__span span;
        uint8_t *out = unit_edge_room(edge, 16);
        char *text = (char *)malloc(strlen(rows[i].text) + 1);
        if (text == NULL) abort();
        memcpy(text, rows[i].text, strlen(rows[i].text) + 1);
        span.data = (const uint8_t *)text;
        span.size = strlen(rows[i].text);
        size_t size = mtws__url_address(span, out);
        CHECK_UINT(size, strlen(rows[i].bytes) / 2);
        for (size_t k = 0; k < size; k++) {
            char byte[3];
            snprintf(byte, sizeof byte, "%02x", out[k]);
            CHECK_MEM(byte, rows[i].bytes + 2 * k, 2);
        }
        free(text);
        test_end();
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST_ROWS(good),         TEST(bad),     TEST(every_byte_everywhere),
        TEST(cut_anywhere),      TEST(encode),  TEST(decode),
        TEST(encode_and_decode), TEST(domains), TEST_ROWS(references),
        TEST_ROWS(addresses),
    };
    edge = unit_edge_open(4096);
    return TEST_MAIN(tests, argc, argv);
}
