/* The room of TLS over a network of the test's own, with BearSSL's server on the other side: every
 * certificate that must be taken or refused, bytes in pieces, cut, changed or held back, sessions
 * resumed, and what may never happen twice. */
#define MTWS_BEARSSL
#include "system.h"

static bool own_malloc_fails;
/* Sanitizers end a program that asks for more than any machine has, rather than give NULL. */
#define MTWS_MALLOC(size) (own_malloc_fails || (size) > SIZE_MAX / 16 ? NULL : malloc(size))
#define MTWS_FREE(p) free(p)
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "../unit/loopback.h"
#include "tls.h"

enum { FLOW_MAX = 4 << 20, TODAY = 1790000000 /* in 2026 */ };
#define NEVER SIZE_MAX

/* ---- the world ------------------------------------------------------------------------------- */

/* Bytes on their way. */
typedef struct flow {
    uint8_t *data;
    size_t at, end;
    size_t total; /* since the beginning, taken out */
} flow;

typedef struct world {
    /* what a test sets before world_open */
    const char *server; /* certificate and key: "rsa" for rsa.pem and rsa.key */
    const char *extra;  /* one more certificate behind the server's chain */
    const char *host;
    uint16_t port;
    mtws_options options;
    uint64_t unix_ms;
    uint64_t seed;
    unsigned version_min, version_max; /* the server's; 0: TLS 1.0 to 1.2 */
    const uint16_t *suites;            /* its only ones */
    size_t suite_count;
    const char *protocol; /* its only one of ALPN */
    bool asks_client;     /* for a certificate, and checks it */
    const char *answer;   /* the server is none of TLS: it says this */
    bool exact;           /* a short read means empty */
    bool echo;            /* the server sends back what it gets */

    /* how bytes move; a piece of 0 bytes is all there is */
    size_t read_size, write_size;
    bool read_gate, write_gate; /* every other call says AGAIN */
    uint64_t random_sizes;      /* not 0: sizes from it, and AGAIN at random */
    size_t stall_at;            /* nothing comes behind so many bytes of the server's */
    size_t end_at;              /* the stream ends there */
    size_t flip_at;             /* this byte is changed */
    int open_again;
    size_t write_end; /* nothing can be written behind so many bytes: writing fails ... */
    bool full;        /* ... or says AGAIN */
    ptrdiff_t again;  /* what is said instead of a byte: AGAIN, or nothing at all */
    bool broken;      /* the stream breaks where it ends */
    bool no_cache;    /* the server keeps no sessions */

    /* the machinery */
    mtws__tls *tls;
    mtws__tls_layout layout;
    mtws_transport transport;
    flow up, down; /* to and from the server */
    bool reading_again, writing_again;
    unsigned opens, reads, writes, closes, waits;
    unsigned steps; /* calls of the transport's open */
    br_ssl_server_context engine;
    uint64_t server_seed; /* another for each connection: its session's id comes of it */
    br_ssl_session_cache_lru cache;
    uint8_t cache_memory[4096];
    br_x509_minimal_context client_check;
    mtws__identity identity;
    uint8_t identity_memory[64 * 1024];
    uint8_t input[BR_SSL_BUFSIZE_INPUT], output[BR_SSL_BUFSIZE_OUTPUT];
    mtws_trust anchors;
    uint8_t anchor_memory[8192];
    uint8_t *got; /* application data that the server has got */
    size_t got_size;
    bool said; /* the server's plain answer */
} world;

static void flow_add(flow *f, const void *data, size_t size) {
    if (size > FLOW_MAX - f->end) abort();
    memcpy(f->data + f->end, data, size);
    f->end += size;
}

static size_t piece_size(world *w, size_t size, size_t most) {
    if (w->random_sizes != 0) most = 1 + unit_below(&w->random_sizes, 5000);
    return most == 0 ? size : mtws__min_size(size, most);
}

static bool gate(world *w, bool gated, bool *again) {
    *again = gated && !*again;
    return *again || (w->random_sizes != 0 && unit_chance(&w->random_sizes, 30));
}

/* ---- the server ------------------------------------------------------------------------------ */

static void server_start(world *w) {
    br_ssl_server_context *s = &w->engine;
    if (w->identity.kind == BR_KEYTYPE_RSA) {
        br_ssl_server_init_full_rsa(s, w->identity.chain, w->identity.count, &w->identity.rsa);
    } else {
        br_ssl_server_init_full_ec(s, w->identity.chain, w->identity.count, BR_KEYTYPE_EC,
                                   &w->identity.ec);
    }
    if (w->version_min != 0) {
        br_ssl_engine_set_versions(&s->eng, w->version_min, w->version_max);
    }
    if (w->suites != NULL) br_ssl_engine_set_suites(&s->eng, w->suites, w->suite_count);
    if (w->protocol != NULL) {
        br_ssl_engine_set_protocol_names(&s->eng, &w->protocol, 1);
    }
    if (w->asks_client) {
        br_x509_minimal_init_full(&w->client_check, w->anchors.anchors, w->anchors.count);
        br_x509_minimal_set_time(&w->client_check, 719528 + TODAY / 86400, 0);
        br_ssl_engine_set_x509(&s->eng, &w->client_check.vtable);
        br_ssl_engine_set_default_rsavrfy(&s->eng);
        br_ssl_engine_set_default_ecdsa(&s->eng);
        br_ssl_server_set_trust_anchor_names_alt(s, w->anchors.anchors, w->anchors.count);
    }
    br_ssl_server_set_cache(s, w->no_cache ? NULL : &w->cache.vtable);
    br_ssl_engine_set_buffers_bidi(&s->eng, w->input, sizeof w->input, w->output, sizeof w->output);
    uint64_t random[4] = {++w->server_seed, 0, 0, 0};
    br_ssl_engine_inject_entropy(&s->eng, random, sizeof random);
    s->eng.rng_os_rand_done = 1;
    if (!br_ssl_server_reset(s)) abort();
}

/* Takes what came, answers, and sends back what it got where it is to. */
static void server_pump(world *w) {
    br_ssl_engine_context *e = &w->engine.eng;
    if (w->answer != NULL) {
        if (!w->said) flow_add(&w->down, w->answer, strlen(w->answer));
        w->said = true;
        w->up.at = w->up.end;
        return;
    }
    for (bool moved = true; moved;) {
        size_t size, room;
        moved = false;
        uint8_t *data = br_ssl_engine_sendrec_buf(e, &size);
        if (data != NULL) {
            flow_add(&w->down, data, size);
            br_ssl_engine_sendrec_ack(e, size);
            moved = true;
        }
        data = br_ssl_engine_recvapp_buf(e, &size);
        if (data != NULL) {
            uint8_t *to = w->echo ? br_ssl_engine_sendapp_buf(e, &room) : w->got;
            if (!w->echo) room = size;
            if (to == NULL) continue;
            size = mtws__min_size(size, room);
            if (w->got_size + size > FLOW_MAX) abort();
            memcpy(w->got + w->got_size, data, size);
            w->got_size += size;
            if (w->echo) {
                memcpy(to, data, size);
                br_ssl_engine_sendapp_ack(e, size);
                br_ssl_engine_flush(e, 0);
            }
            br_ssl_engine_recvapp_ack(e, size);
            moved = true;
            continue;
        }
        uint8_t *to = br_ssl_engine_recvrec_buf(e, &room);
        if (to != NULL && w->up.at < w->up.end) {
            size = mtws__min_size(room, w->up.end - w->up.at);
            memcpy(to, w->up.data + w->up.at, size);
            w->up.at += size;
            br_ssl_engine_recvrec_ack(e, size);
            moved = true;
        }
    }
}

/* The server sends application data. */
static void server_send(world *w, const void *data, size_t size) {
    const uint8_t *from = (const uint8_t *)data;
    while (size > 0) {
        size_t room;
        uint8_t *to = br_ssl_engine_sendapp_buf(&w->engine.eng, &room);
        if (!CHECK(to != NULL)) return;
        room = mtws__min_size(room, size);
        memcpy(to, from, room);
        br_ssl_engine_sendapp_ack(&w->engine.eng, room);
        br_ssl_engine_flush(&w->engine.eng, 0);
        from += room;
        size -= room;
        server_pump(w);
    }
}

/* ---- the transport below --------------------------------------------------------------------- */

static int lower_open(void *ctx, const char *host, uint16_t port, bool tls) {
    world *w = (world *)ctx;
    CHECK(!tls);
    CHECK_STR(host, w->host);
    CHECK_UINT(port, w->port);
    w->opens++;
    if (w->open_again-- > 0) return MTWS_IO_AGAIN;
    return 0;
}

static ptrdiff_t lower_read(void *ctx, void *out, size_t capacity) {
    world *w = (world *)ctx;
    w->reads++;
    if (w->answer != NULL || w->engine.eng.ibuf != NULL) server_pump(w);
    if (w->down.total >= w->end_at) return w->broken ? MTWS_IO_ERROR : MTWS_IO_EOF;
    if (w->down.at == w->down.end || w->down.total >= w->stall_at ||
        gate(w, w->read_gate, &w->reading_again))
        return w->again;
    size_t size = mtws__min_size(capacity, w->down.end - w->down.at);
    size = piece_size(w, size, w->read_size);
    size = mtws__min_size(size, w->stall_at - w->down.total);
    size = mtws__min_size(size, w->end_at - w->down.total);
    memcpy(out, w->down.data + w->down.at, size);
    if (w->flip_at - w->down.total < size) ((uint8_t *)out)[w->flip_at - w->down.total] ^= 1;
    w->down.at += size;
    w->down.total += size;
    if (w->down.at == w->down.end) w->down.at = w->down.end = 0;
    return (ptrdiff_t)size;
}

static ptrdiff_t lower_write(void *ctx, const void *data, size_t size) {
    world *w = (world *)ctx;
    w->writes++;
    CHECK(size > 0);
    if (w->up.total >= w->write_end) return w->full ? MTWS_IO_AGAIN : MTWS_IO_ERROR;
    if (gate(w, w->write_gate, &w->writing_again)) return w->again;
    size = piece_size(w, size, w->write_size);
    size = mtws__min_size(size, w->write_end - w->up.total);
    if (w->up.at == w->up.end) w->up.at = w->up.end = 0;
    flow_add(&w->up, data, size);
    w->up.total += size;
    return (ptrdiff_t)size;
}

static void lower_wait(void *ctx, bool want_read, bool want_write, mtws_wait *out) {
    world *w = (world *)ctx;
    w->waits++;
    out->fds[0].fd = 7;
    out->fds[0].want_read = want_read;
    out->fds[0].want_write = want_write;
    out->count = 1;
}

static void lower_close(void *ctx) { ((world *)ctx)->closes++; }

/* ---- a world's life -------------------------------------------------------------------------- */

static world *world_new(void) {
    world *w = (world *)calloc(1, sizeof *w);
    if (w == NULL) abort();
    w->server = "ec";
    w->host = "localhost";
    w->port = 443;
    w->options.ca_pem = pki_text("root.pem");
    w->unix_ms = (uint64_t)TODAY * 1000;
    w->seed = 1;
    w->stall_at = w->end_at = w->flip_at = w->write_end = NEVER;
    w->again = MTWS_IO_AGAIN;
    w->exact = true;
    w->up.data = (uint8_t *)malloc(FLOW_MAX);
    w->down.data = (uint8_t *)malloc(FLOW_MAX);
    w->got = (uint8_t *)malloc(FLOW_MAX);
    br_ssl_session_cache_lru_init(&w->cache, w->cache_memory, sizeof w->cache_memory);
    return w;
}

/* Reads the options, once; false: they were refused. */
static mtws_result world_create(world *w, const char **wrong) {
    size_t room = mtws__tls_room(&w->options, &w->layout);
    w->tls = (mtws__tls *)malloc(room);
    if (w->tls == NULL) abort();
    memset(w->tls, 0xa5, room);
    return mtws__tls_create(w->tls, &w->options, &w->layout, wrong);
}

static void load_server(world *w) {
    char name[80];
    static char chain[128 * 1024];
    mtws_options o;
    memset(&o, 0, sizeof o);
    snprintf(name, sizeof name, "%s.pem", w->server);
    snprintf(chain, sizeof chain, "%s%s", pki_text(name),
             w->extra == NULL ? "" : pki_text(w->extra));
    o.client_cert_pem = chain;
    snprintf(name, sizeof name, "%s.key", w->server);
    o.client_key_pem = pki_text(name);
    const char *wrong =
        mtws__identity_load(&w->identity, w->identity_memory, sizeof w->identity_memory, &o);
    if (wrong != NULL) {
        printf("%s: %s\n", w->server, wrong);
        abort();
    }
    const char *path;
    char why[MTWS__TLS_TEXT_MAX];
    if (mtws__trust_load(&w->anchors, w->anchor_memory, sizeof w->anchor_memory, NULL,
                         pki_text("root.pem"), &path, why) != MTWS_OK)
        abort();
}

/* A new connection, whose handshake has not begun. */
static void world_connect(world *w) {
    uint8_t seed[MTWS__TLS_SEED_SIZE];
    mtws_transport lower = {lower_open, lower_read, lower_write, lower_wait, lower_close, w};
    const char *wrong;
    if (w->tls == NULL && !CHECK_INT(world_create(w, &wrong), MTWS_OK)) {
        printf("%s\n", wrong);
        abort();
    }
    load_server(w);
    server_start(w);
    w->up.at = w->up.end = w->up.total = w->down.at = w->down.end = w->down.total = 0;
    w->opens = w->reads = w->writes = w->closes = w->waits = w->steps = 0;
    w->got_size = 0;
    w->said = w->reading_again = w->writing_again = false;
    for (size_t i = 0; i < sizeof seed; i++) seed[i] = (uint8_t)(w->seed >> (i % 8 * 8));
    mtws__tls_prepare(w->tls, &lower, w->exact, seed, w->unix_ms);
    mtws__tls_transport(w->tls, &w->transport);
}

