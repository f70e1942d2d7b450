/* The room "race", in virtual time: which address is tried when (RFC 8305). */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

static mtws__race race;
static uint64_t now_us;
static bool pending[MTWS__FAMILIES]; /* the family's answer may still come */

static void start(int family, unsigned skip) {
    mtws__race_start(&race, family, skip, MTWS__RACE_DELAY_US);
    now_us = 5000000;
    memset(pending, 0, sizeof pending);
}

/* Addresses "6a", "4b": of which family, and which one. */
static void add(const char *name) {
    mtws__ip ip;
    memset(&ip, 0, sizeof ip);
    ip.six = name[0] == '6';
    ip.bytes[0] = 10;
    ip.bytes[3] = (uint8_t)name[1];
    mtws__race_add(&race, &ip, now_us);
}

static void add_all(const char *names) {
    for (; names[0] != 0; names += 3) {
        add(names);
        if (names[2] == 0) return;
    }
}

/* What is tried now; "": nothing. */
static const char *next(void) {
    static char name[3];
    name[0] = 0;
    int index = mtws__race_next(&race, pending[race.turn], now_us);
    if (index < 0) return name;
    name[0] = race.ips[index].six ? '6' : '4';
    name[1] = (char)race.ips[index].bytes[3];
    return name;
}

static void lose(const char *name) {
    for (int i = 0; i < race.count; i++) {
        bool same = race.ips[i].six == (name[0] == '6') && race.ips[i].bytes[3] == name[1];
        if (same) mtws__race_lose(&race, i);
    }
}

/* Waits until the next attempt is due: in so many ms, at once (0) or never (-1). */
static int wait_ms(void) {
    uint64_t due_us = mtws__race_due_us(&race, pending[race.turn]);
    if (due_us == UINT64_MAX) return -1;
    if (due_us <= now_us) return 0;
    int ms = (int)((due_us - now_us) / 1000);
    now_us = due_us - 1;
    CHECK_STR(next(), "");
    now_us = due_us;
    return ms;
}

static void families_take_turns(void) {
    static const char *const order[] = {"6a", "4a", "6b", "4b", "6c"};
    start(MTWS__IPV6, 0);
    CHECK_INT(wait_ms(), -1);
    add_all("6a 6b 6c 4a 4b");
    for (size_t i = 0; i < UNIT_COUNT(order); i++) {
        CHECK_INT(wait_ms(), i == 0 ? 0 : i < 3 ? 250 : 0);
        if (i > 2) {
            CHECK(race.running < 3);
        }
        CHECK_STR(next(), order[i]);
        if (i >= 2) lose(order[i]); /* room for the next one, at once */
    }
    CHECK_INT(wait_ms(), -1);
    CHECK_STR(next(), "");
    CHECK_INT(race.running, 2);
}

static void one_that_fails_is_followed_at_once(void) {
    start(MTWS__IPV6, 0);
    add_all("6a 6b 4a");
    CHECK_STR(next(), "6a");
    now_us += 3000;
    lose("6a");
    CHECK_INT(wait_ms(), 0);
    CHECK_STR(next(), "4a");
    CHECK_INT(wait_ms(), 250);
    CHECK_STR(next(), "6b");
    lose("4a");
    lose("6b");
    CHECK_INT(wait_ms(), -1);
    CHECK_INT(race.running, 0);
}

/* A tenth of the time for all, so that addresses which lead nowhere leave enough of it. */
static void little_time(void) {
    static const struct {
        uint64_t time_ms, delay_ms;
    } rows[] = {{1, 10}, {100, 10}, {300, 30}, {2499, 249}, {2500, 250}, {20000, 250}};
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        uint64_t delay_us = mtws__race_delay_us(rows[i].time_ms * 1000);
        CHECK_UINT(delay_us / 1000, rows[i].delay_ms);
        mtws__race_start(&race, MTWS__IPV6, 0, delay_us);
        add_all("6a 4a");
        CHECK_STR(next(), "6a");
        CHECK_INT(wait_ms(), (int)rows[i].delay_ms);
    }
}

/* The family that won last comes first. */
static void preferred_family(void) {
    start(MTWS__IPV4, 0);
    add_all("6a 4a 6b");
    CHECK_STR(next(), "4a");
    CHECK_INT(wait_ms(), 250);
    CHECK_STR(next(), "6a");
    CHECK_INT(wait_ms(), 250);
    CHECK_STR(next(), "6b"); /* IPv4 has no more */
}

/* RFC 8305 section 3: the answer for one family waits 50 ms for the other, where that is the one
 * which is preferred. */
static void answers_that_come_apart(void) {
    for (int family = 0; family < 2; family++) {
        const char *first = family == MTWS__IPV6 ? "6a" : "4a";
        const char *second = family == MTWS__IPV6 ? "4a" : "6a";
        test_context("preferred %s", first);
        start(family, 0); /* the preferred one comes first */
        pending[0] = pending[1] = true;
        CHECK_INT(wait_ms(), -1);
        add(first);
        pending[family] = false;
        CHECK_INT(wait_ms(), 0);
        CHECK_STR(next(), first);
        start(family, 0); /* second, within the time */
        pending[0] = pending[1] = true;
        add(second);
        pending[1 - family] = false;
        CHECK_STR(next(), "");
        now_us += 30000;
        add(first);
        pending[family] = false;
        CHECK_INT(wait_ms(), 0);
        CHECK_STR(next(), first);
        CHECK_INT(wait_ms(), 250);
        CHECK_STR(next(), second);
        start(family, 0); /* too late: the other has begun */
        pending[0] = pending[1] = true;
        add(second);
        pending[1 - family] = false;
        CHECK_INT(wait_ms(), 50);
        CHECK_STR(next(), second);
        CHECK_INT(wait_ms(), -1);
        now_us += 100000;
        add(first);
        pending[family] = false;
        CHECK_INT(wait_ms(), 150);
        CHECK_STR(next(), first);
        start(family, 0); /* it turns out that there is none */
        pending[0] = pending[1] = true;
        add(second);
        pending[1 - family] = false;
        now_us += 10000;
        pending[family] = false;
        CHECK_INT(wait_ms(), 0);
        CHECK_STR(next(), second);
    }
}

