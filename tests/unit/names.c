/* The room "names": words for results and states. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

/* A word that tells each result from its neighbours, so that a shifted table is noticed. */
static const struct {
    int result;
    const char *word;
} results[] = {
    {MTWS_OK, "no error"},
    {MTWS_ERR_ARGUMENT, "argument"},
    {MTWS_ERR_STATE, "state"},
    {MTWS_ERR_MEMORY, "memory"},
    {MTWS_ERR_QUEUE_FULL, "the queue is full"},
    {MTWS_ERR_TOO_BIG, "larger"},
    {MTWS_ERR_URL, "URL"},
    {MTWS_ERR_ENTROPY, "random"},
    {MTWS_ERR_RESOLVE, "resolved"},
    {MTWS_ERR_CONNECT, "could not connect"},
    {MTWS_ERR_PROXY, "proxy"},
    {MTWS_ERR_TLS, "TLS"},
    {MTWS_ERR_TLS_TRUST, "trusted"},
    {MTWS_ERR_TLS_NAME, "another host"},
    {MTWS_ERR_TLS_TIME, "time"},
    {MTWS_ERR_HANDSHAKE, "answer to the upgrade"},
    {MTWS_ERR_HTTP_STATUS, "refused"},
    {MTWS_ERR_PROTOCOL, "broke RFC 6455"},
    {MTWS_ERR_UTF8, "UTF-8"},
    {MTWS_ERR_TIMEOUT, "timed out"},
    {MTWS_ERR_HEARTBEAT, "heartbeat"},
    {MTWS_ERR_CLOSED, "closed the connection"},
    {MTWS_ERR_RESET, "connection broke"},
    {MTWS_ERR_OFFLINE, "network"},
    {MTWS_ERR_EXPIRED, "expired"},
    {MTWS_ERR_CLEARED, "cleared"},
    {MTWS_ERR_IDLE, "nothing is left"},
    {MTWS_ERR_DISCONNECTED, "mtws_disconnect"},
};

static void each_result(void) {
    for (size_t i = 0; i < UNIT_COUNT(results); i++) {
        if (!test_begin("%d", results[i].result)) continue;
        const char *text = mtws__result_text(results[i].result);
        CHECK_TEXT(strstr(text, results[i].word) != NULL, "\"%s\" does not say \"%s\"", text,
                   results[i].word);
        for (size_t k = 0; k < i; k++) {
            CHECK(strcmp(text, mtws__result_text(results[k].result)) != 0);
        }
        CHECK_STR(mtws_result_text(results[i].result), text);
        test_end();
    }
}

static void unknown_results(void) {
    static const int rows[] = {1,           2,
                               1000,        -28,
                               -29,         -1000,
                               -2147483647, -2147483647 - 1,
                               2147483647,  MTWS_IO_AGAIN,
                               MTWS_IO_EOF, MTWS_IO_ERROR};
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        test_context("%d", rows[i]);
        CHECK_STR(mtws__result_text(rows[i]), "unknown result");
    }
    CHECK_INT(results[UNIT_COUNT(results) - 1].result, -27);
}

static void states(void) {
    CHECK_STR(mtws__state_name(MTWS_STATE_DISCONNECTED), "disconnected");
    CHECK_STR(mtws__state_name(MTWS_STATE_CONNECTING), "connecting");
    CHECK_STR(mtws__state_name(MTWS_STATE_CONNECTED), "connected");
    CHECK_STR(mtws__state_name(MTWS_STATE_RECONNECTING), "reconnecting");
    CHECK_STR(mtws__state_name(MTWS_STATE_WAITING_FOR_NETWORK), "waiting_for_network");
    CHECK_STR(mtws__state_name(MTWS_STATE_ERROR), "error");
    CHECK_STR(mtws__state_name(MTWS_STATE_FAILED), "failed");
    CHECK_STR(mtws__state_name((mtws_state)7), "unknown");
    CHECK_STR(mtws_state_name(MTWS_STATE_FAILED), "failed");
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {TEST_ROWS(each_result), TEST(unknown_results), TEST(states)};
    return TEST_MAIN(tests, argc, argv);
}