/* What an event loop would wait for. */
static mtws_wait world_wait(world *w, bool want_read, bool want_write) {
    mtws_wait wait;
    memset(&wait, 0, sizeof wait);
    wait.timeout_ms = -1;
    w->transport.wait(w->transport.ctx, want_read, want_write, &wait);
    return wait;
}

/* Calls open until it is no longer AGAIN, or nothing moves any more, which gives AGAIN. */
static int world_shake(world *w) {
    int result = MTWS_IO_AGAIN;
    for (int idle = 0; result == MTWS_IO_AGAIN && idle < 40;) {
        size_t moved = w->up.total + w->down.total;
        result = w->transport.open(w->transport.ctx, w->host, w->port, true);
        w->steps++;
        bool now = world_wait(w, false, false).timeout_ms == 0;
        idle = now || w->up.total + w->down.total > moved ? 0 : idle + 1;
    }
    return result;
}

static int world_open(world *w) {
    world_connect(w);
    return world_shake(w);
}

static void world_close(world *w) {
    w->transport.close(w->transport.ctx);
    server_pump(w);
}

static void world_end(world *w) {
    if (w->tls != NULL) mtws__tls_destroy(w->tls);
    free(w->tls);
    free(w->up.data);
    free(w->down.data);
    free(w->got);
    free(w);
}

/* Sends and receives at the same time, and compares: false where it stops. */
static bool world_exchange(world *w, size_t size) {
    static uint8_t data[FLOW_MAX], back[FLOW_MAX];
    size_t sent = 0, received = 0, idle = 0;
    uint64_t seed = size + 5;
    unit_fill(&seed, data, size);
    while ((sent < size || received < size) && idle < 200) {
        size_t moved = w->up.total + w->down.total;
        idle++;
        if (sent < size) {
            ptrdiff_t put = w->transport.write(w->transport.ctx, data + sent, size - sent);
            if (put > 0) sent += (size_t)put;
            else if (put != MTWS_IO_AGAIN) return false;
        } else if (mtws__tls_push(w->tls) < -1100) {
            return false;
        }
        ptrdiff_t got =
            w->transport.read(w->transport.ctx, back + received, sizeof back - received);
        if (got > 0) received += (size_t)got;
        else if (got != MTWS_IO_AGAIN) return false;
        if (w->up.total + w->down.total > moved) idle = 0;
    }
    return received == size && memcmp(data, back, size) == 0;
}

/* ---- whom it trusts -------------------------------------------------------------------------- */

