/* The room "http": heads of answers, whole, byte by byte and cut at each place; what is refused,
 * limits, dates and Retry-After. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

static unit_edge room, input;

/* ---- one head in every way ------------------------------------------------------------------- */

typedef struct outcome {
    int result;
    size_t used; /* bytes that were taken, all pieces together */
    int status;
    bool old;
    char fields[1024]; /* "name=value;" of each */
} outcome;

static const char *field_name(const mtws__http *h, size_t at) { return h->text + at; }

static void describe(const mtws__http *h, outcome *out) {
    size_t at = 0;
    out->status = h->status;
    out->old = h->old;
    out->fields[0] = 0;
    while (at < h->fields_size) {
        const char *name = field_name(h, at);
        const char *value = mtws__http_next(h, &at, NULL);
        size_t size = strlen(out->fields);
        snprintf(out->fields + size, sizeof out->fields - size, "%s=%s;", name, value);
    }
}

/* Feeds pieces: the first ends at `cut`, the others are of `piece` bytes. The kept text lies
 * against an unreadable page, and so does each piece of the input. */
static outcome feed(const char *text, size_t size, size_t capacity, size_t cut, size_t piece) {
    outcome out;
    mtws__http h;
    memset(&out, 0, sizeof out);
    mtws__http_start(&h, (char *)unit_edge_room(room, capacity), capacity);
    while (out.used < size && out.result == MTWS__HTTP_MORE) {
        size_t part = out.used == 0 && cut > 0 ? cut : piece, used = 0;
        if (part > size - out.used) part = size - out.used;
        const uint8_t *data = unit_edge_copy(input, text + out.used, part);
        out.result = mtws__http_feed(&h, data, part, &used);
        if (used > part) FAIL("%zu of %zu bytes were taken", used, part);
        /* Every byte is taken once: none is left to be fed again. */
        if (out.result == MTWS__HTTP_MORE) CHECK_UINT(used, part);
        out.used += used;
    }
    CHECK_UINT(h.total, out.used);
    if (out.result >= 0) describe(&h, &out);
    return out;
}

static bool alike(const outcome *a, const outcome *b) {
    return a->result == b->result && a->used == b->used && a->status == b->status &&
           a->old == b->old && strcmp(a->fields, b->fields) == 0;
}

static outcome feed_every_way(const char *text, size_t size, size_t capacity) {
    outcome whole = feed(text, size, capacity, 0, size > 0 ? size : 1);
    outcome bytes = feed(text, size, capacity, 0, 1);
    CHECK_TEXT(alike(&whole, &bytes), "byte by byte: result %d, used %zu", bytes.result,
               bytes.used);
    for (size_t cut = 1; cut < size && !test_failing(); cut++) {
        outcome split = feed(text, size, capacity, cut, size);
        CHECK_TEXT(alike(&whole, &split), "cut at %zu: result %d, used %zu", cut, split.result,
                   split.used);
    }
    return whole;
}

/* ---- answers --------------------------------------------------------------------------------- */

#define ROW(name, text, result, used, status, fields)                                              \
    { name, text, sizeof(text) - 1, result, used, status, fields }
#define DONE(name, text, status, fields)                                                           \
    ROW(name, text, MTWS__HTTP_DONE, sizeof(text) - 1, status, fields)
/* The last character is the byte that makes it certain. */
#define BAD(name, text) ROW(name, text "never read", MTWS__HTTP_BAD, sizeof(text) - 1, 0, "")
#define OK "HTTP/1.1 101 Switching Protocols\r\n"

