/* The room "proxy": its URLs, what is said to a proxy and what it may answer, which targets need
 * none, and what the environment names. Every dialogue is run whole, byte by byte and cut at each
 * place. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

/* ---- URLs ------------------------------------------------------------------------------------ */

static bool span_equals(mtws__span span, const char *text) {
    return span.size == strlen(text) && memcmp(span.data, text, span.size) == 0;
}

#define TEN "1234567890"
#define FIFTY TEN TEN TEN TEN TEN
#define LONGEST FIFTY FIFTY FIFTY FIFTY FIFTY "12345"

static void good_urls(void) {
    static const struct {
        const char *text;
        bool socks;
        const char *host;
        unsigned port;
        const char *user, *password; /* NULL: none */
    } rows[] = {
        {"http://proxy", false, "proxy", 80, NULL, NULL},
        {"http://proxy/", false, "proxy", 80, NULL, NULL},
        {"HTTP://Proxy.Example:3128", false, "Proxy.Example", 3128, NULL, NULL},
        {"http://10.1.2.3:8080/", false, "10.1.2.3", 8080, NULL, NULL},
        {"http://[fd00::1]:8080", false, "fd00::1", 8080, NULL, NULL},
        {"http://user:pass@proxy:3128", false, "proxy", 3128, "user", "pass"},
        {"http://user@proxy", false, "proxy", 80, "user", ""},
        {"http://user:@proxy", false, "proxy", 80, "user", ""},
        {"http://:pass@proxy", false, "proxy", 80, "", "pass"},
        {"http://@proxy", false, "proxy", 80, NULL, NULL},
        {"http://u%40x:p%3Aq:r@proxy", false, "proxy", 80, "u@x", "p:q:r"},
        {"http://DOMAIN%5Cuser:%C3%A9@proxy", false, "proxy", 80, "DOMAIN\\user", "\xc3\xa9"},
        {"http://" LONGEST ":" LONGEST "0@p", false, "p", 80, LONGEST, LONGEST "0"},
        {"socks5://proxy", true, "proxy", 1080, NULL, NULL},
        {"socks5h://proxy:9050/", true, "proxy", 9050, NULL, NULL},
        {"SOCKS5://u:p@[::1]", true, "::1", 1080, "u", "p"},
        {"socks5://u%3Av:p@proxy", true, "proxy", 1080, "u:v", "p"},
        {"socks5://u@proxy", true, "proxy", 1080, "u", ""},
        {"socks5://" LONGEST ":p@p", true, "p", 1080, LONGEST, "p"},
        {"socks5://u:" LONGEST "@p", true, "p", 1080, "u", LONGEST},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].text)) continue;
        mtws__url url;
        bool socks;
        char words[2][MTWS_PROXY_MAX + 1];
        mtws__writer user, password;
        if (strlen(rows[i].text) >= MTWS_PROXY_MAX) {
            CHECK_INT(mtws__proxy_check(rows[i].text), MTWS_ERR_TOO_BIG);
        } else {
            CHECK_INT(mtws__proxy_check(rows[i].text), MTWS_OK);
            CHECK(mtws__proxy_parse(&url, &socks, mtws__span_of(rows[i].text)));
            CHECK_INT(socks, rows[i].socks);
            CHECK(span_equals(url.host, rows[i].host));
            CHECK_UINT(url.port, rows[i].port);
            CHECK_INT(url.userinfo.size > 0, rows[i].user != NULL);
            mtws__writer_open(&user, words[0], sizeof words[0]);
            mtws__writer_open(&password, words[1], sizeof words[1]);
            CHECK(mtws__proxy_words(&url, &user, &password));
            CHECK_STR(user.data, rows[i].user == NULL ? "" : rows[i].user);
            CHECK_STR(password.data, rows[i].user == NULL ? "" : rows[i].password);
        }
        test_end();
    }
}

static void bad_urls(void) {
    static const char *const rows[] = {
        "proxy",
        "proxy:3128",
        "//proxy",
        "http:proxy",
        "http:/proxy",
        "http://",
        "http://:80",
        "http:///",
        "https://proxy",
        "socks://proxy",
        "socks4://proxy",
        "socks4a://proxy",
        "ws://proxy",
        "ftp://proxy",
        " http://proxy",
        "http://proxy ",
        "http://proxy/path",
        "http://proxy//",
        "http://proxy?",
        "http://proxy/?q",
        "http://proxy#f",
        "http://proxy:0",
        "http://proxy:65536",
        "http://proxy:x",
        "http://pro xy",
        "http://pro%20xy",
        "http://[fd00::1",
        "http://fd00::1",
        "http://a@b@proxy",
        "http://us er@proxy",
        "http://user%0d%0aX:y@proxy",
        "http://user:%00@proxy",
        "http://user:%7f@proxy",
        "http://user:%4@proxy",
        "http://us%3Aer:p@proxy",
        "socks5://:p@proxy",
        "socks5://" LONGEST "6:p@p",
        "socks5://u:" LONGEST "6@p",
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i])) continue;
        CHECK_INT(mtws__proxy_check(rows[i]), MTWS_ERR_URL);
        test_end();
    }
}

static void url_too_long(void) {
    char text[MTWS_PROXY_MAX + 32];
    for (size_t size = MTWS_PROXY_MAX - 2; size <= MTWS_PROXY_MAX + 1; size++) {
        memset(text, 'p', size);
        memcpy(text, "http://", 7);
        text[size - 3] = '@';
        text[size] = 0;
        CHECK_INT(mtws__proxy_check(text), size < MTWS_PROXY_MAX ? MTWS_OK : MTWS_ERR_TOO_BIG);
    }
    CHECK_INT(mtws__proxy_check(""), MTWS_OK);
}

/* ---- a line to a proxy ------------------------------------------------------------------------ */

enum { SAID_MAX = 4096 };

/* The transport below: what the proxy says, and when. Each piece of its answer waits until the
 * client has said so much. */
