/* Each call to the system fails in turn: in every scene of scenes.h, the first, second, third, ...
 * call of each kind, with each error that it can plausibly give (the table in kernel.h), once and
 * for as long as the scene lasts; in an event loop of the program's, and in a program that waits
 * within mtws_poll. Whatever fails, mtws.h must
 *
 *   - leak nothing: each descriptor is closed exactly once, each block and list is freed;
 *   - not spin: calls are counted in each second of virtual time;
 *   - lose no message: each one that mtws_send took ends in exactly one event, in order at the
 *     server, and DELIVERED only when the server has it;
 *   - not get stuck: while the failure lasts, attempts and their errors go on, neither too rarely nor
 *     too often; when it is over, the client is connected again within its bound, and everything is
 *     delivered.
 *
 * Then storms: any call fails now and then, with any of its errors.
 *
 *     inject [stride=20] [storms=20] [only=TEXT]    every Nth call; N storms a scene; tests whose
 *                                                   name contains TEXT
 *     inject only=TEST at=INDEX fault=NAME [ever=1]     one run, with a trace; TEST: a whole name
 *     inject only=TEST storm=SEED
 *
 * FAULTS rows 16, 48 to 52, 55 and 56 are what is proved here.
 */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "../test.h"

#include "../session/wire.h"

#include "kernel.h"

#include "server.h"

#include "scenes.h"

/* Limits small enough to be met, and to be cleared quickly. */
#define MTWS_REQUEST_MAX 512
#define MTWS_ANSWER_MAX 1024
#define MTWS_FIRST_MAX 600
#define MTWS_PART_MAX 1200
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

/* ---- the program ----------------------------------------------------------------------------- */

enum { ERRORS_IN_A_SECOND = 5, SLACK_US = 2000000 };

static struct program {
    const scene *scene;
    bool loop;  /* an event loop of its own; or it waits within mtws_poll, */
    bool wakes; /* where mtws_wake ends the wait */
    mtws_client *ws;
    uint64_t until_us, wake_us;
    size_t at; /* the next action */
    mtws_state state;
    bool stopping, go_asked, over;
    int addresses;
    unsigned sent, unsettled, once_twice;
    struct {
        unsigned flags; /* of mtws_send; PARTS: a message in parts */
        bool settled;
    } messages[IDS];
    uint64_t news_us;    /* of the last event of the state */
    uint64_t offline_us; /* since when it waits for a network that is there; NEVER: it does not */
    uint64_t errors_us[ERRORS_IN_A_SECOND];
    unsigned errors;
    bool paused;
} prog;

enum { PARTS = 256 };

static uint64_t program_next_us(void) { return sys.waits && prog.wakes ? prog.wake_us : NEVER; }

static bool program_wakes(void) {
    REQUIRE(mtws_wake(prog.ws) == MTWS_OK, "mtws_wake fails");
    prog.wake_us = sys.now_us + 10000; /* where the write fails it tries again */
    return true;
}

static bool program_create(void) {
    mtws_options o;
    memset(&o, 0, sizeof o);
    quirk q = prog.scene->quirk;
    o.max_reconnect_attempts = q == FEW ? 2 : q == NEVER_AGAIN ? MTWS_OFF : MTWS_UNLIMITED;
    o.initial_reconnect_delay_ms = DELAY_MS;
    o.max_reconnect_delay_ms = DELAY_MAX_MS;
    o.heartbeat_interval_ms = BEAT_MS;
    o.heartbeat_timeout_ms = BEAT_TIMEOUT_MS;
    o.connect_timeout_ms = CONNECT_MS;
    o.close_timeout_ms = CLOSE_MS;
    o.max_message_size = MESSAGE_SIZE + 48;
    o.max_queue_size = 16384;
    o.max_frame_size = 700;
    o.wakeable = true;
    bool own = q == NAMED || q == BY_TCP || q == LISTED;
    o.resolver = own ? MTWS_RESOLVER_OWN : MTWS_RESOLVER_SYSTEM;
    o.heartbeat = q == BEATS ? MTWS_HEARTBEAT_JSON : MTWS_HEARTBEAT_PING;
    o.hold_queue = q == HOLDS;
    o.stream_messages = q == STREAMS;
    o.proxy = q == PROXY ? "http://one.example:80" : q == SOCKS ? "socks5://one.example:80" : NULL;
    o.network = q == BY_HAND ? MTWS_NETWORK_MANUAL : MTWS_NETWORK_AUTO;
    mtws_result result = mtws_create(&prog.ws, &o);
    if (result == MTWS_OK) return true;
    bool known = result == MTWS_ERR_MEMORY || result == MTWS_ERR_CONNECT;
    REQUIRE(known && prog.ws == NULL && sys.hits > 0, "mtws_create gives %d", (int)result);
    REQUIRE(sys.fds_open == 0 && sys.blocks == 0, "mtws_create fails, and leaks");
    return false;
}

