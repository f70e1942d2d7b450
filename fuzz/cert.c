/* Invariant: whatever certificates, keys and names there are, and in whatever pieces they come: what
 * is read of them is what a plain reading of the whole gives; name, key and CA flag are BearSSL's,
 * where it reads them too. BearSSL's decoders get no byte behind an error: they have no guard of
 * their own. What is taken as anchors, chain and key fits into the room that was counted for it; a
 * key that is taken and can sign is its certificate's. A server's chain is taken if, and only if,
 * BearSSL's own engine takes it, a name of the leaf is the host's, the leaf's purposes allow it, and
 * a key of the path is pinned where one must be; never outside its dates. With insecure_skip_verify
 * the leaf must be a certificate whose key can be read, and a pin holds.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -o build/cert cert.c -lbearssl
 *     build/cert -dict=mtws.dict corpus/cert
 *
 * Input: a byte that says which part is tried, and a byte that pieces are cut by. PEM: the text. A
 * certificate: it. Names: strings, a host, a certificate's name, pins. A client: what it is made
 * with, then blocks, which become PEM. A chain: settings, then certificates, each of which may be
 * just what is signed: then it is signed here, with one of four keys, whose public halves the
 * certificates of the corpus bear. cert_seeds.py makes those.
 *
 * A block or a certificate has a byte of flags and two of its size before it. */
#define MTWS_BEARSSL
#define _DEFAULT_SOURCE 1

#include <arpa/inet.h>
#include <bearssl.h>

/* These stand before BearSSL's in all that follows, mtws.h too. */
static void guarded_x509_push(br_x509_decoder_context *d, const void *data, size_t size);
static void guarded_key_push(br_skey_decoder_context *d, const void *data, size_t size);
#define br_x509_decoder_push guarded_x509_push
#define br_skey_decoder_push guarded_key_push
#include "fuzz.h"
#undef br_x509_decoder_push
#undef br_skey_decoder_push

#include <time.h>

static void guarded_x509_push(br_x509_decoder_context *d, const void *data, size_t size) {
    CHECK(d->err == 0);
    br_x509_decoder_push(d, data, size);
}

static void guarded_key_push(br_skey_decoder_context *d, const void *data, size_t size) {
    CHECK(d->err == 0);
    br_skey_decoder_push(d, data, size);
}

enum { KEYS = 4, CERTS_MAX = 4, BLOCKS_MAX = 6 };

static bool same_span(mtws__span a, const void *data, size_t size) {
    return a.size == size && (size == 0 || memcmp(a.data, data, size) == 0);
}

/* Flags, then bytes. False: the input has ended. */
static bool take_block(fuzz_input *in, uint8_t *flags, mtws__span *block) {
    if (in->size < 3) return false;
    *flags = fuzz_byte(in);
    size_t size = fuzz_byte(in);
    size = size * 256 + fuzz_byte(in);
    *block = fuzz_take(in, size);
    return true;
}

/* ---- a certificate, read plainly ------------------------------------------------------------- */

/* What it says, in its order, as items of a log, and places of it. */
typedef struct plain_cert {
    fuzz_bytes log;
    mtws__span subject, key; /* with their headers */
    mtws__span not_before, not_after;
    fuzz_bytes names; /* elements: [2] and [7] of subjectAltName */
    bool is_ca, purposes, for_servers;
} plain_cert;

/* One element of DER at the beginning of rest, which it is taken from. */
static bool plain_next(mtws__span *rest, mtws__span *element, mtws__span *content) {
    size_t header = 2, size;
    if (rest->size < 2 || rest->data[0] % 32 == 31) return false;
    size = rest->data[1];
    if (size == 128 || size > 132) return false;
    if (size > 128) {
        size_t digits = size - 128;
        header += digits;
        if (rest->size < header || rest->data[2] == 0) return false;
        size = 0;
        for (size_t i = 2; i < header; i++) size = size * 256 + rest->data[i];
        if (size < 128) return false;
    }
    if (size > rest->size - header) return false;
    element->data = rest->data;
    element->size = header + size;
    content->data = rest->data + header;
    content->size = size;
    rest->data += element->size;
    rest->size -= element->size;
    return true;
}

static void plain_item(plain_cert *p, mtws__cert_item item, uint8_t tag, mtws__span value) {
    uint8_t head[2] = {(uint8_t)('A' + item), tag};
    fuzz_put(&p->log, head, sizeof head);
    fuzz_put_item(&p->log, '=', value.data, mtws__min_size(value.size, MTWS__CERT_VALUE_MAX));
}

/* What lies in an extension's OCTET STRING: lists, whose members are what is looked for. `which` is
 * the last byte of its OID under 2.5.29. */