/* Three at a time; where there are more addresses, one that has had three seconds makes room. */
static void many(void) {
    int first = -1;
    start(MTWS__IPV6, 0);
    add_all("6a 6b 6c 6d 4a 4b 4c 4d");
    CHECK_STR(next(), "6a");
    CHECK_INT(wait_ms(), 250);
    CHECK_STR(next(), "4a");
    CHECK_INT(wait_ms(), 250);
    CHECK_STR(next(), "6b");
    CHECK_INT(race.running, 3);
    CHECK_INT(wait_ms(), 2500);
    for (int i = 0; i < race.count; i++) {
        if (race.ips[i].six && race.ips[i].bytes[3] == 'a') first = i;
    }
    CHECK_INT(mtws__race_oldest(&race), first);
    CHECK_STR(next(), "4b");
    CHECK_INT(race.running, 4); /* its place is the caller's to free */
    lose("6a");
    CHECK_INT(race.running, 3);
    CHECK_INT(wait_ms(), 250);
    CHECK_STR(next(), "6c");
}

/* Attempts before have led nowhere: each family begins behind so many of its addresses. */
static void skipping(void) {
    static const char *const orders[][4] = {{"6a", "4a", "6b", "6c"},
                                            {"6b", "4a", "6c", "6a"},
                                            {"6c", "4a", "6a", "6b"},
                                            {"6a", "4a", "6b", "6c"}};
    for (unsigned skip = 0; skip < 4; skip++) {
        start(MTWS__IPV6, skip);
        add_all("6a 6b 6c 4a");
        for (int i = 0; i < 4; i++) {
            const char *name = orders[skip][i];
            test_context("%u skipped, attempt %d", skip, i);
            CHECK_STR(next(), name);
            lose(name);
        }
    }
}

/* RFC 6455 section 4.1: never two connections to one address. */
static void no_address_twice(void) {
    start(MTWS__IPV6, 0);
    add_all("6a 4a 6a 4a 4b");
    CHECK_INT(race.count, 3);
    mtws__ip ip = race.ips[0];
    memcpy(ip.zone, "eth0", 5); /* another link's is another */
    mtws__race_add(&race, &ip, now_us);
    CHECK_INT(race.count, 4);
    start(MTWS__IPV6, 0); /* eight of each family at most */
    for (char c = 'a'; c < 'z'; c++) {
        char name[3] = {'6', c, 0};
        add(name);
    }
    add("4a");
    CHECK_INT(race.count, MTWS__DNS_FAMILY_MAX + 1);
    CHECK(!race.ips[MTWS__DNS_FAMILY_MAX].six);
}

/* Any order of answers and losses: every address is tried once, no more than three at a time (and
 * one that is about to make room), never two within 250 ms unless one was lost between. */
static void any_order(void) {
    uint64_t random = 5;
    for (int turn = 0; turn < 3000 && !test_failing(); turn++) {
        bool tried[MTWS__RACE_MAX] = {false};
        uint64_t last_us = 0;
        bool lost = true;
        int tries = 0, left = (int)unit_below(&random, 12);
        test_context("turn %d", turn);
        start((int)unit_below(&random, 2), (unsigned)unit_below(&random, 5));
        pending[0] = pending[1] = true;
        for (int step = 0; step < 400; step++) {
            if (left > 0 && unit_chance(&random, 30)) {
                char name[3] = {unit_chance(&random, 50) ? '6' : '4', (char)('a' + left--), 0};
                add(name);
            }
            if (left == 0) pending[0] = pending[1] = false;
            int index = mtws__race_next(&race, pending[race.turn], now_us);
            if (index >= 0) {
                CHECK(!tried[index]);
                tried[index] = true;
                tries++;
                CHECK(lost || now_us - last_us >= 250000);
                last_us = now_us;
                lost = false;
                if (race.running > MTWS__RUNNERS_MAX) {
                    int oldest = mtws__race_oldest(&race);
                    CHECK(now_us - race.started_us[oldest] >= MTWS__RACE_RUNNER_US);
                    mtws__race_lose(&race, oldest);
                    lost = true;
                }
            }
            CHECK(race.running <= MTWS__RUNNERS_MAX);
            if (race.running > 0 && unit_chance(&random, 20)) {
                mtws__race_lose(&race, mtws__race_oldest(&race));
                lost = true;
            }
            now_us += unit_below(&random, 200000);
        }
        CHECK_INT(tries, race.count);
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(families_take_turns),
        TEST(one_that_fails_is_followed_at_once),
        TEST(little_time),
        TEST(preferred_family),
        TEST(answers_that_come_apart),
        TEST(many),
        TEST(skipping),
        TEST(no_address_twice),
        TEST(any_order),
    };
    return TEST_MAIN(tests, argc, argv);
}
