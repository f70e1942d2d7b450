/* The room of certificates: PEM and DER in pieces cut anywhere, compared with BearSSL's decoders;
 * names, pins and dates. */
#define MTWS_BEARSSL
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "../unit/unit.h"
#include "tls.h"

/* ---- PEM ------------------------------------------------------------------------------------- */

/* Everything that comes of a text, fed in pieces of `step` bytes: "CERTIFICATE:" and the data in
 * hexadecimal, then ";" or "!" where it is bad. */
static void pem_trace(const char *text, size_t size, size_t step, char *out, size_t room) {
    mtws__pem p;
    mtws__writer w;
    mtws__writer_open(&w, out, room);
    mtws__pem_start(&p);
    for (size_t at = 0; at < size;) {
        size_t used;
        mtws__span piece = {(const uint8_t *)text + at, mtws__min_size(step, size - at)};
        mtws__pem_item item = mtws__pem_feed(&p, piece, &used);
        CHECK(used <= piece.size);
        at += used;
        char two[3];
        switch (item) {
        case MTWS__PEM_MORE: CHECK_UINT(used, piece.size); break;
        case MTWS__PEM_BEGIN:
            mtws__writer_text(&w, p.label);
            mtws__writer_text(&w, ":");
            break;
        case MTWS__PEM_DATA:
            for (size_t i = 0; i < p.size; i++) {
                snprintf(two, sizeof two, "%02x", p.data[i]);
                mtws__writer_text(&w, two);
            }
            /* Its end may have been seen: the next call needs no more of the text. */
            while (p.over) {
                mtws__span none = {NULL, 0};
                item = mtws__pem_feed(&p, none, &used);
                mtws__writer_text(&w, item == MTWS__PEM_END ? ";" : "!");
            }
            break;
        case MTWS__PEM_END: mtws__writer_text(&w, ";"); break;
        case MTWS__PEM_BAD: mtws__writer_text(&w, "!"); break;
        }
    }
    CHECK(!w.full);
}

#define BEGIN_ "-----BEGIN A-----\n"
#define END_ "-----END A-----\n"

static void pem_texts(void) {
    static const struct {
        const char *name, *text, *trace;
    } rows[] = {
        {"nothing", "", ""},
        {"no block", "hello\n-----\n", ""},
        {"empty", BEGIN_ END_, "A:;"},
        {"a byte", BEGIN_ "AQ==\n" END_, "A:01;"},
        {"two bytes", BEGIN_ "AQI=\n" END_, "A:0102;"},
        {"three bytes", BEGIN_ "AQID\n" END_, "A:010203;"},
        {"all digits", BEGIN_ "+/09azAZ\n" END_, "A:fbfd3d6b3019;"},
        {"lines", BEGIN_ "AQ\nID\n\nBA==\n" END_, "A:01020304;"},
        {"CRLF", "-----BEGIN A-----\r\nAQID\r\n-----END A-----\r\n", "A:010203;"},
        {"blanks", "-----BEGIN A-----  \n AQ I\tD\n" END_, "A:010203;"},
        {"no newline at the end", BEGIN_ "AQID\n-----END A-----", "A:010203;"},
        {"no newline before the end", BEGIN_ "AQID" END_, "A:"},
        {"text around", "a b\n" BEGIN_ "AQID\n" END_ "c\n" BEGIN_ "AQ==\n" END_ "d",
         "A:010203;A:01;"},
        {"a label of words", "-----BEGIN EC PRIVATE KEY-----\nAQ==\n" END_, "EC PRIVATE KEY:01;"},
        {"begin in a line", "x" BEGIN_ "AQ==\n" END_, ""},
        {"a begin right behind an end",
         BEGIN_ "AQ==\n-----END A----------BEGIN A-----\nAQ==\n" END_, "A:01;"},
        {"no end", BEGIN_ "AQID\n", "A:"},
        {"a pad short", BEGIN_ "AQ=\n" END_, "A:01!"},
        {"no pad", BEGIN_ "AQ\n" END_, "A:01!"},
        {"a pad too many", BEGIN_ "AQI==\n" END_, "A:0102!"},
        {"a pad alone", BEGIN_ "=\n" END_, "A:!"},
        {"data behind a pad", BEGIN_ "AQ==AQ==\n" END_, "A:01!"},
        {"one digit", BEGIN_ "A\n" END_, "A:!"},
        {"a stranger", BEGIN_ "AQ*D\n" END_, "A:0100!"},
        {"a stranger behind the letters", BEGIN_ "AQ{D\n" END_, "A:0100!"},
        {"encrypted",
         "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: "
         "AES-128-CBC,00\n\nAQID\n"
         "-----END RSA PRIVATE KEY-----\n",
         NULL},
        {"a label of nothing", "-----BEGIN -----\nAQ==\n", ""},
        {"a long label",
         "-----BEGIN 0123456789012345678901234567890123456789012345678901234567890123456789-----\n"
         "AQ==\n",
         ""},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        char whole[512], pieces[512];
        size_t size = strlen(rows[i].text);
        pem_trace(rows[i].text, size, size, whole, sizeof whole);
        if (rows[i].trace != NULL) CHECK_STR(whole, rows[i].trace);
        else CHECK_INT(whole[strlen(whole) - 1], '!');
        for (size_t step = 1; step < size; step++) {
            test_context("%zu bytes at a time", step);
            pem_trace(rows[i].text, size, step, pieces, sizeof pieces);
            CHECK_STR(pieces, whole);
        }
        test_end();
    }
}

