/* The room "handshake": the upgrade request, and every answer that must not pass for RFC 6455's. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

#define KEY "dGhlIHNhbXBsZSBub25jZQ==" /* RFC 6455 section 1.3 */
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

#define FIXED                                                                                      \
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " KEY                         \
    "\r\nSec-WebSocket-Version: 13\r\n"
#define AGENT "User-Agent: mtws/" MTWS__VERSION "\r\n"

static void requests(void) {
    static const struct {
        const char *name, *host, *target, *subprotocols, *headers, *userinfo;
        bool has_host, has_agent, has_authorization;
        const char *text;
    } rows[] = {
        {"the plainest", "h", "/", "", "", NULL, false, false, false,
         "GET / HTTP/1.1\r\nHost: h\r\n" FIXED AGENT "\r\n"},
        {"a port and a query", "h:81", "/a?b=c", "", "", NULL, false, false, false,
         "GET /a?b=c HTTP/1.1\r\nHost: h:81\r\n" FIXED AGENT "\r\n"},
        {"IPv6", "[::1]:9001", "/", "", "", NULL, false, false, false,
         "GET / HTTP/1.1\r\nHost: [::1]:9001\r\n" FIXED AGENT "\r\n"},
        {"subprotocols", "h", "/", "chat, superchat", "", NULL, false, false, false,
         "GET / HTTP/1.1\r\nHost: h\r\n" FIXED "Sec-WebSocket-Protocol: chat, superchat\r\n" AGENT
         "\r\n"},
        {"headers", "h", "/", "", "Origin: http://o\r\nCookie: a=b\r\n", NULL, false, false, false,
         "GET / HTTP/1.1\r\nHost: h\r\n" FIXED AGENT "Origin: http://o\r\nCookie: a=b\r\n\r\n"},
        {"a Host of the user's", "h", "/", "", "Host: other\r\n", NULL, true, false, false,
         "GET / HTTP/1.1\r\n" FIXED AGENT "Host: other\r\n\r\n"},
        {"a User-Agent of the user's", "h", "/", "", "User-Agent: me\r\n", NULL, false, true, false,
         "GET / HTTP/1.1\r\nHost: h\r\n" FIXED "User-Agent: me\r\n\r\n"},
        {"userinfo", "h", "/", "", "", "Aladdin:open sesame", false, false, false, /* RFC 7617 */
         "GET / HTTP/1.1\r\nHost: h\r\n" FIXED
         "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n" AGENT "\r\n"},
        {"an Authorization of the user's goes before", "h", "/", "", "Authorization: Bearer t\r\n",
         "a:b", false, false, true,
         "GET / HTTP/1.1\r\nHost: h\r\n" FIXED AGENT "Authorization: Bearer t\r\n\r\n"},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        mtws__upgrade u;
        memset(&u, 0, sizeof u);
        u.host_field = rows[i].host;
        u.target = rows[i].target;
        u.key = KEY "not of the key";
        u.subprotocols = rows[i].subprotocols;
        u.headers = mtws__span_of(rows[i].headers);
        u.has_host = rows[i].has_host;
        u.has_agent = rows[i].has_agent;
        u.has_authorization = rows[i].has_authorization;
        if (rows[i].userinfo != NULL) u.userinfo = mtws__span_of(rows[i].userinfo);
        char out[1024];
        mtws__writer w;
        mtws__writer_open(&w, out, sizeof out);
        mtws__handshake_request(&w, &u);
        CHECK(!w.full);
        CHECK_STR(out, rows[i].text);
        mtws__writer_open(&w, out, strlen(rows[i].text)); /* no room for the terminator */
        mtws__handshake_request(&w, &u);
        CHECK(w.full);
        test_end();
    }
}

static void accept_of_the_rfc(void) {
    char out[31];
    memset(out, '#', sizeof out);
    mtws__handshake_accept(out, KEY);
    CHECK_STR(out, ACCEPT);
    CHECK_INT(out[29], '#');
}

