/* A herd: ten thousand clients lose their server at the same moment, and it comes back. When does
 * each try again, how many try at once, and how long until all are back? The delays are those of
 * the room "backoff" of mtws.h, beside other jitters that such libraries use.
 *
 *     herd [clients=10000] [capacity=500] [seed=1] [svg=FILE] [readme=FILE]
 *
 * The model, in steps of a millisecond. At time 0 every client hears that its connection is gone,
 * and draws its first delay. The server is away for a while: attempts are refused. Then it is back
 * and does `capacity` handshakes a second, one after the other; a tenth of a second's worth of them
 * may wait in its backlog. An attempt that finds the backlog full is refused too. A client hears of
 * a refusal 20 ms after its attempt, and draws its next delay. Whoever got into the backlog is back
 * when its turn has come, and stays.
 *
 * Beside "refused" there are other ways for a server to say no (enum way). Ideal is the time that
 * the server needs for all clients if none is ever late: clients / capacity.
 *
 * The same seed gives the same numbers. svg=FILE draws the attempts, readme=FILE checks that the
 * file has the table's lines.
 */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "../test.h"

#include <stdlib.h>

enum {
    INITIAL_MS = 1000, /* the library's defaults */
    MAX_MS = 30000,
    CONNECT_TIMEOUT_MS = 20000,
    ROUND_TRIP_MS = 20,
    WINDOW_MS = 100, /* in which attempts are counted */
    LIMIT_MS = 3600000,
    SLOTS = 65536, /* of the calendar: more than any time between two attempts */
    PLOT_MS = 12000
};

#define FACTOR 1.5

/* What the server does with attempts beyond its capacity. */
typedef enum way {
    REFUSES,
    IGNORES,    /* the first packet is dropped; the client's system sends it again after 1, 3, 7 and
                  15 s, until connect_timeout_ms is over */
    RESTARTS,   /* as REFUSES, but the connections ended with Close 1012: the first delay is full */
    RETRY_AFTER /* the upgrade is answered with 503 and Retry-After: 5 */
} way;

/* ---- jitters --------------------------------------------------------------------------------- */

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Every jitter keeps the library's promise: never under 250 ms, never over the maximum. */
static uint64_t draw(mtws__random *r, uint64_t low, uint64_t high) {
    high = most(least(high, MAX_MS), 250);
    return mtws__random_between(r, least(most(low, 250), high), high);
}

static uint64_t none(mtws__random *r, uint64_t cap, uint64_t before) {
    (void)before;
    return draw(r, cap, cap);
}

static uint64_t fifth(mtws__random *r, uint64_t cap, uint64_t before) {
    (void)before;
    return least(mtws__random_between(r, cap * 8 / 10, cap * 12 / 10), MAX_MS);
}

static uint64_t equal(mtws__random *r, uint64_t cap, uint64_t before) {
    (void)before;
    return draw(r, cap / 2, cap);
}

static uint64_t full(mtws__random *r, uint64_t cap, uint64_t before) {
    (void)before;
    return draw(r, 0, cap);
}

static uint64_t decorrelated(mtws__random *r, uint64_t cap, uint64_t before) {
    (void)cap;
    return draw(r, INITIAL_MS, 3 * most(before, INITIAL_MS));
}

static uint64_t to_twice(mtws__random *r, uint64_t cap, uint64_t before) {
    (void)before;
    return draw(r, 0, 2 * cap);
}

static uint64_t to_thrice(mtws__random *r, uint64_t cap, uint64_t before) {
    (void)before;
    return draw(r, 0, 3 * cap);
}

static uint64_t half_to_twice(mtws__random *r, uint64_t cap, uint64_t before) {
    (void)before;
    return draw(r, cap / 2, 2 * cap);
}

static uint64_t full_to_four(mtws__random *r, uint64_t cap, uint64_t before) {
    (void)before;
    return draw(r, cap / 2, 4 * cap);
}

static uint64_t library(mtws__random *r, uint64_t cap, uint64_t before) {
    (void)before;
    return mtws__backoff_jitter_ms(cap, MAX_MS, false, 0, r);
}

typedef struct jitter {
    const char *name;
    uint64_t (*delay_ms)(mtws__random *r, uint64_t cap, uint64_t before);
} jitter;