/* The text of a message: server.h says how it looks. */
static size_t program_text(uint8_t *text, unsigned id, size_t size) {
    snprintf((char *)text, 8, "m%06u", id);
    for (size_t i = 7; i < size; i++) text[i] = (uint8_t)('a' + (id + i) % 26);
    return size < 7 ? 7 : size;
}

static void program_took(unsigned id, uint64_t given, unsigned flags) {
    REQUIRE(given == id && id < IDS - 1, "id %llu, expected %u", (unsigned long long)given, id);
    prog.sent = id;
    prog.unsettled++;
    prog.messages[id].flags = flags;
    far.queued[id] = flags == 0;
}

static void program_says(unsigned flags, size_t size) {
    uint8_t text[MESSAGE_SIZE + 8];
    unsigned id = prog.sent + 1;
    uint64_t given = 0;
    size = program_text(text, id, size);
    mtws_result result = mtws_send(prog.ws, MTWS_TEXT, text, size, flags, &given);
    trace("mtws_send of %u, flags %u: %d", id, flags, (int)result);
    if (result == MTWS_OK) {
        program_took(id, given, flags);
        return;
    }
    bool bound = (flags & (MTWS_NO_QUEUE | MTWS_FIRST)) != 0;
    REQUIRE((result == MTWS_ERR_STATE && (prog.stopping || bound)) || result == MTWS_ERR_QUEUE_FULL,
            "mtws_send gives %d", (int)result);
}

static void program_part(int which, size_t size) {
    static unsigned id;
    static size_t done;
    uint8_t text[MESSAGE_SIZE * 2];
    uint64_t given = 0;
    if (which == 1) id = prog.sent + 1, done = 0;
    program_text(text, id, done + size);
    mtws_result result =
        mtws_send_part(prog.ws, MTWS_TEXT, text + done, size, which == 1, which == 2, &given);
    trace("mtws_send_part %d of %u: %d", which, id, (int)result);
    if (result == MTWS_OK && which == 1) program_took(id, given, PARTS);
    if (result == MTWS_OK) done += size;
    else if (which == 0) prog.stopping = prog.stopping; /* what follows is refused as well */
    REQUIRE(result == MTWS_OK || result == MTWS_ERR_STATE || result == MTWS_ERR_RESET ||
                result == MTWS_ERR_ARGUMENT || result == MTWS_ERR_QUEUE_FULL,
            "mtws_send_part gives %d", (int)result);
}

static bool program_rests(void) {
    return prog.state == MTWS_STATE_DISCONNECTED || prog.state == MTWS_STATE_FAILED;
}

/* Connects as soon as that may be done. */
static void program_goes(void) {
    if (!prog.go_asked || !program_rests()) return;
    const char *url = prog.addresses == 2 ? "ws://two.example/" : "ws://one.example/";
    if (prog.scene->quirk == LISTED) url = "ws://listed/";
    if (far.proxy || far.socks) url = "ws://far/"; /* a name that only the proxy knows */
    mtws_result result = mtws_connect(prog.ws, url, NULL);
    REQUIRE(result == MTWS_OK, "mtws_connect gives %d", (int)result);
    prog.go_asked = prog.stopping = false;
}

