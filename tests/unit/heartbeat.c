/* The room "heartbeat": when a Ping is due, when a peer is given up, which Pong answers what. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

enum { INTERVAL = 30000000, TIMEOUT = 5000000, START = 1000 };

static const uint8_t nonce[8] = {1, 2, 3, 4, 5, 6, 7, 8};

static mtws__heartbeat started(uint64_t interval_us) {
    mtws__heartbeat h;
    memset(&h, 0xcc, sizeof h);
    mtws__heartbeat_start(&h, interval_us, TIMEOUT, nonce, START);
    return h;
}

/* Makes a Ping whose marks are all `mark`, and writes it at once. */
static void ask(mtws__heartbeat *h, uint64_t mark, uint64_t now_us, uint8_t out[MTWS__PING_SIZE]) {
    uint64_t marks[MTWS__MARKS];
    for (int i = 0; i < MTWS__MARKS; i++) marks[i] = mark + (uint64_t)i;
    mtws__heartbeat_ping(h, marks, now_us, out);
    mtws__heartbeat_written(h, now_us, 0);
}

static bool answer(mtws__heartbeat *h, const uint8_t *payload, size_t size, mtws__ping *out) {
    mtws__span span;
    span.data = payload;
    span.size = size;
    return mtws__heartbeat_pong(h, span, out);
}

static void due(void) {
    uint8_t payload[MTWS__PING_SIZE];
    mtws__heartbeat h = started(INTERVAL);
    CHECK(!mtws__heartbeat_due(&h, START));
    CHECK(!mtws__heartbeat_due(&h, START + INTERVAL - 1));
    CHECK(mtws__heartbeat_due(&h, START + INTERVAL));
    CHECK(mtws__heartbeat_due(&h, UINT64_MAX));
    ask(&h, 0, START + INTERVAL + 7, payload);
    CHECK(!mtws__heartbeat_due(&h, START + 2 * INTERVAL + 6));
    CHECK(mtws__heartbeat_due(&h, START + 2 * INTERVAL + 7));
    h.probe = true;
    CHECK(mtws__heartbeat_due(&h, START + INTERVAL + 8));
    ask(&h, 0, START + INTERVAL + 8, payload);
    CHECK(!h.probe);
}

static void off(void) {
    uint8_t payload[MTWS__PING_SIZE];
    mtws__ping ping;
    mtws__heartbeat h = started(0);
    CHECK(!mtws__heartbeat_due(&h, UINT64_MAX - 1));
    ask(&h, 5, START, payload); /* Pings that ask about messages go out all the same */
    CHECK_UINT(mtws__heartbeat_deadline_us(&h), UINT64_MAX);
    CHECK(!mtws__heartbeat_due(&h, UINT64_MAX - 1));
    mtws__heartbeat_restart(&h, START + 10);
    CHECK(!mtws__heartbeat_due(&h, UINT64_MAX - 1));
    CHECK(answer(&h, payload, sizeof payload, &ping));
    CHECK_UINT(ping.marks[0], 5);
}

/* Four Pings at most are under way, however many are due. */
static void at_most_four(void) {
    uint8_t payload[5][MTWS__PING_SIZE];
    mtws__ping ping;
    mtws__heartbeat h = started(INTERVAL);
    for (size_t i = 0; i < 4; i++) {
        h.probe = true;
        CHECK(mtws__heartbeat_due(&h, START + 1));
        ask(&h, i, START + 1, payload[i]);
    }
    h.probe = true;
    CHECK(!mtws__heartbeat_due(&h, UINT64_MAX));
    CHECK(answer(&h, payload[0], MTWS__PING_SIZE, &ping));
    CHECK_INT(h.count, 3);
    CHECK(mtws__heartbeat_due(&h, START + 1));
    ask(&h, 4, START + 2, payload[4]);
    for (size_t i = 0; i < 5; i++) {
        for (size_t k = 0; k < i; k++) CHECK(memcmp(payload[i], payload[k], MTWS__PING_SIZE) != 0);
        CHECK_MEM(payload[i], nonce, 8);
    }
}