typedef struct line {
    const char *pieces[8];
    size_t sizes[8], after[8]; /* bytes that the client must have written before */
    int piece_count, piece;
    size_t at;
    size_t read_size;      /* at most so many a read, an AGAIN behind each; 0: all */
    size_t read_cut;       /* an AGAIN behind so many bytes of the whole; SIZE_MAX: none */
    size_t write_size;     /* the same for writes */
    size_t write_fails_at; /* SIZE_MAX: never */
    size_t given;
    unsigned reads;
    bool read_gate, write_gate;
    bool nothing; /* 0 bytes rather than AGAIN */
    bool no_gate; /* pieces are small, and follow at once */
    int end;      /* behind all: MTWS_IO_AGAIN, _EOF, _ERROR or a result */
    int open_again, open_result;
    uint8_t said[SAID_MAX];
    size_t said_size;
    char host[300];
    unsigned port;
    int opens, closes;
    bool open;
    bool want_read, want_write;
} line;

static int line_open(void *ctx, const char *host, uint16_t port, bool tls) {
    line *l = (line *)ctx;
    CHECK(!l->open && !tls);
    snprintf(l->host, sizeof l->host, "%s", host);
    l->port = port;
    if (l->open_again-- > 0) return MTWS_IO_AGAIN;
    l->opens++;
    l->open = l->open_result == 0;
    return l->open_result;
}

static ptrdiff_t line_read(void *ctx, void *out, size_t capacity) {
    line *l = (line *)ctx;
    CHECK(l->open && capacity > 0);
    if (l->read_gate && !l->no_gate) {
        l->read_gate = false;
        return l->nothing ? 0 : MTWS_IO_AGAIN;
    }
    l->reads++;
    if (l->piece == l->piece_count) return l->end;
    if (l->said_size < l->after[l->piece]) return MTWS_IO_AGAIN;
    size_t size = mtws__min_size(capacity, l->sizes[l->piece] - l->at);
    if (l->read_size > 0) size = mtws__min_size(size, l->read_size);
    if (l->read_cut > l->given) size = mtws__min_size(size, l->read_cut - l->given);
    memcpy(out, l->pieces[l->piece] + l->at, size);
    l->at += size;
    l->given += size;
    l->read_gate = l->read_size > 0 || l->given == l->read_cut;
    if (l->at == l->sizes[l->piece]) {
        l->piece++;
        l->at = 0;
    }
    return (ptrdiff_t)size;
}

static ptrdiff_t line_write(void *ctx, const void *data, size_t size) {
    line *l = (line *)ctx;
    CHECK(l->open && size > 0);
    if (l->said_size >= l->write_fails_at) return MTWS_IO_ERROR;
    if (l->write_gate) {
        l->write_gate = false;
        return l->nothing ? 0 : MTWS_IO_AGAIN;
    }
    if (l->write_size > 0) size = mtws__min_size(size, l->write_size);
    size = mtws__min_size(size, l->write_fails_at - l->said_size);
    l->write_gate = l->write_size > 0;
    if (!CHECK(size <= sizeof l->said - l->said_size)) return MTWS_IO_ERROR;
    memcpy(l->said + l->said_size, data, size);
    l->said_size += size;
    return (ptrdiff_t)size;
}

static void line_wait(void *ctx, bool want_read, bool want_write, mtws_wait *out) {
    line *l = (line *)ctx;
    (void)out;
    l->want_read = want_read;
    l->want_write = want_write;
}

static void line_close(void *ctx) {
    line *l = (line *)ctx;
    l->closes++;
    l->open = false;
}

static void line_start(line *l) {
    memset(l, 0, sizeof *l);
    l->read_cut = l->write_fails_at = SIZE_MAX;
    l->end = MTWS_IO_AGAIN;
}

static void line_answer(line *l, size_t after, const char *data, size_t size) {
    l->pieces[l->piece_count] = data;
    l->sizes[l->piece_count] = size;
    l->after[l->piece_count++] = after;
}

static char room[MTWS_ANSWER_MAX];
static mtws__proxy proxy;
static mtws_transport transport;

static void line_wire(line *l, const char *url) {
    mtws__proxy_start(&proxy, room, sizeof room);
    mtws__proxy_set(&proxy, url);
    transport.open = line_open;
    transport.read = line_read;
    transport.write = line_write;
    transport.wait = line_wait;
    transport.close = line_close;
    transport.ctx = l;
    mtws__proxy_transport(&proxy, &transport);
}

/* Opens as a client does. Where it is not open yet, it waits for one of the two. */
static int line_run(line *l, const char *host, uint16_t port) {
    int result = MTWS_IO_AGAIN;
    for (int i = 0; i < 200000 && result == MTWS_IO_AGAIN; i++) {
        mtws_wait wait;
        result = transport.open(transport.ctx, host, port, false);
        if (result != MTWS_IO_AGAIN) break;
        memset(&wait, 0, sizeof wait);
        transport.wait(transport.ctx, false, false, &wait);
        bool silent = l->piece < l->piece_count && l->said_size < l->after[l->piece];
        bool ended = l->piece == l->piece_count && l->end == MTWS_IO_AGAIN;
        if (l->open) CHECK_INT(l->want_read + l->want_write, 1);
        else CHECK(!l->want_read && !l->want_write);
        if (l->open && l->want_read && (silent || ended) && !l->read_gate) break; /* for ever */
    }
    return result;
}

static void line_finish(line *l) {
    transport.close(transport.ctx);
    CHECK_INT(l->closes, l->opens > 0 ? 1 : 0);
    transport.close(transport.ctx);
    CHECK_INT(l->closes, l->opens > 0 ? 1 : 0);
}

/* ---- CONNECT ---------------------------------------------------------------------------------- */