static void program_acts(const act *a) {
    trace("the program does %d (%d, %d)", a->what, a->a, a->b);
    switch (a->what) {
    case GO:
        prog.addresses = a->a;
        prog.go_asked = program_rests() || prog.stopping;
        program_goes();
        break;
    case SAY:
    case SAY_ONCE:
    case SAY_NOW:
        for (int i = 0; i < a->a; i++) {
            program_says(a->what == SAY        ? 0
                         : a->what == SAY_ONCE ? MTWS_ONCE
                                               : MTWS_NO_QUEUE,
                         (size_t)a->b);
        }
        break;
    case PART: program_part(a->a, (size_t)a->b); break;
    case STOP:
        REQUIRE(mtws_disconnect(prog.ws, 0, "enough") == MTWS_OK, "mtws_disconnect fails");
        prog.stopping = true;
        break;
    case RETRY: mtws_retry_now(prog.ws); break;
    case TELL: mtws_set_network(prog.ws, a->a == 1); break;
    case PAUSE:
        mtws_set_paused(prog.ws, a->a == 1);
        prog.paused = a->a == 1;
        break;
    case DROP:
        mtws_destroy(prog.ws);
        prog.ws = NULL;
        prog.over = true;
        break;
    default: break;
    }
}

/* ---- what the program hears ------------------------------------------------------------------ */

static void hear_state(const mtws_event *e) {
    trace("%s -> %s: %d %s, retry in %d", mtws_state_name(e->previous), mtws_state_name(e->state),
          (int)e->result, e->reason, (int)e->retry_ms);
    REQUIRE(e->previous == prog.state, "a change from %s in state %s", mtws_state_name(e->previous),
            mtws_state_name(prog.state));
    prog.state = e->state;
    prog.news_us = sys.now_us;
    if (e->state == MTWS_STATE_DISCONNECTED) prog.stopping = false;
    if (e->state == MTWS_STATE_ERROR) {
        uint64_t *place = &prog.errors_us[prog.errors++ % ERRORS_IN_A_SECOND];
        REQUIRE(prog.errors <= ERRORS_IN_A_SECOND || sys.now_us - *place > 1000000,
                "%d errors within a second", ERRORS_IN_A_SECOND + 1);
        *place = sys.now_us;
        REQUIRE(e->result < 0 && e->reason[0] != 0, "an error without a cause");
    }
    if (e->state == MTWS_STATE_RECONNECTING) {
        int32_t most = e->http_status == 503 ? 2600 : DELAY_MAX_MS;
        REQUIRE(e->retry_ms >= 0 && e->retry_ms <= most, "a delay of %d ms", (int)e->retry_ms);
    }
    if (e->state == MTWS_STATE_FAILED) {
        REQUIRE(prog.scene->quirk == FEW || prog.scene->quirk == NEVER_AGAIN, "given up: %s",
                e->reason);
    }
    if (e->state == MTWS_STATE_CONNECTED && prog.scene->quirk == HOLDS) {
        program_says(MTWS_FIRST, 30);
        REQUIRE(mtws_release_queue(prog.ws) == MTWS_OK, "mtws_release_queue fails");
    }
}

static void hear_fate(const mtws_event *e, bool delivered) {
    unsigned fresh = 0;
    trace("%s %llu to %llu: %d", delivered ? "delivered" : "dropped",
          (unsigned long long)e->first_id, (unsigned long long)e->id, (int)e->result);
    REQUIRE(e->first_id > 0 && e->id >= e->first_id && e->id <= prog.sent, "ids %llu to %llu of %u",
            (unsigned long long)e->first_id, (unsigned long long)e->id, prog.sent);
    for (uint64_t id = e->first_id; id <= e->id; id++) {
        if (prog.messages[id].settled) continue;
        prog.messages[id].settled = true;
        prog.unsettled--;
        fresh++;
        REQUIRE(!delivered || far.received[id] > 0, "%u is delivered, and the server lacks it",
                (unsigned)id);
        REQUIRE(delivered || prog.messages[id].flags != 0, "%u is dropped: %s", (unsigned)id,
                mtws_result_text(e->result));
        bool once = prog.messages[id].flags == MTWS_ONCE;
        REQUIRE(!once || far.received[id] <= 1, "%u came twice", (unsigned)id);
    }
    REQUIRE(fresh > 0, "ids %llu to %llu were settled before", (unsigned long long)e->first_id,
            (unsigned long long)e->id);
}

static void hear_message(const mtws_event *e) {
    char digits[8] = {0};
    trace("a message of %u bytes", (unsigned)e->size);
    REQUIRE(!prog.paused, "a message while paused");
    if (prog.scene->quirk == STREAMS) return;
    REQUIRE(e->first && e->last && e->size >= 7 && e->data[0] == 's', "a message nobody sent");
    memcpy(digits, e->data + 1, 6);
    for (size_t i = 7; i < e->size; i++) {
        REQUIRE(e->data[i] == 'a' + ((unsigned)atoi(digits) + i) % 26, "a message is spoilt");
    }
}