/* Data of every length up to several pieces. */
static void pem_lengths(void) {
    static char text[4096], trace[4096], expected[4096];
    uint64_t seed = 1;
    for (size_t size = 0; size < 800; size++) {
        uint8_t data[800];
        mtws__writer w;
        unit_fill(&seed, data, size);
        mtws__writer_open(&w, text, sizeof text);
        mtws__writer_text(&w, "-----BEGIN X-----\n");
        for (size_t at = 0; at < size; at += 48) {
            mtws__base64_encode(&w, data + at, mtws__min_size(48, size - at));
            mtws__writer_text(&w, "\n");
        }
        mtws__writer_text(&w, "-----END X-----\n");
        CHECK(!w.full);
        strcpy(expected, "X:");
        for (size_t i = 0; i < size; i++) snprintf(expected + 2 + 2 * i, 3, "%02x", data[i]);
        strcat(expected, ";");
        test_context("%zu bytes", size);
        pem_trace(text, w.size, 1 + size % 97, trace, sizeof trace);
        CHECK_STR(trace, expected);
    }
}

/* ---- DER ------------------------------------------------------------------------------------- */

/* What was read of a certificate. */
typedef struct reading {
    char issuer[1024], subject[1024], key[2048]; /* in hexadecimal */
    char names[64 * 1024];
    char times[128];
    bool is_ca, whole;
    int purposes;
} reading;

static void add_hex(char *out, size_t room, mtws__span piece) {
    size_t size = strlen(out);
    for (size_t i = 0; i < piece.size && size + 3 < room; i++, size += 2) {
        snprintf(out + size, 3, "%02x", piece.data[i]);
    }
}

static void add_text(char *out, size_t room, mtws__span piece) {
    size_t size = strlen(out);
    snprintf(out + size, room - size, "%.*s,", (int)piece.size, (const char *)piece.data);
}

/* Reads it in pieces: up to `cut`, and then `step` bytes at a time. */
static bool read_certificate(const uint8_t *der, size_t size, size_t cut, size_t step, reading *r) {
    mtws__cert c;
    memset(r, 0, sizeof *r);
    mtws__cert_start(&c);
    for (size_t at = 0; at < size;) {
        size_t piece = mtws__min_size(at < cut ? cut - at : step, size - at), used;
        mtws__cert_item item = mtws__cert_feed(&c, der + at, piece, &used);
        CHECK(used <= piece);
        at += used;
        switch (item) {
        case MTWS__CERT_MORE: CHECK_UINT(used, piece); break;
        case MTWS__CERT_ISSUER: add_hex(r->issuer, sizeof r->issuer, c.piece); break;
        case MTWS__CERT_SUBJECT: add_hex(r->subject, sizeof r->subject, c.piece); break;
        case MTWS__CERT_KEY: add_hex(r->key, sizeof r->key, c.piece); break;
        case MTWS__CERT_NOT_BEFORE:
        case MTWS__CERT_NOT_AFTER: add_text(r->times, sizeof r->times, c.piece); break;
        case MTWS__CERT_IS_CA: r->is_ca = c.piece.size == 1 && c.piece.data[0] != 0; break;
        case MTWS__CERT_PURPOSE: r->purposes++; break;
        case MTWS__CERT_DNS: add_text(r->names, sizeof r->names, c.piece); break;
        case MTWS__CERT_IP: add_hex(r->names, sizeof r->names, c.piece); break;
        case MTWS__CERT_BAD: return false;
        default: CHECK(false); return false;
        }
    }
    r->whole = mtws__cert_whole(&c);
    return true;
}