static const char pin_bad[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

static const char *pins(const char *name) {
    static char text[4][128];
    static unsigned turn;
    char file[64], *out = text[turn++ % 4];
    snprintf(file, sizeof file, "%s.pin", name);
    snprintf(out, sizeof text[0], "%s", pki_text(file));
    out[strcspn(out, "\n")] = 0;
    return out;
}

typedef struct trust_row {
    const char *server, *host;
    int result;
    const char *text;    /* part of the reason */
    const char *anchors; /* NULL: root.pem */
    const char *pin;     /* the name of a key; "bad"; NULL: none */
    const char *extra;
    uint64_t unix_s; /* 0: TODAY */
    const char *server_name;
} trust_row;

static const trust_row trust_rows[] = {
    {"rsa", "localhost", 0, "", NULL, NULL, NULL, 0, NULL},
    {"ec", "localhost", 0, "", NULL, NULL, NULL, 0, NULL},
    {"ec", "LocalHost.", 0, "", NULL, NULL, NULL, 0, NULL},
    {"ec384", "server.test", 0, "", NULL, NULL, NULL, 0, NULL},
    {"rsa4096", "server.test", 0, "", NULL, NULL, NULL, 0, NULL},
    {"many", "host-0777.many.test", 0, "", NULL, NULL, NULL, 0, NULL},
    {"many", "host-9999.many.test", MTWS_ERR_TLS_NAME, "another host", NULL, NULL, NULL, 0, NULL},
    {"ec", "a.wild.test", 0, "", NULL, NULL, NULL, 0, NULL},
    {"ec", "a.b.wild.test", MTWS_ERR_TLS_NAME, "another host", NULL, NULL, NULL, 0, NULL},
    {"ec", "wild.test", MTWS_ERR_TLS_NAME, "another host", NULL, NULL, NULL, 0, NULL},
    {"ec", "127.0.0.1", 0, "", NULL, NULL, NULL, 0, NULL},
    {"ec", "::1", 0, "", NULL, NULL, NULL, 0, NULL},
    {"ec", "0:0:0:0:0:0:0:1", 0, "", NULL, NULL, NULL, 0, NULL},
    {"ec", "127.0.0.2", MTWS_ERR_TLS_NAME, "another host", NULL, NULL, NULL, 0, NULL},
    {"ec", "::2", MTWS_ERR_TLS_NAME, "another host", NULL, NULL, NULL, 0, NULL},
    {"other", "127.0.0.2", 0, "", NULL, NULL, NULL, 0, NULL},
    {"other", "localhost", MTWS_ERR_TLS_NAME, "another host", NULL, NULL, NULL, 0, NULL},
    {"subject-name", "localhost", MTWS_ERR_TLS_NAME, "another host", NULL, NULL, NULL, 0, NULL},
    {"subject-address", "127.0.0.1", MTWS_ERR_TLS_NAME, "another host", NULL, NULL, NULL, 0, NULL},
    {"name-address", "127.0.0.1", MTWS_ERR_TLS_NAME, "another host", NULL, NULL, NULL, 0, NULL},
    {"ec", "10.0.0", MTWS_ERR_TLS_NAME, "no certificate", NULL, NULL, NULL, 0, NULL},
    {"ec", "", MTWS_ERR_TLS_NAME, "no certificate", NULL, NULL, NULL, 0, NULL},
    {"ec", "10.1.2.3", 0, "", NULL, NULL, NULL, 0, "server.test"},
    {"ec", "elsewhere.test", 0, "", NULL, NULL, NULL, 0, "127.0.0.1"},
    {"ec", "localhost", MTWS_ERR_TLS_NAME, "another host", NULL, NULL, NULL, 0, "elsewhere.test"},
    {"untrusted", "localhost", MTWS_ERR_TLS_TRUST, "root", NULL, NULL, NULL, 0, NULL},
    {"untrusted", "localhost", 0, "", "both.pem", NULL, NULL, 0, NULL},
    {"selfsigned", "localhost", MTWS_ERR_TLS_TRUST, "root", NULL, NULL, NULL, 0, NULL},
    {"selfsigned", "localhost", 0, "", "selfsigned.pem", NULL, NULL, 0, NULL},
    {"selfsigned", "other.test", MTWS_ERR_TLS_NAME, "another host", "selfsigned.pem", NULL, NULL, 0,
     NULL},
    {"oldself", "localhost", MTWS_ERR_TLS_TIME, "2021-06-01", "oldself.pem", NULL, NULL, 0, NULL},
    {"ec", "localhost", 0, "", "ec.leaf", NULL, NULL, 0, NULL},
    {"ec", "localhost", 0, "", "inter.pem", NULL, NULL, 0, NULL},
    {"expired", "localhost", MTWS_ERR_TLS_TIME, "2020-01-01 to 2021-06-01", NULL, NULL, NULL, 0,
     NULL},
    {"future", "localhost", MTWS_ERR_TLS_TIME, "2090-01-01", NULL, NULL, NULL, 0, NULL},
    /* The first and the last second of a certificate, and those next to them. */
    {"expired", "localhost", 0, "", NULL, NULL, NULL, 1622505600, NULL},
    {"expired", "localhost", MTWS_ERR_TLS_TIME, "2021-06-01", NULL, NULL, NULL, 1622505601, NULL},
    {"future", "localhost", 0, "", NULL, NULL, NULL, 3786912000, NULL},
    {"future", "localhost", MTWS_ERR_TLS_TIME, "2089-12-31", NULL, NULL, NULL, 3786911999, NULL},
    {"ec", "localhost", MTWS_ERR_TLS_TIME, "clock says 1970-01-01", NULL, NULL, NULL, 1, NULL},
    {"ec", "localhost", MTWS_ERR_TLS_TIME, "clock says 2106", NULL, NULL, NULL, 4294967296, NULL},
    {"ec", "localhost", MTWS_ERR_TLS_TIME, "clock says 9999", NULL, NULL, NULL, UINT64_MAX / 1000,
     NULL},
    {"weak", "localhost", MTWS_ERR_TLS_TRUST, "2048", NULL, NULL, NULL, 0, NULL},
    {"clientonly", "localhost", MTWS_ERR_TLS_TRUST, "not for servers", NULL, NULL, NULL, 0, NULL},
    {"critical", "localhost", MTWS_ERR_TLS_TRUST, "critical", NULL, NULL, NULL, 0, NULL},
    {"anything", "localhost", 0, "", NULL, NULL, NULL, 0, NULL},
    {"whatever", "localhost", 0, "", NULL, NULL, NULL, 0, NULL},
    {"leafsigned", "localhost", MTWS_ERR_TLS_TRUST, "may not sign", NULL, NULL, NULL, 0, NULL},
    {"expired-middle", "localhost", MTWS_ERR_TLS_TIME, "2020-01-01 to 2021-07-01", NULL, NULL, NULL,
     0, NULL},
    {"expired-middle", "localhost", 0, "", NULL, NULL, NULL, 1622505600, NULL},
    {"no-signer", "localhost", MTWS_ERR_TLS_TRUST, "not for this use", NULL, NULL, NULL, 0, NULL},
    {"last-signer", "localhost", 0, "", NULL, NULL, NULL, 0, NULL},
    {"too-deep", "localhost", MTWS_ERR_TLS_TRUST, "may not sign", NULL, NULL, NULL, 0, NULL},
    {"no-handshake", "localhost", MTWS_ERR_TLS, "keyUsage", NULL, NULL, NULL, 0, NULL},
    {"ec", "localhost", 0, "", NULL, "ec", NULL, 0, NULL},
    {"ec", "localhost", 0, "", NULL, "inter", NULL, 0, NULL},
    {"ec", "localhost", MTWS_ERR_TLS_TRUST, "pin_sha256", NULL, "root", NULL, 0, NULL},
    {"ec", "localhost", MTWS_ERR_TLS_TRUST, "pin_sha256", NULL, "bad", NULL, 0, NULL},
    /* A certificate that is only there for its key. */
    {"ec", "localhost", MTWS_ERR_TLS_TRUST, "pin_sha256", NULL, "rsa", "rsa.leaf", 0, NULL},
    {"ec384", "localhost", MTWS_ERR_TLS_TRUST, "pin_sha256", NULL, "inter", "inter.leaf", 0, NULL},
    {"untrusted", "localhost", MTWS_ERR_TLS_TRUST, "root", NULL, "untrusted", NULL, 0, NULL},
};

static void set_row(world *w, const trust_row *row) {
    w->server = row->server;
    w->host = row->host;
    w->extra = row->extra;
    if (row->anchors != NULL) w->options.ca_pem = pki_text(row->anchors);
    if (row->unix_s != 0) w->unix_ms = row->unix_s * 1000;
    w->options.server_name = row->server_name;
    if (row->pin != NULL) {
        w->options.pin_sha256 = strcmp(row->pin, "bad") == 0 ? pin_bad : pins(row->pin);
    }
}

static void trust(void) { /* FAULTS rows 59, 60, 62 and 63 */
    for (size_t i = 0; i < UNIT_COUNT(trust_rows); i++) {
        const trust_row *row = &trust_rows[i];
        if (!test_begin("%s for %s: %zu", row->server, row->host, i)) continue;
        world *w = world_new();
        set_row(w, row);
        int result = world_open(w);
        CHECK_INT(result, row->result);
        const char *text = mtws__tls_text(w->tls);
        CHECK_TEXT(strstr(text, row->text) != NULL, "\"%s\"", text);
        if (result == 0) {
            w->echo = true;
            CHECK(world_exchange(w, 1000));
        } else {
            /* Nothing was trusted, so nothing may be sent. */
            CHECK(w->transport.write(w->transport.ctx, "secret", 6) < 0);
            CHECK(mtws__tls_text(w->tls)[0] != 0);
        }
        world_close(w);
        CHECK_UINT(w->closes, w->opens > 0);
        /* And the same in single bytes. */
        world_connect(w);
        w->read_size = 1;
        CHECK_INT(world_shake(w), row->result);
        world_close(w);
        world_end(w);
        test_end();
    }
}

/* What BearSSL's errors about a chain become, each of its list. */
static void verdicts(void) {
    static const struct {
        int from, upto;
        mtws_result result;
        const char *text;
    } rows[] = {
        {BR_ERR_X509_INVALID_VALUE, BR_ERR_X509_EMPTY_CHAIN, MTWS_ERR_TLS, "malformed"},
        {BR_ERR_X509_UNSUPPORTED, BR_ERR_X509_UNSUPPORTED, MTWS_ERR_TLS_TRUST, "algorithm"},
        {BR_ERR_X509_WRONG_KEY_TYPE, BR_ERR_X509_WRONG_KEY_TYPE, MTWS_ERR_TLS_TRUST, "algorithm"},
        {BR_ERR_X509_LIMIT_EXCEEDED, BR_ERR_X509_LIMIT_EXCEEDED, MTWS_ERR_TLS_TRUST, "algorithm"},
        {BR_ERR_X509_BAD_SIGNATURE, BR_ERR_X509_BAD_SIGNATURE, MTWS_ERR_TLS_TRUST, "not signed"},
        {BR_ERR_X509_DN_MISMATCH, BR_ERR_X509_DN_MISMATCH, MTWS_ERR_TLS_TRUST, "not signed"},
        {BR_ERR_X509_TIME_UNKNOWN, BR_ERR_X509_EXPIRED, MTWS_ERR_TLS_TIME, "time"},
        {BR_ERR_X509_BAD_SERVER_NAME, BR_ERR_X509_BAD_SERVER_NAME, MTWS_ERR_TLS_NAME, "host"},
        {BR_ERR_X509_CRITICAL_EXTENSION, BR_ERR_X509_CRITICAL_EXTENSION, MTWS_ERR_TLS_TRUST,
         "critical"},
        {BR_ERR_X509_NOT_CA, BR_ERR_X509_NOT_CA, MTWS_ERR_TLS_TRUST, "may not sign"},
        {BR_ERR_X509_FORBIDDEN_KEY_USAGE, BR_ERR_X509_FORBIDDEN_KEY_USAGE, MTWS_ERR_TLS_TRUST,
         "not for this use"},
        {BR_ERR_X509_WEAK_PUBLIC_KEY, BR_ERR_X509_WEAK_PUBLIC_KEY, MTWS_ERR_TLS_TRUST, "2048"},
        {BR_ERR_X509_NOT_TRUSTED, BR_ERR_X509_NOT_TRUSTED, MTWS_ERR_TLS_TRUST, "trusted root"},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        for (int err = rows[i].from; err <= rows[i].upto; err++) {
            const char *text = NULL;
            test_context("error %d", err);
            CHECK_INT(mtws__verifier_result((unsigned)err, &text), rows[i].result);
            CHECK_TEXT(strstr(text, rows[i].text) != NULL, "\"%s\"", text);
        }
    }
}

/* Which extended key usages are for servers: theirs, and any; not another of the same size. */
static void purposes(void) {
    static const struct {
        size_t size;
        uint8_t oid[9];
        bool good;
    } rows[] = {
        {8, {0x2b, 6, 1, 5, 5, 7, 3, 1}, true},     {8, {0x2b, 6, 1, 5, 5, 7, 3, 2}, false},
        {4, {0x55, 0x1d, 0x25, 0}, true},           {4, {0x55, 0x1d, 0x25, 1}, false},
        {9, {0x2b, 6, 1, 5, 5, 7, 3, 1, 0}, false}, {0, {0}, false},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        mtws__verifier v;
        memset(&v, 0, sizeof v);
        v.cert.piece.data = rows[i].oid;
        v.cert.piece.size = rows[i].size;
        test_context("row %zu", i);
        mtws__verifier_item(&v, MTWS__CERT_PURPOSE);
        CHECK(v.purposes);
        CHECK_INT(v.for_servers, rows[i].good);
    }
}

/* Nobody is checked, but pins: those of the server's own key alone. */
static void insecure(void) {
    for (size_t i = 0; i < UNIT_COUNT(trust_rows); i++) {
        const trust_row *row = &trust_rows[i];
        if (!test_begin("%s for %s: %zu", row->server, row->host, i)) continue;
        bool own = row->pin == NULL || strcmp(row->pin, row->server) == 0;
        bool host = strcmp(row->text, "no certificate") != 0;
        int result = !host ? MTWS_ERR_TLS_NAME : own ? 0 : MTWS_ERR_TLS_TRUST;
        world *w = world_new();
        set_row(w, row);
        w->options.ca_pem = NULL;
        w->options.insecure_skip_verify = true;
        CHECK_INT(world_open(w), result);
        w->echo = true;
        if (result == 0) CHECK(world_exchange(w, 1000));
        world_close(w);
        world_end(w);
        test_end();
    }
}

/* Shows the verifier a chain of one certificate, `step` bytes at a time; the verdict. */
static mtws_result judge(mtws__tls *t, const uint8_t *der, size_t size, size_t step) {
    mtws__tls_set_verifier(t);
    mtws__verifier *v = &t->verifier;
    const br_x509_class **ctx = &v->vtable;
    v->broken = v->named = v->pinned = v->purposes = v->for_servers = false;
    v->result = MTWS_OK;
    CHECK_INT(mtws__tls_set_name(t, "localhost"), MTWS_OK);
    v->vtable->start_chain(ctx, NULL);
    v->vtable->start_cert(ctx, (uint32_t)size);
    for (size_t at = 0; at < size; at += step) {
        v->vtable->append(ctx, der + at, mtws__min_size(step, size - at));
    }
    v->vtable->end_cert(ctx);
    bool good = v->vtable->end_chain(ctx) == 0;
    CHECK_INT(good, v->result == MTWS_OK);
    if (good) CHECK(v->vtable->get_pkey(&v->vtable, NULL) != NULL);
    return v->result;
}

/* A server's certificate is changed in each byte, cut and lengthened: whatever comes of it, it is
 * judged, and the same in all pieces. BearSSL's decoder may not be called behind its error. */
static void broken_certificates(void) {
    static const char *const names[] = {"ec", "rsa"};
    static const size_t steps[] = {1, 48, 256};
    static const uint8_t values[] = {0x01, 0xff};
    for (size_t i = 0; i < 2 * UNIT_COUNT(names); i++) {
        bool careless = i >= UNIT_COUNT(names);
        const char *name = names[i % UNIT_COUNT(names)], *wrong;
        if (!test_begin("%s%s", name, careless ? ", insecure" : "")) continue;
        char file[64];
        snprintf(file, sizeof file, "%s.der", name);
        file_text der = file_read(pki_path(file));
        uint8_t *at = (uint8_t *)der.text;
        world *w = world_new();
        w->options.insecure_skip_verify = careless;
        CHECK_INT(world_create(w, &wrong), MTWS_OK);
        mtws__tls_prepare(w->tls, &w->transport, true, w->tls->seed, w->unix_ms);
        size_t refused = 0, last = der.size;
        for (size_t k = 0; k < last * UNIT_COUNT(values); k++) {
            uint8_t *byte = at + k / UNIT_COUNT(values), kept = *byte;
            *byte ^= values[k % UNIT_COUNT(values)];
            test_context("byte %zu is %u", k / UNIT_COUNT(values), *byte);
            mtws_result result = judge(w->tls, at, der.size, steps[k % 3]);
            CHECK_INT(judge(w->tls, at, der.size, steps[(k + 1) % 3]), result);
            if (result == MTWS_ERR_TLS) refused++;
            *byte = kept;
        }
        CHECK(refused > last / 4);
        for (size_t size = 0; size < last; size++) {
            CHECK_INT(judge(w->tls, at, size, 48), MTWS_ERR_TLS);
        }
        memset(at + der.size, 0, 1024);
        CHECK_INT(judge(w->tls, at, der.size + 1024, 48), MTWS_ERR_TLS);
        CHECK_INT(judge(w->tls, at, der.size, 48) == MTWS_OK, careless);
        world_end(w);
        free(der.text);
        test_end();
    }
}

/* The anchors are changed between the first byte of the handshake and the chain. */
static void other_anchors(void) {
    mtws_trust *stranger, *right;
    CHECK_INT(mtws_trust_create(&stranger, NULL, pki_text("stranger.pem")), MTWS_OK);
    CHECK_INT(mtws_trust_create(&right, NULL, pki_text("root.pem")), MTWS_OK);
    world *w = world_new();
    w->options.ca_pem = NULL;
    w->options.trust = stranger;
    CHECK_INT(world_open(w), MTWS_ERR_TLS_TRUST);
    world_close(w);
    mtws__tls_set_trust(w->tls, right);
    CHECK_INT(world_open(w), 0);
    world_close(w);
    mtws__tls_set_trust(w->tls, stranger);
    CHECK_INT(world_open(w), MTWS_ERR_TLS_TRUST); /* its session is not resumed */
    world_close(w);
    for (size_t stall = 0; stall < 200; stall += 40) {
        mtws__tls_set_trust(w->tls, stranger);
        w->stall_at = stall;
        CHECK_INT(world_open(w), MTWS_IO_AGAIN);
        w->stall_at = NEVER;
        mtws__tls_set_trust(w->tls, right);
        CHECK_INT(world_shake(w), 0);
        world_close(w);
    }
    /* Who checks nobody checks no more for it. */
    w->tls->insecure = true;
    w->stall_at = 40;
    CHECK_INT(world_open(w), MTWS_IO_AGAIN);
    mtws__tls_set_trust(w->tls, stranger);
    w->stall_at = NEVER;
    CHECK_INT(world_shake(w), 0);
    world_close(w);
    w->tls->insecure = false;
    /* None at all. */
    w->tls->trust = NULL;
    w->tls->session.session_id_len = 0;
    CHECK_INT(world_open(w), MTWS_ERR_TLS_TRUST);
    world_close(w);
    world_end(w);
    mtws_trust_destroy(stranger);
    mtws_trust_destroy(right);
}

/* ---- bytes in pieces ------------------------------------------------------------------------- */

/* The handshake, some data each way and the end, however the bytes come. */
static void pieces(void) {
    static const struct {
        size_t read_size, write_size;
        bool read_gate, write_gate, exact;
        ptrdiff_t again;
    } rows[] = {
        {0, 0, false, false, true, MTWS_IO_AGAIN},
        {0, 0, false, false, false, MTWS_IO_AGAIN},
        {1, 0, false, false, false, MTWS_IO_AGAIN},
        {0, 1, false, false, true, MTWS_IO_AGAIN},
        {1, 1, true, true, false, MTWS_IO_AGAIN},
        {5, 7, true, false, false, MTWS_IO_AGAIN},
        {3, 2, false, true, true, MTWS_IO_AGAIN},
        {4096, 1, true, true, true, MTWS_IO_AGAIN},
        {5, 7, true, true, false, 0},
    };
    static const char *const servers[] = {"rsa", "ec", "many"};
    for (size_t i = 0; i < UNIT_COUNT(rows) * 3; i++) {
        if (!test_begin("%s: %zu", servers[i % 3], i / 3)) continue;
        world *w = world_new();
        w->server = servers[i % 3];
        w->host = "server.test";
        w->read_size = rows[i / 3].read_size;
        w->write_size = rows[i / 3].write_size;
        w->read_gate = rows[i / 3].read_gate;
        w->write_gate = rows[i / 3].write_gate;
        w->exact = rows[i / 3].exact;
        w->again = rows[i / 3].again;
        w->echo = true;
        CHECK_INT(world_open(w), 0);
        static const size_t sizes[] = {1, 2, 100, 16383, 16384, 16385, 50000};
        for (size_t k = 0; k < UNIT_COUNT(sizes); k++) CHECK(world_exchange(w, sizes[k]));
        world_close(w);
        world_end(w);
        test_end();
    }
}

static void random_pieces(void) {
    for (uint64_t seed = 1; seed <= 60; seed++) {
        test_context("seed %" PRIu64, seed);
        world *w = world_new();
        w->server = seed % 2 == 0 ? "rsa" : "ec";
        w->random_sizes = seed;
        w->echo = true;
        w->open_again = (int)(seed % 4);
        w->exact = false;
        CHECK_INT(world_open(w), 0);
        CHECK(world_exchange(w, 200000));
        CHECK_UINT(w->got_size, 200000);
        world_close(w);
        CHECK_INT(world_open(w), 0);
        CHECK(w->tls->resumed);
        CHECK(world_exchange(w, 1000));
        world_close(w);
        world_end(w);
        if (test_failing()) break;
    }
}

/* Megabytes, and how few calls they take. */
static void much(void) {
    world *w = world_new();
    w->echo = true;
    CHECK_INT(world_open(w), 0);
    w->reads = w->writes = 0;
    CHECK(world_exchange(w, 1 << 20));
    CHECK_TEXT(w->writes <= 70, "%u writes", w->writes); /* 64 records */
    CHECK_TEXT(w->reads <= 150, "%u reads", w->reads);
    world_close(w);
    world_end(w);
}

/* Nothing more comes behind each byte of the server's: it waits for reading, and does not spin. */
static void stalled(void) {
    static const char *const servers[] = {"ec", "rsa"};
    for (size_t i = 0; i < 2; i++) {
        if (!test_begin("%s", servers[i])) continue;
        world *w = world_new();
        w->server = servers[i];
        CHECK_INT(world_open(w), 0);
        size_t size = w->down.total;
        world_close(w);
        CHECK(size > 1000);
        for (size_t at = 0; at < size; at++) {
            test_context("at %zu", at);
            w->tls->session.session_id_len = 0;
            w->server_seed = 0; /* the same bytes each time, signatures too */
            w->stall_at = at;
            CHECK_INT(world_open(w), MTWS_IO_AGAIN);
            mtws_wait wait = world_wait(w, false, false);
            CHECK_INT(wait.timeout_ms, -1);
            CHECK(wait.fds[0].want_read);
            CHECK(!wait.fds[0].want_write);
            unsigned reads = w->reads;
            for (int k = 0; k < 10; k++) {
                CHECK_INT(w->transport.open(w->transport.ctx, w->host, w->port, true),
                          MTWS_IO_AGAIN);
            }
            CHECK(w->reads - reads <= 20);
            w->stall_at = NEVER;
            if (at % 50 == 0) CHECK_INT(world_shake(w), 0);
            world_close(w);
            CHECK_UINT(w->closes, 1);
            if (test_failing()) break;
        }
        world_end(w);
        test_end();
    }
}

/* The stream ends behind each byte. */
static void cut(void) { /* FAULTS row 64 */
    world *w = world_new();
    CHECK_INT(world_open(w), 0);
    size_t size = w->down.total;
    world_close(w);
    for (size_t at = 0; at < size; at++) {
        test_context("at %zu", at);
        w->tls->session.session_id_len = 0;
        w->server_seed = 0;
        w->end_at = at;
        CHECK_INT(world_open(w), MTWS_ERR_TLS);
        CHECK(strstr(mtws__tls_text(w->tls), "broke") != NULL);
        world_close(w);
        if (test_failing()) break;
    }
    w->end_at = NEVER;
    /* Behind the handshake: what is whole is handed over, what is not is lost. */
    for (size_t at = 0; at < 400; at++) {
        char out[512];
        w->tls->session.session_id_len = 0;
        CHECK_INT(world_open(w), 0);
        server_send(w, "the first record", 16);
        size_t first = w->down.end - w->down.at;
        server_send(w, "the second one", 14);
        size_t both = w->down.end - w->down.at;
        if (at > both) {
            world_close(w);
            break;
        }
        test_context("%zu of the data", at);
        w->end_at = w->down.total + at;
        size_t got = 0;
        ptrdiff_t part = 0;
        for (int i = 0; i < 8 && (part >= 0 || part == MTWS_IO_AGAIN); i++) {
            part = w->transport.read(w->transport.ctx, out + got, sizeof out - got);
            if (part > 0) got += (size_t)part;
        }
        CHECK_INT(part, MTWS_IO_EOF);
        CHECK_UINT(got, at >= both ? 30 : at >= first ? 16 : 0);
        CHECK(strstr(mtws__tls_text(w->tls), "close_notify") != NULL);
        CHECK_INT(w->transport.read(w->transport.ctx, out, 1), MTWS_IO_EOF);
        world_close(w);
        w->end_at = NEVER;
        if (test_failing()) break;
    }
    world_end(w);
}

/* The stream breaks in the midst of the handshake, for reading or for writing. What the server said
 * last is heard all the same. */
static void broken(void) {
    world *w = world_new();
    CHECK_INT(world_open(w), 0);
    size_t read = w->down.total, written = w->up.total;
    world_close(w);
    w->broken = true;
    for (size_t at = 0; at < read; at += 97) {
        test_context("reading, at %zu", at);
        w->tls->session.session_id_len = 0;
        w->end_at = at;
        CHECK_INT(world_open(w), MTWS_ERR_TLS);
        CHECK_STR(mtws__tls_text(w->tls), "the connection broke during the TLS handshake");
        world_close(w);
    }
    w->end_at = NEVER;
    for (size_t at = 0; at < written; at += 13) {
        test_context("writing, at %zu", at);
        w->tls->session.session_id_len = 0;
        w->write_end = at;
        CHECK_INT(world_open(w), MTWS_ERR_TLS);
        CHECK_STR(mtws__tls_text(w->tls), "the connection broke during the TLS handshake");
        world_close(w);
    }
    test_context("%s", "");
    static const char record[] = {0x15, 3, 3, 0, 2, 2, 40};
    w->answer = "";
    w->write_end = 0;
    for (int full = 0; full < 2; full++) {
        test_context("writing %s", full ? "has no room" : "fails");
        w->full = full;
        world_connect(w);
        flow_add(&w->down, record, sizeof record);
        CHECK_INT(world_shake(w), MTWS_ERR_TLS);
        CHECK(strstr(mtws__tls_text(w->tls), "no common cipher") != NULL);
        world_close(w);
    }
    world_end(w);
}

/* One bit is changed, anywhere: data never comes out wrong. */
static void changed(void) {
    world *w = world_new();
    w->echo = true;
    CHECK_INT(world_open(w), 0);
    CHECK(world_exchange(w, 50));
    size_t size = w->down.total;
    world_close(w);
    for (size_t at = 0; at < size; at += 3) {
        test_context("at %zu", at);
        w->tls->session.session_id_len = 0;
        w->server_seed = 0;
        w->flip_at = at;
        int result = world_open(w);
        bool harmless = at >= 1 && at <= 2; /* a version in the header of the first record */
        if (result == 0) CHECK(harmless || !world_exchange(w, 50));
        world_close(w);
        if (test_failing()) break;
    }
    world_end(w);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void ends(void) {
    char out[64];
    world *w = world_new();
    CHECK_INT(world_open(w), 0);
    server_send(w, "last words", 10);
    br_ssl_engine_close(&w->engine.eng);
    server_pump(w);
    CHECK_INT(w->transport.read(w->transport.ctx, out, sizeof out), 10);
    CHECK_INT(w->transport.read(w->transport.ctx, out, sizeof out), MTWS_IO_EOF);
    CHECK_STR(mtws__tls_text(w->tls), "");
    CHECK(w->transport.write(w->transport.ctx, "x", 1) < 0);
    server_pump(w);
    /* The answer to its close_notify has come. */
    CHECK_INT(br_ssl_engine_current_state(&w->engine.eng), BR_SSL_CLOSED);
    CHECK_INT(br_ssl_engine_last_error(&w->engine.eng), 0);
    world_close(w);

    /* Ours. */
    CHECK_INT(world_open(w), 0);
    CHECK_INT(w->transport.write(w->transport.ctx, "bye", 3), 3);
    world_close(w);
    CHECK_UINT(w->got_size, 3);
    CHECK_INT(br_ssl_engine_current_state(&w->engine.eng), BR_SSL_CLOSED);
    CHECK_INT(br_ssl_engine_last_error(&w->engine.eng), 0);

    /* Half: nothing more is written, and what comes is read and thrown away. */
    CHECK_INT(world_open(w), 0);
    mtws__tls_finish(w->tls);
    mtws__tls_finish(w->tls);
    server_pump(w);
    CHECK(w->transport.write(w->transport.ctx, "x", 1) < 0);
    while (w->transport.read(w->transport.ctx, out, sizeof out) == MTWS_IO_AGAIN &&
           w->reads < 100) {
    }
    CHECK_INT(br_ssl_engine_last_error(&w->engine.eng), 0);
    CHECK(w->reads < 100);
    world_close(w);

    /* No room for it: the end does not wait. */
    CHECK_INT(world_open(w), 0);
    w->write_size = 1;
    w->write_gate = true;
    CHECK_INT(w->transport.write(w->transport.ctx, "abc", 3), 3);
    unsigned writes = w->writes;
    world_close(w);
    CHECK(w->writes - writes < 10);
    CHECK_UINT(w->closes, 1);
    world_end(w);
}

static void waits(void) {
    char out[64];
    world *w = world_new();
    world_connect(w);
    CHECK_INT(w->transport.open(w->transport.ctx, w->host, w->port, true), MTWS_IO_AGAIN);
    CHECK_UINT(mtws__tls_unsent(w->tls), 0); /* of messages */
    world_close(w);
    CHECK_INT(world_open(w), 0);
    for (int i = 0; i < 4; i++) {
        mtws_wait wait = world_wait(w, i % 2 != 0, i / 2 != 0);
        CHECK_INT(wait.fds[0].want_read, i % 2 != 0);
        CHECK_INT(wait.fds[0].want_write, i / 2 != 0);
        CHECK_INT(wait.timeout_ms, -1);
    }
    /* Bytes inside: now, where they are wanted. */
    server_send(w, "0123456789", 10);
    server_send(w, "0123456789", 10);
    CHECK_INT(w->transport.read(w->transport.ctx, out, 3), 3);
    CHECK(mtws__tls_more(w->tls));
    CHECK_INT(world_wait(w, true, false).timeout_ms, 0);
    CHECK_INT(world_wait(w, false, false).timeout_ms, -1);
    CHECK_INT(w->transport.read(w->transport.ctx, out, 7), 7);
    CHECK_INT(world_wait(w, true, false).timeout_ms, 0); /* the second record */
    CHECK_INT(w->transport.read(w->transport.ctx, out, 10), 10);
    CHECK_INT(world_wait(w, true, false).timeout_ms, -1);
    CHECK_INT(w->transport.read(w->transport.ctx, out, 10), MTWS_IO_AGAIN);
    CHECK(!mtws__tls_more(w->tls));
    /* A record that can't leave wants to, whoever asks. */
    w->write_gate = true;
    w->write_size = 5;
    CHECK_INT(w->transport.write(w->transport.ctx, "abc", 3), 3);
    CHECK(mtws__tls_unsent(w->tls) > 0);
    CHECK(world_wait(w, false, false).fds[0].want_write);
    CHECK_INT(w->transport.write(w->transport.ctx, "def", 3), MTWS_IO_AGAIN);
    for (int i = 0; i < 40 && mtws__tls_push(w->tls) != 0; i++) {
    }
    CHECK_UINT(mtws__tls_unsent(w->tls), 0);
    CHECK(!world_wait(w, true, false).fds[0].want_write);
    w->write_gate = false;
    CHECK_INT(w->transport.write(w->transport.ctx, "def", 3), 3);
    /* Nothing can be sent behind our end, so there is no waiting for it. */
    mtws__tls_finish(w->tls);
    CHECK(!world_wait(w, true, true).fds[0].want_write);
    world_close(w);
    world_end(w);
}

/* Records without content: one call does not read them for ever. */
static void empty_records(void) {
    char out[64];
    world *w = world_new();
    CHECK_INT(world_open(w), 0);
    for (int i = 0; i < 60000; i++) {
        br_ssl_engine_flush(&w->engine.eng, 1);
        size_t size;
        uint8_t *data = br_ssl_engine_sendrec_buf(&w->engine.eng, &size);
        if (!CHECK(data != NULL)) break;
        flow_add(&w->down, data, size);
        br_ssl_engine_sendrec_ack(&w->engine.eng, size);
    }
    server_send(w, "there", 5);
    int calls = 0;
    ptrdiff_t got = MTWS_IO_AGAIN;
    while (got == MTWS_IO_AGAIN && calls < 100) {
        unsigned reads = w->reads;
        got = w->transport.read(w->transport.ctx, out, sizeof out);
        CHECK(w->reads - reads <= MTWS__TLS_READS);
        if (got == MTWS_IO_AGAIN) CHECK(mtws__tls_more(w->tls));
        calls++;
    }
    CHECK_INT(got, 5);
    CHECK(calls > 5);
    world_close(w);
    world_end(w);
}

/* ---- sessions and randomness ----------------------------------------------------------------- */

static void resumption(void) {
    static const struct {
        const char *name;
        uint64_t later_ms; /* than the first connection */
        uint16_t port;
        const char *host;
        bool forget; /* the server has forgotten */
        bool offered, resumed;
        bool no_cache; /* from then on */
    } rows[] = {
        {"at once", 0, 443, "localhost", false, true, true, false},
        {"an hour later", 3600000, 443, "localhost", false, true, true, false},
        {"other case", 0, 443, "LOCALHOST.", false, true, true, false},
        {"a day less a moment", 86399999, 443, "localhost", false, true, true, false},
        {"a day later", 86400000, 443, "localhost", false, false, false, false},
        {"the clock went back", (uint64_t)-1000, 443, "localhost", false, false, false, false},
        {"another port", 0, 444, "localhost", false, false, false, false},
        {"another name", 0, 443, "server.test", false, false, false, false},
        {"an address", 0, 443, "127.0.0.1", false, false, false, false},
        {"forgotten", 0, 443, "localhost", true, true, false, false},
        {"without a cache", 0, 443, "localhost", false, true, false, true},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        world *w = world_new();
        w->echo = true;
        CHECK_INT(world_open(w), 0);
        CHECK(!w->tls->offered && !w->tls->resumed);
        size_t full = w->down.total;
        CHECK(world_exchange(w, 100));
        world_close(w);
        w->unix_ms += rows[i].later_ms;
        w->port = rows[i].port;
        w->host = rows[i].host;
        w->seed++;
        w->no_cache = rows[i].no_cache;
        if (rows[i].forget) br_ssl_session_cache_lru_init(&w->cache, w->cache_memory, 4096);
        CHECK_INT(world_open(w), 0);
        CHECK_INT(w->tls->offered, rows[i].offered);
        CHECK_INT(w->tls->resumed, rows[i].resumed);
        if (rows[i].resumed) CHECK(w->down.total < full / 3);
        CHECK(world_exchange(w, 100));
        world_close(w);
        w->seed++;
        CHECK_INT(world_open(w), 0);
        CHECK_INT(w->tls->resumed, !rows[i].no_cache);
        world_close(w);
        world_end(w);
        test_end();
    }
}

/* However often it is resumed, a session is at most a day old. */
static void session_age(void) {
    world *w = world_new();
    unsigned full = 0;
    for (int hour = 0; hour < 100; hour++) {
        w->unix_ms += 3600000;
        w->seed++;
        CHECK_INT(world_open(w), 0);
        full += !w->tls->resumed;
        world_close(w);
    }
    CHECK_UINT(full, 5);
    world_end(w);
}

/* A handshake that fails is not to be resumed; one that broke may be. */
static void session_forgotten(void) {
    world *w = world_new();
    CHECK_INT(world_open(w), 0);
    world_close(w);
    w->end_at = 20;
    CHECK_INT(world_open(w), MTWS_ERR_TLS);
    CHECK(w->tls->offered);
    world_close(w);
    w->end_at = NEVER;
    CHECK_INT(world_open(w), 0);
    CHECK(w->tls->resumed);
    world_close(w);
    CHECK_INT(world_open(w), 0);
    size_t size = w->down.total;
    world_close(w);
    w->flip_at = size - 1; /* in the server's Finished */
    CHECK_INT(world_open(w), MTWS_ERR_TLS);
    CHECK(w->tls->offered);
    world_close(w);
    w->flip_at = NEVER;
    CHECK_INT(world_open(w), 0);
    CHECK(!w->tls->offered);
    world_close(w);
    world_end(w);
}

/* The same randomness gives the same bytes, other randomness others, and nothing else has a part in
 * them. It is wiped when it has been used. */
static void randomness(void) { /* FAULTS row 58 */
    static uint8_t said[3][FLOW_MAX / 8];
    size_t sizes[3];
    for (int i = 0; i < 3; i++) {
        world *w = world_new();
        w->seed = i == 2 ? 2 : 1;
        CHECK_INT(world_open(w), 0);
        CHECK_INT(w->tls->client.eng.rng_init_done, 2);
        CHECK(sizeof w->tls->seed >= 32);
        for (size_t k = 0; k < sizeof w->tls->seed; k++) CHECK_UINT(w->tls->seed[k], 0);
        CHECK_INT(w->transport.write(w->transport.ctx, "data", 4), 4);
        CHECK(w->up.total < sizeof said[i]);
        sizes[i] = w->up.end;
        memcpy(said[i], w->up.data, w->up.end);
        world_close(w);
        world_end(w);
    }
    CHECK_UINT(sizes[0], sizes[1]);
    CHECK_MEM(said[0], said[1], sizes[0]);
    CHECK(memcmp(said[0], said[2], sizes[0]) != 0);
}

/* A random source that fails once, at the call that the test says. */
typedef struct failing_source {
    unsigned calls, fails_at;
} failing_source;

static bool fill_or_fail(void *ctx, void *out, size_t size) {
    failing_source *s = (failing_source *)ctx;
    memset(out, (int)++s->calls, size);
    return s->calls != s->fails_at;
}

/* FAULTS row 16: no randomness for the handshake to which a redirect leads. It is no refusal of the
 * server's, and the next attempt goes as far again. */
static void no_entropy_behind_a_redirect(void) {
    failing_source source = {0, 2}; /* the first is for masking keys */
    unsigned errors = 0, requests = 0;
    uint16_t port;
    int listener = loopback_listen(&port, 5);
    char url[64], answer[128];
    mtws_options options;
    mtws_client *ws = NULL;
    mtws_event e;
    memset(&options, 0, sizeof options);
    options.ca_pem = pki_text("root.pem");
    options.random.fill = fill_or_fail;
    options.random.ctx = &source;
    options.max_redirects = 1;
    options.initial_reconnect_delay_ms = options.max_reconnect_delay_ms = 250;
    CHECK_INT(mtws_create(&ws, &options), MTWS_OK);
    snprintf(url, sizeof url, "ws://127.0.0.1:%u/", (unsigned)port);
    int size =
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 302 Found\r\nLocation: wss://127.0.0.1:%u/\r\n\r\n", (unsigned)port);
    CHECK_INT(mtws_connect(ws, url, NULL), MTWS_OK);
    for (int i = 0; i < 500 && requests < 2; i++) {
        if (mtws_poll(ws, &e, 10) == 1 && e.state == MTWS_STATE_ERROR) {
            errors++;
            CHECK_INT(e.result, MTWS_ERR_ENTROPY);
            CHECK_UINT(e.http_status, 0);
        }
        struct pollfd p = {listener, POLLIN, 0};
        if (poll(&p, 1, 0) != 1) continue;
        int server = loopback_accept(listener);
        char request[2048];
        for (int k = 0; k < 5; k++) mtws_poll(ws, &e, 10);
        CHECK(loopback_wait(server, POLLIN) && recv(server, request, sizeof request, 0) > 0);
        CHECK_INT(send(server, answer, (size_t)size, MSG_NOSIGNAL), size);
        close(server);
        requests++;
    }
    CHECK_UINT(requests, 2);
    CHECK_UINT(errors, 1);
    CHECK(mtws_get_state(ws) != MTWS_STATE_FAILED);
    mtws_destroy(ws);
    close(listener);
}

/* Secrets do not outlive their use. */
static void wiped(void) {
    world *w = world_new();
    w->options.client_cert_pem = pki_text("client-ec.pem");
    w->options.client_key_pem = pki_text("client-ec.key");
    CHECK_INT(world_open(w), 0);
    uint8_t secret[48], key[32];
    memcpy(secret, w->tls->session.master_secret, 48);
    CHECK(w->tls->identity.ec.xlen == 32);
    memcpy(key, w->tls->identity.ec.x, 32);
    world_close(w);
    const uint8_t *engine = (const uint8_t *)&w->tls->client;
    for (size_t i = 0; i < sizeof w->tls->client; i++) CHECK_UINT(engine[i], 0);
    mtws__tls_destroy(w->tls);
    const uint8_t *all = (const uint8_t *)w->tls;
    size_t size = mtws__tls_room(&w->options, &w->layout);
    for (size_t i = 0; i + 48 <= size; i++) {
        CHECK(memcmp(all + i, secret, 48) != 0);
        CHECK(memcmp(all + i, key, 32) != 0);
    }
    world_end(w);
}

/* ---- other servers --------------------------------------------------------------------------- */

static void versions(void) { /* FAULTS row 57 */
    static const struct {
        const char *name;
        unsigned low, high;
        int result;
        const char *text;
    } rows[] = {
        {"TLS 1.0", BR_TLS10, BR_TLS10, MTWS_ERR_TLS, "no common cipher or curve"},
        {"TLS 1.1", BR_TLS10, BR_TLS11, MTWS_ERR_TLS, "no common cipher or curve"},
        {"TLS 1.0 to 1.2", BR_TLS10, BR_TLS12, 0, ""},
        {"TLS 1.2", BR_TLS12, BR_TLS12, 0, ""},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        world *w = world_new();
        w->server = "rsa";
        w->version_min = rows[i].low;
        w->version_max = rows[i].high;
        CHECK_INT(world_open(w), rows[i].result);
        const char *text = mtws__tls_text(w->tls);
        CHECK_TEXT(strstr(text, rows[i].text) != NULL, "\"%s\"", text);
        if (rows[i].result == 0) {
            CHECK_UINT(br_ssl_engine_get_version(&w->tls->client.eng), BR_TLS12);
        }
        world_close(w);
        world_end(w);
        test_end();
    }
}

/* Each suite alone that is offered, and others that are not. */
static void suites(void) {
    static const struct {
        const char *name, *server;
        uint16_t suite;
        bool spoken;
    } rows[] = {
        {"ECDSA AES-128-GCM", "ec", BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true},
        {"ECDSA AES-256-GCM", "ec", BR_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, true},
        {"ECDSA ChaCha20", "ec", BR_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, true},
        {"ECDSA AES-128-CCM", "ec", BR_TLS_ECDHE_ECDSA_WITH_AES_128_CCM, true},
        {"ECDSA AES-256-CCM", "ec", BR_TLS_ECDHE_ECDSA_WITH_AES_256_CCM, true},
        {"ECDSA AES-128-CBC", "ec", BR_TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, true},
        {"ECDSA AES-256-CBC", "ec", BR_TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384, true},
        {"RSA AES-128-GCM", "rsa", BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, true},
        {"RSA AES-256-GCM", "rsa", BR_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, true},
        {"RSA ChaCha20", "rsa", BR_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, true},
        {"RSA AES-128-CBC", "rsa", BR_TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, true},
        {"RSA AES-256-CBC", "rsa", BR_TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384, true},
        {"no forward secrecy", "rsa", BR_TLS_RSA_WITH_AES_128_GCM_SHA256, false},
        {"static ECDH", "ec", BR_TLS_ECDH_ECDSA_WITH_AES_128_GCM_SHA256, false},
        {"3DES", "rsa", BR_TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, false},
        {"SHA-1", "rsa", BR_TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, false},
        {"a short tag", "ec", BR_TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, false},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        world *w = world_new();
        w->server = rows[i].server;
        w->suites = &rows[i].suite;
        w->suite_count = 1;
        w->echo = true;
        CHECK_INT(world_open(w), rows[i].spoken ? 0 : MTWS_ERR_TLS);
        if (rows[i].spoken) {
            CHECK(world_exchange(w, 100000));
            CHECK_UINT(w->tls->session.cipher_suite, rows[i].suite);
        } else {
            CHECK(strstr(mtws__tls_text(w->tls), "no common cipher") != NULL);
        }
        world_close(w);
        world_end(w);
        test_end();
    }
}

/* Servers of something else. */
static void no_tls(void) {
    static const char *const answers[] = {
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "220 mail.test ESMTP\r\n",
        "SSH-2.0-OpenSSH\r\n",
        "\x01\x03 of some other protocol",
        "\x16\x02 of some other protocol",
        "\x16\x03\x01\xff\xff",
        "\x15\x03\x01\x01\x02\x02\x28",
    };
    for (size_t i = 0; i < 2 * UNIT_COUNT(answers); i++) {
        size_t which = i / 2;
        if (!test_begin("%zu%s", which, i % 2 == 0 ? "" : ", in single bytes")) continue;
        world *w = world_new();
        w->answer = answers[which];
        w->read_size = i % 2;
        CHECK_INT(world_open(w), MTWS_ERR_TLS);
        const char *text = mtws__tls_text(w->tls);
        CHECK_TEXT((strstr(text, "not TLS") != NULL) == (which < 6), "\"%s\"", text);
        world_close(w);
        world_end(w);
        test_end();
    }
}

/* What alerts say. */
static void alerts(void) {
    static const struct {
        uint8_t alert;
        const char *text;
    } rows[] = {
        {40, "no common cipher"},
        {70, "TLS 1.3 only"},
        {42, "client certificate"},
        {43, "client certificate"},
        {44, "client certificate"},
        {45, "client certificate"},
        {46, "client certificate"},
        {48, "client certificate"},
        {49, "client certificate"},
        {112, "SNI"},
        {120, "ALPN"},
        {80, "(alert 80)"},
        {255, "(alert 255)"},
        {0, ""},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%u", rows[i].alert)) continue;
        char record[8] = {0x15, 3, 3, 0, 2, 2, (char)rows[i].alert, 0};
        world *w = world_new();
        w->answer = "";
        world_connect(w);
        flow_add(&w->down, record, 7);
        w->end_at = 7;
        CHECK_INT(world_shake(w), MTWS_ERR_TLS);
        const char *text = mtws__tls_text(w->tls);
        CHECK_TEXT(strstr(text, rows[i].text) != NULL, "\"%s\"", text);
        world_close(w);
        world_end(w);
        test_end();
    }
}

/* What BearSSL's other errors say. */
static void error_texts(void) {
    static const struct {
        int err;
        const char *text;
    } rows[] = {
        {BR_ERR_UNSUPPORTED_VERSION, "no TLS 1.2"},
        {BR_ERR_BAD_VERSION, "changed the version"},
        {BR_ERR_BAD_MAC, "changed on its way"},
        {BR_ERR_BAD_SIGNATURE, "signature"},
        {BR_ERR_NO_RANDOM, "randomness"},
        {BR_ERR_RESUME_MISMATCH, "other parameters"},
        {BR_ERR_BAD_CIPHER_SUITE, "was not offered"},
        {BR_ERR_INVALID_ALGORITHM, "was not offered"},
        {BR_ERR_BAD_FRAGLEN, "broke TLS"},
        {BR_ERR_RECV_FATAL_ALERT + BR_ALERT_INTERNAL_ERROR, "refused"},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        const char *text = mtws__tls_error_text(rows[i].err);
        CHECK_TEXT(strstr(text, rows[i].text) != NULL, "\"%s\"", text);
    }
}

/* The server ends TLS in the midst of the handshake, in an orderly way. */
static void early_end(void) {
    static const char record[] = {0x15, 3, 3, 0, 2, 1, 0};
    world *w = world_new();
    w->answer = "";
    world_connect(w);
    flow_add(&w->down, record, sizeof record);
    CHECK_INT(world_shake(w), MTWS_ERR_TLS);
    CHECK_STR(mtws__tls_text(w->tls), "the connection broke during the TLS handshake");
    world_close(w);
    world_end(w);
}

static void application_protocols(void) {
    world *w = world_new();
    w->protocol = "http/1.1";
    CHECK_INT(world_open(w), 0);
    CHECK_STR(br_ssl_engine_get_selected_protocol(&w->engine.eng), "http/1.1");
    CHECK_STR(br_ssl_engine_get_server_name(&w->engine.eng), "localhost");
    world_close(w);
    w->host = "127.0.0.1";
    CHECK_INT(world_open(w), 0);
    CHECK_STR(br_ssl_engine_get_server_name(&w->engine.eng), ""); /* RFC 6066 section 3 */
    world_close(w);
    world_end(w);
}

/* The server asks for another handshake within the connection: refused. */
static void renegotiation(void) { /* FAULTS row 57 */
    char out[64];
    world *w = world_new();
    w->echo = true;
    CHECK_INT(world_open(w), 0);
    size_t before = w->down.total;
    CHECK(br_ssl_engine_renegotiate(&w->engine.eng));
    server_pump(w);
    CHECK(w->down.end > w->down.at);
    CHECK_INT(w->transport.read(w->transport.ctx, out, sizeof out), MTWS_IO_AGAIN);
    CHECK(w->down.total > before);
    server_pump(w);
    /* BearSSL's server gives up when it hears the warning; that it has, and that we went on with
     * the connection, is all to be seen here. */
    CHECK_INT(br_ssl_engine_last_error(&w->engine.eng),
              BR_ERR_RECV_FATAL_ALERT + BR_ALERT_NO_RENEGOTIATION);
    CHECK_INT(w->transport.write(w->transport.ctx, "on", 2), 2);
    world_close(w);
    world_end(w);
}

/* ---- the client's own certificate ------------------------------------------------------------ */

static void identities(void) {
    static const struct {
        const char *name, *cert, *key;
        int result; /* of the options */
        bool opened;
    } rows[] = {
        {"RSA", "client-rsa.pem", "client-rsa.key", MTWS_OK, true},
        {"RSA, PKCS #1", "client-rsa.pem", "client-rsa.pkcs1", MTWS_OK, true},
        {"EC", "client-ec.pem", "client-ec.key", MTWS_OK, true},
        {"EC, SEC 1", "client-ec.pem", "client-ec.sec1", MTWS_OK, true},
        {"P-384", "ec384.pem", "ec384.key", MTWS_OK, true},
        {"RSA 4096", "rsa4096.pem", "rsa4096.key", MTWS_OK, true},
        {"of a stranger", "untrusted.pem", "untrusted.key", MTWS_OK, false},
        {"none", NULL, NULL, MTWS_OK, false},
        {"another's key", "client-ec.pem", "ec.key", MTWS_ERR_ARGUMENT, false},
        {"another RSA key", "client-rsa.pem", "rsa.key", MTWS_ERR_ARGUMENT, false},
        {"another kind", "client-ec.pem", "client-rsa.key", MTWS_ERR_ARGUMENT, false},
        {"no key", "client-ec.pem", NULL, MTWS_ERR_ARGUMENT, false},
        {"no certificate", NULL, "client-ec.key", MTWS_ERR_ARGUMENT, false},
        {"the wrong way round", "client-ec.key", "client-ec.pem", MTWS_ERR_ARGUMENT, false},
        {"encrypted", "client-ec.pem", "client-ec.encrypted", MTWS_ERR_ARGUMENT, false},
        {"encrypted, PKCS #1", "client-rsa.pem", "client-rsa.encrypted", MTWS_ERR_ARGUMENT, false},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        world *w = world_new();
        const char *wrong;
        w->asks_client = true;
        if (rows[i].cert != NULL) w->options.client_cert_pem = pki_text(rows[i].cert);
        if (rows[i].key != NULL) w->options.client_key_pem = pki_text(rows[i].key);
        CHECK_INT(world_create(w, &wrong), rows[i].result);
        if (rows[i].result == MTWS_OK) {
            /* BearSSL's server goes silent where it refuses. */
            CHECK_INT(world_open(w), rows[i].opened ? 0 : MTWS_IO_AGAIN);
            CHECK_INT(br_ssl_engine_last_error(&w->engine.eng) == 0, rows[i].opened);
            world_close(w);
        } else {
            CHECK(wrong != NULL && strstr(wrong, "options.client_") != NULL);
        }
        world_end(w);
        test_end();
    }
}

/* A client's key and its certificate are changed in each character, and no key is taken that is not
 * the certificate's. */
static void broken_identities(void) {
    static const char *const keys[] = {"client-rsa.key", "client-rsa.pkcs1", "client-ec.key",
                                       "client-ec.sec1", "client-rsa.pem",   "client-ec.pem"};
    static const char values[] = "A/*\n";
    static uint8_t memory[64 * 1024];
    static char text[16 * 1024];
    for (size_t i = 0; i < UNIT_COUNT(keys); i++) {
        if (!test_begin("%s", keys[i])) continue;
        bool rsa = strstr(keys[i], "rsa") != NULL, certificate = strstr(keys[i], ".pem") != NULL;
        mtws_options o;
        mtws__identity identity;
        unsigned refused = 0, size = (unsigned)strlen(pki_text(keys[i]));
        memset(&o, 0, sizeof o);
        if (!CHECK(size < sizeof text)) abort();
        memcpy(text, pki_text(keys[i]), size + 1);
        o.client_cert_pem = pki_text(rsa ? "client-rsa.pem" : "client-ec.pem");
        o.client_key_pem = pki_text(rsa ? "client-rsa.key" : "client-ec.key");
        if (certificate) o.client_cert_pem = text;
        else o.client_key_pem = text;
        CHECK(mtws__identity_load(&identity, memory, sizeof memory, &o) == NULL);
        for (size_t k = 0; k < size * strlen(values); k++) {
            char *at = text + k / strlen(values), kept = *at;
            test_context("character %zu is %d", k / strlen(values), values[k % strlen(values)]);
            *at = values[k % strlen(values)];
            const char *wrong = mtws__identity_load(&identity, memory, sizeof memory, &o);
            if (wrong != NULL) refused++;
            *at = kept;
        }
        CHECK(refused > size / (certificate ? 8 : 2));
        test_end();
    }
}

/* A chain is as long as there is room for, and of several keys the first one counts. */
static void long_identities(void) {
    static uint8_t memory[64 * 1024];
    static char text[64 * 1024];
    const char *one = pki_text("client-ec.leaf"), *key = pki_text("client-ec.key");
    mtws__identity identity;
    mtws_options o;
    memset(&o, 0, sizeof o);
    o.client_cert_pem = text;
    o.client_key_pem = key;
    for (int count = 1; count <= MTWS__TLS_CHAIN_MAX + 1; count++) {
        strcat(text, one);
        const char *wrong = mtws__identity_load(&identity, memory, sizeof memory, &o);
        test_context("%d certificates", count);
        CHECK_INT(wrong == NULL, count <= MTWS__TLS_CHAIN_MAX);
        if (wrong != NULL) CHECK_STR(wrong, "options.client_cert_pem is too long a chain");
    }
    snprintf(text, sizeof text, "%s%s", one, pki_text("inter.leaf"));
    size_t room = mtws__identity_room(&o);
    bool fits = false;
    for (size_t size = 0; size <= room; size++) {
        test_context("%zu bytes", size);
        memset(memory, 0xa5, room + 1);
        bool good = mtws__identity_load(&identity, memory, size, &o) == NULL;
        CHECK_UINT(memory[size], 0xa5);
        CHECK(good || !fits);
        fits = good;
    }
    CHECK(fits);
    test_context("%s", "");
    snprintf(text, sizeof text, "%s%s%s", one, key, pki_text("ec.key"));
    CHECK(mtws__identity_load(&identity, memory, sizeof memory, &o) == NULL);
    snprintf(text, sizeof text, "%s%s%s", one, pki_text("ec.key"), key);
    CHECK_STR(mtws__identity_load(&identity, memory, sizeof memory, &o),
              "options.client_key_pem is not the certificate's");
}

/* An INTEGER of DER, `size` bytes that look random behind a length of two bytes. */
static uint8_t *put_integer(uint8_t *at, uint64_t *seed, size_t size) {
    memcpy(at, "\x02\x82", 2);
    mtws__store_big(at + 2, 2, size);
    unit_fill(seed, at + 4, size);
    at[4] = 0x41;             /* neither negative nor with a zero before */
    at[4 + size - 1] |= 0x01; /* and odd */
    return at + 4 + size;
}

/* A key of RSA larger than any that BearSSL takes from a certificate is not the certificate's. */
static void large_identity(void) {
    static uint8_t der[8192], memory[64 * 1024];
    static char text[16 * 1024];
    static const size_t half = 288; /* bytes of a prime: 4608 bits */
    uint64_t seed = 11;
    mtws__identity identity;
    mtws_options o;
    mtws__writer w;
    memcpy(der, "\x30\x82\0\0\x02\x01\0", 7);
    uint8_t *at = put_integer(der + 7, &seed, 2 * half);
    memcpy(at, "\x02\x03\x01\0\x01", 5);
    at = put_integer(at + 5, &seed, 2 * half);
    for (int i = 0; i < 5; i++) at = put_integer(at, &seed, half);
    mtws__store_big(der + 2, 2, (uint64_t)(at - der) - 4);
    mtws__writer_open(&w, text, sizeof text);
    mtws__writer_text(&w, "-----BEGIN RSA PRIVATE KEY-----\n");
    mtws__base64_encode(&w, der, (size_t)(at - der));
    mtws__writer_text(&w, "\n-----END RSA PRIVATE KEY-----\n");
    CHECK(!w.full);
    memset(&o, 0, sizeof o);
    o.client_cert_pem = pki_text("client-rsa.pem");
    o.client_key_pem = text;
    CHECK_STR(mtws__identity_load(&identity, memory, sizeof memory, &o),
              "options.client_key_pem is not the certificate's");
    CHECK_UINT(identity.rsa.plen, half);
}

/* The bytes of a certificate as PEM; valid until the next call. */
static const char *as_pem(const uint8_t *der, size_t size) {
    static char text[16 * 1024];
    mtws__writer w;
    mtws__writer_open(&w, text, sizeof text);
    mtws__writer_text(&w, "-----BEGIN CERTIFICATE-----\n");
    mtws__base64_encode(&w, der, size);
    mtws__writer_text(&w, "\n-----END CERTIFICATE-----\n");
    CHECK(!w.full);
    return text;
}

/* Where `what` first lies in a file, which must have it. */
static uint8_t *find_in(file_text file, const char *what, size_t size) {
    for (size_t at = 0; at + size <= file.size; at++) {
        if (memcmp(file.text + at, what, size) == 0) return (uint8_t *)file.text + at;
    }
    CHECK(false);
    return (uint8_t *)file.text;
}

#define RSA_OID "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"

/* Certificates whose key, or whose right to sign, is not what it should be. */
static void odd_certificates(void) {
    mtws_trust *t;
    mtws_options o;
    mtws__identity identity;
    static uint8_t memory[64 * 1024];
    file_text file = file_read(pki_path("root.der"));
    const uint8_t *der = (const uint8_t *)file.text;
    CHECK_INT(mtws_trust_create(&t, NULL, as_pem(der, file.size)), MTWS_OK);
    CHECK_UINT(t->anchors[0].flags, BR_X509_TA_CA);
    mtws_trust_destroy(t);
    uint8_t *ca = find_in(file, "\x30\x03\x01\x01\xff", 5); /* basicConstraints */
    ca[4] = 0;
    CHECK_INT(mtws_trust_create(&t, NULL, as_pem(der, file.size)), MTWS_OK);
    CHECK_UINT(t->anchors[0].flags, 0);
    mtws_trust_destroy(t);
    ca[3] = 0; /* a BOOLEAN of no bytes, and one byte behind it */
    CHECK_INT(mtws_trust_create(&t, NULL, as_pem(der, file.size)), MTWS_ERR_TLS_TRUST);
    ca[3] = 1;
    ca[0] = 0x31;
    CHECK_INT(mtws_trust_create(&t, NULL, as_pem(der, file.size)), MTWS_ERR_TLS_TRUST);
    free(file.text);

    file = file_read(pki_path("rsa.der"));
    der = (const uint8_t *)file.text;
    uint8_t *kind = find_in(file, RSA_OID, 9);
    memset(&o, 0, sizeof o);
    o.client_cert_pem = as_pem(der, file.size);
    o.client_key_pem = pki_text("rsa.key");
    CHECK(mtws__identity_load(&identity, memory, sizeof memory, &o) == NULL);
    kind[8] = 7; /* another algorithm than RSA */
    o.client_cert_pem = as_pem(der, file.size);
    CHECK_INT(mtws_trust_create(&t, NULL, o.client_cert_pem), MTWS_ERR_TLS_TRUST);
    CHECK_STR(mtws__identity_load(&identity, memory, sizeof memory, &o),
              "options.client_key_pem is not the certificate's");
    kind[8] = 1;
    /* Cut before the key, within it, and before its end. */
    size_t at = (size_t)(kind - der);
    for (size_t size = at - 40; size < at + 300; size++) {
        test_context("cut at %zu", size);
        o.client_cert_pem = as_pem(der, size);
        CHECK_INT(mtws_trust_create(&t, NULL, o.client_cert_pem), MTWS_ERR_TLS_TRUST);
        const char *wrong = mtws__identity_load(&identity, memory, sizeof memory, &o);
        CHECK_INT(wrong == NULL, size >= at + 286); /* the key is whole */
    }
    free(file.text);
}

/* ---- options --------------------------------------------------------------------------------- */

static void bad_options(void) {
    static const struct {
        const char *name, *pins, *server_name, *ca_file, *ca_pem;
        int result;
        const char *text; /* part of what is said against it */
    } rows[] = {
        {"no pin", "", NULL, NULL, NULL, MTWS_ERR_ARGUMENT, "pin_sha256"},
        {"a bad pin", "x", NULL, NULL, NULL, MTWS_ERR_ARGUMENT, "pin_sha256"},
        {"an empty name", NULL, "", NULL, NULL, MTWS_ERR_ARGUMENT, "server_name"},
        {"a bad name", NULL, "a b", NULL, NULL, MTWS_ERR_ARGUMENT, "server_name"},
        {"no file", NULL, NULL, "/nowhere/at/all", NULL, MTWS_ERR_TLS_TRUST,
         "options.ca_file: no such file: /nowhere/at/all"},
        {"a folder", NULL, NULL, "/", NULL, MTWS_ERR_TLS_TRUST, "options.ca_file: a folder"},
        {"a device", NULL, NULL, "/dev/zero", NULL, MTWS_ERR_TLS_TRUST, "options.ca_file"},
        {"a file of no PEM", NULL, NULL, "rsa.der", NULL, MTWS_ERR_TLS_TRUST,
         "options.ca_file: no certificate"},
        {"a file within a file", NULL, NULL, "/etc/passwd/at", NULL, MTWS_ERR_TLS_TRUST,
         "options.ca_file: no such file"},
        {"no PEM", NULL, NULL, NULL, "", MTWS_ERR_TLS_TRUST, "options.ca_pem has no"},
        {"no file beside PEM", NULL, NULL, "/nowhere", "root.pem", MTWS_ERR_TLS_TRUST,
         "options.ca_file: no such file"},
        {"a file of no PEM beside PEM", NULL, NULL, "rsa.der", "root.pem", MTWS_ERR_TLS_TRUST,
         "options.ca_file: no certificate"},
        {"no PEM beside a file", NULL, NULL, "root.pem", "", MTWS_ERR_TLS_TRUST, "options.ca_pem"},
        {"a key beside a file", NULL, NULL, "root.pem", "root.key", MTWS_ERR_TLS_TRUST,
         "options.ca_pem"},
        {"PEM beside a file", NULL, NULL, "root.pem", "root.pem", MTWS_OK, ""},
        {"PEM beside an empty name", NULL, NULL, "", "root.pem", MTWS_OK, ""},
        {"a name and an address", NULL, "server.test.", "", NULL, MTWS_OK, ""},
        {"an address", NULL, "::1", "", NULL, MTWS_OK, ""},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        world *w = world_new();
        const char *wrong = "", *file = rows[i].ca_file, *pem = rows[i].ca_pem;
        w->options.ca_pem = pem == NULL || pem[0] == 0 ? pem : pki_text(pem);
        w->options.pin_sha256 = rows[i].pins;
        w->options.server_name = rows[i].server_name;
        w->options.ca_file = file == NULL || file[0] == 0 || file[0] == '/' ? file : pki_path(file);
        CHECK_INT(world_create(w, &wrong), rows[i].result);
        CHECK_INT(wrong != NULL, rows[i].result != MTWS_OK);
        if (wrong != NULL) CHECK_TEXT(strstr(wrong, rows[i].text) != NULL, "\"%s\"", wrong);
        world_end(w);
        test_end();
    }
    if (test_begin("trust beside PEM")) {
        mtws_trust *shared;
        const char *wrong = NULL;
        world *w = world_new();
        CHECK_INT(mtws_trust_create(&shared, NULL, pki_text("root.pem")), MTWS_OK);
        w->options.trust = shared;
        CHECK_INT(world_create(w, &wrong), MTWS_ERR_ARGUMENT);
        CHECK(wrong != NULL && strstr(wrong, "options.trust") != NULL);
        world_end(w);
        mtws_trust_destroy(shared);
        test_end();
    }
    if (test_begin("trust beside a file")) {
        mtws_trust *shared;
        const char *wrong = NULL;
        world *w = world_new();
        CHECK_INT(mtws_trust_create(&shared, NULL, pki_text("root.pem")), MTWS_OK);
        w->options.trust = shared;
        w->options.ca_pem = NULL;
        w->options.ca_file = pki_path("root.pem");
        CHECK_INT(world_create(w, &wrong), MTWS_ERR_ARGUMENT);
        CHECK(wrong != NULL && strstr(wrong, "options.trust") != NULL);
        world_end(w);
        mtws_trust_destroy(shared);
        test_end();
    }
    if (test_begin("SSL_CERT_FILE names nothing")) {
        const char *wrong, *path;
        world *w = world_new();
        w->options.ca_pem = NULL;
        CHECK_INT(setenv("SSL_CERT_FILE", "/nowhere", 1), 0);
        CHECK_INT(world_create(w, &wrong), MTWS_OK);
        CHECK_INT(mtws__tls_load(w->tls, NULL, NULL, &path), MTWS_ERR_TLS_TRUST);
        CHECK_STR(mtws__tls_text(w->tls), "SSL_CERT_FILE: no such file: /nowhere");
        unsetenv("SSL_CERT_FILE");
        world_end(w);
        test_end();
    }
    if (test_begin("nine pins")) {
        char list[9 * 45 + 1] = "";
        world *w = world_new();
        const char *wrong;
        for (int i = 0; i < 8; i++) strcat(strcat(list, pin_bad), ",");
        w->options.pin_sha256 = list;
        CHECK_INT(world_create(w, &wrong), MTWS_OK);
        free(w->tls);
        strcat(list, pin_bad);
        CHECK_INT(world_create(w, &wrong), MTWS_ERR_ARGUMENT);
        world_end(w);
        test_end();
    }
}

/* Anchors in the caller's memory: enough is what it says it takes; less is refused, not overrun. */
static void anchors(void) {
    static uint8_t memory[1 << 16];
    static char odd[64 * 1024];
    static const struct {
        const char *file;
        size_t count;
    } rows[] = {{"root.pem", 1}, {"both.pem", 2}, {"rsa.pem", 2}, {"long.pem", 1}};
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        const char *pem = pki_text(rows[i].file);
        size_t required = mtws_trust_memory_required(NULL, pem);
        mtws_trust *t;
        test_context("%s", rows[i].file);
        CHECK(required <= MTWS_PEM_MEMORY_SIZE(strlen(pem) + 1));
        for (size_t offset = 0; offset < 16; offset++) {
            memset(memory, 0xa5, sizeof memory);
            CHECK_INT(mtws_trust_create_in(&t, NULL, pem, memory + offset, required), MTWS_OK);
            CHECK_UINT(mtws_trust_count(t), rows[i].count);
            CHECK_UINT(memory[offset + required], 0xa5);
            if (offset > 0) CHECK_UINT(memory[offset - 1], 0xa5);
            mtws_trust_destroy(t);
        }
        bool fits = false;
        for (size_t size = 0; size <= required; size++) {
            memset(memory, 0xa5, required + 1);
            mtws_result result = mtws_trust_create_in(&t, NULL, pem, memory, size);
            CHECK(result == MTWS_OK || (result == MTWS_ERR_MEMORY && t == NULL && !fits));
            CHECK_UINT(memory[size], 0xa5);
            fits = fits || result == MTWS_OK;
        }
        CHECK(fits);
        CHECK_INT(mtws_trust_create(&t, pki_path(rows[i].file), NULL), MTWS_OK);
        CHECK_UINT(mtws_trust_count(t), rows[i].count);
        mtws_trust_destroy(t);
        CHECK_INT(mtws_trust_create(&t, pki_path(rows[i].file), pki_text("ec.leaf")), MTWS_OK);
        CHECK_UINT(mtws_trust_count(t), rows[i].count + 1);
        mtws_trust_destroy(t);
    }
    /* What is no certificate is passed over. */
    mtws_trust *t;
    snprintf(odd, sizeof odd,
             "%s-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n%s%s",
             pki_text("root.key"), pki_text("root.pem"), pki_text("client-ec.key"));
    CHECK_INT(mtws_trust_create(&t, NULL, odd), MTWS_OK);
    CHECK_UINT(mtws_trust_count(t), 1);
    CHECK_UINT(t->skipped, 1);
    mtws_trust_destroy(t);
    CHECK_INT(mtws_trust_create(&t, NULL, pki_text("root.key")), MTWS_ERR_TLS_TRUST);
    CHECK_INT(mtws_trust_create(&t, "", NULL), MTWS_ERR_TLS_TRUST);
    CHECK(t == NULL);
    mtws_trust_destroy(NULL);
    size_t required = mtws_trust_memory_required(NULL, pki_text("root.pem"));
    CHECK_INT(mtws_trust_create(NULL, NULL, pki_text("root.pem")), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_trust_create_in(NULL, NULL, pki_text("root.pem"), memory, required),
              MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_trust_create_in(&t, NULL, pki_text("root.pem"), NULL, required),
              MTWS_ERR_ARGUMENT);
    CHECK(t == NULL);
    own_malloc_fails = true;
    CHECK_INT(mtws_trust_create(&t, NULL, pki_text("root.pem")), MTWS_ERR_MEMORY);
    own_malloc_fails = false;
    CHECK(t == NULL);
}

/* Where the system keeps its roots, and SSL_CERT_FILE before that. */
static void system_anchors(void) {
    mtws_trust *t;
    CHECK_INT(setenv("SSL_CERT_FILE", pki_path("both.pem"), 1), 0);
    CHECK_INT(mtws_trust_create(&t, NULL, NULL), MTWS_OK);
    CHECK_UINT(mtws_trust_count(t), 2);
    mtws_trust_destroy(t);
    CHECK_INT(setenv("SSL_CERT_FILE", "/nowhere", 1), 0);
    CHECK_INT(mtws_trust_create(&t, NULL, NULL), MTWS_ERR_TLS_TRUST); /* not the system's instead */
    CHECK_INT(setenv("SSL_CERT_FILE", "", 1), 0);
    if (access("/etc/ssl/certs/ca-certificates.crt", R_OK) == 0) {
        CHECK_INT(mtws_trust_create(&t, NULL, NULL), MTWS_OK);
        CHECK(mtws_trust_count(t) > 50);
        CHECK_UINT(t->skipped, 0);
        mtws_trust_destroy(t);
    }
    unsetenv("SSL_CERT_FILE");
    if (access("/etc/ssl/certs/ca-certificates.crt", R_OK) == 0) {
        CHECK_INT(mtws_trust_create(&t, NULL, NULL), MTWS_OK);
        CHECK(mtws_trust_count(t) > 50);
        mtws_trust_destroy(t);
    }
}

/* What loading the roots from a file says. */
static void check_load(const char *ca_file, mtws_result result, const char *text) {
    static uint8_t memory[1 << 16];
    mtws_trust trust;
    const char *path;
    char why[MTWS__TLS_TEXT_MAX];
    CHECK_INT(mtws__trust_load(&trust, memory, sizeof memory, ca_file, NULL, &path, why), result);
    CHECK_TEXT(strstr(why, text) != NULL, "\"%s\"", why);
}

/* Files of roots that the system does not give, and systems that have none. */
static void system_failures(void) {
    static const struct {
        int error, times;
        mtws_result result;
        const char *text;
    } rows[] = {
        {EINTR, 1, MTWS_OK, ""},
        {EINTR, MTWS__RETRIES - 1, MTWS_OK, ""},
        {EINTR, -1, MTWS_ERR_TLS_TRUST, "options.ca_file: system error"},
        {EACCES, -1, MTWS_ERR_TLS_TRUST, "options.ca_file: not permitted"},
        {EMFILE, -1, MTWS_ERR_TLS_TRUST, "options.ca_file: the process has no descriptors left"},
    };
    mtws_trust *t;
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        memset(&own_system, 0, sizeof own_system);
        own_system.open_error = rows[i].error;
        own_system.open_failures = rows[i].times;
        test_context("row %zu", i);
        check_load(pki_path("root.pem"), rows[i].result, rows[i].text);
    }
    memset(&own_system, 0, sizeof own_system);
    own_system.no_status = true;
    check_load(pki_path("root.pem"), MTWS_ERR_TLS_TRUST, "options.ca_file: system error");
    own_system.no_status = false;
    own_system.size = -1;
    check_load(pki_path("root.pem"), MTWS_ERR_TLS_TRUST, "options.ca_file: no plain file");

    /* More than any machine can hold is no memory. */
    mtws_options o;
    memset(&o, 0, sizeof o);
    own_system.size = (off_t)(INT64_MAX / 4 * 3);
    o.ca_file = pki_path("root.pem");
    o.ca_pem = pki_text("root.pem");
    CHECK_UINT(mtws_memory_required(&o), 0);
    CHECK_INT(mtws_trust_create(&t, o.ca_file, NULL), MTWS_ERR_MEMORY);

    /* Less than was there when the room was measured. */
    own_system.size = 1;
    CHECK_INT(mtws_trust_create(&t, o.ca_file, NULL), MTWS_ERR_MEMORY);

    /* A program with more rights than its user does not let the environment say whom it trusts. */
    memset(&own_system, 0, sizeof own_system);
    CHECK_INT(setenv("SSL_CERT_FILE", "/nowhere", 1), 0);
    own_system.open_only = "/etc/";
    own_system.instead = pki_path("root.pem");
    CHECK_INT(mtws_trust_create(&t, NULL, NULL), MTWS_ERR_TLS_TRUST);
    for (int i = 0; i < 2; i++) {
        own_system.other_user = i == 0;
        own_system.other_group = i == 1;
        CHECK_INT(mtws_trust_create(&t, NULL, NULL), MTWS_OK);
        CHECK_UINT(mtws_trust_count(t), 1);
        mtws_trust_destroy(t);
    }
    unsetenv("SSL_CERT_FILE");

    /* The system's roots lie where they do, or nowhere, or are none. */
    memset(&own_system, 0, sizeof own_system);
    own_system.instead = pki_path("root.pem");
    own_system.open_only = "/etc/ssl/certs/";
    own_system.open_error = ENOENT;
    own_system.open_failures = -1;
    const char *path;
    size_t size;
    int fd = mtws__trust_file(NULL, NULL, &path, &size);
    CHECK(fd < 0 || strcmp(path, "/etc/ssl/certs/ca-certificates.crt") != 0);
    if (fd >= 0) mtws__os_close(fd);
    own_system.open_only = NULL;
    check_load(NULL, MTWS_ERR_TLS_TRUST, "no file of the system's was found");
    own_system.open_failures = 0;
    own_system.instead = pki_path("root.der");
    check_load(NULL, MTWS_ERR_TLS_TRUST, "the system's roots: no certificate that can be used");

    /* None when the client is made, and an identity before the room for none. */
    own_system.open_failures = -1;
    world *w = world_new();
    const char *wrong = "";
    w->options.ca_pem = NULL;
    w->options.client_cert_pem = pki_text("client-ec.pem");
    w->options.client_key_pem = pki_text("client-ec.key");
    static char chain[16 * 1024];
    snprintf(chain, sizeof chain, "%s", w->options.client_cert_pem);
    w->options.client_cert_pem = chain;
    while (mtws__identity_room(&w->options) % 8 != 1) strcat(chain, "\n\n\n\n");
    CHECK_INT(world_create(w, &wrong), MTWS_OK);
    CHECK_UINT(w->tls->trust_size, 0);
    CHECK_INT(mtws__tls_load(w->tls, NULL, NULL, &path), MTWS_ERR_TLS_TRUST);
    CHECK_STR(mtws__tls_text(w->tls), "no file of the system's was found");
    /* They came meanwhile. */
    own_system.open_failures = 0;
    own_system.instead = pki_path("root.pem");
    CHECK_INT(mtws__tls_load(w->tls, NULL, NULL, &path), MTWS_ERR_MEMORY);
    CHECK_STR(mtws__tls_text(w->tls), "there are more roots than when the client was made");
    world_end(w);
    memset(&own_system, 0, sizeof own_system);
}