static const jitter jitters[] = {
    {"none", none},
    {"d ± 20 %", fifth},
    {"equal: d/2 to d", equal},
    {"full: 250 ms to d", full},
    {"decorrelated: 1 s to 3 × the last", decorrelated},
    {"250 ms to 2 d", to_twice},
    {"250 ms to 3 d", to_thrice},
    {"d/2 to 2 d", half_to_twice},
    {"d/2 to 4 d", full_to_four},
    {"**mtws.h: d/2 to 3 d**", library},
};

enum { JITTERS = sizeof jitters / sizeof jitters[0], LIBRARY = JITTERS - 1 };

/* ---- the herd -------------------------------------------------------------------------------- */

typedef struct scene {
    const jitter *jitter;
    bool random_first; /* the first delay is drawn from 250 ms to 5 s: RFC 6455 section 7.2.3 */
    way way;
    uint32_t away_ms;
    uint32_t clients;
    uint64_t capacity; /* handshakes a second */
} scene;

typedef struct outcome {
    double attempts;  /* a client */
    double peak;      /* the most attempts within WINDOW_MS, in percent of all clients */
    uint32_t back_ms; /* from the server's return until 99 % are back; 0: not within LIMIT_MS */
    double first_ms;  /* the first delay, on average */
    double plot[PLOT_MS / WINDOW_MS]; /* attempts in each window, in percent */
} outcome;

typedef struct client {
    uint32_t next;   /* in the same slot, plus 1; 0: none */
    uint32_t before; /* the last delay */
    uint16_t round;
    uint8_t packets; /* of this attempt, that were ignored */
} client;

static client *clients; /* as many as the largest herd has */
static uint32_t calendar[SLOTS];
static uint64_t seed = 1;

static void appoint(uint32_t index, uint32_t at_ms) {
    uint32_t *slot = &calendar[at_ms % SLOTS];
    clients[index].next = *slot;
    *slot = index + 1;
}

/* Draws a client's next delay, of which it hears at `now_ms`. */
static void draw_next(const scene *s, mtws__random *r, uint32_t index, uint32_t now_ms,
                      uint64_t after_ms) {
    client *c = &clients[index];
    uint64_t cap = mtws__backoff_cap_ms(INITIAL_MS, MAX_MS, FACTOR, c->round);
    bool first = c->round == 0;
    uint64_t delay;
    if (after_ms > 0 || (first && s->way == RESTARTS)) {
        delay = mtws__backoff_jitter_ms(cap, MAX_MS, first && s->way == RESTARTS, after_ms, r);
    } else if (first && s->random_first) {
        delay = mtws__random_between(r, 250, 5000);
    } else {
        delay = s->jitter->delay_ms(r, cap, c->before);
    }
    c->before = (uint32_t)delay;
    c->round++;
    c->packets = 0;
    appoint(index, now_ms + c->before);
}

/* The server does not answer; when does the client's system, or the client, do something? */
static void ignore(const scene *s, mtws__random *r, uint32_t index, uint32_t now_ms) {
    static const uint32_t again_ms[] = {1000, 2000, 4000, 8000};
    client *c = &clients[index];
    if (c->packets < sizeof again_ms / sizeof again_ms[0]) {
        appoint(index, now_ms + again_ms[c->packets++]);
    } else { /* the last packet left 15 s after the first, and the timeout ends it */
        draw_next(s, r, index, now_ms + CONNECT_TIMEOUT_MS - 15000, 0);
    }
}