static bool plain_extension(plain_cert *p, int which, mtws__span rest) {
    static const uint8_t server[] = {0x2b, 6, 1, 5, 5, 7, 3, 1}, any[] = {0x55, 0x1d, 0x25, 0};
    mtws__span list, element, value;
    while (rest.size > 0) {
        if (!plain_next(&rest, &element, &list) || element.data[0] != 0x30) return false;
        while (list.size > 0) {
            if (!plain_next(&list, &element, &value)) return false;
            uint8_t tag = element.data[0];
            if (which == 19 && tag == 1) {
                p->is_ca = value.size == 1 && value.data[0] != 0;
                plain_item(p, MTWS__CERT_IS_CA, tag, value);
            } else if (which == 37) {
                p->purposes = true;
                p->for_servers = p->for_servers || same_span(value, server, sizeof server) ||
                                 same_span(value, any, sizeof any);
                plain_item(p, MTWS__CERT_PURPOSE, tag, value);
            } else if (which == 17 && (tag == 0x82 || tag == 0x87)) {
                plain_item(p, tag == 0x82 ? MTWS__CERT_DNS : MTWS__CERT_IP, tag, value);
                fuzz_put(&p->names, element.data, element.size);
            }
        }
    }
    return true;
}

static bool plain_extensions(plain_cert *p, mtws__span rest) {
    mtws__span list, extension, element, value;
    while (rest.size > 0) {
        if (!plain_next(&rest, &element, &list) || element.data[0] != 0x30) return false;
        while (list.size > 0) {
            int which = -1;
            if (!plain_next(&list, &element, &extension) || element.data[0] != 0x30) return false;
            for (int i = 0; extension.size > 0; i++) {
                if (!plain_next(&extension, &element, &value)) return false;
                if (i == 0) {
                    bool known = value.size == 3 && value.data[0] == 0x55 && value.data[1] == 0x1d;
                    which = known ? value.data[2] : -1;
                } else if (element.data[0] == 4 && (which == 17 || which == 19 || which == 37)) {
                    if (!plain_extension(p, which, value)) return false;
                }
            }
        }
    }
    return true;
}

/* The signed part, behind its version. */
static bool plain_signed(plain_cert *p, mtws__span rest) {
    mtws__span element, value, time;
    for (int i = 0; rest.size > 0;) {
        if (!plain_next(&rest, &element, &value)) return false;
        uint8_t tag = element.data[0];
        if (i == 0 && tag == 0xa0) continue;
        if (i < 6 && tag != (i == 0 ? 2 : 0x30)) return false;
        if (i == 2 || i == 4 || i == 5) {
            uint8_t head = (uint8_t)('A' + (i == 2   ? MTWS__CERT_ISSUER
                                            : i == 4 ? MTWS__CERT_SUBJECT
                                                     : MTWS__CERT_KEY));
            fuzz_put_byte(&p->log, head);
            fuzz_put(&p->log, element.data, element.size);
        }
        if (i == 4) p->subject = element;
        if (i == 5) p->key = element;
        for (int k = 0; i == 3 && value.size > 0; k++) {
            if (!plain_next(&value, &element, &time)) return false;
            *(k == 0 ? &p->not_before : &p->not_after) = element;
            plain_item(p, k == 0 ? MTWS__CERT_NOT_BEFORE : MTWS__CERT_NOT_AFTER, element.data[0],
                       time);
        }
        if (i >= 6 && tag == 0xa3 && !plain_extensions(p, value)) return false;
        i++;
    }
    return true;
}

/* False: it is no certificate. */
static bool plain_read(plain_cert *p, mtws__span der) {
    mtws__span element, certificate, part;
    memset(p, 0, sizeof *p);
    if (!plain_next(&der, &element, &certificate) || element.data[0] != 0x30) return false;
    for (int i = 0; certificate.size > 0; i++) {
        if (!plain_next(&certificate, &element, &part)) return false;
        if (i == 0 && (element.data[0] != 0x30 || !plain_signed(p, part))) return false;
    }
    return der.size == 0;
}

static void plain_free(plain_cert *p) {
    fuzz_free(&p->log);
    fuzz_free(&p->names);
}

/* ---- a certificate, in pieces ---------------------------------------------------------------- */

/* The same log of what mtws__cert hands over; cuts: 0, or what pieces are cut by. */
static bool piece_read(fuzz_bytes *log, mtws__span der, uint64_t cuts) {
    mtws__cert c;
    int latest = -1; /* of the items that come in pieces */
    memset(log, 0, sizeof *log);
    mtws__cert_start(&c);
    for (size_t at = 0; at < der.size;) {
        size_t size = cuts == 0 ? der.size - at : fuzz_cut(&cuts, der.size - at), used;
        uint8_t *copy = fuzz_copy(der.data + at, size);
        mtws__cert_item item = mtws__cert_feed(&c, copy, size, &used);
        CHECK(used <= size && (item != MTWS__CERT_MORE || used == size));
        CHECK(item <= MTWS__CERT_BAD);
        at += used;
        if (item == MTWS__CERT_BAD) {
            CHECK(!mtws__cert_whole(&c));
            CHECK(mtws__cert_feed(&c, copy, size, &used) == MTWS__CERT_BAD && used == 0);
        } else if (item >= MTWS__CERT_NOT_BEFORE) {
            uint8_t head[2] = {(uint8_t)('A' + item), c.tag};
            fuzz_put(log, head, sizeof head);
            fuzz_put_item(log, '=', c.piece.data, c.piece.size);
            latest = -1;
        } else if (item != MTWS__CERT_MORE) {
            if (latest != (int)item) fuzz_put_byte(log, (uint8_t)('A' + item));
            latest = (int)item;
            fuzz_put(log, c.piece.data, c.piece.size);
        }
        free(copy);
        if (item == MTWS__CERT_BAD) return false;
    }
    return mtws__cert_whole(&c);
}