/* ---- a client over the loopback -------------------------------------------------------------- */

/* A client that resolves, connects and encrypts by itself, and the world's server behind a socket
 * of the test's. */
typedef struct live {
    world *w;
    mtws_client *ws;
    int listener, fd;
    uint16_t port;
    char url[64];
    bool silent;              /* the server says nothing, not of TLS either */
    const char *answer;       /* to the upgrade, where it is not 101 */
    bool upgraded;            /* it was answered */
    unsigned fills, fails_at; /* draws of randomness; the one that fails, 0: none */
    mtws_event last;          /* the latest of STATE */
    char reason[256];         /* of the latest failure */
} live;

static bool live_fill(void *ctx, void *out, size_t size) {
    live *l = (live *)ctx;
    uint64_t seed = ++l->fills;
    unit_fill(&seed, out, size);
    return l->fills != l->fails_at;
}

static live *live_new(void) {
    live *l = (live *)calloc(1, sizeof *l);
    if (l == NULL) abort();
    l->w = world_new();
    l->w->options.random.fill = live_fill;
    l->w->options.random.ctx = l;
    l->w->options.network = MTWS_NETWORK_MANUAL;
    l->w->options.initial_reconnect_delay_ms = 1;
    l->listener = loopback_listen(&l->port, 5);
    fcntl(l->listener, F_SETFL, O_NONBLOCK);
    l->fd = -1;
    snprintf(l->url, sizeof l->url, "wss://127.0.0.1:%u/", (unsigned)l->port);
    return l;
}