static const struct {
    const char *name, *text;
    size_t size;
    int result;
    size_t used;
    int status;
    const char *fields;
} answers[] = {
    DONE("no fields", OK "\r\n", 101, ""),
    DONE("fields", OK "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 101,
         "Upgrade=websocket;Connection=Upgrade;"),
    DONE("no reason", "HTTP/1.1 101 \r\n\r\n", 101, ""),
    DONE("no blank before the reason", "HTTP/1.1 404\r\n\r\n", 404, ""),
    DONE("a reason beyond ASCII", "HTTP/1.1 200 d\xe9j\xc3\xa0\tvu\r\n\r\n", 200, ""),
    DONE("the least status", "HTTP/1.1 100 a\r\n\r\n", 100, ""),
    DONE("the largest status", "HTTP/1.1 599 a\r\n\r\n", 599, ""),
    DONE("HTTP/1.0", "HTTP/1.0 200 OK\r\nA: b\r\n\r\n", 200, "A=b;"),
    DONE("no blank before the value", OK "A:b\r\n\r\n", 101, "A=b;"),
    DONE("blanks around the value", OK "A: \t b c \t \r\nB:  \r\nC:\r\n\r\n", 101, "A=b c;B=;C=;"),
    DONE("colons in the value", OK "A: b:c: d\r\n\r\n", 101, "A=b:c: d;"),
    DONE("every kind of token", OK "!#$%&'*+-.^_`|~09azAZ: x\r\n\r\n", 101,
         "!#$%&'*+-.^_`|~09azAZ=x;"),
    DONE("bytes from 0x80 in the value", OK "A: \x80\xff\xc3\xa9\r\n\r\n", 101,
         "A=\x80\xff\xc3\xa9;"),
    DONE("a name twice", OK "A: 1\r\na: 2\r\n\r\n", 101, "A=1;a=2;"),
    ROW("frames behind the head", OK "A: b\r\n\r\n\x81\x01x\r\n", MTWS__HTTP_DONE, 42, 101, "A=b;"),
    ROW("not all of it", OK "A: b\r\n", MTWS__HTTP_MORE, 40, 101, "A=b;"),
    ROW("nothing", "", MTWS__HTTP_MORE, 0, 0, ""),
    /* not HTTP: certain at the first byte that HTTP does not begin with */
    BAD("HTTP/0.9", "<"),
    BAD("garbage", "\x16"),
    BAD("SSH", "S"),
    BAD("lower case", "h"),
    BAD("an empty line first", "\r\n"),
    BAD("a blank first", " "),
    BAD("HTTPS", "HTTPS"),
    BAD("HTTP/2", "HTTP/2 101 a\r\n"),
    BAD("HTTP/1.2", "HTTP/1.2 101 a\r\n"),
    BAD("HTTP/1.10", "HTTP/1.10 101 a\r\n"),
    BAD("no blank", "HTTP/1.1101 a\r\n"),
    BAD("two blanks", "HTTP/1.1  101 a\r\n"),
    BAD("a tab", "HTTP/1.1\t101 a\r\n"),
    BAD("two digits", "HTTP/1.1 10 a\r\n"),
    BAD("four digits", "HTTP/1.1 1010 a\r\n"),
    BAD("letters", "HTTP/1.1 1o1 a\r\n"),
    BAD("a sign", "HTTP/1.1 +10 a\r\n"),
    BAD("status 0", "HTTP/1.1 000 a\r\n"),
    BAD("status 99", "HTTP/1.1 099 a\r\n"),
    BAD("status 600", "HTTP/1.1 600 a\r\n"),
    BAD("no status", "HTTP/1.1\r\n"),
    BAD("a control in the reason", "HTTP/1.1 101 a\x01\r\n"),
    /* line ends */
    BAD("bare LF in the status line", "HTTP/1.1 101 a\n"),
    BAD("bare LF behind a field", OK "A: b\n"),
    BAD("bare LF at the end", OK "\n"),
    BAD("bare CR in a field", OK "A: b\rc"),
    BAD("CR CR LF", OK "A: b\r\r"),
    BAD("NUL in the status line", "HTTP/1.1 101 a\0"),
    BAD("NUL in a name", OK "A\0"),
    BAD("NUL in a value", OK "A: b\0"),
    /* fields */
    BAD("a folded line", OK "A: b\r\n "),
    BAD("a line folded with a tab", OK "A: b\r\n\t"),
    BAD("folding at once", OK " "),
    BAD("no colon", OK "A\r\n"),
    BAD("no name", OK ": b\r\n"),
    BAD("a blank before the colon", OK "A : b\r\n"),
    BAD("a tab before the colon", OK "A\t: b\r\n"),
    BAD("a blank in the name", OK "A B: c\r\n"),
    BAD("brackets in the name", OK "A(B): c\r\n"),
    BAD("a name beyond ASCII", OK "\xc3\xa9: c\r\n"),
    BAD("a control in the value", OK "A: b\x0b\r\n"),
    BAD("DEL in the value", OK "A: b\x7f\r\n"),
    BAD("a second status line", OK "HTTP/1.1 200 OK\r\n"),
};