/* ---- BearSSL --------------------------------------------------------------------------------- */

static void append_name(void *ctx, const void *data, size_t size) {
    fuzz_put((fuzz_bytes *)ctx, data, size);
}

/* BearSSL's reading of a whole certificate; NULL: it can't. The name is to be freed. */
static const br_x509_pkey *bear_read(br_x509_decoder_context *d, mtws__span der, fuzz_bytes *name) {
    memset(name, 0, sizeof *name);
    br_x509_decoder_init(d, append_name, name);
    br_x509_decoder_push(d, der.data, der.size);
    return br_x509_decoder_last_error(d) == 0 ? br_x509_decoder_get_pkey(d) : NULL;
}

static bool same_key(const br_x509_pkey *a, const br_x509_pkey *b) {
    mtws__span n = {a->key.rsa.n, a->key.rsa.nlen}, e = {a->key.rsa.e, a->key.rsa.elen};
    if (a->key_type != b->key_type) return false;
    if (a->key_type == BR_KEYTYPE_RSA) {
        return same_span(n, b->key.rsa.n, b->key.rsa.nlen) &&
               same_span(e, b->key.rsa.e, b->key.rsa.elen);
    }
    n.data = a->key.ec.q;
    n.size = a->key.ec.qlen;
    return a->key.ec.curve == b->key.ec.curve && same_span(n, b->key.ec.q, b->key.ec.qlen);
}

/* The key as mtws__key_parse finds it, with BearSSL's type. False: it is none that is known. */
static bool parse_key(mtws__span info, br_x509_pkey *out) {
    mtws__key key;
    memset(out, 0, sizeof *out);
    mtws__key_parse(info, &key);
    if (key.kind == MTWS__KEY_RSA) {
        out->key_type = BR_KEYTYPE_RSA;
        out->key.rsa.n = (unsigned char *)(uintptr_t)key.modulus.data;
        out->key.rsa.nlen = key.modulus.size;
        out->key.rsa.e = (unsigned char *)(uintptr_t)key.exponent.data;
        out->key.rsa.elen = key.exponent.size;
    } else if (key.kind == MTWS__KEY_EC) {
        out->key_type = BR_KEYTYPE_EC;
        out->key.ec.curve = key.curve;
        out->key.ec.q = (unsigned char *)(uintptr_t)key.point.data;
        out->key.ec.qlen = key.point.size;
    }
    return key.kind != MTWS__KEY_UNKNOWN;
}

/* ---- parts: PEM, a certificate, names -------------------------------------------------------- */

/* A text as roots, as a chain and as a key, each in the block that is counted for it. */
static void load_text(mtws__span span) {
    mtws_trust *trust;
    mtws__identity id;
    mtws_options options;
    char *text = (char *)malloc(span.size + 1);
    CHECK(text != NULL);
    if (span.size > 0) memcpy(text, span.data, span.size);
    text[span.size] = 0;
    memset(&options, 0, sizeof options);
    options.client_cert_pem = options.client_key_pem = text;
    size_t sizes[2] = {mtws__trust_required("", text), mtws__identity_room(&options)};
    void *blocks[2] = {malloc(sizes[0]), malloc(sizes[1])};
    CHECK(blocks[0] != NULL && blocks[1] != NULL);
    mtws_result result = mtws__trust_make(&trust, "", text, blocks[0], sizes[0]);
    CHECK(result == MTWS_OK || result == MTWS_ERR_TLS_TRUST);
    if (result == MTWS_OK) CHECK(trust->count > 0);
    const char *wrong = mtws__identity_load(&id, (uint8_t *)blocks[1], sizes[1], &options);
    if (wrong == NULL) CHECK(id.count > 0 && id.kind != 0);
    free(blocks[0]);
    free(blocks[1]);
    free(text);
}

/* A log of all blocks: label, data, and how each ends. */
static void read_pem(fuzz_bytes *log, mtws__span text, uint64_t cuts) {
    mtws__pem p;
    fuzz_bytes data = {NULL, 0, 0};
    memset(log, 0, sizeof *log);
    mtws__pem_start(&p);
    for (;;) {
        size_t size = cuts == 0 ? text.size : fuzz_cut(&cuts, text.size), used;
        uint8_t *copy = fuzz_copy(text.data, size);
        mtws__span piece = {copy, size};
        mtws__pem_item item = mtws__pem_feed(&p, piece, &used);
        CHECK(used <= size);
        free(copy);
        text.data += used;
        text.size -= used;
        if (item == MTWS__PEM_BEGIN) {
            CHECK(data.size == 0 && strlen(p.label) < MTWS__PEM_LINE_MAX);
            fuzz_put_item(log, '<', p.label, strlen(p.label));
        } else if (item == MTWS__PEM_DATA) {
            CHECK(p.size > 0 && p.size <= sizeof p.data);
            fuzz_put(&data, p.data, p.size);
        } else if (item == MTWS__PEM_END || item == MTWS__PEM_BAD) {
            /* What was read of a bad block is of no use. */
            if (item == MTWS__PEM_BAD) data.size = 0;
            fuzz_put_item(log, item == MTWS__PEM_END ? '>' : '!', data.data, data.size);
            data.size = 0;
        } else if (text.size == 0) {
            break;
        }
    }
    fuzz_free(&data);
}