/* What BearSSL's decoder makes of it. */
static char bear_subject[1024];

static void bear_append(void *ctx, const void *data, size_t size) {
    mtws__span piece = {(const uint8_t *)data, size};
    (void)ctx;
    add_hex(bear_subject, sizeof bear_subject, piece);
}

/* Name, key and CA flag are those that BearSSL reads. */
static void compare(const uint8_t *der, size_t size) {
    static reading r;
    br_x509_decoder_context d;
    mtws__key key;
    uint8_t info[2048];
    size_t info_size = 0;
    bear_subject[0] = 0;
    br_x509_decoder_init(&d, bear_append, NULL);
    br_x509_decoder_push(&d, der, size);
    const br_x509_pkey *bear = br_x509_decoder_get_pkey(&d);
    if (!CHECK(read_certificate(der, size, size, 1, &r)) || !CHECK(bear != NULL)) return;
    CHECK(r.whole);
    CHECK_STR(r.subject, bear_subject);
    CHECK_INT(r.is_ca, br_x509_decoder_isCA(&d));
    for (const char *at = r.key; *at != 0; at += 2) {
        unsigned byte = 0;
        sscanf(at, "%2x", &byte);
        info[info_size++] = (uint8_t)byte;
    }
    mtws__span span = {info, info_size};
    mtws__key_parse(span, &key);
    if (bear->key_type == BR_KEYTYPE_RSA) {
        CHECK_INT(key.kind, MTWS__KEY_RSA);
        CHECK_UINT(key.modulus.size, bear->key.rsa.nlen);
        CHECK_UINT(key.exponent.size, bear->key.rsa.elen);
        if (test_failing()) return;
        CHECK_MEM(key.modulus.data, bear->key.rsa.n, key.modulus.size);
        CHECK_MEM(key.exponent.data, bear->key.rsa.e, key.exponent.size);
    } else {
        CHECK_INT(key.kind, MTWS__KEY_EC);
        CHECK_INT(key.curve, bear->key.ec.curve);
        CHECK_UINT(key.point.size, bear->key.ec.qlen);
        if (test_failing()) return;
        CHECK_MEM(key.point.data, bear->key.ec.q, key.point.size);
    }
    /* Less of the key is no key. */
    for (size_t i = 0; i < info_size; i++) {
        span.size = i;
        mtws__key_parse(span, &key);
        CHECK_INT(key.kind, MTWS__KEY_UNKNOWN);
    }
}

/* Calls compare for each certificate of a PEM text; returns how many there were. */
static unsigned compare_all(mtws__span text) {
    static uint8_t der[64 * 1024];
    size_t size = 0, used;
    unsigned count = 0;
    mtws__pem p;
    mtws__pem_start(&p);
    for (;;) {
        mtws__pem_item item = mtws__pem_feed(&p, text, &used);
        text.data += used;
        text.size -= used;
        if (item == MTWS__PEM_BEGIN) size = 0;
        if (item == MTWS__PEM_DATA && size + p.size <= sizeof der) {
            memcpy(der + size, p.data, p.size);
            size += p.size;
        }
        if (item == MTWS__PEM_END && strcmp(p.label, "CERTIFICATE") == 0) {
            test_context("certificate %u", ++count);
            compare(der, size);
        }
        if (item == MTWS__PEM_MORE) return count;
    }
}

static void as_bearssl(void) {
    static const char *const names[] = {"root",     "inter",      "rsa",     "ec",   "ec384",
                                        "rsa4096",  "expired",    "many",    "long", "client-ec",
                                        "whatever", "selfsigned", "anything"};
    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        char name[64];
        if (!test_begin("%s", names[i])) continue;
        snprintf(name, sizeof name, "%s.pem", names[i]);
        CHECK(compare_all(mtws__span_of(pki_text(name))) >= 1);
        test_end();
    }
    const char *path = "/etc/ssl/certs/ca-certificates.crt";
    if (access(path, R_OK) == 0 && test_begin("the system's bundle")) {
        file_text bundle = file_read(path);
        CHECK(compare_all(mtws__span_of(bundle.text)) > 50);
        free(bundle.text);
        test_end();
    }
}

