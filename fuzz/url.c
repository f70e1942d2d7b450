/* Invariant: a URL that is accepted, put together from its parts again, parses to the same parts.
 * And whatever URL, params, headers and subprotocols a program gives: the client refuses them, or
 * the request that it writes has the lines that they ask for and no others, without a control
 * character from them in any, and a target without spaces. What is percent-encoded decodes to what
 * it was. A redirect's Location leads to a URL or is refused: to a ws or wss URL that says of itself
 * what it is, and has no "." or ".." left where the Location had a path. And an IP literal is what
 * the system takes for one.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -o build/url url.c
 *     build/url -dict=mtws.dict corpus/url
 *
 * Input: a byte of which two bits say how many params and two how many headers there are; then
 * strings that end with a zero byte: URL, subprotocols, name and value of each param and header. */
#include "fuzz.h"

#include <arpa/inet.h>

enum { PAIRS_MAX = 3, REQUEST_ROOM = MTWS_REQUEST_MAX + 1024 };

/* ---- the URL alone ---------------------------------------------------------------------------- */

static void put_span(fuzz_bytes *b, mtws__span span) { fuzz_put(b, span.data, span.size); }
static void put_text(fuzz_bytes *b, const char *text) { fuzz_put(b, text, strlen(text)); }

static void check_span(mtws__span a, mtws__span b) {
    CHECK(a.size == b.size && (a.data == NULL) == (b.data == NULL));
    CHECK(a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* False: refused. */
static bool check_parts(const char *text) {
    mtws__url url, again;
    char port[16];
    size_t size = strlen(text);
    uint8_t *copy = fuzz_copy(text, size); /* the parser must not need the string's end */
    mtws__span span = {copy, size};
    bool good = mtws__url_parse(&url, span);
    if (good) {
        fuzz_bytes b = {NULL, 0, 0};
        for (size_t i = 0; i < size; i++) CHECK(text[i] > ' ' && text[i] < 127);
        CHECK(url.host.size > 0 && url.host.size <= MTWS__HOST_MAX && url.port > 0);
        put_text(&b, url.tls ? "wss://" : "ws://");
        put_span(&b, url.userinfo);
        if (url.userinfo.data != NULL) put_text(&b, "@");
        if (url.literal6) put_text(&b, "[");
        put_span(&b, url.host);
        if (url.literal6) put_text(&b, "]");
        snprintf(port, sizeof port, ":%u", (unsigned)url.port);
        put_text(&b, port);
        put_span(&b, url.path);
        if (url.query.data != NULL) put_text(&b, "?");
        put_span(&b, url.query);

        mtws__span rebuilt = {b.data, b.size};
        CHECK(mtws__url_parse(&again, rebuilt));
        CHECK(again.tls == url.tls && again.literal6 == url.literal6 && again.port == url.port);
        check_span(again.userinfo, url.userinfo);
        check_span(again.host, url.host);
        check_span(again.path, url.path);
        check_span(again.query, url.query);
        fuzz_free(&b);
    }
    free(copy);
    return good;
}

/* The second string stands for the Location that a server gives. */
static void check_reference(const char *text, const char *location) {
    enum { ROOM = 8192 };
    mtws__url base, url, again;
    char *there = (char *)malloc(ROOM), *back = (char *)malloc(ROOM);
    size_t size = strlen(location);
    uint8_t *copy = fuzz_copy(location, size);
    mtws__span span = {copy, size};
    mtws__writer w;
    CHECK(there != NULL && back != NULL);
    mtws__writer_open(&w, there, ROOM);
    if (mtws__url_parse(&base, mtws__span_of(text)) && mtws__url_resolve(&w, &base, span) &&
        mtws__url_parse(&url, mtws__span_of(there))) {
        CHECK(w.size == strlen(there));
        bool absolute = strstr(location, "://") != NULL;
        if (!absolute) CHECK(url.tls == base.tls);
        if (size > 0 && location[0] != '/' && !absolute) {
            CHECK(url.port == base.port && url.host.size == base.host.size);
            CHECK(url.userinfo.data == NULL);
        }
        /* "" leads to where one is, and from there to itself again. */
        mtws__writer_open(&w, back, ROOM);
        CHECK(mtws__url_resolve(&w, &url, mtws__span_of("")));
        CHECK(mtws__url_parse(&again, mtws__span_of(back)));
        check_span(again.path, url.path);
        check_span(again.query, url.query);
        CHECK(again.port == url.port && again.tls == url.tls);
        bool own_path = strcspn(location, "?#") > 0;
        for (size_t i = 0; own_path && i < url.path.size; i++) {
            mtws__span rest = url.path;
            rest.data += i + 1;
            rest.size -= i + 1;
            if (url.path.data[i] != '/') continue;
            mtws__span segment = mtws__url_cut(&rest, "/");
            CHECK(!mtws__span_is(segment, ".") && !mtws__span_is(segment, ".."));
        }
    }
    free(copy);
    free(there);
    free(back);
}

static void check_address(const char *text) {
    uint8_t ours[16], systems[16];
    size_t size = strlen(text);
    uint8_t *copy = fuzz_copy(text, size);
    mtws__span span = {copy, size};
    size_t got = mtws__url_address(span, ours);
    CHECK((got == 4) == (inet_pton(AF_INET, text, systems) == 1));
    CHECK(got != 4 || memcmp(ours, systems, 4) == 0);
    CHECK((got == 16) == (inet_pton(AF_INET6, text, systems) == 1));
    CHECK(got != 16 || memcmp(ours, systems, 16) == 0);
    free(copy);
}

static void check_encoding(const char *text) {
    size_t size = strlen(text);
    char *there = (char *)malloc(3 * size + 1), *back = (char *)malloc(size + 1);
    CHECK(there != NULL && back != NULL);
    mtws__writer w;
    mtws__writer_open(&w, there, 3 * size + 1);
    mtws__url_encode(&w, text);
    CHECK(!w.full);
    for (const char *c = there; *c != 0; c++) {
        CHECK(mtws__is_alpha(*c) || mtws__is_digit(*c) || strchr("-._~%", *c) != NULL);
    }
    bool controls = false;
    for (const char *c = text; *c != 0; c++) controls |= (uint8_t)*c < 0x20 || *c == 0x7f;
    mtws__span span = mtws__span_of(there);
    mtws__writer_open(&w, back, size + 1);
    CHECK(mtws__url_decode(&w, span) == !controls);
    CHECK(controls || (!w.full && strcmp(back, text) == 0));
    free(there);
    free(back);
}

/* ---- the request ------------------------------------------------------------------------------ */

static struct {
    char text[REQUEST_ROOM + 1];
    size_t size;
} request;

static int hook_open(void *ctx, const char *host, uint16_t port, bool tls) {
    (void)ctx;
    (void)tls;
    CHECK(host[0] != 0 && strlen(host) <= MTWS__HOST_MAX && port > 0);
    return 0;
}

static ptrdiff_t hook_read(void *ctx, void *out, size_t capacity) {
    (void)ctx;
    (void)out;
    (void)capacity;
    return MTWS_IO_AGAIN;
}

static ptrdiff_t hook_write(void *ctx, const void *data, size_t size) {
    (void)ctx;
    CHECK(size <= REQUEST_ROOM - request.size);
    memcpy(request.text + request.size, data, size);
    request.size += size;
    request.text[request.size] = 0;
    return (ptrdiff_t)size;
}

static void hook_wait(void *ctx, bool want_read, bool want_write, mtws_wait *out) {
    (void)ctx;
    (void)want_read;
    (void)want_write;
    (void)out;
}

static void hook_close(void *ctx) { (void)ctx; }

static bool hook_fill(void *ctx, void *out, size_t size) {
    (void)ctx;
    memset(out, 7, size);
    return true;
}

static bool starts(const char *line, const char *text) {
    return strncmp(line, text, strlen(text)) == 0;
}

/* Whether a line of the request is the header. */
static bool is_header(const char *line, const char *end, const mtws_pair *header) {
    size_t name = strlen(header->name), value = strlen(header->value);
    return (size_t)(end - line) == name + 2 + value && memcmp(line, header->name, name) == 0 &&
           memcmp(line + name, ": ", 2) == 0 && memcmp(line + name + 2, header->value, value) == 0;
}

static void check_target(const char *line, const char *end) {
    CHECK(starts(line, "GET /") && end - line > 13 && memcmp(end - 9, " HTTP/1.1", 9) == 0);
    for (const char *c = line + 4; c < end - 9; c++) CHECK(*c > ' ' && *c < 127 && *c != '#');
}

/* Every line is one of the handshake's own or a header that was given, each as often as it should
 * be, and nothing in it looks like another line. */
static void check_request(const mtws_pair *headers) {
    static const char *const own[] = {"Upgrade: websocket", "Connection: Upgrade",
                                      "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: "};
    int seen[4] = {0, 0, 0, 0};
    size_t given = 0, expected = 0;
    const char *line = request.text, *stop = line + request.size;
    CHECK(request.size > 4 && memcmp(stop - 4, "\r\n\r\n", 4) == 0);
    CHECK(strlen(line) == request.size);
    const char *end = strchr(line, '\r');
    check_target(line, end);
    for (line = end + 2; line < stop - 2; line = end + 2) {
        end = strchr(line, '\r');
        CHECK(end > line && end[1] == '\n' && memchr(line, '\n', (size_t)(end - line)) == NULL);
        for (const char *c = line; c < end; c++) {
            CHECK((uint8_t)*c >= 0x20 || *c == '\t');
            CHECK(*c != 0x7f);
        }
        size_t before = given;
        for (const mtws_pair *h = headers; h->name != NULL; h++) given += is_header(line, end, h);
        for (int i = 0; i < 4; i++) seen[i] += starts(line, own[i]);
        bool mine = starts(line, "Host: ") || starts(line, "Upgrade: ") ||
                    starts(line, "Connection: ") || starts(line, "Sec-WebSocket-") ||
                    starts(line, "Authorization: Basic ") || starts(line, "User-Agent: mtws/");
        CHECK(mine || given > before);
    }
    for (const mtws_pair *h = headers; h->name != NULL; h++) {
        for (const mtws_pair *k = headers; k->name != NULL; k++) {
            expected += strcmp(h->name, k->name) == 0 && strcmp(h->value, k->value) == 0;
        }
    }
    CHECK(given == expected);
    for (int i = 0; i < 4; i++) CHECK(seen[i] == 1);
}

static void run_client(const char *url, const char *subprotocols, const mtws_pair *params,
                       const mtws_pair *headers, bool good_url) {
    static const mtws_transport transport = {hook_open, hook_read,  hook_write,
                                             hook_wait, hook_close, NULL};
    mtws_options options;
    mtws_client *ws;
    mtws_event event;
    memset(&options, 0, sizeof options);
    options.transport = transport;
    options.random.fill = hook_fill;
    options.max_message_size = options.max_queue_size = 256;
    options.subprotocols = subprotocols;
    options.headers = headers;
    mtws_result result = mtws_create(&ws, &options);
    CHECK(result == MTWS_OK || ws == NULL);
    if (result != MTWS_OK) {
        CHECK(result == MTWS_ERR_ARGUMENT || result == MTWS_ERR_TOO_BIG);
        return;
    }
    request.size = 0;
    result = mtws_connect(ws, url, params);
    CHECK(good_url || result == MTWS_ERR_URL);
    if (result == MTWS_OK) {
        for (int i = 0; i < 4; i++) CHECK(mtws_poll(ws, &event, 0) >= 0);
        check_request(headers);
    }
    mtws_destroy(ws);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, size};
    mtws_pair pairs[2][PAIRS_MAX + 1];
    char *texts[2 * 2 * PAIRS_MAX];
    int text_count = 0;
    uint8_t counts = fuzz_byte(&in);
    char *url = fuzz_string(&in);
    char *subprotocols = fuzz_string(&in);
    for (int list = 0; list < 2; list++) {
        int count = counts >> 2 * list & 3;
        for (int i = 0; i < count; i++) {
            pairs[list][i].name = texts[text_count++] = fuzz_string(&in);
            pairs[list][i].value = texts[text_count++] = fuzz_string(&in);
        }
        pairs[list][count].name = pairs[list][count].value = NULL;
    }
    bool good = check_parts(url);
    check_reference(url, subprotocols);
    check_address(url);
    check_address(subprotocols);
    for (int i = 0; i < text_count; i++) check_encoding(texts[i]);
    run_client(url, subprotocols, pairs[0], pairs[1], good);
    for (int i = 0; i < text_count; i++) free(texts[i]);
    free(subprotocols);
    free(url);
    return 0;
}