/* A Pong answers its Ping and all before it, and gives that Ping's marks; each answers once. */
static void cumulative(void) {
    for (int answered = 0; answered < 4; answered++) {
        uint8_t payload[4][MTWS__PING_SIZE];
        mtws__ping ping;
        mtws__heartbeat h = started(INTERVAL);
        test_context("the Pong of Ping %d", answered);
        for (int i = 0; i < 4; i++) {
            ask(&h, 10 * (uint64_t)i, START + (uint64_t)i * 100, payload[i]);
        }
        CHECK(!h.answered);
        CHECK(answer(&h, payload[answered], MTWS__PING_SIZE, &ping));
        CHECK(h.answered);
        CHECK_INT(h.count, 3 - answered);
        CHECK_UINT(ping.marks[0], 10 * (uint64_t)answered);
        CHECK_UINT(ping.marks[2], 10 * (uint64_t)answered + 2);
        CHECK_UINT(ping.sent_us, START + (uint64_t)answered * 100);
        for (int i = 0; i <= answered; i++) CHECK(!answer(&h, payload[i], MTWS__PING_SIZE, &ping));
        for (int i = answered + 1; i < 4; i++) {
            CHECK(answer(&h, payload[i], MTWS__PING_SIZE, &ping));
            CHECK_UINT(ping.marks[1], 10 * (uint64_t)i + 1);
        }
        CHECK_INT(h.count, 0);
        CHECK_UINT(mtws__heartbeat_deadline_us(&h), UINT64_MAX);
    }
}

