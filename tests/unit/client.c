/* The room "client": the table of states has exactly the legal moves. (What drives it is tested
 * over a scripted transport.) */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

enum { STATES = MTWS_STATE_FAILED + 1, CAUSES = MTWS__CAUSE_STOP + 1 };

/* One line a state, one column a cause, as the manual's A CLIENT'S LIFE draws it: a letter for the
 * state that follows (o is open: connected), '-' where the move may not happen. */
static const struct {
    mtws_state from;
    char moves[CAUSES + 1];
} table[STATES] = {
    /*               NONE, CONNECT, OPENED, FAILED, RETRY, OFFLINE, GIVE_UP, STOP */
    {MTWS_STATE_DISCONNECTED, "-c------"},
    {MTWS_STATE_CONNECTING, "--oe---d"},
    {MTWS_STATE_CONNECTED, "---e---d"},
    {MTWS_STATE_RECONNECTING, "--oe-w-d"},
    {MTWS_STATE_WAITING_FOR_NETWORK, "----r--d"},
    {MTWS_STATE_ERROR, "----rwfd"},
    {MTWS_STATE_FAILED, "-c--r--d"},
};

static int state_of(char letter) {
    switch (letter) {
    case 'd': return MTWS_STATE_DISCONNECTED;
    case 'c': return MTWS_STATE_CONNECTING;
    case 'o': return MTWS_STATE_CONNECTED;
    case 'r': return MTWS_STATE_RECONNECTING;
    case 'w': return MTWS_STATE_WAITING_FOR_NETWORK;
    case 'e': return MTWS_STATE_ERROR;
    case 'f': return MTWS_STATE_FAILED;
    default: return -1;
    }
}

static void every_move(void) {
    for (size_t i = 0; i < STATES; i++) {
        if (!test_begin("%s", mtws__state_name(table[i].from))) continue;
        CHECK_UINT(table[i].from, i);
        for (size_t cause = 0; cause < CAUSES; cause++) {
            test_context("cause %zu", cause);
            CHECK_INT(mtws__client_next_state((mtws_state)i, (mtws__cause)cause),
                      state_of(table[i].moves[cause]));
        }
        test_end();
    }
}

static void nonsense_leads_nowhere(void) {
    CHECK_INT(mtws__client_next_state((mtws_state)STATES, MTWS__CAUSE_CONNECT), -1);
    CHECK_INT(mtws__client_next_state(MTWS_STATE_CONNECTED, (mtws__cause)CAUSES), -1);
}

/* From every state that can be reached a program can stop, and a client that lost its server can
 * come back: no state is a dead end. */
static void no_dead_ends(void) {
    bool reached[STATES] = {false};
    reached[MTWS_STATE_DISCONNECTED] = true;
    for (size_t round = 0; round < STATES; round++) {
        for (size_t i = 0; i < STATES; i++) {
            for (size_t cause = 0; cause < CAUSES && reached[i]; cause++) {
                int next = mtws__client_next_state((mtws_state)i, (mtws__cause)cause);
                if (next >= 0) reached[next] = true;
            }
        }
    }
    for (size_t i = 0; i < STATES; i++) {
        test_context("%s", mtws__state_name((mtws_state)i));
        CHECK(reached[i]);
        if (i == MTWS_STATE_DISCONNECTED) continue;
        CHECK_INT(mtws__client_next_state((mtws_state)i, MTWS__CAUSE_STOP),
                  MTWS_STATE_DISCONNECTED);
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {TEST_ROWS(every_move), TEST(nonsense_leads_nowhere),
                                       TEST(no_dead_ends)};
    return TEST_MAIN(tests, argc, argv);
}