static void hear(const mtws_event *e) {
    switch (e->type) {
    case MTWS_EVENT_STATE: hear_state(e); break;
    case MTWS_EVENT_DELIVERED: hear_fate(e, true); break;
    case MTWS_EVENT_DROPPED: hear_fate(e, false); break;
    case MTWS_EVENT_MESSAGE: hear_message(e); break;
    case MTWS_EVENT_WRITABLE: break;
    default: violate("an event of type %d", (int)e->type);
    }
}

/* Whoever tries to connect tells of each failure in time; who waits for a network that is there
 * notices it. */
static void check_news(void) {
    bool tries = prog.state == MTWS_STATE_CONNECTING || prog.state == MTWS_STATE_RECONNECTING ||
                 prog.state == MTWS_STATE_ERROR;
    uint64_t longest = (uint64_t)(CONNECT_MS + 2600) * 1000 + SLACK_US / 4;
    REQUIRE(!tries || sys.now_us - prog.news_us <= longest, "no news for %llu ms, in state %s",
            (unsigned long long)(sys.now_us - prog.news_us) / 1000, mtws_state_name(prog.state));
    bool failing = (sys.ever || sys.storm > 0) && sys.hits > 0 && sys.now_us < sys.heal_us;
    if (prog.state != MTWS_STATE_WAITING_FOR_NETWORK || sys.net_down || failing ||
        prog.scene->quirk == BY_HAND) {
        prog.offline_us = NEVER;
    } else if (prog.offline_us == NEVER) {
        prog.offline_us = sys.now_us;
    }
    REQUIRE(prog.offline_us == NEVER || sys.now_us - prog.offline_us <= (DELAY_MAX_MS + 300) * 1000,
            "it waits for a network that is there");
}

/* ---- the program's loops --------------------------------------------------------------------- */

/* An event loop: waits for what mtws_get_wait says, until something happens or prog.until_us. */
static void loop_round(void) {
    mtws_event e;
    mtws_wait w;
    int result;
    while ((result = mtws_poll(prog.ws, &e, 0)) == 1) {
        hear(&e);
        program_goes();
    }
    REQUIRE(result == 0 || (result == MTWS_ERR_IDLE && program_rests()), "mtws_poll gives %d",
            result);
    mtws_get_wait(prog.ws, &w);
    uint64_t until_us = prog.until_us;
    bool ready = w.timeout_ms == 0;
    for (int i = 0; i < w.count; i++) {
        int wanted = (w.fds[i].want_read ? POLLIN : 0) | (w.fds[i].want_write ? POLLOUT : 0);
        if (wanted == 0) continue;
        ready = ready || (fd_events(w.fds[i].fd) & (wanted | POLLHUP | POLLERR)) != 0;
    }
    if (ready) return;
    if (w.timeout_ms > 0 && sys.now_us + (uint64_t)w.timeout_ms * 1000 < until_us) {
        until_us = sys.now_us + (uint64_t)w.timeout_ms * 1000;
    }
    uint64_t next = kernel_next_us();
    kernel_run(next < until_us ? next : until_us);
}

static void blocking_round(void) {
    mtws_event e;
    uint64_t left = prog.until_us - sys.now_us;
    sys.waits = true;
    prog.wake_us = prog.until_us;
    int result = mtws_poll(prog.ws, &e, prog.wakes ? -1 : (int32_t)((left + 999) / 1000));
    sys.waits = false;
    REQUIRE(result == 0 || result == 1 || (result == MTWS_ERR_IDLE && program_rests()),
            "mtws_poll gives %d", result);
    if (result == 1) hear(&e);
    if (result == MTWS_ERR_IDLE) kernel_run(prog.until_us);
    program_goes();
}

/* Lives until `until_us`, or until everything is as it should be in the end. */
static bool lives(uint64_t until_us, bool (*done)(void)) {
    while (sys.now_us < until_us) {
        if (done != NULL && done()) return true;
        prog.until_us = until_us;
        if (prog.ws == NULL) {
            kernel_run(until_us);
        } else {
            if (prog.loop) loop_round();
            else blocking_round();
            check_news();
        }
    }
    return done != NULL && done();
}

static bool all_is_well(void) { return prog.state == MTWS_STATE_CONNECTED && prog.unsettled == 0; }