#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define ACCEPTS "Sec-WebSocket-Accept: " ACCEPT "\r\n"
#define GOOD UPGRADE CONNECTION ACCEPTS

/* `wrong` is a word of what people are told, NULL where the answer is fine. */
static const struct {
    const char *name, *fields, *offered, *wrong;
} answers[] = {
    {"plain", GOOD, "", NULL},
    {"another order, other letters",
     "sec-websocket-accept: " ACCEPT "\r\nCONNECTION: uPGRADE\r\nupgrade: WebSocket\r\n", "", NULL},
    {"a Connection list", UPGRADE "Connection: keep-alive, Upgrade\r\n" ACCEPTS, "", NULL},
    {"Connection over two lines",
     UPGRADE "Connection: keep-alive\r\nConnection: upgrade\r\n" ACCEPTS, "", NULL},
    {"fields of no meaning", GOOD "Server: x\r\nDate: y\r\nContent-Length: 0\r\n", "", NULL},
    {"no Upgrade", CONNECTION ACCEPTS, "", "Upgrade header"},
    {"an empty Upgrade", "Upgrade:\r\n" CONNECTION ACCEPTS, "", "Upgrade header"},
    {"another Upgrade", "Upgrade: h2c\r\n" CONNECTION ACCEPTS, "", "Upgrade header"},
    {"a longer Upgrade", "Upgrade: websockets\r\n" CONNECTION ACCEPTS, "", "Upgrade header"},
    {"an Upgrade list", "Upgrade: websocket, h2c\r\n" CONNECTION ACCEPTS, "", "Upgrade header"},
    {"Upgrade twice", UPGRADE UPGRADE CONNECTION ACCEPTS, "", "Upgrade header"},
    {"no Connection", UPGRADE ACCEPTS, "", "Connection header"},
    {"Connection: close", UPGRADE "Connection: close\r\n" ACCEPTS, "", "Connection header"},
    {"Connection: Upgrade-Insecure", UPGRADE "Connection: Upgrade-Insecure-Requests\r\n" ACCEPTS,
     "", "Connection header"},
    {"no Accept", UPGRADE CONNECTION, "", "Sec-WebSocket-Accept"},
    {"an empty Accept", UPGRADE CONNECTION "Sec-WebSocket-Accept:\r\n", "", "Sec-WebSocket-Accept"},
    {"the Accept of another key",
     UPGRADE CONNECTION "Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=\r\n", "",
     "Sec-WebSocket-Accept"},
    {"the key itself", UPGRADE CONNECTION "Sec-WebSocket-Accept: " KEY "\r\n", "",
     "Sec-WebSocket-Accept"},
    {"an Accept in other letters",
     UPGRADE CONNECTION "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "",
     "Sec-WebSocket-Accept"},
    {"an Accept that goes on", UPGRADE CONNECTION "Sec-WebSocket-Accept: " ACCEPT "=\r\n", "",
     "Sec-WebSocket-Accept"},
    {"an Accept cut short",
     UPGRADE CONNECTION "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n", "",
     "Sec-WebSocket-Accept"},
    {"Accept twice", GOOD ACCEPTS, "", "Sec-WebSocket-Accept"},
    {"a right and a wrong Accept", GOOD "Sec-WebSocket-Accept: x\r\n", "", "Sec-WebSocket-Accept"},
    {"an extension", GOOD "Sec-WebSocket-Extensions: permessage-deflate\r\n", "", "extension"},
    {"an empty extension", GOOD "Sec-WebSocket-Extensions:\r\n", "", "extension"},
    {"the subprotocol offered", GOOD "Sec-WebSocket-Protocol: chat\r\n", "chat", NULL},
    {"the first of two", GOOD "Sec-WebSocket-Protocol: chat\r\n", "chat, superchat", NULL},
    {"the second of two", GOOD "Sec-WebSocket-Protocol: superchat\r\n", "chat,superchat", NULL},
    {"none of those offered", GOOD, "chat, superchat", NULL},
    {"a subprotocol without an offer", GOOD "Sec-WebSocket-Protocol: chat\r\n", "", "subprotocol"},
    {"another subprotocol", GOOD "Sec-WebSocket-Protocol: chat2\r\n", "chat, superchat",
     "subprotocol"},
    {"the front of one", GOOD "Sec-WebSocket-Protocol: cha\r\n", "chat", "subprotocol"},
    {"the end of one", GOOD "Sec-WebSocket-Protocol: chat\r\n", "superchat", "subprotocol"},
    {"other letters", GOOD "Sec-WebSocket-Protocol: Chat\r\n", "chat", "subprotocol"},
    {"an empty subprotocol", GOOD "Sec-WebSocket-Protocol:\r\n", "chat", "subprotocol"},
    {"a list of both", GOOD "Sec-WebSocket-Protocol: chat, superchat\r\n", "chat, superchat",
     "subprotocol"},
    {"two subprotocols",
     GOOD "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: superchat\r\n",
     "chat, superchat", "subprotocol"},
    {"the same twice", GOOD "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat\r\n",
     "chat", "subprotocol"},
};