static void each_answer(void) { /* FAULTS row 27 */
    for (size_t i = 0; i < UNIT_COUNT(answers); i++) {
        if (!test_begin("%s", answers[i].name)) continue;
        outcome got = feed_every_way(answers[i].text, answers[i].size, 4096);
        CHECK_INT(got.result, answers[i].result);
        CHECK_UINT(got.used, answers[i].used);
        if (got.result >= 0) {
            CHECK_INT(got.status, answers[i].status);
            CHECK_STR(got.fields, answers[i].fields);
            CHECK_INT(got.old, strncmp(answers[i].text, "HTTP/1.0", 8) == 0);
        }
        test_end();
    }
}

/* Every value of a byte at each place of a head: whatever comes of it comes of it in every
 * chunking, and nothing that is taken holds a byte that could end a line. */
static void every_byte_everywhere(void) {
    static const char text[] = "HTTP/1.1 101 S\r\nAb: c d\r\nE:f\r\n\r\n";
    for (size_t place = 0; place < sizeof text - 1; place++) {
        for (unsigned value = 0; value < 256; value++) {
            char changed[sizeof text];
            memcpy(changed, text, sizeof text);
            changed[place] = (char)(uint8_t)value;
            test_context("byte %02x at %zu", value, place);
            outcome whole = feed(changed, sizeof text - 1, 256, 0, sizeof text);
            outcome bytes = feed(changed, sizeof text - 1, 256, 0, 1);
            CHECK(alike(&whole, &bytes));
            if (whole.result >= 0) CHECK(strpbrk(whole.fields, "\r\n\x7f") == NULL);
        }
    }
}

/* ---- limits: FAULTS row 24, CVE-2023-43669 --------------------------------------------------- */

static char long_text[80000];

/* A head of exactly `size` bytes, `fields` of them fields. */
static size_t make_head(size_t size, int fields) {
    size_t at = (size_t)snprintf(long_text, sizeof long_text, OK);
    for (int i = 1; i < fields; i++) {
        at += (size_t)snprintf(long_text + at, sizeof long_text - at, "N%d: v\r\n", i);
    }
    at += (size_t)snprintf(long_text + at, sizeof long_text - at, "Last:");
    if (size > at + 4) {
        memset(long_text + at, 'x', size - 4 - at);
        at = size - 4;
    }
    memcpy(long_text + at, "\r\n\r\n", 4);
    return at + 4;
}

static void sizes(void) {
    static const struct {
        size_t size, capacity;
        int result;
    } rows[] = {
        {MTWS_ANSWER_MAX - 1, MTWS_ANSWER_MAX, MTWS__HTTP_DONE},
        {MTWS_ANSWER_MAX, MTWS_ANSWER_MAX, MTWS__HTTP_DONE},
        {MTWS_ANSWER_MAX + 1, MTWS_ANSWER_MAX, MTWS__HTTP_TOO_BIG},
        {65536, MTWS_ANSWER_MAX, MTWS__HTTP_TOO_BIG},
        {100, 100, MTWS__HTTP_DONE},
        {101, 100, MTWS__HTTP_TOO_BIG},
        {100, 0, MTWS__HTTP_TOO_BIG},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%zu bytes into %zu", rows[i].size, rows[i].capacity)) continue;
        size_t size = make_head(rows[i].size, 1);
        CHECK_UINT(size, rows[i].size);
        static const size_t pieces[] = {1, 2, 3, 1000, 100000};
        for (size_t k = 0; k < UNIT_COUNT(pieces); k++) {
            outcome got = feed(long_text, size, rows[i].capacity, 0, pieces[k]);
            CHECK_INT(got.result, rows[i].result);
            CHECK_UINT(got.used, got.result == MTWS__HTTP_DONE ? size : rows[i].capacity + 1);
        }
        test_end();
    }
    CHECK_INT(MTWS_ANSWER_MAX, 16384);
}