static void requests(void) {
    static const struct {
        const char *url, *host;
        unsigned port;
        const char *said;
    } rows[] = {
        {"http://proxy", "server.example", 80,
         "CONNECT server.example:80 HTTP/1.1\r\nHost: server.example:80\r\n\r\n"},
        {"http://proxy:3128", "::1", 8080,
         "CONNECT [::1]:8080 HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"},
        {"http://user:pass@proxy", "10.0.0.1", 65535,
         "CONNECT 10.0.0.1:65535 HTTP/1.1\r\nHost: 10.0.0.1:65535\r\n"
         "Proxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n"},
        {"http://user@proxy", "h", 1,
         "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nProxy-Authorization: Basic dXNlcjo=\r\n\r\n"},
        {"http://a%40b:c%3Ad%25@proxy", "h", 1,
         "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n"
         "Proxy-Authorization: Basic YUBiOmM6ZCU=\r\n\r\n"},
        {"http://@proxy", "h", 1, "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n"},
    };
    static const char yes[] = "HTTP/1.1 200 OK\r\n\r\n";
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s for %s", rows[i].url, rows[i].host)) continue;
        for (size_t write_size = 0; write_size < 3; write_size++) {
            line l;
            size_t size = strlen(rows[i].said);
            line_start(&l);
            l.write_size = write_size;
            l.open_again = 2;
            line_answer(&l, size, yes, strlen(yes));
            line_wire(&l, rows[i].url);
            CHECK_INT(line_run(&l, rows[i].host, (uint16_t)rows[i].port), 0);
            CHECK_UINT(l.said_size, size);
            CHECK_MEM(l.said, rows[i].said, size);
            CHECK_STR(l.host, "proxy");
            CHECK_UINT(l.port, strstr(rows[i].url, "3128") != NULL ? 3128 : 80);
            /* From here on bytes pass as they are. */
            l.write_size = 0;
            l.write_gate = false;
            CHECK_INT(transport.write(transport.ctx, "GET", 3), 3);
            CHECK_MEM(l.said + size, "GET", 3);
            line_answer(&l, 0, "HTTP", 4);
            char bytes[16];
            CHECK_INT(transport.read(transport.ctx, bytes, sizeof bytes), 4);
            CHECK_MEM(bytes, "HTTP", 4);
            mtws_wait wait;
            memset(&wait, 0, sizeof wait);
            transport.wait(transport.ctx, true, true, &wait);
            CHECK(l.want_read && l.want_write);
            transport.wait(transport.ctx, false, false, &wait);
            CHECK(!l.want_read && !l.want_write);
            line_finish(&l);
        }
        test_end();
    }
}

typedef struct verdict {
    const char *answer;
    int result; /* 0: open; MTWS_IO_AGAIN: it waits for more */
    unsigned status;
    bool stubborn;
    const char *why; /* a part of it */
} verdict;

#define NO MTWS_ERR_PROXY
#define BASIC "Proxy-Authenticate: Basic realm=\"x\"\r\n"

static const verdict verdicts[] = {
    {"HTTP/1.1 200 Connection established\r\n\r\n", 0, 0, false, ""},
    {"HTTP/1.0 200 Connection established\r\nProxy-Agent: tinyproxy\r\n\r\n", 0, 0, false, ""},
    {"HTTP/1.1 200\r\n\r\n", 0, 0, false, ""},
    {"HTTP/1.1 299 Fine\r\n\r\n", 0, 0, false, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 0, 0, false, ""},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 0, false, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: x\r\n\r\n", 0, 0, false, ""},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 0, 0, false, ""},
    {"HTTP/1.1 102 P\r\nA: b\r\n\r\nHTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 0, 0, false,
     ""},
    {"HTTP/1.1 407 Who\r\n" BASIC "\r\n", NO, 407, true, "wants user and password"},
    {"HTTP/1.1 407 Who\r\n\r\n", NO, 407, true, "wants user and password"},
    {"HTTP/1.1 407 Who\r\nProxy-Authenticate: Negotiate\r\n" BASIC "\r\n", NO, 407, true,
     "wants user"},
    {"HTTP/1.1 407 Who\r\nProxy-Authenticate: NTLM, basic realm=\"a, b\"\r\n\r\n", NO, 407, true,
     "wants user"},
    {"HTTP/1.1 407 Who\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n", NO,
     407, true, "no Basic"},
    {"HTTP/1.1 407 Who\r\nProxy-Authenticate: Digest realm=\"Basic\"\r\n\r\n", NO, 407, true,
     "no Basic"},
    {"HTTP/1.1 403 No\r\n\r\n", NO, 403, true, "403: it does not allow"},
    {"HTTP/1.1 401 No\r\n\r\n", NO, 401, true, "401: it wants user and password"},
    {"HTTP/1.1 404 No\r\n\r\n", NO, 404, true, "with 404"},
    {"HTTP/1.1 400 Bad\r\n\r\n<html>", NO, 400, true, "with 400"},
    {"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n", NO, 302, true, "redirect"},
    {"HTTP/1.1 408 Slow\r\n\r\n", NO, 408, false, "408"},
    {"HTTP/1.1 425 Early\r\n\r\n", NO, 425, false, "425"},
    {"HTTP/1.1 429 Busy\r\n\r\n", NO, 429, false, "429"},
    {"HTTP/1.1 500 Oops\r\n\r\nbody", NO, 500, false, "500: it could not reach"},
    {"HTTP/1.0 503 Down\r\nRetry-After: 7\r\n\r\n", NO, 503, false, "503"},
    {"HTTP/1.1 101 Switching\r\n\r\n", NO, 0, true, "101"},
    {"HTTP/2 200\r\n\r\n", NO, 0, true, "not HTTP/1"},
    {"HTTP/1.1 200 OK\n\n", NO, 0, true, "malformed"},
    {"HTTP/1.1 2000 OK\r\n\r\n", NO, 0, true, "malformed"},
    {"HTTP/1.1 999 OK\r\n\r\n", NO, 0, true, "malformed"},
    {"HTTP/1.1 403 \x1b[31m\r\n\r\n", NO, 0, true, "malformed"},
    {"HTTP/1.1 200 OK\r\n folded\r\n\r\n", NO, 0, true, "malformed"},
    {"SSH-2.0-x\r\n", NO, 0, true, "not HTTP/1"},
    {"\x05\xff", NO, 0, true, "not HTTP/1"},
    {"<html>", NO, 0, true, "not HTTP/1"},
    {"", MTWS_IO_AGAIN, 0, false, ""},
    {"HTTP/1.1 200 OK\r\n", MTWS_IO_AGAIN, 0, false, ""},
    {"HTTP/1.1 100 Continue\r\n\r\n", MTWS_IO_AGAIN, 0, false, ""},
};