/* FAULTS row 44: a wrong payload, an earlier connection's, one never asked for. */
static void pongs_of_nobody(void) {
    uint8_t payload[MTWS__PING_SIZE], other[MTWS__PING_SIZE + 1];
    mtws__ping ping;
    mtws__heartbeat h = started(INTERVAL);
    CHECK(!answer(&h, NULL, 0, &ping));
    memcpy(other, nonce, 8);
    memset(other + 8, 0, 9);
    CHECK(!answer(&h, other, MTWS__PING_SIZE, &ping));
    ask(&h, 0, START, payload);
    for (size_t bit = 0; bit < 8 * MTWS__PING_SIZE; bit++) {
        memcpy(other, payload, MTWS__PING_SIZE);
        other[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(!answer(&h, other, MTWS__PING_SIZE, &ping));
    }
    memcpy(other, payload, MTWS__PING_SIZE);
    other[MTWS__PING_SIZE] = 0;
    for (size_t size = 0; size <= MTWS__PING_SIZE + 1; size++) {
        if (size != MTWS__PING_SIZE) CHECK(!answer(&h, other, size, &ping));
    }
    CHECK_INT(h.count, 1);
    CHECK(!h.answered);
    /* The next connection has another nonce: the old Pong is nobody's. */
    uint8_t next[8] = {8, 7, 6, 5, 4, 3, 2, 1}, fresh[MTWS__PING_SIZE];
    mtws__heartbeat_start(&h, INTERVAL, TIMEOUT, next, START);
    ask(&h, 0, START, fresh);
    CHECK(!answer(&h, payload, MTWS__PING_SIZE, &ping));
    CHECK(answer(&h, fresh, MTWS__PING_SIZE, &ping));
}

/* The time of a Ping starts as it leaves. */
static void unwritten(void) {
    uint8_t payload[2][MTWS__PING_SIZE];
    uint64_t marks[MTWS__MARKS] = {0};
    mtws__ping ping;
    mtws__heartbeat h = started(INTERVAL);
    ask(&h, 1, START, payload[0]);
    mtws__heartbeat_ping(&h, marks, START + 10, payload[1]);
    CHECK_INT(h.unwritten, 1);
    CHECK(answer(&h, payload[0], MTWS__PING_SIZE, &ping));
    CHECK_INT(h.unwritten, 1);
    mtws__heartbeat_written(&h, START + 500, 77);
    CHECK_INT(h.unwritten, 0);
    CHECK_UINT(h.unsent_size, 77);
    CHECK(answer(&h, payload[1], MTWS__PING_SIZE, &ping));
    CHECK_UINT(ping.sent_us, START + 500);
}

/* A Pong whose Ping is not yet known to have left proves that it has; the later ones still have
 * not. */
static void answered_before_it_is_known_to_have_left(void) {
    uint8_t payload[4][MTWS__PING_SIZE];
    uint64_t marks[MTWS__MARKS] = {0};
    for (int answered = 0; answered < 4; answered++) {
        mtws__ping ping;
        mtws__heartbeat h = started(INTERVAL);
        test_context("the Pong of Ping %d", answered);
        ask(&h, 1, START, payload[0]);
        for (int i = 1; i < 4; i++) mtws__heartbeat_ping(&h, marks, START + 10, payload[i]);
        CHECK(answer(&h, payload[answered], MTWS__PING_SIZE, &ping));
        CHECK_INT(h.count, 3 - answered);
        CHECK_INT(h.unwritten, 3 - answered);
        mtws__heartbeat_written(&h, START + 500, 0);
        for (int i = 0; i < h.count; i++) CHECK_UINT(h.pings[i].sent_us, START + 500);
    }
}

static void deadlines(void) {
    static const struct {
        const char *name;
        uint64_t asked, alive, deadline; /* after START; asked UINT64_MAX: no question is open */
    } rows[] = {
        {"no question", UINT64_MAX, 0, UINT64_MAX},
        {"no sign of life since", 100, 0, 100 + TIMEOUT},
        {"a sign before the question", 100, 99, 100 + TIMEOUT},
        {"a sign after it", 100, 200, 200 + TIMEOUT},
        {"a sign just in time", 100, 100 + TIMEOUT, 100 + 2 * TIMEOUT},
        {"signs up to the third timeout", 100, 100 + 3 * TIMEOUT, 100 + 4 * TIMEOUT},
        {"signs without end", 100, 100 + 3 * TIMEOUT + 1, 100 + 4 * TIMEOUT},
        {"signs of much later", 100, 100 + 50 * (uint64_t)TIMEOUT, 100 + 4 * TIMEOUT},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        uint8_t payload[MTWS__PING_SIZE];
        mtws__heartbeat h = started(INTERVAL);
        if (rows[i].asked != UINT64_MAX) ask(&h, 0, START + rows[i].asked, payload);
        h.alive_us = START + rows[i].alive;
        uint64_t expected = rows[i].deadline == UINT64_MAX ? UINT64_MAX : START + rows[i].deadline;
        CHECK_UINT(mtws__heartbeat_deadline_us(&h), expected);
        /* A Ping that waits for room is a question too. */
        if (rows[i].asked != UINT64_MAX) {
            mtws__heartbeat wants = started(INTERVAL);
            mtws__heartbeat_want(&wants, START + rows[i].asked);
            mtws__heartbeat_want(&wants, START + rows[i].asked + 40);
            wants.alive_us = START + rows[i].alive;
            CHECK_UINT(mtws__heartbeat_deadline_us(&wants), expected);
        }
        test_end();
    }
}

/* The oldest open question counts, and the time spent waiting for room with it. */
static void oldest_question(void) {
    uint8_t payload[2][MTWS__PING_SIZE];
    uint64_t marks[MTWS__MARKS] = {0};
    mtws__ping ping;
    mtws__heartbeat h = started(INTERVAL);
    ask(&h, 0, START + 100, payload[0]);
    ask(&h, 0, START + 900, payload[1]);
    CHECK_UINT(mtws__heartbeat_deadline_us(&h), START + 100 + TIMEOUT);
    CHECK(answer(&h, payload[0], MTWS__PING_SIZE, &ping));
    CHECK_UINT(mtws__heartbeat_deadline_us(&h), START + 900 + TIMEOUT);
    h = started(INTERVAL);
    mtws__heartbeat_want(&h, START + 100);
    mtws__heartbeat_ping(&h, marks, START + 900, payload[0]);
    CHECK_UINT(h.wanted_us, UINT64_MAX);
    CHECK_UINT(mtws__heartbeat_deadline_us(&h), START + 100 + TIMEOUT);
    mtws__heartbeat_written(&h, START + 950, 0);
    CHECK_UINT(mtws__heartbeat_deadline_us(&h), START + 950 + TIMEOUT);
}

static void restart(void) {
    uint8_t payload[MTWS__PING_SIZE];
    mtws__ping ping;
    mtws__heartbeat h = started(INTERVAL);
    ask(&h, 3, START, payload);
    uint64_t late = START + 8u * 3600 * 1000000;
    CHECK(late > mtws__heartbeat_deadline_us(&h));
    mtws__heartbeat_restart(&h, late);
    CHECK_UINT(mtws__heartbeat_deadline_us(&h), late + TIMEOUT);
    CHECK(mtws__heartbeat_due(&h, late)); /* asked at once */
    CHECK(answer(&h, payload, MTWS__PING_SIZE, &ping));
    h = started(INTERVAL);
    mtws__heartbeat_restart(&h, late);
    CHECK_UINT(mtws__heartbeat_deadline_us(&h), UINT64_MAX);
    CHECK_UINT(h.wanted_us, UINT64_MAX);
    mtws__heartbeat_want(&h, late + 1);
    mtws__heartbeat_restart(&h, late + 500);
    CHECK_UINT(mtws__heartbeat_deadline_us(&h), late + 500 + TIMEOUT);
}

/* ---- heartbeats in JSON --------------------------------------------------------------------- */

/* One that was written stands before the Pings that still wait; its answer repeats its stamp, and
 * answers what was asked before it. */
static void stamps(void) {
    uint8_t payload[2][MTWS__PING_SIZE], forged[MTWS__PING_SIZE] = {0};
    uint64_t marks[MTWS__MARKS] = {7, 8, 9};
    mtws__ping ping;
    mtws__heartbeat h = started(INTERVAL);
    ask(&h, 1, START, payload[0]);
    mtws__heartbeat_ping(&h, marks, START + 10, payload[1]);
    mtws__heartbeat_stamped(&h, 4711, START + 20, 0);
    CHECK_INT(h.count, 3);
    CHECK_INT(h.unwritten, 1);
    CHECK_UINT(h.pings[1].stamp, 4711);
    CHECK_UINT(h.pings[1].sent_us, START + 20);
    mtws__heartbeat_written(&h, START + 30, 0);
    CHECK_UINT(h.pings[1].sent_us, START + 20);
    CHECK_UINT(h.pings[2].sent_us, START + 30);
    CHECK(!mtws__heartbeat_echo(&h, 0, &ping)); /* what a Ping has in its place */
    CHECK(!mtws__heartbeat_echo(&h, 4712, &ping));
    CHECK(!mtws__heartbeat_echo(&h, 1, &ping)); /* a sequence number, a mark */
    CHECK(!mtws__heartbeat_echo(&h, 7, &ping));
    memcpy(forged, nonce, 8);
    CHECK(!answer(&h, forged, sizeof forged, &ping)); /* a Pong can't answer it */
    CHECK_INT(h.count, 3);
    CHECK(mtws__heartbeat_echo(&h, 4711, &ping));
    CHECK_UINT(ping.stamp, 4711);
    CHECK_UINT(ping.sent_us, START + 20);
    CHECK_INT(h.count, 1);
    CHECK(h.answered);
    CHECK(!mtws__heartbeat_echo(&h, 4711, &ping));
    CHECK(answer(&h, payload[1], MTWS__PING_SIZE, &ping));
    CHECK_UINT(ping.marks[2], 9);
}

/* With four questions open another is not kept, and the oldest is judged as before. */
static void stamps_beyond_four(void) {
    mtws__ping ping;
    mtws__heartbeat h = started(INTERVAL);
    for (uint64_t i = 0; i < 6; i++) {
        mtws__heartbeat_asked(&h, START + i);
        CHECK(h.wanted_us == START + i);
        mtws__heartbeat_stamped(&h, 100 + i, START + 10 * i, 0);
        CHECK_UINT(h.wanted_us, UINT64_MAX);
    }
    CHECK_INT(h.count, MTWS__PINGS_MAX);
    CHECK_UINT(mtws__heartbeat_deadline_us(&h), START + TIMEOUT);
    CHECK(!mtws__heartbeat_echo(&h, 105, &ping));
    CHECK(mtws__heartbeat_echo(&h, 103, &ping));
    CHECK_INT(h.count, 0);
    CHECK_UINT(mtws__heartbeat_deadline_us(&h), UINT64_MAX);
}

/* What was made before a Ping that the connection's other heartbeat had an answer to counts as
 * answered; what was made after it is open still, and a stamp by itself says nothing of the order. */
static void outrun(void) {
    uint8_t payload[MTWS__PING_SIZE];
    mtws__heartbeat h = started(INTERVAL);
    h.sequence = 6;
    ask(&h, 1, START, payload); /* 7 */
    mtws__heartbeat_stamped(&h, 4711, START + 1, 0);
    h.sequence = 8;
    ask(&h, 2, START + 2, payload); /* 9 */
    mtws__heartbeat_outrun(&h, 7);
    CHECK_INT(h.count, 3);
    mtws__heartbeat_outrun(&h, 8);
    CHECK_INT(h.count, 2);
    CHECK_UINT(h.pings[0].stamp, 4711);
    CHECK_UINT(h.pings[1].sequence, 9);
    CHECK(h.answered);
    mtws__heartbeat_outrun(&h, 10);
    CHECK_INT(h.count, 0);
    mtws__heartbeat_outrun(&h, 11);
    CHECK_INT(h.count, 0);
}

/* One that is due is asked for once, from when on its time runs, and the next one is due later. */
static void asked_in_json(void) {
    mtws__heartbeat h = started(INTERVAL);
    h.probe = true;
    mtws__heartbeat_asked(&h, START + 5);
    CHECK(!h.probe);
    CHECK_UINT(h.next_us, START + 5 + INTERVAL);
    CHECK_UINT(mtws__heartbeat_deadline_us(&h), START + 5 + TIMEOUT);
    mtws__heartbeat_asked(&h, START + 900);
    CHECK_UINT(h.wanted_us, START + 5);
}

/* ---- what the kernel still holds ------------------------------------------------------------- */

static void looking(void) {
    static const struct {
        size_t unsent;
        bool alive, again;
    } rows[] = {
        {1000, false, true}, {999, true, true}, {999, false, true}, {5000, false, true},
        {998, true, true},   {1, true, true},   {0, true, false},   {50, false, false},
    };
    uint8_t payload[MTWS__PING_SIZE];
    uint64_t marks[MTWS__MARKS] = {0}, now = START;
    mtws__heartbeat h = started(INTERVAL);
    CHECK_UINT(h.look_us, UINT64_MAX);
    mtws__heartbeat_ping(&h, marks, now, payload);
    mtws__heartbeat_written(&h, now, 1000);
    CHECK_UINT(h.look_us, START + TIMEOUT / MTWS__LOOKS);
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        uint64_t alive = h.alive_us;
        now += 100;
        mtws__heartbeat_look(&h, rows[i].unsent, now);
        test_context("row %zu", i);
        CHECK_UINT(h.alive_us, rows[i].alive ? now : alive);
        CHECK_UINT(h.look_us, rows[i].again ? now + TIMEOUT / MTWS__LOOKS : UINT64_MAX);
    }
    h = started(0); /* nothing is judged, so nothing is looked at */
    mtws__heartbeat_ping(&h, marks, START, payload);
    mtws__heartbeat_written(&h, START, 1000);
    CHECK_UINT(h.look_us, UINT64_MAX);
    h = started(INTERVAL); /* nor once all is answered */
    mtws__ping ping;
    mtws__heartbeat_ping(&h, marks, START, payload);
    mtws__heartbeat_written(&h, START, 1000);
    CHECK(answer(&h, payload, sizeof payload, &ping));
    CHECK_UINT(h.look_us, UINT64_MAX);
    mtws__heartbeat_written(&h, START, 77); /* nothing was waiting: nothing changes */
    CHECK_UINT(h.look_us, UINT64_MAX);
}

/* Near the clock's end everything saturates. */
static void end_of_time(void) { /* FAULTS row 37 */
    uint8_t payload[MTWS__PING_SIZE];
    mtws__heartbeat h;
    mtws__heartbeat_start(&h, INTERVAL, TIMEOUT, nonce, UINT64_MAX - 5);
    CHECK(!mtws__heartbeat_due(&h, UINT64_MAX - 1));
    ask(&h, 0, UINT64_MAX - 3, payload);
    CHECK_UINT(mtws__heartbeat_deadline_us(&h), UINT64_MAX);
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(due),
        TEST(off),
        TEST(at_most_four),
        TEST(cumulative),
        TEST(unwritten),
        TEST(answered_before_it_is_known_to_have_left),
        TEST(pongs_of_nobody),
        TEST_ROWS(deadlines),
        TEST(oldest_question),
        TEST(restart),
        TEST(end_of_time),
        TEST(stamps),
        TEST(stamps_beyond_four),
        TEST(outrun),
        TEST(asked_in_json),
        TEST(looking),
    };
    return TEST_MAIN(tests, argc, argv);
}