static const char *check(const char *version, const char *fields, const char *offered) {
    static char kept[4096];
    char text[2048];
    mtws__http h;
    size_t used = 0;
    int size =
        snprintf(text, sizeof text, "HTTP/%s 101 Switching Protocols\r\n%s\r\n", version, fields);
    mtws__http_start(&h, kept, sizeof kept);
    CHECK_INT(mtws__http_feed(&h, (const uint8_t *)text, (size_t)size, &used), MTWS__HTTP_DONE);
    return mtws__handshake_check(&h, KEY, offered);
}

static void each_answer(void) { /* FAULTS rows 19, 22 and 23 */
    for (size_t i = 0; i < UNIT_COUNT(answers); i++) {
        if (!test_begin("%s", answers[i].name)) continue;
        const char *wrong = check("1.1", answers[i].fields, answers[i].offered);
        if (answers[i].wrong == NULL) {
            CHECK_STR(wrong, NULL);
        } else {
            CHECK_TEXT(wrong != NULL && strstr(wrong, answers[i].wrong) != NULL,
                       "\"%s\" does not name the %s", wrong == NULL ? "" : wrong, answers[i].wrong);
        }
        test_end();
    }
    if (!test_begin("HTTP/1.0")) return;
    const char *wrong = check("1.0", GOOD, "");
    CHECK(wrong != NULL && strstr(wrong, "HTTP/1.0") != NULL);
    test_end();
}

/* A single changed bit anywhere in the Accept is noticed. */
static void every_bit_of_accept(void) {
    for (size_t bit = 0; bit < 8 * (sizeof ACCEPT - 1); bit++) {
        char accept[sizeof ACCEPT], fields[256];
        memcpy(accept, ACCEPT, sizeof accept);
        accept[bit / 8] = (char)(accept[bit / 8] ^ 1 << bit % 8);
        uint8_t changed = (uint8_t)accept[bit / 8];
        if (changed <= 0x20 || changed == 0x7f) continue; /* refused or trimmed before */
        snprintf(fields, sizeof fields, UPGRADE CONNECTION "Sec-WebSocket-Accept: %s\r\n", accept);
        test_context("bit %zu", bit);
        CHECK(check("1.1", fields, "") != NULL);
    }
}

