/* Invariant: what a proxy says, whole, byte by byte and cut at random, however slowly it takes what
 * it is told, brings the same: open at the same byte, the same refusal, or waiting for more; only
 * bytes that come in one piece with an answer, and too early, make a difference. It is told what its
 * language asks for and nothing else, and reading stops at a limit. A proxy's URL is refused, or
 * taken apart into what makes it again. A list of no_proxy spares what one of its words spares.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -o build/proxy proxy.c
 *     build/proxy -dict=mtws.dict corpus/proxy
 *
 * Input: a byte that says how it is cut; strings that end with a zero byte: the proxy's URL, the
 * target's host, and a list for no_proxy; then what the proxy says. */
#include "fuzz.h"

enum { SAID_MAX = 4096 };

/* ---- the URL and the list --------------------------------------------------------------------- */

/* False: refused. */
static bool check_url(const char *text) {
    mtws__url url, again;
    bool socks, socks_again = false;
    char rebuilt[3 * MTWS_PROXY_MAX];
    mtws_result result = mtws__proxy_check(text);
    CHECK(result == MTWS_OK || result == MTWS_ERR_URL || result == MTWS_ERR_TOO_BIG);
    if (result != MTWS_OK || text[0] == 0) return false;
    size_t size = strlen(text);
    uint8_t *copy = fuzz_copy(text, size); /* the parser must not need the string's end */
    mtws__span span = {copy, size};
    CHECK(mtws__proxy_parse(&url, &socks, span));
    CHECK(url.host.size > 0 && url.host.size <= MTWS__HOST_MAX && url.port > 0);
    CHECK(url.path.size == 0 && url.query.size == 0);
    mtws__writer w;
    mtws__writer_open(&w, rebuilt, sizeof rebuilt);
    mtws__writer_text(&w, socks ? "socks5://" : "http://");
    mtws__writer_put(&w, url.userinfo.data, url.userinfo.size);
    if (url.userinfo.data != NULL) mtws__writer_text(&w, "@");
    mtws__url_put_host(&w, &url, true);
    span.data = (const uint8_t *)rebuilt;
    span.size = w.size;
    CHECK(!w.full && mtws__proxy_parse(&again, &socks_again, span));
    CHECK(socks == socks_again && url.port == again.port && url.literal6 == again.literal6);
    CHECK(url.host.size == again.host.size && url.userinfo.size == again.userinfo.size);
    CHECK(memcmp(url.host.data, again.host.data, url.host.size) == 0);
    free(copy);
    return true;
}

static void check_list(const char *list, const char *host) {
    mtws__span span = mtws__span_of(host);
    bool whole = mtws__proxy_spares(list, span, 443), any = false;
    while (*list != 0) {
        size_t size = strcspn(list, ", \t");
        char *word = (char *)fuzz_copy(list, size + 1);
        word[size] = 0;
        any = any || mtws__proxy_spares(word, span, 443);
        free(word);
        list += size;
        list += strspn(list, ", \t");
    }
    CHECK(whole == any);
}

/* ---- the dialogue ----------------------------------------------------------------------------- */

typedef struct line {
    const uint8_t *answer;
    size_t size, at;
    uint64_t seed; /* 0: all at once; 1: byte by byte; else random sizes */
    bool read_gate, write_gate, open;
    uint8_t said[SAID_MAX];
    size_t said_size;
} line;

static int line_open(void *ctx, const char *host, uint16_t port, bool tls) {
    line *l = (line *)ctx;
    CHECK(host[0] != 0 && port > 0 && !tls && !l->open);
    l->open = true;
    return 0;
}

static ptrdiff_t line_read(void *ctx, void *out, size_t capacity) {
    line *l = (line *)ctx;
    CHECK(l->open && capacity > 0 && l->said_size > 0);
    if (l->read_gate || l->at == l->size) {
        l->read_gate = false;
        return MTWS_IO_AGAIN;
    }
    size_t size = mtws__min_size(capacity, l->size - l->at);
    if (l->seed == 1) size = 1;
    else if (l->seed > 1) size = mtws__min_size(size, fuzz_cut(&l->seed, size));
    if (size > 0) memcpy(out, l->answer + l->at, size);
    l->at += size;
    l->read_gate = l->seed != 0;
    return (ptrdiff_t)size;
}

static ptrdiff_t line_write(void *ctx, const void *data, size_t size) {
    line *l = (line *)ctx;
    CHECK(l->open && size > 0);
    if (l->write_gate) {
        l->write_gate = false;
        return MTWS_IO_AGAIN;
    }
    if (l->seed == 1) size = 1;
    else if (l->seed > 1) size = fuzz_cut(&l->seed, size);
    CHECK(size <= sizeof l->said - l->said_size);
    memcpy(l->said + l->said_size, data, size);
    l->said_size += size;
    l->write_gate = l->seed != 0;
    return (ptrdiff_t)size;
}

static void line_wait(void *ctx, bool want_read, bool want_write, mtws_wait *out) {
    line *l = (line *)ctx;
    (void)out;
    CHECK(l->open && want_read != want_write);
}

static void line_close(void *ctx) {
    line *l = (line *)ctx;
    CHECK(l->open);
    l->open = false;
}