static void check_verdict(line *l, const verdict *v, int result) {
    CHECK_INT(result, v->result);
    CHECK_UINT(proxy.status, v->status);
    CHECK_INT(proxy.stubborn, v->stubborn);
    CHECK_TEXT(strstr(proxy.why, v->why) != NULL, "\"%s\" lacks \"%s\"", proxy.why, v->why);
    if (v->result != MTWS_ERR_PROXY) CHECK_STR(proxy.why, "");
    line_finish(l);
}

static void answers(void) {
    for (size_t i = 0; i < UNIT_COUNT(verdicts); i++) {
        const verdict *v = &verdicts[i];
        if (!test_begin("%.*s", (int)strcspn(v->answer, "\r\n"), v->answer)) continue;
        size_t size = strlen(v->answer);
        for (size_t cut = 0; cut <= size + 1; cut++) {
            line l;
            line_start(&l);
            test_context("cut at %zu", cut);
            if (cut == 0) l.read_size = 1;
            else l.read_cut = cut;
            if (size > 0) line_answer(&l, 1, v->answer, size);
            line_wire(&l, "http://proxy");
            check_verdict(&l, v, line_run(&l, "h", 80));
        }
        test_end();
    }
}

/* A transport below that moves no byte and says no more; one that gives a byte at a time, of which
 * one call takes so many and no more. */
static void bytes_of_the_line(void) {
    static const char yes[] = "HTTP/1.1 200 OK\r\nX: 0123456789012345678901234567890123456789"
                              "0123456789012345678901234567890123456789\r\n\r\n";
    for (int nothing = 0; nothing < 2; nothing++) {
        line l;
        line_start(&l);
        l.read_size = l.write_size = 1;
        l.nothing = nothing;
        l.no_gate = !nothing;
        line_answer(&l, 1, yes, sizeof yes - 1);
        line_wire(&l, "http://proxy");
        unsigned most = 0;
        int result = MTWS_IO_AGAIN;
        for (int i = 0; i < 1000 && result == MTWS_IO_AGAIN; i++) {
            unsigned reads = l.reads;
            result = transport.open(transport.ctx, "h", 80, false);
            if (l.reads - reads > most) most = l.reads - reads;
        }
        CHECK_INT(result, 0);
        CHECK_UINT(most, nothing ? 1 : MTWS__PROXY_READS);
        line_finish(&l);
    }
}

static void refused_credentials(void) {
    static const char no[] = "HTTP/1.1 407 Who\r\n" BASIC "\r\n";
    line l;
    line_start(&l);
    line_answer(&l, 1, no, strlen(no));
    line_wire(&l, "http://canary:sesame@proxy");
    CHECK_INT(line_run(&l, "h", 80), MTWS_ERR_PROXY);
    CHECK_STR(proxy.why,
              "the proxy answered CONNECT with 407: it refused the user or the password");
    line_finish(&l);
}

/* FAULTS row 71. Where the bytes come in one piece with the answer, they are refused. */
static void early_bytes(void) {
    static const char answer[] = "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n";
    size_t head = 19;
    for (size_t cut = 1; cut < sizeof answer - 1; cut++) {
        line l;
        line_start(&l);
        l.read_cut = cut;
        line_answer(&l, 1, answer, sizeof answer - 1);
        line_wire(&l, "http://proxy");
        test_context("cut at %zu", cut);
        int result = line_run(&l, "h", 80);
        CHECK_INT(result, cut == head ? 0 : MTWS_ERR_PROXY);
        if (cut != head) CHECK(strstr(proxy.why, "unasked") != NULL && proxy.stubborn);
        line_finish(&l);
    }
}

/* Answers without end stop at a limit, however they are cut; so much is read and no more. */
static void endless_answers(void) {
    static char endless[4 * MTWS_ANSWER_MAX];
    static const char *const heads[] = {"HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 ",
                                        "HTTP/1.1 200 OK\r\n", "HTTP/1.1 407 Who\r\n", ""};
    static const char *const repeated[] = {"x", "y", "A: b\r\n", "Proxy-Authenticate: Basic\r\n",
                                           "HTTP/1.1 100 Continue\r\n\r\n"};
    for (size_t i = 0; i < UNIT_COUNT(heads); i++) {
        for (size_t read_size = 0; read_size < 3; read_size++) {
            line l;
            size_t size = strlen(heads[i]), step = strlen(repeated[i]);
            memcpy(endless, heads[i], size);
            for (; size + step <= sizeof endless; size += step) {
                memcpy(endless + size, repeated[i], step);
            }
            line_start(&l);
            l.read_size = read_size;
            line_answer(&l, 1, endless, size);
            line_wire(&l, "http://proxy");
            test_context("%s..., read size %zu", repeated[i], read_size);
            CHECK_INT(line_run(&l, "h", 80), MTWS_ERR_PROXY);
            CHECK(proxy.why[0] != 0 && proxy.stubborn);
            CHECK_UINT(proxy.status, 0);
            CHECK(l.given <= MTWS_ANSWER_MAX + MTWS__PROXY_READ_SIZE);
            line_finish(&l);
        }
    }
}