static void counts(void) {
    for (int fields = 127; fields <= 130; fields++) {
        size_t size = make_head(0, fields);
        test_context("%d fields", fields);
        outcome whole = feed(long_text, size, MTWS_ANSWER_MAX, 0, size);
        outcome bytes = feed(long_text, size, MTWS_ANSWER_MAX, 0, 1);
        CHECK_INT(whole.result, fields <= 128 ? MTWS__HTTP_DONE : MTWS__HTTP_TOO_BIG);
        CHECK(alike(&whole, &bytes));
    }
}

/* A line that never ends, and a status line that never does. */
static void endless(void) {
    memset(long_text, 'x', sizeof long_text);
    memcpy(long_text, OK "A:", sizeof OK + 1);
    outcome got = feed(long_text, sizeof long_text, MTWS_ANSWER_MAX, 0, 1);
    CHECK_INT(got.result, MTWS__HTTP_TOO_BIG);
    CHECK_UINT(got.used, MTWS_ANSWER_MAX + 1);
    memcpy(long_text, "HTTP/1.1 101 ", 13);
    got = feed(long_text, sizeof long_text, MTWS_ANSWER_MAX, 0, 7);
    CHECK_INT(got.result, MTWS__HTTP_TOO_BIG);
    CHECK_UINT(got.used, MTWS_ANSWER_MAX + 1);
}

/* Linear: a byte is looked at as it arrives, and once more when its line is whole. Pages of the text
 * that hold nothing else can't be touched meanwhile. */
static void no_byte_is_read_again(void) {
    static const size_t field_sizes[] = {150, 1000, 5000, 15000};
    size_t page = (size_t)sysconf(_SC_PAGESIZE), locked = 0;
    uint8_t *text = unit_edge_room(room, room.size);
    for (size_t i = 0; i < UNIT_COUNT(field_sizes); i++) {
        mtws__http h;
        int result = MTWS__HTTP_MORE;
        size_t used, size = (size_t)snprintf(long_text, sizeof long_text, OK);
        while (size + field_sizes[i] + 6 <= MTWS_ANSWER_MAX) {
            memset(long_text + size, 'x', field_sizes[i]);
            long_text[size + 3] = ':';
            memcpy(long_text + size + field_sizes[i], "\r\n", 2);
            size += field_sizes[i] + 2;
        }
        memcpy(long_text + size, "\r\n", 2);
        test_context("fields of %zu bytes", field_sizes[i]);
        mtws__http_start(&h, (char *)text, MTWS_ANSWER_MAX);
        for (size_t at = 0; at < size + 2 && result == MTWS__HTTP_MORE; at++) {
            bool line_ends = long_text[at] == '\n';
            size_t kept = (h.fields_size + (line_ends ? 0 : h.line_size)) / page * page;
            CHECK_INT(mprotect(text, room.size, PROT_READ | PROT_WRITE), 0);
            if (kept > 0) CHECK_INT(mprotect(text, kept, PROT_NONE), 0);
            locked += kept;
            result = mtws__http_feed(&h, (const uint8_t *)long_text + at, 1, &used);
        }
        CHECK_INT(mprotect(text, room.size, PROT_READ | PROT_WRITE), 0);
        CHECK_INT(result, MTWS__HTTP_DONE);
    }
    CHECK(locked > 0 || page > MTWS_ANSWER_MAX / 2);
}