static bool at_rest(void) { return prog.state == MTWS_STATE_DISCONNECTED; }

/* ---- a run ----------------------------------------------------------------------------------- */

/* The first call that fails, and how; what came of it. */
typedef struct plan {
    const fault *fault;
    unsigned from;
    bool ever;
    unsigned storm; /* a seed; 0: none */
} plan;

static unsigned counts_at_end[CALLS]; /* when the script was over */

static void run_script(void) {
    const act *script = prog.scene->script;
    while (!program_create()) kernel_run(sys.now_us + 100000);
    prog.news_us = sys.now_us;
    for (;; prog.at++) {
        const act *a = &script[prog.at];
        if (a->what != END && act_is_worlds(a)) continue;
        lives(act_us(a), NULL);
        if (a->what == END || prog.over) break;
        program_acts(a);
        if (prog.over) break;
    }
}

/* All faults are gone. */
static void heal(void) {
    memcpy(counts_at_end, sys.counts, sizeof counts_at_end);
    far.at = 0;
    far.script = prog.scene->script;
    while (far.script[far.at].what != END) far.at++;
    far.up = true;
    far.stalls = far.names_mute = false;
    far.refusals = 0;
    if (sys.net_down) network_changes(false);
    for (int i = 0; i < CONNS; i++) {
        sys.conns[i].peer.mute = false;
        if (sys.conns[i].serial != 0) peer_reads(&sys.conns[i]);
    }
    if (prog.paused) mtws_set_paused(prog.ws, false);
    prog.paused = false;
}

/* Connected again, and all messages settled, within the bound; then disconnected. A fault that
 * strikes meanwhile prolongs it. */
static void end_well(void) {
    uint64_t attempt_us = (uint64_t)(CONNECT_MS + DELAY_MAX_MS) * 1000;
    uint64_t bound_us = attempt_us + SLACK_US;
    if (prog.state == MTWS_STATE_CONNECTED) bound_us += (BEAT_MS + 4 * BEAT_TIMEOUT_MS) * 1000;
    if (prog.scene->quirk == FIRST_SILENT) bound_us += attempt_us;
    unsigned hits;
    do {
        hits = sys.hits;
        if (prog.scene->quirk == BY_HAND) mtws_set_network(prog.ws, true);
        if (program_rests()) prog.go_asked = true;
        program_goes();
        bool well = lives(sys.now_us + bound_us, all_is_well);
        if (!well && program_rests()) continue;
        REQUIRE(well || sys.hits > hits, "%llu ms after the failure: %s, %u messages not settled",
                (unsigned long long)bound_us / 1000, mtws_state_name(prog.state), prog.unsettled);
    } while (!all_is_well());
    REQUIRE(mtws_disconnect(prog.ws, 0, NULL) == MTWS_OK, "mtws_disconnect fails");
    prog.stopping = true;
    bool rests = lives(sys.now_us + CLOSE_MS * 1000 + SLACK_US / 4, at_rest);
    REQUIRE(rests, "not disconnected, but %s", mtws_state_name(prog.state));
    mtws_destroy(prog.ws);
    prog.ws = NULL;
}

/* True: it went well; else sys.violation says what did not. */
static bool run(const scene *life, bool loop, plan what, bool traced) {
    memset(&sys, 0, offsetof(struct kernel, fds));
    sys.fd_count = sys.fds_open = 0;
    for (int i = 0; i < CONNS; i++) sys.conns[i].serial = 0;
    memset(&sys.serial, 0, sizeof sys - offsetof(struct kernel, serial));
    memset(&far, 0, sizeof far);
    memset(&prog, 0, sizeof prog);
    sys.now_us = sys.second_us = START_US;
    sys.fault = what.fault;
    sys.from = what.from;
    sys.ever = what.ever;
    sys.storm = what.storm == 0 ? 0 : 4u << what.storm % 6;
    sys.chance = what.storm;
    const act *end = life->script;
    while (end->what != END) end++;
    sys.heal_us = act_us(end);
    sys.trace = traced;
    sys.send_room = life->quirk == SLOW ? 700 : 16384;
    far.script = life->script;
    far.up = true;
    far.truncates = life->quirk == BY_TCP;
    far.proxy = life->quirk == PROXY;
    far.socks = life->quirk == SOCKS;
    far.first_silent = life->quirk == FIRST_SILENT;
    far.blind = sys.fault != NULL && sys.fault->which == ENTROPY && sys.ever && sys.from == 0;
    prog.scene = life;
    prog.loop = loop;
    prog.wakes = (life - scenes) % 2 == 0;
    prog.offline_us = NEVER;
    if (setjmp(sys.escape) != 0) return false;
    run_script();
    if (!prog.over) {
        heal();
        end_well();
    }
    REQUIRE(sys.fds_open == 0, "%d descriptors are not closed", sys.fds_open);
    REQUIRE(sys.blocks == 0 && sys.lists == 0, "%u blocks and %u lists are not freed", sys.blocks,
            sys.lists);
    return true;
}