static void reserved_headers(void) { /* FAULTS row 21 */
    static const struct {
        const char *name;
        bool reserved;
    } rows[] = {
        {"Upgrade", true},
        {"upgrade", true},
        {"CONNECTION", true},
        {"Content-Length", true},
        {"content-length", true},
        {"Transfer-Encoding", true},
        {"Sec-WebSocket-Key", true},
        {"Sec-WebSocket-Version", true},
        {"Sec-WebSocket-Protocol", true},
        {"Sec-WebSocket-Extensions", true},
        {"Sec-WebSocket-Accept", true},
        {"sec-websocket-anything", true},
        {"Sec-WebSocket-", true},
        {"Sec-WebSocket", false},
        {"Sec-WebSocketKey", false},
        {"X-Sec-WebSocket-Key", false},
        {"Host", false},
        {"Origin", false},
        {"Cookie", false},
        {"Authorization", false},
        {"User-Agent", false},
        {"Upgrade-Insecure-Requests", false},
        {"Content-Type", false},
        {"Connections", false},
        {"Transfer-Encodin", false},
        {"", false},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        test_context("%s", rows[i].name);
        CHECK_INT(mtws__handshake_reserved(mtws__span_of(rows[i].name)), rows[i].reserved);
    }
}

static void subprotocol_lists(void) {
    static const struct {
        const char *text;
        bool ok;
    } rows[] = {
        {"", true},
        {"chat", true},
        {"chat, superchat", true},
        {"chat,superchat", true},
        {"chat ,superchat", true},
        {"chat  ,  superchat", true},
        {"a, b, c, d", true},
        {"v1.json.example.com", true},
        {"Chat, chat", true}, /* compared with case */
        {"chat, chats", true},
        {" chat", false},
        {"chat ", false},
        {",chat", false},
        {"chat,", false},
        {"chat, ", false},
        {"chat,,superchat", false},
        {"chat, ,superchat", false},
        {"chat superchat", false},
        {",", false},
        {" ", false},
        {"chat, chat", false},
        {"a, b, a", false},
        {"chat\tx", false},
        {"chat,\tsuperchat", false},
        {"chat\r\nX: y", false},
        {"cha\xc3\xa9", false},
        {"ch(at)", false},
        {"chat;q=1", false},
        {"chat/1", false},
        {"\"chat\"", false},
        {"chat\x7f", false},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        test_context("\"%s\"", rows[i].text);
        CHECK_INT(mtws__handshake_subprotocols_ok(rows[i].text), rows[i].ok);
    }
}

/* FAULTS row 20 where mtws_set_header shows it: nothing that could end a line gets into the
 * request. */
static void headers_of_the_user(void) {
    static const struct {
        const char *name, *value;
        bool ok;
    } rows[] = {
        {"X-A", "b", true},
        {"X-A", "", true},
        {"X-A", "b\tc d", true},
        {"X-A", "\xc3\xa9", true},
        {"Host", "other", true},
        {"X-A", "b\r\nX: y", false},
        {"X-A", "b\n", false},
        {"X-A", "\r", false},
        {"X-A", "\x01", false},
        {"X-A", "b\x7f", false},
        {"X A", "b", false},
        {"", "b", false},
        {"X:A", "b", false},
        {"X-A\r\n", "b", false},
        {"X\xc3\xa9", "b", false},
        {"Upgrade", "b", false},
        {"sec-websocket-key", "b", false},
    };
    mtws_client *ws = NULL;
    CHECK_INT(mtws_create(&ws, NULL), MTWS_OK);
    for (size_t i = 0; ws != NULL && i < UNIT_COUNT(rows); i++) {
        test_context("row %zu", i);
        mtws_result expected = rows[i].ok ? MTWS_OK : MTWS_ERR_ARGUMENT;
        CHECK_INT(mtws_set_header(ws, rows[i].name, rows[i].value), expected);
        mtws_pair headers[2] = {{rows[i].name, rows[i].value}, {NULL, NULL}};
        mtws_options options;
        mtws_client *other = NULL;
        memset(&options, 0, sizeof options);
        options.headers = headers;
        CHECK_INT(mtws_create(&other, &options), expected);
        mtws_destroy(other);
    }
    mtws_destroy(ws);
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST_ROWS(requests),       TEST(accept_of_the_rfc), TEST_ROWS(each_answer),
        TEST(every_bit_of_accept), TEST(reserved_headers),  TEST(subprotocol_lists),
        TEST(headers_of_the_user),
    };
    return TEST_MAIN(tests, argc, argv);
}