/* ---- looking things up ----------------------------------------------------------------------- */

static mtws__http parsed(const char *fields) {
    char text[2048];
    mtws__http h;
    size_t used = 0;
    int size = snprintf(text, sizeof text, OK "%s\r\n", fields);
    mtws__http_start(&h, (char *)unit_edge_room(room, 4096), 4096);
    CHECK_INT(mtws__http_feed(&h, (const uint8_t *)text, (size_t)size, &used), MTWS__HTTP_DONE);
    return h;
}

static void next_and_only(void) {
    mtws__http h = parsed("One: 1\r\nTwo: 2\r\nONE: 3\r\nEmpty:\r\nOneMore: 4\r\n");
    size_t at = 0;
    bool twice = false;
    CHECK_STR(mtws__http_next(&h, &at, "one"), "1");
    CHECK_STR(mtws__http_next(&h, &at, "one"), "3");
    CHECK_STR(mtws__http_next(&h, &at, "one"), NULL);
    at = 0;
    CHECK_STR(mtws__http_next(&h, &at, "tWO"), "2");
    CHECK_STR(mtws__http_next(&h, &at, "two"), NULL);
    at = 0;
    CHECK_STR(mtws__http_next(&h, &at, "On"), NULL);
    CHECK_STR(mtws__http_only(&h, "Two", &twice), "2");
    CHECK_STR(mtws__http_only(&h, "Empty", &twice), "");
    CHECK_STR(mtws__http_only(&h, "3", &twice), NULL);
    CHECK(!twice);
    CHECK_STR(mtws__http_only(&h, "One", &twice), "1");
    CHECK(twice);
}

static void tokens(void) {
    static const struct {
        const char *fields;
        bool has;
    } rows[] = {
        {"", false},
        {"Connection: upgrade\r\n", true},
        {"Connection: Upgrade\r\n", true},
        {"connection: UPGRADE\r\n", true},
        {"Connection: keep-alive, Upgrade\r\n", true},
        {"Connection: upgrade,keep-alive\r\n", true},
        {"Connection: a,\t upgrade \t,b\r\n", true},
        {"Connection: ,,upgrade,,\r\n", true},
        {"Connection: keep-alive\r\nConnection: upgrade\r\n", true},
        {"Connection: keep-alive\r\nOther: upgrade\r\n", false},
        {"Connection: upgraded\r\n", false},
        {"Connection: xupgrade\r\n", false},
        {"Connection: up grade\r\n", false},
        {"Connection: upgrade;q=1\r\n", false},
        {"Connection: \"upgrade\"\r\n", false},
        {"Connection:\r\n", false},
        {"Connection: ,\r\n", false},
        {"XConnection: upgrade\r\n", false},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        mtws__http h = parsed(rows[i].fields);
        test_context("%s", rows[i].fields);
        CHECK_INT(mtws__http_has_token(&h, "Connection", "upgrade"), rows[i].has);
    }
}

static void content_length(void) {
    static const struct {
        const char *fields;
        bool conflict;
    } rows[] = {
        {"", false},
        {"Content-Length: 0\r\n", false},
        {"Content-Length: 5\r\n", false},
        {"Content-Length: 5\r\ncontent-length: 5\r\n", false},
        {"Content-Length: 5\r\nContent-Length: 6\r\n", true},
        {"Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 6\r\n", true},
        {"Content-Length: 5\r\nContent-Length: 05\r\n", true},
        {"Content-Length: 5\r\nContent-Length:\r\n", true},
        {"Content-Length:\r\n", true},
        {"Content-Length: -1\r\n", true},
        {"Content-Length: +1\r\n", true},
        {"Content-Length: 1.5\r\n", true},
        {"Content-Length: 5, 6\r\n", true},
        {"Content-Length: 0x5\r\n", true},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        mtws__http h = parsed(rows[i].fields);
        test_context("%s", rows[i].fields);
        CHECK_INT(mtws__http_length_conflict(&h), rows[i].conflict);
    }
}