/* ---- all runs -------------------------------------------------------------------------------- */

static unsigned stride = 20, storms = 20;
static const char *only = "";
static unsigned long long runs, hits, calls;
static unsigned most_calls;

static void count_run(void) {
    runs++;
    hits += sys.hits;
    for (int i = 0; i < CALLS; i++) calls += sys.counts[i];
    bool crumbs = sys.fault != NULL && sys.fault->how == CUTS;
    if (sys.most_calls > most_calls && !crumbs) most_calls = sys.most_calls;
}

/* A descriptor that is ready for ever and gives nothing: an event loop has to spin, and only the
 * program can end it. */
static bool makes_no_sense(bool loop, const fault *f, bool ever) {
    bool lies = f->how == LIES || (f->which == READ && f->value == EIO) ||
                (f->which == ASK && f->value == EINPROGRESS) ||
                (f->which == POLL && f->how == SAYS && f->value == 0);
    return loop && ever && lies;
}

/* What fails once and has no consequence: it is tried again, or done without. */
static bool is_harmless(const fault *f) {
    switch (f->which) {
    case CLOCK:
    case OPTION:
    case NOTICE:
    case IOCTL:
    case SHUTDOWN:
    case CLOSE:
    case READ:
    case NAP: return true;
    case POLL: return f->how == SAYS || f->value == EINTR;
    case CONNECT: return f->value == EINTR;
    case INTERFACES: return f->how == FAILS;
    case ENTROPY: return f->value == EINTR;
    case RECV: return f->how == CUTS || f->value == EINTR;
    case SEND: return f->how == CUTS || f->value == EINTR || f->value == EAGAIN;
    default: return false;
    }
}

static void each_call(const scene *life, bool loop, const fault *f, const unsigned usual[CALLS],
                      const unsigned at_end[CALLS], unsigned errors) {
    for (int ever = 0; ever < 2; ever++) {
        unsigned count = ever ? at_end[f->which] : usual[f->which];
        if (makes_no_sense(loop, f, ever == 1)) continue;
        for (unsigned i = 0; i < count && !test_failing(); i++) {
            if (i > 0 && (i + (unsigned)(f - faults)) % stride != 0) continue;
            if (!test_sampled()) continue;
            plan one = {f, i, ever == 1, 0};
            bool well = run(life, loop, one, false);
            count_run();
            CHECK_TEXT(well, "call %u, fault=\"%s\"%s: %s", i, f->name,
                       ever ? " for ever" : " once", sys.violation);
            if (!well || ever) continue;
            CHECK_TEXT(sys.hits == 1, "call %u never came", i);
            /* A lie about the address that is silent makes it seem to answer. */
            unsigned lies = life->quirk == FIRST_SILENT && f->which == POLL;
            CHECK_TEXT(!is_harmless(f) || prog.errors <= errors + lies,
                       "call %u, fault=\"%s\": an error", i, f->name);
        }
    }
}

static void scene_tests(const scene *life, bool loop) {
    plan none = {NULL, 0, false, 0};
    unsigned usual[CALLS], at_end[CALLS];
    bool well = run(life, loop, none, false);
    count_run();
    const char *manner = loop ? "an event loop" : "waiting";
    if (test_begin("%s, %s: nothing fails", life->name, manner)) {
        CHECK_TEXT(well, "%s", sys.violation);
        CHECK_UINT(sys.counts[MALLOC], 1); /* FAULTS row 56 */
        test_end();
    }
    if (!well) return;
    memcpy(usual, sys.counts, sizeof usual);
    unsigned errors = prog.errors;
    memcpy(at_end, prog.over ? sys.counts : counts_at_end, sizeof at_end);
    for (int which = 0; which < CALLS; which++) {
        if (usual[which] + at_end[which] == 0 ||
            !test_begin("%s, %s: %s", life->name, manner, call_names[which])) {
            continue;
        }
        for (int i = 0; i < FAULTS; i++) {
            if ((int)faults[i].which == which)
                each_call(life, loop, &faults[i], usual, at_end, errors);
        }
        test_end();
    }
}