static void live_start(live *l) {
    CHECK_INT(mtws_create(&l->ws, &l->w->options), MTWS_OK);
    CHECK_INT(mtws_connect(l->ws, l->url, NULL), MTWS_OK);
}

static void live_end(live *l) {
    mtws_destroy(l->ws);
    world_end(l->w);
    close(l->listener);
    if (l->fd >= 0) close(l->fd);
    free(l);
}

static void live_accept(live *l) {
    int fd = accept(l->listener, NULL, NULL);
    if (fd < 0) return;
    if (l->fd >= 0) close(l->fd);
    l->fd = fd;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    l->upgraded = false;
    l->w->up.at = l->w->up.end = l->w->down.at = l->w->down.end = l->w->got_size = 0;
    load_server(l->w);
    server_start(l->w);
}

/* The server answers the upgrade, once it is whole. */
static void live_upgrade(live *l) {
    static const char field[] = "Sec-WebSocket-Key: ";
    char accept_key[29], text[256];
    world *w = l->w;
    w->got[w->got_size] = 0;
    const char *key = strstr((const char *)w->got, field);
    if (l->upgraded || key == NULL || strstr(key, "\r\n\r\n") == NULL) return;
    mtws__handshake_accept(accept_key, key + strlen(field));
    snprintf(text, sizeof text,
             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Accept: %s\r\n\r\n",
             accept_key);
    const char *answer = l->answer == NULL ? text : l->answer;
    l->upgraded = true;
    w->got_size = 0;
    server_send(w, answer, strlen(answer));
}