/* A block, as text. */
static void put_pem(fuzz_bytes *out, const char *label, mtws__span data, size_t line) {
    const char *const marks[2] = {"-----BEGIN ", "-----END "};
    for (int i = 0; i < 2; i++) {
        fuzz_put(out, marks[i], strlen(marks[i]));
        fuzz_put(out, label, strlen(label));
        fuzz_put(out, "-----\n", 6);
        for (size_t at = 0; i == 0 && at < data.size; at += line) {
            size_t part = mtws__min_size(line, data.size - at);
            char *text = (char *)malloc(part * 2 + 8);
            mtws__writer w;
            CHECK(text != NULL);
            mtws__writer_open(&w, text, part * 2 + 8);
            mtws__base64_encode(&w, data.data + at, part);
            CHECK(!w.full);
            fuzz_put(out, text, w.size);
            fuzz_put(out, "\n", 1);
            free(text);
        }
    }
}

static void try_pem(mtws__span text, uint64_t cuts) {
    fuzz_bytes whole, pieces, again;
    load_text(text);
    read_pem(&whole, text, 0);
    read_pem(&pieces, text, cuts);
    CHECK(fuzz_same(&whole, &pieces));
    fuzz_free(&pieces);

    /* Each block that ends well, written again, is read as it was. */
    const char *label = "";
    char kept[MTWS__PEM_LINE_MAX];
    for (size_t at = 0; at < whole.size;) {
        mtws__span item = {whole.data + at + 5, (size_t)mtws__load_big(whole.data + at + 1, 4)};
        char what = (char)whole.data[at];
        at += 5 + item.size;
        if (what == '<') {
            memcpy(kept, item.data, item.size);
            kept[item.size] = 0;
            label = kept;
        } else if (what == '>' && strchr(label, ' ') == NULL && label[0] != 0) {
            fuzz_bytes text_again = {NULL, 0, 0};
            put_pem(&text_again, label, item, 48);
            mtws__span span = {text_again.data, text_again.size};
            if (strchr(label, '\n') == NULL && strlen(label) + 16 <= MTWS__PEM_LINE_MAX) {
                read_pem(&again, span, 0);
                CHECK(again.size == 10 + strlen(label) + item.size);
                CHECK(memcmp(again.data + 5, label, strlen(label)) == 0);
                CHECK(again.data[5 + strlen(label)] == '>');
                CHECK(item.size == 0 ||
                      memcmp(again.data + 10 + strlen(label), item.data, item.size) == 0);
                fuzz_free(&again);
            }
            fuzz_free(&text_again);
        }
    }
    fuzz_free(&whole);
}

static void try_certificate(mtws__span der, uint64_t cuts) {
    static br_x509_decoder_context d;
    plain_cert plain;
    br_x509_pkey key;
    fuzz_bytes whole, pieces, name;
    bool good = plain_read(&plain, der);
    CHECK(piece_read(&whole, der, 0) == good);
    CHECK(piece_read(&pieces, der, cuts) == good);
    CHECK(fuzz_same(&whole, &pieces));
    if (good) CHECK(fuzz_same(&whole, &plain.log));
    const br_x509_pkey *bear = bear_read(&d, der, &name);
    if (bear != NULL && good && plain.key.size > 0) {
        CHECK(same_span(plain.subject, name.data, name.size));
        CHECK(plain.is_ca == (br_x509_decoder_isCA(&d) != 0));
        if (parse_key(plain.key, &key)) CHECK(same_key(&key, bear));
    }
    fuzz_free(&name);
    fuzz_free(&whole);
    fuzz_free(&pieces);
    plain_free(&plain);
}

/* Whether a name of a certificate is the host's, label by label. */
static bool plain_matches(mtws__span name, const char *host) {
    size_t labels = 1, at = 0;
    for (const char *c = host; *c != 0; c++) labels += *c == '.';
    if (name.size > 2 && name.data[0] == '*' && name.data[1] == '.') {
        if (labels < 3) return false;
        at = 1;
        while (*host != '.') host++;
    }
    for (; at < name.size && *host != 0; at++, host++) {
        int c = name.data[at];
        if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
        if (c != *host) return false;
    }
    return at == name.size && *host == 0;
}