static outcome run(const scene *s) {
    outcome o;
    mtws__random r;
    uint8_t bytes[32] = {0};
    static uint32_t recent[WINDOW_MS];
    uint64_t attempts = 0, window = 0, peak = 0, waiting = 0, credit = 0, back = 0;
    uint64_t backlog = most(s->capacity / 10, 1);
    mtws__store_big(bytes, 8, seed);
    mtws__random_seed(&r, bytes);
    memset(&o, 0, sizeof o);
    memset(calendar, 0, sizeof calendar);
    memset(recent, 0, sizeof recent);
    memset(clients, 0, s->clients * sizeof clients[0]);
    for (uint32_t i = 0; i < s->clients; i++) {
        draw_next(s, &r, i, 0, 0);
        o.first_ms += (double)clients[i].before / s->clients;
    }
    for (uint32_t now = 0; now < LIMIT_MS && back < s->clients; now++) {
        uint32_t index = calendar[now % SLOTS], here = 0;
        calendar[now % SLOTS] = 0;
        while (index != 0) {
            uint32_t i = index - 1;
            index = clients[i].next;
            here += clients[i].packets == 0;
            if (now < s->away_ms) draw_next(s, &r, i, now + ROUND_TRIP_MS, 0);
            else if (waiting < backlog) waiting++;
            else if (s->way == IGNORES) ignore(s, &r, i, now);
            else draw_next(s, &r, i, now + ROUND_TRIP_MS, s->way == RETRY_AFTER ? 5000 : 0);
        }
        attempts += here;
        window = window + here - recent[now % WINDOW_MS];
        recent[now % WINDOW_MS] = here;
        peak = most(peak, window);
        if (now < PLOT_MS) o.plot[now / WINDOW_MS] += 100.0 * here / s->clients;
        if (now < s->away_ms) continue;
        for (credit += s->capacity; credit >= 1000 && waiting > 0; credit -= 1000) {
            waiting--;
            back++;
        }
        if (waiting == 0) credit = least(credit, 1000);
        if (o.back_ms == 0 && back * 100 >= s->clients * 99) o.back_ms = now - s->away_ms;
    }
    o.attempts = (double)attempts / s->clients;
    o.peak = 100.0 * (double)peak / s->clients;
    return o;
}

/* ---- what it shows --------------------------------------------------------------------------- */

static uint32_t herd_clients = 10000;
static uint64_t herd_capacity = 500;
static const char *svg_path, *readme_path;

static scene make_scene(size_t which, bool random_first, way how, uint32_t away_ms) {
    scene s = {&jitters[which], random_first, how, away_ms, herd_clients, herd_capacity};
    return s;
}

static uint32_t ideal_ms(const scene *s) { return (uint32_t)(s->clients * 1000 / s->capacity); }

static void cell(char *out, size_t size, const outcome *o) {
    char back[24] = "over 1 h";
    if (o->back_ms > 0) snprintf(back, sizeof back, "%.0f s", o->back_ms / 1000.0);
    snprintf(out, size, " %.1f · %.1f %% · %s |", o->attempts, o->peak, back);
}

/* Whether the file has the line. */
static bool has_line(const char *path, const char *line) {
    char text[1024];
    bool found = false;
    FILE *file = fopen(path, "r");
    if (file == NULL) return false;
    while (!found && fgets(text, sizeof text, file) != NULL) {
        text[strcspn(text, "\n")] = 0;
        found = strcmp(text, line) == 0;
    }
    fclose(file);
    return found;
}

/* A line for each jitter; README has the same. */
static void table(void) {
    printf("| delays drawn from | first | away 1 s | away 60 s | 1 s, random first | 60 s, random "
           "first |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < JITTERS; i++) {
        char line[512];
        size_t size = 0;
        for (int column = 0; column < 4; column++) {
            scene s = make_scene(i, column >= 2, REFUSES, column % 2 == 0 ? 1000 : 60000);
            outcome o = run(&s);
            if (column == 0) {
                size = (size_t)snprintf(line, sizeof line, "| %s | %.1f s |", jitters[i].name,
                                        o.first_ms / 1000);
            }
            cell(line + size, sizeof line - size, &o);
            size += strlen(line + size);
        }
        printf("%s\n", line);
        if (!test_begin("%s", jitters[i].name)) continue;
        CHECK_TEXT(readme_path == NULL || has_line(readme_path, line), "%s lacks this line: %s",
                   readme_path, line);
        test_end();
    }
}

static void check_row_32(const scene *s, const outcome *o) {
    CHECK_TEXT(o->peak <= 8, "%.1f %% of the clients try within 100 ms", o->peak);
    CHECK_TEXT(o->back_ms > 0 && o->back_ms * 2 <= ideal_ms(s) * 5,
               "99 %% are back after %u ms, and the ideal is %u ms", o->back_ms, ideal_ms(s));
}