static void ends(void) {
    static const char half[] = "HTTP/1.1 2", no[] = "HTTP/1.1 403 No\r\n\r\n";
    static const struct {
        int end, result;
        const char *why;
    } rows[] = {
        {MTWS_IO_EOF, MTWS_ERR_PROXY, "closed the connection"},
        {MTWS_IO_ERROR, MTWS_ERR_PROXY, "broke"},
        {MTWS_ERR_TLS, MTWS_ERR_TLS, ""},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        for (int asked = 0; asked < 2; asked++) {
            line l;
            line_start(&l);
            l.end = rows[i].end;
            if (asked) line_answer(&l, 1, half, sizeof half - 1);
            line_wire(&l, asked ? "http://proxy" : "socks5://proxy");
            CHECK_INT(line_run(&l, "h", 80), rows[i].result);
            CHECK(strstr(proxy.why, rows[i].why) != NULL && !proxy.stubborn);
            line_finish(&l);
        }
    }
    /* A proxy that answers before it has read everything, and closes. */
    for (size_t at = 0; at < 20; at++) {
        line l;
        line_start(&l);
        l.write_fails_at = at;
        l.end = MTWS_IO_EOF;
        line_answer(&l, 0, no, sizeof no - 1);
        line_wire(&l, "http://proxy");
        CHECK_INT(line_run(&l, "h", 80), MTWS_ERR_PROXY);
        CHECK_UINT(proxy.status, 403);
        line_finish(&l);
    }
}

static void below(void) {
    line l;
    line_start(&l);
    l.open_result = MTWS_ERR_RESOLVE;
    l.open_again = 3;
    line_wire(&l, "http://proxy");
    CHECK_INT(line_run(&l, "h", 80), MTWS_ERR_RESOLVE);
    CHECK_STR(proxy.why, "");
    CHECK_UINT(l.said_size, 0);
    line_finish(&l);
    /* Never in the clear where TLS is asked for. */
    line_start(&l);
    line_wire(&l, "http://proxy");
    CHECK_INT(transport.open(transport.ctx, "h", 443, true), MTWS_ERR_TLS);
    CHECK_INT(l.opens, 0);
    line_finish(&l);
    /* Without a proxy the transport below stays what it is. */
    line_wire(&l, "");
    CHECK(transport.ctx == &l && transport.open == line_open);
}

/* Opened again, it begins again, whatever the last answer was. */
static void again(void) {
    line l;
    for (size_t i = 0; i < 4 * UNIT_COUNT(verdicts); i++) {
        const verdict *v = &verdicts[i * 7 % UNIT_COUNT(verdicts)];
        line_start(&l);
        if (i == 0) line_wire(&l, "http://proxy");
        if (v->answer[0] != 0) line_answer(&l, 1, v->answer, strlen(v->answer));
        check_verdict(&l, v, line_run(&l, "h", 80));
    }
}

/* Whatever little room there is, nothing is written behind it. */
static void small_room(void) {
    static const char yes[] = "HTTP/1.1 200 OK\r\n\r\n";
    static const char said[] = "CONNECT server:80 HTTP/1.1\r\nHost: server:80\r\n"
                               "Proxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n";
    static const char *const urls[] = {"http://user:pass@proxy", "socks5://user:pass@proxy"};
    unit_edge edge = unit_edge_open(200);
    char reply[4 + 1 + 60 + 2];
    memset(reply, 'n', sizeof reply);
    memcpy(reply, "\x05\0\0\x03\x3c", 5);
    for (size_t i = 0; i < 2; i++) {
        for (size_t size = 1; size < 130; size++) {
            line l;
            line_start(&l);
            if (i == 0) {
                line_answer(&l, 1, yes, sizeof yes - 1);
            } else {
                line_answer(&l, 1, "\x05\x02", 2);
                line_answer(&l, 5, "\x01", 2);
                line_answer(&l, 17, reply, sizeof reply);
            }
            line_wire(&l, urls[i]);
            proxy.room = (char *)unit_edge_room(edge, size);
            proxy.room_size = size;
            test_context("%s, %zu bytes", urls[i], size);
            int result = line_run(&l, "server", 80);
            CHECK_INT(result, size < (i == 0 ? sizeof said : sizeof reply) ? MTWS_ERR_PROXY : 0);
            if (result != 0) CHECK(strstr(proxy.why, "MTWS_ANSWER_MAX") != NULL && proxy.stubborn);
            line_finish(&l);
        }
    }
}

/* ---- SOCKS5 ----------------------------------------------------------------------------------- */

/* "<" is what the client says, ">" what the proxy does, in hexadecimal. */
typedef struct talk {
    const char *name, *url, *host;
    const char *script;
    int result;
    bool stubborn;
    const char *why;
} talk;

#define ASK " < 05010003 06 736572766572 0050"
#define BOUND " > 050000 01 7f000001 1234"

