/* Invariant: the head of an answer, fed whole, byte by byte or cut at random, gives the same result
 * at the same byte, the same status and the same fields; these are what splitting it at its line
 * ends gives. It is never larger than its room, has at most 128 fields, and no name or value of
 * them holds a control character. What judges the fields survives any of them.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -o build/http http.c
 *     build/http -dict=mtws.dict corpus/http
 *
 * Input: a byte that says how the head is cut, one that says how much room there is (in steps of 64
 * bytes; 0: 16 KiB), then the head. */
#include "fuzz.h"

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

typedef struct outcome {
    mtws__http http;
    int result;
    size_t used;
} outcome;

/* Feeds pieces of random sizes (seed 0: single bytes; whole: all at once). http.text is to be
 * freed. */
static outcome feed(const uint8_t *data, size_t size, size_t room, uint64_t seed, bool whole) {
    outcome o;
    mtws__http_start(&o.http, (char *)malloc(room), room);
    CHECK(o.http.text != NULL);
    o.result = MTWS__HTTP_MORE;
    o.used = 0;
    while (o.used < size && o.result == MTWS__HTTP_MORE) {
        size_t part = size - o.used, used = 0;
        if (!whole) part = seed == 0 ? 1 : fuzz_cut(&seed, part);
        uint8_t *piece = fuzz_copy(data + o.used, part);
        o.result = mtws__http_feed(&o.http, piece, part, &used);
        free(piece);
        CHECK(used >= 1 && used <= part);
        CHECK(o.result != MTWS__HTTP_MORE || used == part);
        o.used += used;
    }
    return o;
}

static void check_same(const outcome *a, const outcome *b) {
    CHECK(a->result == b->result && a->used == b->used);
    CHECK(a->http.status == b->http.status && a->http.old == b->http.old);
    CHECK(a->http.fields_count == b->http.fields_count);
    CHECK(a->http.fields_size == b->http.fields_size);
    CHECK(a->http.fields_size == 0 || memcmp(a->http.text, b->http.text, a->http.fields_size) == 0);
}

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* Whether the text is what lies between begin and end. */
static bool is_piece(const char *text, const char *begin, const char *end) {
    return strlen(text) == (size_t)(end - begin) && memcmp(text, begin, strlen(text)) == 0;
}

/* The field that the line says is the one at *at, and has nothing in it that a field may not. */
static void check_field(const mtws__http *h, size_t *at, const char *line, const char *end) {
    const char *name = h->text + *at;
    const char *value = mtws__http_next(h, at, NULL);
    const char *colon = (const char *)memchr(line, ':', (size_t)(end - line));
    CHECK(value != NULL && colon != NULL && colon > line);
    const char *begin = colon + 1;
    while (begin < end && is_blank(*begin)) begin++;
    while (end > begin && is_blank(end[-1])) end--;
    CHECK(is_piece(name, line, colon) && is_piece(value, begin, end));
    for (const char *c = name; *c != 0; c++) CHECK(*c > ' ' && *c < 127 && *c != ':');
    for (const char *c = value; *c != 0; c++) {
        CHECK((uint8_t)*c >= ' ' || *c == '\t');
        CHECK(*c != 127);
    }
}

/* A head that was taken, against its lines. */
static void check_lines(const outcome *o, const char *head) {
    const mtws__http *h = &o->http;
    const char *line = head, *stop = head + o->used;
    size_t at = 0;
    int count = -1; /* the status line is none */
    CHECK(o->used >= 4 && memcmp(stop - 4, "\r\n\r\n", 4) == 0);
    while (line < stop - 2) {
        const char *end = (const char *)memchr(line, '\n', (size_t)(stop - line));
        CHECK(end != NULL && end > line && end[-1] == '\r');
        end--;
        CHECK(memchr(line, '\r', (size_t)(end - line)) == NULL);
        CHECK(memchr(line, 0, (size_t)(end - line)) == NULL);
        if (count >= 0) check_field(h, &at, line, end);
        count++;
        line = end + 2;
    }
    CHECK(at == h->fields_size && count == h->fields_count);
    CHECK(count <= MTWS__HTTP_FIELDS_MAX);
    CHECK(memcmp(head, h->old ? "HTTP/1.0 " : "HTTP/1.1 ", 9) == 0);
    CHECK(h->status >= 100 && h->status < 600);
    CHECK(h->status == (head[9] - '0') * 100 + (head[10] - '0') * 10 + head[11] - '0');
}

/* What is asked of the fields afterwards. */
static void check_answers(const mtws__http *h) {
    size_t at = 0;
    bool twice = false;
    const char *accept = mtws__http_only(h, "Sec-WebSocket-Accept", &twice);
    const char *wrong = mtws__handshake_check(h, KEY, "chat, superchat");
    if (wrong == NULL) {
        CHECK(!h->old && !twice && accept != NULL && strcmp(accept, ACCEPT) == 0);
        CHECK(mtws__http_next(h, &at, "Sec-WebSocket-Extensions") == NULL);
    }
    at = 0;
    const char *length = mtws__http_next(h, &at, "content-LENGTH");
    bool conflict = mtws__http_length_conflict(h);
    CHECK(!conflict || length != NULL);
    if (length != NULL && !conflict) {
        CHECK(length[0] != 0 && strspn(length, "0123456789") == strlen(length));
    }
    CHECK(mtws__http_retry_after_ms(h, 0) < UINT64_C(1) << 50);
    CHECK(mtws__http_retry_after_ms(h, UINT64_C(1700000000000)) < UINT64_C(1) << 50);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, size};
    uint64_t seed = 1 + (uint64_t)fuzz_byte(&in);
    size_t room = 64 * (size_t)fuzz_byte(&in);
    if (room == 0) room = MTWS_ANSWER_MAX;
    outcome whole = feed(in.data, in.size, room, 0, true);
    outcome bytewise = feed(in.data, in.size, room, 0, false);
    outcome cut = feed(in.data, in.size, room, seed, false);
    check_same(&whole, &bytewise);
    check_same(&whole, &cut);
    CHECK(whole.used <= room || (whole.used == room + 1 && whole.result == MTWS__HTTP_TOO_BIG));
    if (whole.result == MTWS__HTTP_DONE) {
        check_lines(&whole, (const char *)in.data);
        check_answers(&whole.http);
    }
    free(whole.http.text);
    free(bytewise.http.text);
    free(cut.http.text);
    return 0;
}