/* FAULTS row 32, for the delays of mtws.h, however long the server is away and however it says no.
 * The worst of five seeds is printed. */
static void row_32(void) {
    static const char *const ways[] = {"refuses", "ignores", "sent Close 1012, and refuses",
                                       "answers 503 with Retry-After: 5"};
    static const uint32_t away_ms[] = {100,   1000,  2000,  3000,  5000,  7000,
                                       10000, 20000, 30000, 60000, 300000};
    uint64_t first_seed = seed;
    for (int how = REFUSES; how <= RETRY_AFTER; how++) {
        for (size_t i = 0; i < sizeof away_ms / sizeof away_ms[0]; i++) {
            outcome worst;
            if (!test_begin("a server that %s, away %g s", ways[how], away_ms[i] / 1000.0))
                continue;
            memset(&worst, 0, sizeof worst);
            for (seed = first_seed; seed < first_seed + 5; seed++) {
                scene s = make_scene(LIBRARY, false, (way)how, away_ms[i]);
                outcome o = run(&s);
                test_context("seed %" PRIu64, seed);
                check_row_32(&s, &o);
                if (o.peak > worst.peak) worst.peak = o.peak;
                if (o.back_ms > worst.back_ms) worst.back_ms = o.back_ms;
                if (o.attempts > worst.attempts) worst.attempts = o.attempts;
            }
            printf("%-55s %4.1f attempts a client, peak %.1f %%, 99 %% back after %.1f s\n",
                   strchr(test_state.name, 'a'), worst.attempts, worst.peak,
                   worst.back_ms / 1000.0);
            test_end();
        }
    }
    seed = first_seed;
}

/* A fleet a hundred times as large, and a server to match. */
static void a_million(void) {
    for (uint32_t away_ms = 1000; away_ms <= 60000; away_ms += 59000) {
        scene s = make_scene(LIBRARY, false, REFUSES, away_ms);
        s.clients *= 100;
        s.capacity *= 100;
        if (!test_begin("%u clients, away %u s", s.clients, away_ms / 1000)) continue;
        outcome o = run(&s);
        printf("%u clients, %" PRIu64 " handshakes a second, away %u s: %.1f attempts a client, "
               "peak %.1f %%, 99 %% back after %.1f s\n",
               s.clients, s.capacity, away_ms / 1000, o.attempts, o.peak, o.back_ms / 1000.0);
        check_row_32(&s, &o);
        test_end();
    }
}

/* The model tells good from bad: these do not keep FAULTS row 32. */
static void others_fail(void) {
    for (size_t i = 0; i < 4; i++) {
        scene s = make_scene(i, false, REFUSES, 1000);
        outcome o = run(&s);
        test_context("%s", jitters[i].name);
        CHECK(o.peak > 8);
    }
    scene s = make_scene(0, false, REFUSES, 1000);
    outcome o = run(&s);
    CHECK(o.peak > 99.9 && o.back_ms == 0); /* all at once, again and again */
}

static void same_seed_same_run(void) {
    scene s = make_scene(LIBRARY, false, IGNORES, 1000);
    outcome a = run(&s), b = run(&s);
    CHECK(memcmp(&a, &b, sizeof a) == 0);
    seed++;
    outcome c = run(&s);
    seed--;
    CHECK(memcmp(&a, &c, sizeof a) != 0);
}

/* A server that is back before the first attempt and serves all at once: one attempt each. */
static void nobody_waits(void) {
    scene s = make_scene(LIBRARY, false, REFUSES, 1);
    s.capacity = (uint64_t)s.clients * 1000;
    outcome o = run(&s);
    CHECK(o.attempts > 0.9999 && o.attempts < 1.0001);
    CHECK_RANGE(o.back_ms, 2900, 3000); /* the first delays end there */
}

/* ---- the plot -------------------------------------------------------------------------------- */

enum { PLOT_LEFT = 60, PLOT_TOP = 40, PLOT_WIDTH = 660, PLOT_HEIGHT = 240, PLOT_PERCENT = 30 };

static double plot_x(double ms) { return PLOT_LEFT + PLOT_WIDTH * ms / PLOT_MS; }
static double plot_y(double percent) {
    return PLOT_TOP + PLOT_HEIGHT - PLOT_HEIGHT * percent / PLOT_PERCENT;
}