static const talk talks[] = {
    {"no login", "socks5://proxy", "server", "< 050100 > 0500" ASK BOUND, 0, false, ""},
    {"login not asked for", "socks5://u:pw@proxy", "server", "< 05020002 > 0500" ASK BOUND, 0,
     false, ""},
    {"login", "socks5://u:pw@proxy", "server",
     "< 05020002 > 0502 < 01 01 75 02 7077 > 0100" ASK BOUND, 0, false, ""},
    {"no password", "socks5h://u@proxy", "server",
     "< 05020002 > 0502 < 01 01 75 00 > 0100" ASK BOUND, 0, false, ""},
    {"IPv4", "socks5://proxy", "10.1.2.3",
     "< 050100 > 0500 < 05010001 0a010203 0050 > 050000 01 00000000 0000", 0, false, ""},
    {"IPv6", "socks5://proxy", "2001:db8::5",
     "< 050100 > 0500 < 05010004 20010db8000000000000000000000005 0050" BOUND, 0, false, ""},
    {"bound to IPv6", "socks5://proxy", "server",
     "< 050100 > 0500" ASK " > 050000 04 000102030405060708090a0b0c0d0e0f 1234", 0, false, ""},
    {"bound to a name", "socks5://proxy", "server", "< 050100 > 0500" ASK " > 050000 03 0161 1234",
     0, false, ""},
    {"bound to no name", "socks5://proxy", "server", "< 050100 > 0500" ASK " > 050000 03 00 1234",
     0, false, ""},
    {"reserved byte", "socks5://proxy", "server",
     "< 050100 > 0500" ASK " > 0500ff 01 00000000 1234", 0, false, ""},
    {"wants a login", "socks5://proxy", "server", "< 050100 > 05ff", NO, true,
     "wants user and password"},
    {"wants another login", "socks5://u:p@proxy", "server", "< 05020002 > 05ff", NO, true,
     "another way"},
    {"login not offered", "socks5://proxy", "server", "< 050100 > 0502", NO, true, "another way"},
    {"GSSAPI", "socks5://u:p@proxy", "server", "< 05020002 > 0501", NO, true, "another way"},
    {"bad login", "socks5://u:pw@proxy", "server", "< 05020002 > 0502 < 01 01 75 02 7077 > 0101",
     NO, true, "refused the user"},
    {"login of another version", "socks5://u:pw@proxy", "server",
     "< 05020002 > 0502 < 01 01 75 02 7077 > 0500", NO, true, "not SOCKS5"},
    {"SOCKS4", "socks5://proxy", "server", "< 050100 > 0400", NO, true, "not SOCKS5"},
    {"HTTP", "socks5://proxy", "server", "< 050100 > 485454502f312e31", NO, true, "not SOCKS5"},
    {"changes its version", "socks5://proxy", "server", "< 050100 > 0500" ASK " > 04", NO, true,
     "not SOCKS5"},
    {"unknown address", "socks5://proxy", "server", "< 050100 > 0500" ASK " > 050000 02 00", NO,
     true, "not SOCKS5"},
    {"failure 1", "socks5://proxy", "server", "< 050100 > 0500" ASK " > 0501", NO, false, "failed"},
    {"failure 2", "socks5://proxy", "server", "< 050100 > 0500" ASK " > 0502", NO, true, "allow"},
    {"failure 3", "socks5://proxy", "server", "< 050100 > 0500" ASK " > 0503", NO, false,
     "network"},
    {"failure 4", "socks5://proxy", "server", "< 050100 > 0500" ASK " > 0504", NO, false,
     "resolve"},
    {"failure 5", "socks5://proxy", "server", "< 050100 > 0500" ASK " > 0505", NO, false,
     "refused"},
    {"failure 6", "socks5://proxy", "server", "< 050100 > 0500" ASK " > 0506", NO, false, "hops"},
    {"failure 7", "socks5://proxy", "server", "< 050100 > 0500" ASK " > 0507", NO, true, "CONNECT"},
    {"failure 8", "socks5://proxy", "server", "< 050100 > 0500" ASK " > 0508", NO, true, "address"},
    {"failure 9", "socks5://proxy", "server", "< 050100 > 0500" ASK " > 0509", NO, false,
     "not say why"},
    {"failure 255", "socks5://proxy", "server", "< 050100 > 0500" ASK " > 05ff", NO, false,
     "not say why"},
    {"silence", "socks5://proxy", "server", "< 050100", MTWS_IO_AGAIN, false, ""},
    {"half a reply", "socks5://proxy", "server", "< 050100 > 0500" ASK " > 050000 01 7f0000",
     MTWS_IO_AGAIN, false, ""},
};

/* Takes a script apart: what the client is to say, and the line's answers to it. */
static size_t script_read(const char *script, line *l, uint8_t *said, uint8_t *answered) {
    size_t said_size = 0, answered_size = 0, begin = 0;
    bool speaking = false;
    for (const char *at = script;; at++) {
        unsigned value;
        if (*at == ' ') continue;
        if (*at == '<' || *at == 0) {
            if (speaking) {
                line_answer(l, said_size, (const char *)answered + begin, answered_size - begin);
            }
            speaking = false;
            if (*at == 0) return said_size;
        } else if (*at == '>') {
            speaking = true;
            begin = answered_size;
        } else if (sscanf(at, "%2x", &value) == 1) {
            if (speaking) answered[answered_size++] = (uint8_t)value;
            else said[said_size++] = (uint8_t)value;
            at++;
        }
    }
}

static void dialogues(void) {
    for (size_t i = 0; i < UNIT_COUNT(talks); i++) {
        const talk *t = &talks[i];
        if (!test_begin("%s", t->name)) continue;
        for (size_t cut = 0; cut < 64; cut++) {
            line l;
            uint8_t said[256], answered[256];
            line_start(&l);
            size_t said_size = script_read(t->script, &l, said, answered);
            test_context("cut at %zu", cut);
            if (cut == 0) l.read_size = l.write_size = 1;
            else l.read_cut = cut;
            line_wire(&l, t->url);
            CHECK_INT(line_run(&l, t->host, 80), t->result);
            CHECK_UINT(l.said_size, said_size);
            CHECK_MEM(l.said, said, said_size);
            CHECK_INT(proxy.stubborn, t->stubborn);
            CHECK_TEXT(strstr(proxy.why, t->why) != NULL, "\"%s\" lacks \"%s\"", proxy.why, t->why);
            if (t->result != MTWS_ERR_PROXY) CHECK_STR(proxy.why, "");
            CHECK_UINT(proxy.status, 0);
            line_finish(&l);
        }
        test_end();
    }
}

/* The longest of everything, and a reply of the greatest size. */
static void longest_words(void) {
    line l;
    char host[254], reply[4 + 256 + 2];
    line_start(&l);
    memset(host, 'h', sizeof host - 1);
    host[253] = 0;
    memset(reply, 'n', sizeof reply);
    memcpy(reply, "\x05\0\0\x03\xff", 5);
    line_answer(&l, 4, "\x05\x02", 2);
    line_answer(&l, 4 + 3 + 255 + 5, "\x01", 2);
    line_answer(&l, 4 + 3 + 255 + 5 + 5 + 253 + 2, reply, sizeof reply);
    line_wire(&l, "socks5://" LONGEST ":lemon@proxy");
    CHECK_INT(line_run(&l, host, 443), 0);
    CHECK_UINT(l.said_size, 4 + 3 + 255 + 5 + 5 + 253 + 2);
    CHECK_MEM(l.said + 4, "\x01\xff" TEN, 12);
    CHECK_MEM(l.said + 4 + 2 + 255, "\x05lemon\x05\x01\0\x03\xfdh", 12);
    CHECK_MEM(l.said + l.said_size - 3, "h\x01\xbb", 3);
    line_finish(&l);
}