/* ---- dates ----------------------------------------------------------------------------------- */

/* Every day from 1970 to 2399, at changing times, beside a calendar that counts day after day. */
static void every_day(void) {
    static const char days[7][4] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    static const unsigned lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint64_t seed = 8;
    unsigned year = 1970, month = 0, day = 1;
    for (int64_t count = 0; year < 2400; count++) {
        unsigned time = (unsigned)unit_below(&seed, 86400);
        char text[64];
        snprintf(text, sizeof text, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[count % 7], day,
                 months[month], year, time / 3600, time / 60 % 60, time % 60);
        CHECK_TEXT(mtws__http_date(text) == count * 86400 + time, "%s", text);
        bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        if (++day > lengths[month] + (month == 1 && leap ? 1 : 0)) {
            day = 1;
            if (++month == 12) {
                month = 0;
                year++;
            }
        }
    }
}

static void dates(void) {
    static const struct {
        const char *text;
        int64_t seconds;
    } rows[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777}, /* the example of RFC 9110 */
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Tue, 19 Jan 2038 03:14:08 GMT", 2147483648},
        {"Sat, 31 Dec 2016 23:59:60 GMT",
         1483228800}, /* a leap second is the next minute's first */
        {"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
        {"Sun, 06 Nov 1994 08:49:37 UTC", -1},
        {"Sun, 06 Nov 1994 08:49:37", -1},
        {"Sun, 06 Nov 1994 08:49:37 GMT ", -1},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777}, /* the obsolete forms */
        {"Friday, 01-Jan-37 00:00:00 GMT", 2114380800},
        {"Thursday, 01-Jan-70 00:00:00 GMT", 0},
        {"Wednesday, 06-Nov-94 08:49:37 GMT", 784111777}, /* which day it was says nothing new */
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {"Wed Nov 16 08:49:37 1994", 784975777},
        {"Sunday, 06-Nov-94 08:49:37 UTC", -1},
        {"Sunday, 06-Nov-94 08:49:37", -1},
        {"Sunday, 06-Nov-9 08:49:37 GMT", -1},
        {"Sunday, 6-Nov-94 08:49:37 GMT", -1},
        {"Sunday, 06-Nov-94 25:49:37 GMT", -1},
        {"Sunday, 06-Nov-x4 08:49:37 GMT", -1},
        {"Sun Nov  6 08:49:37 994 ", -1},
        {"Sun Nov  0 08:49:37 1994", -1},
        {"Sun Nox  6 08:49:37 1994", -1},
        {"Sun Nov  6 08:49:61 1994", -1},
        {",", -1},
        {",1234567890123456789 GMT", -1},
        {"Sun, 06 nov 1994 08:49:37 GMT", -1},
        {"Sun, 06 Nox 1994 08:49:37 GMT", -1},
        {"Sun, 00 Nov 1994 08:49:37 GMT", -1},
        {"Sun, 32 Nov 1994 08:49:37 GMT", -1},
        {"Sun, 06 Nov 1994 24:49:37 GMT", -1},
        {"Sun, 06 Nov 1994 08:60:37 GMT", -1},
        {"Sun, 06 Nov 1994 08:49:61 GMT", -1},
        {"Sun, 06 Nov 19a4 08:49:37 GMT", -1},
        {"Sun, 06 Nov 1994 -8:49:37 GMT", -1},
        {"Sun, 06 Nov 0094 08:49:37 GMT", -1},
        {"", -1},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        test_context("\"%s\"", rows[i].text);
        CHECK_INT(mtws__http_date(rows[i].text), rows[i].seconds);
    }
}