/* Keys that are none: a BIT STRING without content. */
static void no_keys(void) {
    static const uint8_t infos[][16] = {
        {0x30, 0x09, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x00},
        {0x30, 0x0a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x01, 0x00},
        {0x30, 0x0b, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x02, 0x00, 0x01},
    };
    for (size_t i = 0; i < UNIT_COUNT(infos); i++) {
        mtws__key key;
        mtws__span info = {infos[i], (size_t)infos[i][1] + 2};
        test_context("row %zu", i);
        mtws__key_parse(info, &key);
        CHECK_INT(key.kind, MTWS__KEY_UNKNOWN);
    }
}

/* A NUL is no digit of base64. */
static void nul_in_pem(void) {
    static const char text[] = BEGIN_ "AQ\0D\n" END_;
    char trace[64];
    pem_trace(text, sizeof text - 1, sizeof text - 1, trace, sizeof trace);
    CHECK_INT(trace[strlen(trace) - 1], '!');
}

/* The same comes of a certificate however it is cut. */
static void every_cut(void) {
    static reading whole, cut;
    static const char *const names[] = {"ec.der", "rsa.der", "root.der"};
    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        if (!test_begin("%s", names[i])) continue;
        file_text file = file_read(pki_path(names[i]));
        const uint8_t *der = (const uint8_t *)file.text;
        CHECK(read_certificate(der, file.size, file.size, 1, &whole));
        CHECK(whole.whole);
        for (size_t at = 0; at <= file.size; at++) {
            test_context("cut at %zu", at);
            CHECK(read_certificate(der, file.size, at, file.size, &cut));
            CHECK(memcmp(&cut, &whole, sizeof cut) == 0);
            /* Its beginning is not whole, and what follows makes it bad. */
            CHECK(read_certificate(der, at, at, 1, &cut));
            CHECK_INT(cut.whole, at == file.size);
        }
        file.text[file.size] = 0;
        CHECK(!read_certificate(der, file.size + 1, file.size, 1, &cut) || !cut.whole);
        for (size_t step = 1; step < 300; step++) {
            CHECK(read_certificate(der, file.size, 0, step, &cut));
            CHECK(memcmp(&cut, &whole, sizeof cut) == 0);
        }
        free(file.text);
        test_end();
    }
}

static void contents(void) {
    static reading r;
    file_text file = file_read(pki_path("ec.der"));
    CHECK(read_certificate((const uint8_t *)file.text, file.size, file.size, 1, &r));
    CHECK_STR(r.names, "localhost,server.test,*.wild.test,7f000001"
                       "00000000000000000000000000000001");
    CHECK_STR(r.times, "200101000000Z,20991231235959Z,");
    CHECK_INT(r.purposes, 1);
    free(file.text);
    file = file_read(pki_path("many.der"));
    CHECK(file.size > 16384);
    CHECK(read_certificate((const uint8_t *)file.text, file.size, 100, 77, &r));
    CHECK_UINT(strlen(r.names), 900 * (strlen("host-0001.many.test,")) + strlen("server.test,"));
    free(file.text);
}

/* Nothing that a certificate may become is read too far; the page behind it says so. */
static void mutations(void) {
    static reading r;
    unit_edge edge = unit_edge_open(8192);
    uint64_t seed = 9;
    unsigned taken = 0;
    file_text file = file_read(pki_path("ec.der"));
    for (int i = 0; i < 30000; i++) {
        size_t size = unit_chance(&seed, 70) ? file.size : unit_below(&seed, file.size + 1);
        uint8_t *der = unit_edge_room(edge, size);
        memcpy(der, file.text, size);
        for (size_t n = unit_below(&seed, 4); n > 0 && size > 0; n--) {
            static const uint8_t odd[] = {0, 1, 0x30, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xa3, 0xff};
            uint8_t *at = der + unit_below(&seed, size);
            *at = unit_chance(&seed, 50) ? odd[unit_below(&seed, sizeof odd)]
                                         : (uint8_t)unit_random(&seed);
        }
        size_t step = 1 + unit_below(&seed, 300);
        if (read_certificate(der, size, 0, step, &r) && r.whole) taken++;
    }
    CHECK(taken > 1000);
    CHECK(taken < 29000);
    free(file.text);
}