/* A proxy that speaks before its turn. */
static void early_replies(void) {
    static const struct {
        const char *name;
        const char *data;
        size_t size;
    } rows[] = {
        {"behind the greeting", "\x05\0\x05", 3},
        {"behind the greeting, a whole reply",
         "\x05\0\x05\0\0\x01"
         "123456",
         12},
        {"behind the last", "\x05\0", 2},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        line l;
        line_start(&l);
        line_answer(&l, 1, rows[i].data, rows[i].size);
        if (rows[i].size == 2)
            line_answer(&l, 5,
                        "\x05\0\0\x01"
                        "123456"
                        "x",
                        11);
        line_wire(&l, "socks5://proxy");
        CHECK_INT(line_run(&l, "h", 80), MTWS_ERR_PROXY);
        CHECK(strstr(proxy.why, "unasked") != NULL && proxy.stubborn);
        line_finish(&l);
        test_end();
    }
}

/* ---- no_proxy --------------------------------------------------------------------------------- */

static void spared(void) {
    static const struct {
        const char *list, *host;
        unsigned port;
        bool spared;
    } rows[] = {
        {"", "example.com", 80, false},
        {" , ,", "example.com", 80, false},
        {"*", "example.com", 80, true},
        {"a, *", "example.com", 80, true},
        {"*", "::1", 80, true},
        {"example.com", "example.com", 80, true},
        {"EXAMPLE.com", "example.COM", 80, true},
        {"example.com", "www.example.com", 80, true},
        {"example.com", "a.b.example.com", 80, true},
        {"example.com", "notexample.com", 80, false},
        {"example.com", "com", 80, false},
        {"example.com", "example.com.evil", 80, false},
        {"example.com", "example.org", 80, false},
        {".example.com", "example.com", 80, true},
        {".example.com", "www.example.com", 80, true},
        {".example.com", "notexample.com", 80, false},
        {"*.example.com", "www.example.com", 80, true},
        {"*.example.com", "notexample.com", 80, false},
        {"example.com.", "example.com", 80, true},
        {"example.com", "example.com.", 80, true},
        {"*ample.com", "example.com", 80, false},
        {".", "example.com", 80, false},
        {"*.", "example.com", 80, false},
        {"com", "example.com", 80, true},
        {"localhost", "localhost", 80, true},
        {"localhost,127.0.0.1,.lan", "nas.lan", 80, true},
        {"localhost 127.0.0.1\t.lan", "127.0.0.1", 80, true},
        {"localhost,127.0.0.1,.lan", "10.0.0.1", 80, false},
        {"example.com:80", "example.com", 80, true},
        {"example.com:80", "www.example.com", 80, true},
        {"example.com:80", "example.com", 443, false},
        {"example.com:0080", "example.com", 80, true},
        {"example.com:", "example.com", 80, false},
        {"example.com:x", "example.com", 80, false},
        {"example.com:65616", "example.com", 80, false},
        {":80", "example.com", 80, false},
        {"127.0.0.1:8080", "127.0.0.1", 8080, true},
        {"127.0.0.1:8080", "127.0.0.1", 80, false},
        {"127.0.0.1", "127.0.0.1", 80, true},
        {"0.0.1", "127.0.0.1", 80, false},
        {".1", "127.0.0.1", 80, false},
        {"127.0.0.1", "x.127.0.0.1", 80, true},
        {"10.0.0.0/8", "10.200.3.4", 80, true},
        {"10.0.0.0/8", "11.0.0.0", 80, false},
        {"10.1.2.3/8", "10.9.9.9", 80, true},
        {"192.168.4.0/22", "192.168.7.255", 80, true},
        {"192.168.4.0/22", "192.168.8.0", 80, false},
        {"192.168.4.0/22", "192.168.3.255", 80, false},
        {"0.0.0.0/0", "8.8.8.8", 80, true},
        {"0.0.0.0/0", "::8", 80, false},
        {"10.0.0.1/32", "10.0.0.1", 80, true},
        {"10.0.0.1/32", "10.0.0.2", 80, false},
        {"10.0.0.1/33", "10.0.0.1", 80, false},
        {"10.0.0.1/", "10.0.0.1", 80, false},
        {"10.0.0.1/x", "10.0.0.1", 80, false},
        {"10.0.0.1/-1", "10.0.0.1", 80, false},
        {"10.0.0.0/8", "example.com", 80, false},
        {"010.0.0.1", "10.0.0.1", 80, false},
        {"::1", "::1", 80, true},
        {"[::1]", "::1", 80, true},
        {"0:0:0:0:0:0:0:1", "::1", 80, true},
        {"[::1]:80", "::1", 80, true},
        {"[::1]:81", "::1", 80, false},
        {"[::1]x", "::1", 80, false},
        {"[::1", "::1", 80, false},
        {"[", "::1", 80, false},
        {"::2", "::1", 80, false},
        {"fd00::/8", "fd12:3456::1", 80, true},
        {"fd00::/8", "fe80::1", 80, false},
        {"fe80::/10", "febf::1", 80, true},
        {"fe80::/10", "fec0::1", 80, false},
        {"::/0", "fec0::1", 80, true},
        {"::1/128", "::1", 80, true},
        {"::1/129", "::1", 80, false},
        {"::ffff:10.0.0.1", "::ffff:a00:1", 80, true},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("\"%s\", %s, %u", rows[i].list, rows[i].host, rows[i].port)) continue;
        CHECK_INT(mtws__proxy_spares(rows[i].list, mtws__span_of(rows[i].host),
                                     (uint16_t)rows[i].port),
                  rows[i].spared);
        test_end();
    }
}

/* ---- the environment -------------------------------------------------------------------------- */