/* FAULTS row 30 */
static void retry_after(void) {
    const uint64_t now = UINT64_C(784111777) * 1000; /* of the example of RFC 9110 */
    static const struct {
        const char *fields;
        uint64_t ms;
    } rows[] = {
        {"", 0},
        {"Retry-After: 120\r\n", 120000},
        {"retry-after: 1\r\n", 1000},
        {"Retry-After: 0\r\n", 0},
        {"Retry-After: 0000000007\r\n", 7000},
        {"Retry-After:\r\n", 0},
        {"Retry-After: -1\r\n", 0},
        {"Retry-After: +5\r\n", 0},
        {"Retry-After: 1.5\r\n", 0},
        {"Retry-After: 5 seconds\r\n", 0},
        {"Retry-After: soon\r\n", 0},
        {"Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 0},
        {"Retry-After: Sun, 06 Nov 1994 08:49:38 GMT\r\n", 1000},
        {"Retry-After: Sun, 06 Nov 1994 08:51:37 GMT\r\n", 120000},
        {"Retry-After: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 0},
        {"Retry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 0},
        {"Retry-After: Mon, 01 Jan 1900 00:00:00 GMT\r\n", 0},
        /* With a Date the server's own clock counts, whatever ours says. */
        {"Date: Sat, 01 Jan 2050 00:00:00 GMT\r\nRetry-After: Sat, 01 Jan 2050 00:01:00 GMT\r\n",
         60000},
        {"Retry-After: Thu, 01 Jan 1970 00:00:07 GMT\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
         7000},
        {"Date: Sun, 06 Nov 1994 08:51:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:51:37 GMT\r\n",
         0},
        {"Date: Sun, 06 Nov 1994 08:51:38 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:51:37 GMT\r\n",
         0},
        {"Date: today\r\nRetry-After: Sun, 06 Nov 1994 08:49:38 GMT\r\n", 1000},
        {"Date: Sat, 01 Jan 2050 00:00:00 GMT\r\nRetry-After: 5\r\n", 5000},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        mtws__http h = parsed(rows[i].fields);
        test_context("%s", rows[i].fields);
        CHECK_UINT(mtws__http_retry_after_ms(&h, now), rows[i].ms);
    }
    /* Absurd numbers are as good as for ever, and do not wrap. */
    static const char *const absurd[] = {
        "9999999999", "18446744073709551616", "18446744073709551617",
        "99999999999999999999999999999999999999999999999999999999"};
    for (size_t i = 0; i < UNIT_COUNT(absurd); i++) {
        char field[128];
        snprintf(field, sizeof field, "Retry-After: %s\r\n", absurd[i]);
        mtws__http h = parsed(field);
        CHECK(mtws__http_retry_after_ms(&h, now) >= UINT64_C(1000000000000));
    }
}

static void token_and_value_characters(void) {
    for (unsigned value = 0; value < 256; value++) {
        uint8_t byte = (uint8_t)value;
        mtws__span span;
        span.data = &byte;
        span.size = 1;
        bool plain = (value >= '0' && value <= '9') || (value >= 'A' && value <= 'Z') ||
                     (value >= 'a' && value <= 'z');
        bool token = plain || (value != 0 && strchr("!#$%&'*+-.^_`|~", (int)value) != NULL);
        test_context("byte %02x", value);
        CHECK_INT(mtws__http_is_token(span), token);
        CHECK_INT(mtws__http_is_value(span), value == '\t' || (value >= 0x20 && value != 0x7f));
    }
    CHECK(!mtws__http_is_token(mtws__span_of("")));
    CHECK(mtws__http_is_value(mtws__span_of("")));
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST_ROWS(each_answer),
        TEST(every_byte_everywhere),
        TEST_ROWS(sizes),
        TEST(counts),
        TEST(endless),
        TEST(no_byte_is_read_again),
        TEST(next_and_only),
        TEST(tokens),
        TEST(content_length),
        TEST(every_day),
        TEST(dates),
        TEST(retry_after),
        TEST(token_and_value_characters),
    };
    room = unit_edge_open(32768);
    input = unit_edge_open(131072);
    return TEST_MAIN(tests, argc, argv);
}