static void plot_axes(FILE *file) {
    double right = plot_x(PLOT_MS), bottom = plot_y(0);
    fprintf(file,
            "<text x=\"%d\" y=\"24\">attempts within 100 ms, in %% of %u clients; the server "
            "is away for the first second</text>\n",
            PLOT_LEFT, herd_clients);
    for (int percent = 0; percent <= PLOT_PERCENT; percent += 5) {
        fprintf(file, "<path d=\"M%d %.1fH%.1f\" stroke=\"#ddd\"/>", PLOT_LEFT, plot_y(percent),
                right);
        fprintf(file, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%d %%</text>\n", PLOT_LEFT - 8,
                plot_y(percent) + 4, percent);
    }
    for (int ms = 0; ms <= PLOT_MS; ms += 1000) {
        fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%d s</text>\n",
                plot_x(ms), bottom + 20, ms / 1000);
    }
    fprintf(file, "<path d=\"M%d %.1fH%.1f\" stroke=\"#c00\" stroke-dasharray=\"6 4\"/>", PLOT_LEFT,
            plot_y(8), right);
    fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" fill=\"#c00\" text-anchor=\"end\">8 %%</text>\n",
            right, plot_y(8) - 5);
}

static void plot_curve(FILE *file, size_t which, const char *name, const char *color, int row) {
    scene s = make_scene(which, false, REFUSES, 1000);
    outcome o = run(&s);
    double legend_y = PLOT_TOP + 22 + 20 * row;
    fprintf(file, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" d=\"M%d %.1f", color,
            PLOT_LEFT, plot_y(0));
    for (int i = 0; i < PLOT_MS / WINDOW_MS; i++) {
        fprintf(file, "V%.1fH%.1f", plot_y(o.plot[i]), plot_x((i + 1) * WINDOW_MS));
    }
    fprintf(file, "\"/>\n<path d=\"M480 %.1fh24\" stroke=\"%s\" stroke-width=\"3\"/>", legend_y - 4,
            color);
    fprintf(file, "<text x=\"512\" y=\"%.1f\">%s</text>\n", legend_y, name);
}

static void plot(const char *path) {
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    fprintf(file, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 740 310\" "
                  "font-family=\"sans-serif\" font-size=\"12\">\n"
                  "<rect width=\"740\" height=\"310\" fill=\"#fff\"/>\n");
    plot_axes(file);
    plot_curve(file, 1, "d ± 20 %", "#999", 0);
    plot_curve(file, 3, "full: 250 ms to d", "#e69f00", 1);
    plot_curve(file, LIBRARY, "mtws.h: d/2 to 3 d", "#0072b2", 2);
    fprintf(file, "</svg>\n");
    fclose(file);
}

static bool read_argument(const char *argument) {
    const char *value = strchr(argument, '=');
    if (value == NULL) return false;
    size_t size = (size_t)(++value - argument);
    if (strncmp(argument, "clients=", size) == 0) herd_clients = (uint32_t)atol(value);
    else if (strncmp(argument, "capacity=", size) == 0) herd_capacity = (uint64_t)atol(value);
    else if (strncmp(argument, "seed=", size) == 0) seed = (uint64_t)atol(value);
    else if (strncmp(argument, "svg=", size) == 0) svg_path = value;
    else if (strncmp(argument, "readme=", size) == 0) readme_path = value;
    else return false;
    return herd_clients >= 100 && herd_clients <= 10000000 && herd_capacity > 0;
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST_ROWS(table),  TEST_ROWS(row_32),        TEST_ROWS(a_million),
        TEST(others_fail), TEST(same_seed_same_run), TEST(nobody_waits),
    };
    for (int i = 1; i < argc; i++) {
        if (read_argument(argv[i])) continue;
        printf("what is %s? See the first lines of herd.c.\n", argv[i]);
        return 2;
    }
    clients = (client *)calloc((size_t)herd_clients * 100, sizeof clients[0]);
    if (clients == NULL) {
        printf("out of memory\n");
        return 1;
    }
    if (svg_path != NULL && svg_path[0] != 0) plot(svg_path);
    int status = TEST_MAIN(tests, 1, argv);
    free(clients);
    return status;
}