/* Lengths that X.690 does not allow, and elements longer than what they lie in. */
static void bad_der(void) {
    static const struct {
        const char *name;
        uint8_t der[8];
        size_t size;
    } rows[] = {
        {"no list", {0x31, 0x00}, 2},
        {"indefinite length", {0x30, 0x80, 0x00, 0x00}, 4},
        {"a long tag", {0x3f, 0x81, 0x01, 0x00}, 4},
        {"a length of five bytes", {0x30, 0x85, 1, 0, 0, 0, 0}, 7},
        {"a length with a zero before", {0x30, 0x82, 0x00, 0x80}, 4},
        {"a short length in the long form", {0x30, 0x81, 0x7f}, 3},
        {"a member longer than its list", {0x30, 0x02, 0x30, 0x01}, 4},
        {"a list of two", {0x30, 0x00, 0x30, 0x00}, 4},
    };
    static reading r;
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        CHECK(!read_certificate(rows[i].der, rows[i].size, 0, 1, &r));
        test_end();
    }
}

/* ---- names, pins, dates ---------------------------------------------------------------------- */

static void hosts(void) { /* FAULTS rows 59 to 61 */
    char long_label[80], longest[300], out[MTWS__HOST_MAX + 1];
    memset(long_label, 'a', 64);
    strcpy(long_label + 64, ".b");
    for (size_t i = 0; i < 254; i++) longest[i] = i % 64 == 63 ? '.' : 'a';
    longest[253] = 0;
    static const struct {
        const char *host, *name; /* NULL: refused */
    } rows[] = {
        {"example.com", "example.com"},
        {"EXAMPLE.Com", "example.com"},
        {"example.com.", "example.com"},
        {"localhost", "localhost"},
        {"a_b-c.1x", "a_b-c.1x"},
        {"xn--bcher-kva.example", "xn--bcher-kva.example"},
        {"3com", "3com"},
        {"", NULL},
        {".", NULL},
        {"..", NULL},
        {"example.com..", NULL},
        {".example.com", NULL},
        {"a..b", NULL},
        {"127.0.0.1", NULL},
        {"127.1", NULL},
        {"2130706433", NULL},
        {"10.0.0.1.", NULL},
        {"::1", NULL},
        {"a b", NULL},
        {"a/b", NULL},
        {"*.example.com", NULL},
        {"b\xc3\xbc"
         "cher.example",
         NULL},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].host)) continue;
        bool ok = mtws__cert_host(out, rows[i].host);
        CHECK_INT(ok, rows[i].name != NULL);
        if (ok && rows[i].name != NULL) CHECK_STR(out, rows[i].name);
        test_end();
    }
    if (test_begin("lengths")) {
        CHECK(!mtws__cert_host(out, long_label));
        CHECK(mtws__cert_host(out, long_label + 1));
        CHECK(mtws__cert_host(out, longest));
        CHECK_UINT(strlen(out), 253);
        strcat(longest, ".");
        CHECK(mtws__cert_host(out, longest));
        CHECK_UINT(strlen(out), 253);
        strcpy(longest + 253, "a");
        CHECK(!mtws__cert_host(out, longest));
        test_end();
    }
}

static void matches(void) {
    static const struct {
        const char *name, *host;
        bool match;
    } rows[] = {
        {"example.com", "example.com", true},
        {"EXAMPLE.COM", "example.com", true},
        {"example.com", "www.example.com", false},
        {"www.example.com", "example.com", false},
        {"example.com.", "example.com", false},
        {"", "example.com", false},
        {"*", "localhost", false},
        {"*.", "localhost", false},
        {"*.com", "example.com", false},
        {"*.example.com", "www.example.com", true},
        {"*.EXAMPLE.com", "www.example.com", true},
        {"*.example.com", "example.com", false},
        {"*.example.com", "a.b.example.com", false},
        {"*.example.com", "wwwexample.com", false},
        {"w*.example.com", "www.example.com", false},
        {"*w.example.com", "www.example.com", false},
        {"www.*.com", "www.example.com", false},
        {"*.*.com", "www.example.com", false},
        {"**.example.com", "www.example.com", false},
        {"*.example.com", "*.example.com", true}, /* which is no host */
        {"xn--*.example.com", "xn--a.example.com", false},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s for %s", rows[i].name, rows[i].host)) continue;
        CHECK_INT(mtws__cert_matches(mtws__span_of(rows[i].name), rows[i].host), rows[i].match);
        test_end();
    }
    if (test_begin("a NUL within")) {
        mtws__span name = {(const uint8_t *)"example.com\0.evil.test", 22};
        CHECK(!mtws__cert_matches(name, "example.com"));
        test_end();
    }
}