static void environment(void) {
    static const char *const names[] = {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY",
                                        "all_proxy",  "ALL_PROXY",  "no_proxy",    "NO_PROXY"};
    static const struct {
        const char *variables; /* name=value, parted by ';' */
        const char *url, *proxy;
        mtws_result result;
    } rows[] = {
        {"", "ws://h/", "", MTWS_OK},
        {"http_proxy=http://a", "ws://h/", "http://a", MTWS_OK},
        {"http_proxy=http://a", "wss://h/", "", MTWS_OK},
        {"https_proxy=http://a;HTTPS_PROXY=http://a", "ws://h/", "", MTWS_OK},
        {"HTTP_PROXY=http://a", "ws://h/", "", MTWS_OK},
        {"HTTP_PROXY=http://a;all_proxy=http://b", "ws://h/", "http://b", MTWS_OK},
        {"https_proxy=http://a;HTTPS_PROXY=http://b;http_proxy=http://c", "wss://h/", "http://a",
         MTWS_OK},
        {"HTTPS_PROXY=http://b", "wss://h/", "http://b", MTWS_OK},
        {"https_proxy=;HTTPS_PROXY=http://b", "wss://h/", "http://b", MTWS_OK},
        {"https_proxy=;ALL_PROXY=http://b", "wss://h/", "http://b", MTWS_OK},
        {"all_proxy=http://a;ALL_PROXY=http://b", "wss://h/", "http://a", MTWS_OK},
        {"ALL_PROXY=socks5h://b:1", "ws://h/", "socks5h://b:1", MTWS_OK},
        {"http_proxy=proxy:3128", "ws://h/", "http://proxy:3128", MTWS_OK},
        {"http_proxy=u:p@proxy:3128/", "ws://h/", "http://u:p@proxy:3128/", MTWS_OK},
        {"https_proxy=https://proxy", "wss://h/", "", MTWS_ERR_PROXY},
        {"https_proxy=socks4://proxy", "wss://h/", "", MTWS_ERR_PROXY},
        {"http_proxy=a b", "ws://h/", "", MTWS_ERR_PROXY},
        {"http_proxy=http://a;no_proxy=h", "ws://h/", "", MTWS_OK},
        {"http_proxy=nonsense here;no_proxy=h", "ws://h/", "", MTWS_OK},
        {"http_proxy=http://a;no_proxy=h:81", "ws://h/", "http://a", MTWS_OK},
        {"http_proxy=http://a;no_proxy=h:81", "ws://h:81/", "", MTWS_OK},
        {"https_proxy=http://a;no_proxy=h:443", "wss://h/", "", MTWS_OK},
        {"http_proxy=http://a;NO_PROXY=h", "ws://h/", "", MTWS_OK},
        {"http_proxy=http://a;no_proxy=x;NO_PROXY=h", "ws://h/", "http://a", MTWS_OK},
        {"http_proxy=http://a;no_proxy=;NO_PROXY=h", "ws://h/", "", MTWS_OK},
        {"http_proxy=http://a;no_proxy=::1", "ws://[::1]/", "", MTWS_OK},
        {"http_proxy=http://a;no_proxy=10.0.0.0/8", "ws://u:p@10.2.3.4:99/x?y", "", MTWS_OK},
        {"http_proxy=http://a", "http://h/", "", MTWS_ERR_URL},
        {"http_proxy=http://a", "h", "", MTWS_ERR_URL},
        {"http_proxy=http://a", NULL, "", MTWS_ERR_URL},
        {"http_proxy=http://" LONGEST ":" LONGEST "@proxy", "ws://h/", "", MTWS_ERR_TOO_BIG},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s for %s", rows[i].variables, rows[i].url == NULL ? "NULL" : rows[i].url))
            continue;
        char variables[1024], out[600];
        for (size_t k = 0; k < UNIT_COUNT(names); k++) unsetenv(names[k]);
        snprintf(variables, sizeof variables, "%s", rows[i].variables);
        for (char *at = strtok(variables, ";"); at != NULL; at = strtok(NULL, ";")) {
            char *value = strchr(at, '=');
            *value++ = 0;
            CHECK_INT(setenv(at, value, 1), 0);
        }
        memset(out, 'x', sizeof out);
        CHECK_INT(mtws_proxy_from_environment(rows[i].url, out, sizeof out), rows[i].result);
        CHECK_STR(out, rows[i].proxy);
        /* The least room that does, and one byte less. */
        size_t size = strlen(rows[i].proxy) + 1;
        CHECK_INT(mtws_proxy_from_environment(rows[i].url, out, size),
                  rows[i].result == MTWS_ERR_PROXY ? MTWS_ERR_TOO_BIG : rows[i].result);
        CHECK_STR(out, rows[i].result == MTWS_OK ? rows[i].proxy : "");
        if (size > 1) {
            CHECK_INT(mtws_proxy_from_environment(rows[i].url, out, size - 1), MTWS_ERR_TOO_BIG);
            CHECK_STR(out, "");
        }
        CHECK_INT(mtws_proxy_from_environment(rows[i].url, out, 0), MTWS_ERR_ARGUMENT);
        CHECK_INT(mtws_proxy_from_environment(rows[i].url, NULL, 9), MTWS_ERR_ARGUMENT);
        test_end();
    }
    for (size_t k = 0; k < UNIT_COUNT(names); k++) unsetenv(names[k]);
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST_ROWS(good_urls),
        TEST_ROWS(bad_urls),
        TEST(url_too_long),
        TEST_ROWS(requests),
        TEST_ROWS(answers),
        TEST(refused_credentials),
        TEST(bytes_of_the_line),
        TEST(early_bytes),
        TEST(endless_answers),
        TEST(ends),
        TEST(below),
        TEST(again),
        TEST(small_room),
        TEST_ROWS(dialogues),
        TEST(longest_words),
        TEST_ROWS(early_replies),
        TEST_ROWS(spared),
        TEST_ROWS(environment),
    };
    return TEST_MAIN(tests, argc, argv);
}