typedef struct outcome {
    int result;
    size_t at; /* bytes of the answer that were taken */
    uint16_t status;
    bool stubborn, unasked;
    char why[MTWS__PROXY_WHY_MAX];
    uint8_t said[SAID_MAX];
    size_t said_size;
} outcome;

static outcome talk(const char *url, const char *host, mtws__span answer, uint64_t seed) {
    static mtws__proxy proxy;
    line l;
    outcome o;
    mtws_wait wait;
    mtws_transport transport = {line_open, line_read, line_write, line_wait, line_close, &l};
    size_t room = MTWS_ANSWER_MAX;
    memset(&l, 0, sizeof l);
    memset(&o, 0, sizeof o);
    l.answer = answer.data;
    l.size = answer.size;
    l.seed = seed;
    char *text = (char *)malloc(room);
    CHECK(text != NULL);
    mtws__proxy_start(&proxy, text, room);
    mtws__proxy_set(&proxy, url);
    mtws__proxy_transport(&proxy, &transport);
    o.result = MTWS_IO_AGAIN;
    /* No two calls in a row do nothing while something can be done. */
    for (int fruitless = 0; fruitless < 3 && o.result == MTWS_IO_AGAIN;) {
        size_t moved = l.at + l.said_size;
        o.result = transport.open(transport.ctx, host, 443, false);
        fruitless = moved == l.at + l.said_size ? fruitless + 1 : 0;
        if (o.result == MTWS_IO_AGAIN) transport.wait(transport.ctx, false, false, &wait);
    }
    CHECK(o.result != MTWS_IO_AGAIN || l.at == l.size);
    CHECK(o.result == 0 || o.result == MTWS_IO_AGAIN || o.result == MTWS_ERR_PROXY);
    CHECK((o.result == MTWS_ERR_PROXY) == (proxy.why[0] != 0));
    CHECK(o.result == MTWS_ERR_PROXY || (proxy.status == 0 && !proxy.stubborn));
    CHECK(l.at <= MTWS_ANSWER_MAX * (MTWS__PROXY_INFORMATIONAL + 1) + MTWS__PROXY_READ_SIZE);
    o.at = l.at;
    o.status = proxy.status;
    o.stubborn = proxy.stubborn;
    o.unasked = strstr(proxy.why, "unasked") != NULL;
    memcpy(o.why, proxy.why, sizeof o.why);
    memcpy(o.said, l.said, l.said_size);
    o.said_size = l.said_size;
    transport.close(transport.ctx);
    CHECK(!l.open);
    transport.close(transport.ctx);
    free(text);
    return o;
}

/* A piece that is longer than a byte may show that more followed than was asked for; else all is as
 * it is byte by byte. */
static void check_same(const outcome *bytewise, const outcome *other) {
    size_t said = mtws__min_size(bytewise->said_size, other->said_size);
    CHECK(memcmp(bytewise->said, other->said, said) == 0);
    CHECK(other->said_size <= bytewise->said_size);
    if (other->unasked) return;
    CHECK(bytewise->result == other->result && bytewise->status == other->status);
    CHECK(bytewise->stubborn == other->stubborn && strcmp(bytewise->why, other->why) == 0);
    CHECK(bytewise->said_size == other->said_size);
    if (bytewise->result == 0) CHECK(bytewise->at == other->at);
}

/* What it was told first is what its language asks for, and no more before its first answer. */
static void check_said(const outcome *o, const char *url) {
    bool http = mtws__lower(url[0]) == 'h';
    CHECK(o->said_size > 0);
    if (http) {
        CHECK(o->said_size > 30 && memcmp(o->said, "CONNECT ", 8) == 0);
        CHECK(memcmp(o->said + o->said_size - 4, "\r\n\r\n", 4) == 0);
        int lines = 0;
        for (size_t i = 0; i < o->said_size; i++) {
            CHECK(o->said[i] == '\r' || o->said[i] == '\n' || o->said[i] >= 0x20);
            lines += o->said[i] == '\n';
        }
        CHECK(lines == 3 || lines == 4);
    } else {
        CHECK(o->said[0] == 5 && (o->said[1] == 1 || o->said[1] == 2));
        CHECK(o->at > 0 || o->said_size == 2u + o->said[1]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, size};
    uint64_t seed = 2 + (uint64_t)fuzz_byte(&in);
    char *url = fuzz_string(&in), *host = fuzz_string(&in), *list = fuzz_string(&in);
    bool good = check_url(url);
    check_list(list, host);
    if (!good) {
        free(url);
        const char *instead = seed % 2 == 0 ? "http://u:p@h" : "socks5://u:p@h";
        url = (char *)fuzz_copy(instead, strlen(instead) + 1);
    }
    bool target = host[0] != 0 && strlen(host) <= MTWS__HOST_MAX;
    for (const char *c = host; *c != 0; c++) target = target && *c > ' ' && *c < 127;
    mtws__span answer = {in.data, in.size};
    outcome whole = talk(url, target ? host : "server.example", answer, 0);
    outcome bytewise = talk(url, target ? host : "server.example", answer, 1);
    outcome cut = talk(url, target ? host : "server.example", answer, seed);
    check_said(&whole, url);
    CHECK(!bytewise.unasked); /* what follows by itself is the server's */
    check_same(&bytewise, &whole);
    check_same(&bytewise, &cut);
    free(url);
    free(host);
    free(list);
    return 0;
}