/* From a storm in which every fourth call fails to a calm one. */
static void storm_tests(const scene *life, bool loop) {
    if (!test_begin("%s, %s: storms", life->name, loop ? "an event loop" : "waiting")) return;
    for (unsigned i = 1; i <= storms && !test_failing(); i++) {
        if (!test_sampled()) continue;
        plan one = {NULL, 0, false, i};
        bool well = run(life, loop, one, false);
        count_run();
        CHECK_TEXT(well, "storm=%u: %s", i, sys.violation);
    }
    test_end();
}

static void all_scenes(void) {
    for (int i = 0; i < 2 * SCENES; i++) {
        scene_tests(&scenes[i / 2], i % 2 == 0);
        storm_tests(&scenes[i / 2], i % 2 == 0);
    }
}

static void tell_counts(void) {
    printf("%llu runs: %d scenes, each in an event loop and waiting within mtws_poll; %d calls to "
           "the system with %d faults, once and for ever\n",
           runs, SCENES, CALLS, FAULTS);
    printf(
        "%llu calls were made, %llu of them failed; at most %u within a second of virtual time\n",
        calls, hits, most_calls);
}

/* The table is whole: every call that mtws.h makes has faults, and each of them struck. */
static void every_fault_struck(void) {
    bool had[CALLS] = {false};
    if (!test_begin("every fault struck")) return;
    for (int i = 0; i < FAULTS && only[0] == 0; i++) {
        had[faults[i].which] = true;
        CHECK_TEXT(struck[i] > 0 || test_state.sample > 1, "%s never %s",
                   call_names[faults[i].which], faults[i].name);
    }
    for (int i = 0; i < CALLS && only[0] == 0; i++) {
        CHECK_TEXT(had[i], "%s never fails", call_names[i]);
    }
    test_end();
    tell_counts();
}

/* One run, with all that happens in it. */
static int show(const char *test, const plan *wanted, const char *name) {
    for (int i = 0; i < 2 * SCENES; i++) {
        char start[200];
        plan one = *wanted;
        snprintf(start, sizeof start, "%s, %s: ", scenes[i / 2].name,
                 i % 2 == 0 ? "an event loop" : "waiting");
        if (strncmp(test, start, strlen(start)) != 0) continue;
        for (int f = 0; f < FAULTS && one.storm == 0; f++) {
            if (strcmp(call_names[faults[f].which], test + strlen(start)) != 0) continue;
            if (strcmp(faults[f].name, name) == 0) one.fault = &faults[f];
        }
        if (one.storm == 0 && one.fault == NULL) break;
        bool well = run(&scenes[i / 2], i % 2 == 0, one, true);
        printf("%s\n", well ? "all is well" : sys.violation);
        return well ? 0 : 1;
    }
    puts("there is no such run");
    return 2;
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {{NULL, all_scenes, true}, {NULL, every_fault_struck, true}};
    const char *name = "";
    plan one = {NULL, 0, false, 0};
    for (int i = 1; i < argc; i++) {
        const char *value = strchr(argv[i], '=');
        if (value == NULL) continue;
        unsigned number = (unsigned)atoi(++value);
        if (strncmp(argv[i], "stride=", 7) == 0 && number > 0) stride = number;
        if (strncmp(argv[i], "storms=", 7) == 0) storms = number;
        if (strncmp(argv[i], "only=", 5) == 0) only = value;
        if (strncmp(argv[i], "at=", 3) == 0) one.from = number;
        if (strncmp(argv[i], "fault=", 6) == 0) name = value;
        if (strncmp(argv[i], "ever=", 5) == 0) one.ever = number == 1;
        if (strncmp(argv[i], "storm=", 6) == 0) one.storm = number;
    }
    if (name[0] != 0 || one.storm > 0) return show(only, &one, name);
    char *arguments[2] = {argv[0], (char *)(uintptr_t)only};
    return test_main(tests, 2, only[0] == 0 ? 1 : 2, arguments);
}