/* What the server has to do: bytes move between the socket and BearSSL's server. */
static void live_serve(live *l) {
    world *w = l->w;
    live_accept(l);
    if (l->fd < 0 || l->silent) return;
    uint8_t bytes[4096];
    ssize_t got;
    while ((got = recv(l->fd, bytes, sizeof bytes, 0)) > 0) flow_add(&w->up, bytes, (size_t)got);
    server_pump(w);
    live_upgrade(l);
    while (w->down.at < w->down.end) {
        ssize_t put =
            send(l->fd, w->down.data + w->down.at, w->down.end - w->down.at, MSG_NOSIGNAL);
        if (put <= 0) return;
        w->down.at += (size_t)put;
    }
}

/* Both work until the client is in this state, or much time has passed: false. */
static bool live_until(live *l, mtws_state state) {
    for (int i = 0; i < 3000 && mtws_get_state(l->ws) != state; i++) {
        mtws_event e;
        live_serve(l);
        if (mtws_poll(l->ws, &e, 2) != 1 || e.type != MTWS_EVENT_STATE) continue;
        l->last = e;
        if (e.state == MTWS_STATE_ERROR) snprintf(l->reason, sizeof l->reason, "%s", e.reason);
    }
    return CHECK_INT(mtws_get_state(l->ws), state);
}