/* The address that the text is, as the system reads it: 4 or 16 bytes, 0 where it is none. */
static size_t plain_address(const char *text, uint8_t out[16]) {
    if (inet_pton(AF_INET, text, out) == 1) return 4;
    return inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

static void check_host(const char *host) {
    char name[MTWS__HOST_MAX + 1], again[MTWS__HOST_MAX + 1];
    uint8_t address[16];
    if (!mtws__cert_host(name, host)) return;
    size_t size = strlen(name), label = 0;
    CHECK(size > 0 && size <= MTWS__HOST_MAX && name[size - 1] != '.');
    for (size_t i = 0; i <= size; i++) {
        if (i < size && name[i] != '.') {
            CHECK(strchr("abcdefghijklmnopqrstuvwxyz0123456789-_", name[i]) != NULL);
            label++;
            continue;
        }
        CHECK(label > 0 && label < 64);
        label = 0;
    }
    CHECK(plain_address(name, address) == 0);
    CHECK(mtws__cert_host(again, name) && strcmp(again, name) == 0);
}

/* A time, where it is one, is that of the system's calendar. */
static void check_time(mtws__span text) {
    char date[16], expected[64];
    struct tm t;
    int64_t seconds = mtws__cert_time(text.size < 14 ? 0x17 : 0x18, text);
    time_t when = (time_t)seconds;
    if (seconds == INT64_MIN || gmtime_r(&when, &t) == NULL || t.tm_year + 1900 < 1) return;
    mtws__cert_date(seconds, date);
    int year = t.tm_year + 1900, month = t.tm_mon + 1;
    snprintf(expected, sizeof expected, "%d-%02d-%02d", year < 9999 ? year : 9999, month,
             t.tm_mday);
    CHECK(strcmp(date, expected) == 0);
    snprintf(expected, sizeof expected, "%04d%02d%02d%02d%02d%02dZ", year, month, t.tm_mday,
             t.tm_hour, t.tm_min, t.tm_sec);
    const char *digits = expected + 15 - text.size, *day = (const char *)text.data + text.size - 9;
    bool usual = memcmp(day, "29", 2) < 0 && memcmp(day + 6, "60", 2) != 0; /* others move on */
    CHECK(!usual || memcmp(text.data, digits, text.size) == 0);
}

static void try_names(fuzz_input *in) {
    char *host = fuzz_string(in), *name = fuzz_string(in), *pins = fuzz_string(in);
    char lower[MTWS__HOST_MAX + 1];
    const char *list = pins;
    uint8_t pin[32];
    check_host(host);
    check_host(name);
    mtws__span rest = {in->data, in->size}; /* may have zero bytes */
    if (mtws__cert_host(lower, host)) {
        mtws__span span = mtws__span_of(name);
        CHECK(mtws__cert_matches(span, lower) == plain_matches(span, lower));
        CHECK(mtws__cert_matches(rest, lower) == plain_matches(rest, lower));
        span = mtws__span_of(lower);
        CHECK(mtws__cert_matches(span, lower));
    }
    while (mtws__cert_pin(&list, pin) == 1) {
        char text[48];
        mtws__writer w;
        mtws__writer_open(&w, text, sizeof text);
        mtws__base64_encode(&w, pin, sizeof pin);
        CHECK(list - pins >= 44 && memcmp(list - 44, text, 44) == 0);
    }
    check_time(rest);
    free(host);
    free(name);
    free(pins);
}

/* ---- part: what a client is made with -------------------------------------------------------- */

/* Its anchors, each in the block that mtws__trust_required counts; last comes first. */
static void check_trust(const char *pem, const mtws__span *ders, size_t der_count) {
    static br_x509_decoder_context d;
    size_t size = mtws__trust_required("", pem), count = 0;
    void *block = malloc(size);
    mtws_trust *trust = NULL;
    CHECK(block != NULL);
    mtws_result result = mtws__trust_make(&trust, "", pem, block, size);
    for (size_t i = 0; i < der_count; i++) {
        plain_cert plain;
        fuzz_bytes name;
        br_x509_pkey key;
        if (plain_read(&plain, ders[i]) && parse_key(plain.key, &key)) {
            CHECK(result == MTWS_OK && count < trust->count);
            const br_x509_trust_anchor *a = &trust->anchors[trust->count - ++count];
            mtws__span subject = {a->dn.data, a->dn.len};
            CHECK(same_span(subject, plain.subject.data, plain.subject.size));
            CHECK(same_key(&a->pkey, &key));
            CHECK(a->flags == (plain.is_ca ? (unsigned)BR_X509_TA_CA : 0u));
            const br_x509_pkey *bear = bear_read(&d, ders[i], &name);
            if (bear != NULL) {
                CHECK(same_span(subject, name.data, name.size) && same_key(&a->pkey, bear));
                CHECK((a->flags != 0) == (br_x509_decoder_isCA(&d) != 0));
            }
            fuzz_free(&name);
        }
        plain_free(&plain);
    }
    CHECK(result == (count > 0 ? MTWS_OK : MTWS_ERR_TLS_TRUST));
    if (result == MTWS_OK) CHECK(trust->count == count && trust->skipped == der_count - count);
    free(block);
}

/* A signature that the key makes is one by the certificate. That of a damaged RSA key need not be:
 * its server refuses it. */
static void check_identity(const mtws_options *options) {
    static br_x509_decoder_context d;
    mtws__identity id;
    fuzz_bytes name;
    uint8_t signature[BR_X509_BUFSIZE_SIG], hash[32] = {1, 2, 3};
    size_t size = mtws__identity_room(options);
    uint8_t *room = (uint8_t *)malloc(size);
    CHECK(room != NULL);
    if (mtws__identity_load(&id, room, size, options) == NULL) {
        CHECK(id.count > 0 && id.count <= MTWS__TLS_CHAIN_MAX && id.kind != 0);
        mtws__span der = {id.chain[0].data, id.chain[0].data_len};
        const br_x509_pkey *key = bear_read(&d, der, &name);
        if (id.kind == BR_KEYTYPE_RSA && (id.rsa.n_bitlen + 7) / 8 <= sizeof signature) {
            br_rsa_pkcs1_sign_get_default()(BR_HASH_OID_SHA256, hash, sizeof hash, &id.rsa,
                                            signature);
        }
        if (id.kind == BR_KEYTYPE_EC) {
            size = br_ecdsa_sign_asn1_get_default()(br_ec_get_default(), &br_sha256_vtable, hash,
                                                    &id.ec, signature);
            if (size > 0 && key != NULL) {
                CHECK(br_ecdsa_vrfy_asn1_get_default()(br_ec_get_default(), hash, sizeof hash,
                                                       &key->key.ec, signature, size) == 1);
            }
        }
        fuzz_free(&name);
    }
    free(room);
}

/* What it is made with is taken, or refused with an error that says so. */
static void check_client(const mtws_options *options) {
    mtws_client *ws = NULL;
    mtws_result result = mtws_create(&ws, options);
    CHECK((result == MTWS_OK) == (ws != NULL));
    CHECK(result == MTWS_OK || result == MTWS_ERR_ARGUMENT || result == MTWS_ERR_TLS_TRUST ||
          result == MTWS_ERR_TOO_BIG);
    mtws_destroy(ws);
}

static void try_client(fuzz_input *in, uint64_t cuts) {
    static const char *const labels[] = {"CERTIFICATE", "PRIVATE KEY", "EC PRIVATE KEY",
                                         "RSA PRIVATE KEY"};
    fuzz_bytes texts[3] = {{NULL, 0, 0}, {NULL, 0, 0}, {NULL, 0, 0}};
    mtws__span ders[BLOCKS_MAX], block;
    size_t der_count = 0;
    uint8_t settings = fuzz_byte(in), flags;
    char *pins = fuzz_string(in), *server_name = fuzz_string(in);
    for (int i = 0; i < BLOCKS_MAX && take_block(in, &flags, &block); i++) {
        unsigned which = flags % 4 % 3; /* anchors, chain, key */
        const char *label = labels[which == 0 ? 0 : flags / 4 % 4];
        if (which == 0) ders[der_count++] = block;
        put_pem(&texts[which], label, block, 3 * (1 + fuzz_below(&cuts, 80)));
    }
    for (int i = 0; i < 3; i++) fuzz_put_byte(&texts[i], 0);
    mtws_options options;
    memset(&options, 0, sizeof options);
    options.max_message_size = options.max_queue_size = 256;
    options.ca_file = "";
    if (der_count > 0) options.ca_pem = (const char *)texts[0].data;
    if ((settings & 1) == 0) options.client_cert_pem = (const char *)texts[1].data;
    if ((settings & 2) == 0) options.client_key_pem = (const char *)texts[2].data;
    if ((settings & 4) != 0) options.pin_sha256 = pins;
    if ((settings & 8) != 0) options.server_name = server_name;
    options.insecure_skip_verify = (settings & 16) != 0;
    if (der_count > 0) check_trust(options.ca_pem, ders, der_count);
    if (options.client_cert_pem != NULL && options.client_key_pem != NULL) check_identity(&options);
    check_client(&options);
    for (int i = 0; i < 3; i++) fuzz_free(&texts[i]);
    free(pins);
    free(server_name);
}

/* ---- part: a server's chain ------------------------------------------------------------------ */

/* The keys of the corpus: number k is that many bytes of k + 1. */
static br_ec_private_key private_key(int k) {
    static uint8_t numbers[KEYS][32];
    br_ec_private_key key = {BR_EC_secp256r1, numbers[k], 32};
    memset(numbers[k], k + 1, 32);
    return key;
}

static void put_header(fuzz_bytes *b, uint8_t tag, size_t size) {
    uint8_t header[4] = {tag, 0x82, (uint8_t)(size / 256), (uint8_t)(size % 256)};
    if (size < 128) {
        header[1] = (uint8_t)size;
        fuzz_put(b, header, 2);
    } else if (size < 256) {
        header[1] = 0x81;
        header[2] = (uint8_t)size;
        fuzz_put(b, header, 3);
    } else {
        fuzz_put(b, header, 4);
    }
}

/* ecdsa-with-SHA256 of what is signed; `wrong` changes a bit of it. */
static void put_signed(fuzz_bytes *out, mtws__span content, int k, bool wrong) {
    static const uint8_t algorithm[] = {0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2};
    uint8_t hash[32], signature[128];
    br_ec_private_key key = private_key(k);
    br_sha256_context c;
    br_sha256_init(&c);
    br_sha256_update(&c, content.data, content.size);
    br_sha256_out(&c, hash);
    size_t size = br_ecdsa_sign_asn1_get_default()(br_ec_get_default(), &br_sha256_vtable, hash,
                                                   &key, signature);
    CHECK(size > 0 && size < 100);
    if (wrong) signature[size - 1] ^= 1;
    put_header(out, 0x30, content.size + sizeof algorithm + 3 + size);
    fuzz_put(out, content.data, content.size);
    fuzz_put(out, algorithm, sizeof algorithm);
    put_header(out, 3, size + 1);
    fuzz_put_byte(out, 0);
    fuzz_put(out, signature, size);
}

/* What the chain's tests have in common. */
static struct {
    mtws__tls tls;
    mtws_trust trust;
    br_x509_trust_anchor anchors[2];
    uint8_t points[2][65];
    char host[MTWS__HOST_MAX + 2];
    fuzz_bytes certs[CERTS_MAX];
    size_t count;
    br_x509_minimal_context plain; /* BearSSL's engine alone */
    br_x509_decoder_context leaf;
} x;

/* "CN=Root" with the first key may sign; "CN=Direct" with the last stands for itself. */
static void make_anchors(void) {
    static uint8_t names[2][19] = {{0x30, 15, 0x31, 13, 0x30, 11, 6, 3, 0x55, 4, 3, 12, 4, 'R', 'o',
                                    'o', 't'},
                                   {0x30, 17, 0x31, 15, 0x30, 13, 6, 3, 0x55, 4, 3, 12, 6, 'D', 'i',
                                    'r', 'e', 'c', 't'}};
    for (int i = 0; i < 2; i++) {
        br_x509_trust_anchor *a = &x.anchors[i];
        br_ec_private_key key = private_key(i == 0 ? 0 : KEYS - 1);
        a->dn.data = names[i];
        a->dn.len = 2 + (size_t)names[i][1];
        a->flags = i == 0 ? BR_X509_TA_CA : 0;
        a->pkey.key_type = BR_KEYTYPE_EC;
        a->pkey.key.ec.curve = BR_EC_secp256r1;
        a->pkey.key.ec.q = x.points[i];
        a->pkey.key.ec.qlen = br_ec_compute_pub(br_ec_get_default(), NULL, x.points[i], &key);
        CHECK(a->pkey.key.ec.qlen == 65);
    }
    x.trust.anchors = x.anchors;
    x.trust.count = 2;
}

/* The chain through the verifier, as BearSSL's handshake feeds it. */
static bool judge(uint64_t cuts) {
    mtws__verifier *v = &x.tls.verifier;
    mtws__tls_reset(&x.tls);
    if (mtws__tls_set_name(&x.tls, x.host) != MTWS_OK) return false;
    mtws__tls_set_verifier(&x.tls);
    const br_x509_class **ctx = &v->vtable;
    (*ctx)->start_chain(ctx, v->name);
    for (size_t i = 0; i < x.count; i++) {
        (*ctx)->start_cert(ctx, (uint32_t)x.certs[i].size);
        for (size_t at = 0; at < x.certs[i].size;) {
            size_t left = x.certs[i].size - at, size = cuts == 0 ? left : fuzz_cut(&cuts, left);
            uint8_t *copy = fuzz_copy(x.certs[i].data + at, size);
            (*ctx)->append(ctx, copy, size);
            free(copy);
            at += size;
        }
        (*ctx)->end_cert(ctx);
    }
    unsigned err = (*ctx)->end_chain(ctx);
    CHECK((err == 0) == (v->result == MTWS_OK));
    CHECK(err == 0 || (v->text != NULL && v->text[0] != 0));
    if (err == 0) {
        unsigned usages = 0;
        const br_x509_pkey *key = (*ctx)->get_pkey((const br_x509_class *const *)ctx, &usages);
        const br_x509_pkey *bear = br_x509_decoder_get_pkey(&x.leaf);
        CHECK(key != NULL && usages != 0);
        if (bear != NULL) CHECK(same_key(key, bear));
    }
    return err == 0;
}

/* "20260228235959", in 14 digits; false: it has none. */
static bool plain_time(mtws__span element, char out[15]) {
    mtws__span content, whole;
    if (!plain_next(&element, &whole, &content)) return false;
    size_t skip = whole.data[0] == 0x17 ? 2 : 0;
    if (content.size < 14 - skip) return false;
    memcpy(out + skip, content.data, 14 - skip);
    if (skip > 0) memcpy(out, out[2] < '5' ? "20" : "19", 2);
    out[14] = 0;
    return strspn(out, "0123456789") == 14;
}

static void check_dates(const plain_cert *p) {
    char before[15], after[15], now[32];
    time_t seconds = (time_t)(x.tls.unix_ms / 1000);
    struct tm t;
    CHECK(gmtime_r(&seconds, &t) != NULL && strftime(now, sizeof now, "%Y%m%d%H%M%S", &t) == 14);
    CHECK(plain_time(p->not_before, before) && plain_time(p->not_after, after));
    CHECK(strcmp(before, now) <= 0 && strcmp(now, after) <= 0);
}

static bool plain_named(const plain_cert *p) {
    char lower[MTWS__HOST_MAX + 1];
    uint8_t address[16];
    size_t address_size = plain_address(x.host, address);
    bool is_name = address_size == 0 && mtws__cert_host(lower, x.host);
    mtws__span rest = {p->names.data, p->names.size}, element, value;
    while (plain_next(&rest, &element, &value)) {
        if (element.data[0] == 0x82 && is_name && plain_matches(value, lower)) return true;
        if (element.data[0] == 0x87 && address_size > 0 && same_span(value, address, address_size))
            return true;
    }
    return false;
}

static bool plain_pinned(mtws__span key) {
    uint8_t hash[32];
    br_sha256_context c;
    br_sha256_init(&c);
    br_sha256_update(&c, key.data, key.size);
    br_sha256_out(&c, hash);
    for (int i = 0; i < x.tls.pin_count; i++) {
        if (memcmp(x.tls.pins[i], hash, sizeof hash) == 0) return true;
    }
    return x.tls.pin_count == 0;
}

/* What the verdict must be. */
static bool expect(void) {
    static const br_hash_class *const hashes[] = {&br_sha256_vtable, &br_sha384_vtable,
                                                  &br_sha512_vtable};
    static const int ids[] = {br_sha256_ID, br_sha384_ID, br_sha512_ID};
    const br_x509_class **ctx = &x.plain.vtable;
    fuzz_bytes name;
    char lower[MTWS__HOST_MAX + 1];
    uint8_t address[16];
    bool is_address = plain_address(x.host, address) > 0;
    bool good = x.count > 0 && (is_address || mtws__cert_host(lower, x.host)), pinned = false;
    br_x509_minimal_init(&x.plain, &br_sha256_vtable, x.anchors, 2);
    for (int i = 0; i < 3; i++) br_x509_minimal_set_hash(&x.plain, ids[i], hashes[i]);
    br_x509_minimal_set_rsa(&x.plain, br_rsa_pkcs1_vrfy_get_default());
    br_x509_minimal_set_ecdsa(&x.plain, br_ec_get_default(), br_ecdsa_vrfy_asn1_get_default());
    br_x509_minimal_set_minrsa(&x.plain, 256);
    br_x509_minimal_set_time(&x.plain, (uint32_t)(x.tls.unix_ms / 86400000 + 719528),
                             (uint32_t)(x.tls.unix_ms / 1000 % 86400));
    (*ctx)->start_chain(ctx, good && !is_address ? lower : NULL);
    for (size_t i = 0; i < x.count; i++) {
        mtws__span der = {x.certs[i].data, x.certs[i].size};
        plain_cert p;
        bool counts = i == 0 || (!x.tls.insecure && x.plain.err == 0);
        bool whole = plain_read(&p, der);
        (*ctx)->start_cert(ctx, (uint32_t)der.size);
        if (der.size > 0) (*ctx)->append(ctx, der.data, der.size);
        (*ctx)->end_cert(ctx);
        if (counts) {
            good = good && whole;
            pinned = pinned || (whole && plain_pinned(p.key));
        }
        if (i == 0) {
            bool readable = bear_read(&x.leaf, der, &name) != NULL;
            bool fits = plain_named(&p) && (!p.purposes || p.for_servers);
            good = good && (x.tls.insecure ? readable : fits);
            fuzz_free(&name);
        }
        bool valid = x.plain.err == 0 || x.plain.err == BR_ERR_X509_OK;
        if (good && counts && valid && !x.tls.insecure) check_dates(&p);
        plain_free(&p);
    }
    unsigned err = (*ctx)->end_chain(ctx);
    return good && pinned && (x.tls.insecure || err == 0);
}

static void try_chain(fuzz_input *in, uint64_t cuts) {
    uint8_t settings = fuzz_byte(in), pin = fuzz_byte(in), flags;
    mtws__span number = fuzz_take(in, 4), block;
    char *host = fuzz_string(in);
    if (x.trust.count == 0) make_anchors();
    memset(&x.tls, 0, offsetof(mtws__tls, ahead));
    x.tls.insecure = (settings & 1) != 0;
    x.tls.trust = (settings & 2) != 0 ? NULL : &x.trust;
    x.tls.unix_ms = number.size < 4 ? 0 : mtws__load_big(number.data, 4) * 1000;
    snprintf(x.host, sizeof x.host, "%s", host);
    free(host);
    for (x.count = 0; x.count < CERTS_MAX && take_block(in, &flags, &block); x.count++) {
        fuzz_bytes *cert = &x.certs[x.count];
        cert->size = 0;
        if ((flags & 4) != 0) put_signed(cert, block, flags % KEYS, (flags & 8) != 0);
        else fuzz_put(cert, block.data, block.size);
    }
    /* A pin: of a certificate of the chain, right or wrong by a bit. */
    if (pin != 0 && pin % 8 < x.count) {
        mtws__span der = {x.certs[pin % 8].data, x.certs[pin % 8].size};
        plain_cert p;
        br_sha256_context c;
        x.tls.pin_count = 1 + pin / 128;
        plain_read(&p, der);
        br_sha256_init(&c);
        br_sha256_update(&c, p.key.data, p.key.size);
        br_sha256_out(&c, x.tls.pins[x.tls.pin_count - 1]);
        x.tls.pins[x.tls.pin_count - 1][31] ^= pin / 8 % 2;
        plain_free(&p);
    }
    bool expected = expect() && (x.tls.insecure || x.tls.trust != NULL);
    CHECK(judge(0) == expected);
    mtws_result result = x.tls.verifier.result;
    CHECK(judge(cuts) == expected && x.tls.verifier.result == result);
    for (int i = 0; i < CERTS_MAX; i++) fuzz_free(&x.certs[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, size};
    uint8_t part = fuzz_byte(&in);
    uint64_t cuts = fuzz_byte(&in);
    mtws__span rest = {in.data, in.size};
    cuts += 1; /* 0 would be no cuts */
    switch (part % 5) {
    case 0: try_pem(rest, cuts); break;
    case 1: try_certificate(rest, cuts); break;
    case 2: try_names(&in); break;
    case 3: try_client(&in, cuts); break;
    default: try_chain(&in, cuts); break;
    }
    return 0;
}