#define PIN_A "o30dc76+iNbzHfj2KlOLcocT+dyaLrMNVgXdQwG1zQs="
#define PIN_B "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static void pins(void) {
    static const struct {
        const char *list;
        int count; /* -1: refused */
    } rows[] = {
        {"", 0},
        {" , ;\n", 0},
        {PIN_A, 1},
        {PIN_A "," PIN_B, 2},
        {" " PIN_A " ;\n" PIN_B " ", 2},
        {PIN_A PIN_B, -1},
        {"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", -1}, /* 33 bytes */
        {"o30dc76+iNbzHfj2KlOLcocT+dyaLrMNVgXdQwG1zQs", -1},
        {"o30dc76+iNbzHfj2KlOLcocT+dyaLrMNVgXdQwG1zQ==", -1},
        {"o30dc76-iNbzHfj2KlOLcocT_dyaLrMNVgXdQwG1zQs=", -1},
        {"sha256//" PIN_A, -1},
        {PIN_A ",x", -1},
        {"o30dc76+iNbzHfj2KlOLcocT+dyaLrMNVgXdQwG1zQt=", -1}, /* bits behind the last byte */
    };
    static const uint8_t first[32] = {0xa3, 0x7d, 0x1d, 0x73};
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].list)) continue;
        const char *list = rows[i].list;
        uint8_t pin[32];
        int count = 0, result;
        while ((result = mtws__cert_pin(&list, pin)) > 0) {
            if (count++ == 0) CHECK_MEM(pin, first, 4);
        }
        CHECK_INT(result < 0 ? -1 : count, rows[i].count);
        test_end();
    }
}

/* Every day from 1900 to 2199, and what is none. */
static void dates(void) { /* FAULTS row 62 */
    char text[32], out[16], expected[32];
    for (int64_t day = -25567; day < 84006; day++) {
        time_t when = (time_t)(day * 86400 + (day * 7919 % 86400 + 86400) % 86400);
        struct tm t;
        gmtime_r(&when, &t);
        strftime(text, sizeof text, "%Y%m%d%H%M%SZ", &t);
        strftime(expected, sizeof expected, "%Y-%m-%d", &t);
        CHECK_INT(mtws__cert_time(0x18, mtws__span_of(text)), when);
        mtws__cert_date(when, out);
        CHECK_STR(out, expected);
        if (t.tm_year < 50 || t.tm_year >= 150) continue;
        CHECK_INT(mtws__cert_time(0x17, mtws__span_of(text + 2)), when);
        if (test_failing()) break;
    }
    static const struct {
        uint8_t tag;
        const char *text;
    } bad[] = {
        {0x17, ""},
        {0x17, "2001010000Z"},
        {0x17, "200101000000"},
        {0x17, "200101000000+"},
        {0x17, "20010100000aZ"},
        {0x17, "201301000000Z"},
        {0x17, "200001000000Z"},
        {0x17, "200132000000Z"},
        {0x17, "200101240000Z"},
        {0x17, "200101006000Z"},
        {0x17, "200101000061Z"},
        {0x17, "20200101000000Z"},
        {0x18, "200101000000Z"},
        {0x18, "20200101000000.5Z"},
        {0x13, "200101000000Z"},
    };
    for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
        test_context("%s", bad[i].text);
        CHECK(mtws__cert_time(bad[i].tag, mtws__span_of(bad[i].text)) == INT64_MIN);
    }
    mtws__cert_date(INT64_MAX, out);
    CHECK_STR(out + 4, strchr(out, '-'));
    mtws__cert_date(INT64_MIN, out);
    CHECK_STR(out, "0-03-01");
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST_ROWS(pem_texts), TEST(pem_lengths), TEST_ROWS(as_bearssl), TEST_ROWS(every_cut),
        TEST(nul_in_pem),     TEST(no_keys),     TEST(contents),        TEST(mutations),
        TEST_ROWS(bad_der),   TEST_ROWS(hosts),  TEST_ROWS(matches),    TEST_ROWS(pins),
        TEST(dates),
    };
    return TEST_MAIN(tests, argc, argv);
}