/* Roots renewed in a client's life. */
static void live_trust(void) {
    mtws_trust *stranger, *right;
    CHECK_INT(mtws_trust_create(&stranger, NULL, pki_text("stranger.pem")), MTWS_OK);
    CHECK_INT(mtws_trust_create(&right, NULL, pki_text("root.pem")), MTWS_OK);
    live *l = live_new();
    l->w->options.ca_pem = NULL;
    l->w->options.trust = stranger;
    live_start(l);
    CHECK(live_until(l, MTWS_STATE_FAILED));
    CHECK_INT(l->last.result, MTWS_ERR_TLS_TRUST);
    CHECK_INT(mtws_set_trust(l->ws, NULL), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_set_trust(l->ws, right), MTWS_OK);
    CHECK_INT(mtws_retry_now(l->ws), MTWS_OK);
    CHECK(live_until(l, MTWS_STATE_CONNECTED));
    /* What is open stays open; the next connection asks the new ones. */
    CHECK_INT(mtws_set_trust(l->ws, stranger), MTWS_OK);
    mtws_event e;
    CHECK_INT(mtws_poll(l->ws, &e, 0), 0);
    loopback_reset(l->fd);
    l->fd = -1;
    CHECK(live_until(l, MTWS_STATE_ERROR));
    CHECK(live_until(l, MTWS_STATE_RECONNECTING));
    CHECK(live_until(l, MTWS_STATE_ERROR));
    CHECK_INT(l->last.result, MTWS_ERR_TLS_TRUST);
    live_end(l);
    mtws_trust_destroy(stranger);
    mtws_trust_destroy(right);
}

/* The server breaks RFC 6455: it gets a Close, and TLS's own end behind it. */
static void live_violation(void) {
    live *l = live_new();
    live_start(l);
    CHECK(live_until(l, MTWS_STATE_CONNECTED));
    server_send(l->w, "\x83\x00", 2); /* a reserved opcode */
    CHECK(live_until(l, MTWS_STATE_ERROR));
    CHECK_INT(l->last.result, MTWS_ERR_PROTOCOL);
    live_serve(l);
    CHECK_UINT(l->w->got_size, 8); /* 2 bytes of header, 4 of the mask, 2 of the code */
    CHECK_UINT(l->w->got[0], 0x88);
    CHECK_INT(br_ssl_engine_current_state(&l->w->engine.eng), BR_SSL_CLOSED);
    CHECK_INT(br_ssl_engine_last_error(&l->w->engine.eng), 0);
    live_end(l);
}

/* Many records without content before a message: each poll reads a bounded part of them. */
static void live_empty_records(void) {
    live *l = live_new();
    mtws_event e;
    int result = 0;
    live_start(l);
    CHECK(live_until(l, MTWS_STATE_CONNECTED));
    for (int i = 0; i < 20000; i++) {
        br_ssl_engine_flush(&l->w->engine.eng, 1);
        server_pump(l->w);
    }
    server_send(l->w, "\x81\x05there", 7);
    for (int i = 0; i < 3000 && result == 0; i++) {
        live_serve(l);
        result = mtws_poll(l->ws, &e, 0);
    }
    CHECK_INT(result, 1);
    CHECK_INT(e.type, MTWS_EVENT_MESSAGE);
    CHECK_UINT(e.size, 5);
    live_end(l);
}

/* The kernel has room for a small piece at a time, of the request and of a message. */
static void live_no_room(void) {
    char value[3000];
    memset(value, 'x', sizeof value);
    value[sizeof value - 1] = 0;
    const mtws_pair headers[] = {{"X-Long", value}, {NULL, NULL}};
    live *l = live_new();
    l->w->options.headers = headers;
    own_system.send_size = 100;
    live_start(l);
    CHECK(live_until(l, MTWS_STATE_CONNECTED));
    CHECK_INT(mtws_send(l->ws, MTWS_TEXT, value, sizeof value - 1, 0, NULL), MTWS_OK);
    for (int i = 0; i < 3000 && l->w->got_size < sizeof value; i++) {
        mtws_event e;
        mtws_poll(l->ws, &e, 2);
        live_serve(l);
    }
    CHECK(l->w->got_size >= sizeof value);
    own_system.send_size = 0;
    live_end(l);
}

/* TLS ends, and TCP does not: that is the end all the same (RFC 5246 section 7.2.1), whether a
 * message came before it or not. */
static void live_close_notify(void) {
    for (int i = 0; i < 2; i++) {
        live *l = live_new();
        mtws_event e;
        test_context("message %d", i);
        live_start(l);
        CHECK(live_until(l, MTWS_STATE_CONNECTED));
        if (i == 1) server_send(l->w, "\x81\x05there", 7);
        br_ssl_engine_close(&l->w->engine.eng);
        live_serve(l);
        if (i == 1) CHECK_INT(mtws_poll(l->ws, &e, 1000), 1);
        if (i == 1) CHECK_INT(e.type, MTWS_EVENT_MESSAGE);
        CHECK_INT(mtws_poll(l->ws, &e, 1000), 1);
        CHECK_INT(e.state, MTWS_STATE_ERROR);
        CHECK_INT(e.result, MTWS_ERR_RESET);
        live_end(l);
    }
}

/* Randomness fails where TLS, or a redirect to it, needs some of its own: nothing is sent without. */
static void live_no_randomness(void) {
    char answer[128];
    for (unsigned at = 1; at <= 3; at++) {
        live *l = live_new();
        test_context("draw %u", at);
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", l->url);
        l->answer = answer;
        l->fails_at = at;
        l->w->options.max_reconnect_attempts = MTWS_OFF;
        l->w->options.max_redirects = 1;
        live_start(l);
        CHECK(live_until(l, MTWS_STATE_FAILED));
        CHECK_UINT(l->fills, at);
        CHECK_TEXT(strstr(l->reason, "random source failed") != NULL, "\"%s\"", l->reason);
        CHECK_INT(l->fd >= 0, at == 3);
        live_end(l);
    }
}

/* The network goes away in the midst of a handshake. */
static void live_offline(void) {
    live *l = live_new();
    mtws_event e;
    l->silent = true;
    live_start(l);
    for (int i = 0; i < 3000 && l->fd < 0; i++) {
        live_accept(l);
        mtws_poll(l->ws, &e, 2);
    }
    CHECK_INT(mtws_poll(l->ws, &e, 20), 0);
    CHECK_INT(mtws_set_network(l->ws, false), MTWS_OK);
    CHECK(live_until(l, MTWS_STATE_ERROR));
    CHECK_INT(l->last.result, MTWS_ERR_OFFLINE);
    CHECK_TEXT(strstr(l->reason, "the network is down") != NULL, "\"%s\"", l->reason);
    CHECK(live_until(l, MTWS_STATE_WAITING_FOR_NETWORK));
    l->silent = false;
    CHECK_INT(mtws_set_network(l->ws, true), MTWS_OK);
    CHECK(live_until(l, MTWS_STATE_CONNECTED));
    live_end(l);
}

/* Options of TLS beside a transport of the program's, which does its own. */
static void beside_a_transport(void) {
    world *w = world_new();
    mtws_transport lower = {lower_open, lower_read, lower_write, lower_wait, lower_close, w};
    mtws_trust *right;
    mtws_client *ws;
    CHECK_INT(mtws_trust_create(&right, NULL, pki_text("root.pem")), MTWS_OK);
    for (int i = 0; i < 8; i++) {
        mtws_options o;
        test_context("option %d", i);
        memset(&o, 0, sizeof o);
        o.transport = lower;
        if (i == 0) o.trust = right;
        if (i == 1) o.ca_file = "";
        if (i == 2) o.ca_pem = pki_text("root.pem");
        if (i == 3) o.client_cert_pem = pki_text("client-ec.pem");
        if (i == 4) o.client_key_pem = pki_text("client-ec.key");
        if (i == 5) o.pin_sha256 = pin_bad;
        if (i == 6) o.server_name = "localhost";
        if (i == 7) o.insecure_skip_verify = true;
        CHECK_INT(mtws_create(&ws, &o), MTWS_ERR_ARGUMENT);
        CHECK(ws == NULL);
    }
    mtws_options o;
    memset(&o, 0, sizeof o);
    o.transport = lower;
    CHECK_INT(mtws_create(&ws, &o), MTWS_OK);
    CHECK_INT(mtws_set_trust(ws, right), MTWS_ERR_TLS);
    mtws_destroy(ws);
    mtws_trust_destroy(right);
    world_end(w);
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST_ROWS(trust),
        TEST(verdicts),
        TEST(purposes),
        TEST_ROWS(insecure),
        TEST_ROWS(broken_certificates),
        TEST(other_anchors),
        TEST_ROWS(pieces),
        TEST(random_pieces),
        TEST(much),
        TEST_ROWS(stalled),
        TEST(cut),
        TEST(broken),
        TEST(changed),
        TEST(ends),
        TEST(waits),
        TEST(empty_records),
        TEST_ROWS(resumption),
        TEST(session_age),
        TEST(session_forgotten),
        TEST(randomness),
        TEST(no_entropy_behind_a_redirect),
        TEST(wiped),
        TEST_ROWS(versions),
        TEST_ROWS(suites),
        TEST_ROWS(no_tls),
        TEST_ROWS(alerts),
        TEST(error_texts),
        TEST(early_end),
        TEST(application_protocols),
        TEST(renegotiation),
        TEST_ROWS(identities),
        TEST_ROWS(broken_identities),
        TEST(long_identities),
        TEST(large_identity),
        TEST(odd_certificates),
        TEST_ROWS(bad_options),
        TEST(anchors),
        TEST(system_anchors),
        TEST(system_failures),
        TEST(live_trust),
        TEST(live_violation),
        TEST(live_empty_records),
        TEST(live_no_room),
        TEST(live_close_notify),
        TEST(live_no_randomness),
        TEST(live_offline),
        TEST(beside_a_transport),
    };
    return TEST_MAIN(tests, argc, argv);
}
